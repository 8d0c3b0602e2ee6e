//! What a value may look like ([`Form`]) and how each type of the model reads and shows it
//! ([`Field`]).

use std::time::Duration;

use super::model::{
    Accept, CacheMode, ClientCertificates, Discover, ListenerTls, LogFormat, ProtocolChoice,
    TlsMode,
};
use crate::security::Mode;
use isogrid_grid::metadata::Role;
use isogrid_grid::unit::{parse_size, parse_span, show_size, show_span};

/// A value as it was written, before anything is known about its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    /// A string, number or boolean.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl Raw {
    /// The one value.
    pub fn one(&self) -> Result<&str, String> {
        match self {
            Self::One(text) => Ok(text.trim()),
            Self::Many(_) => Err("a list stands where one value belongs".to_owned()),
        }
    }

    /// The items of a list, written as an array or with commas; `off` is an empty one.
    pub fn list(&self) -> Vec<&str> {
        let items: Vec<&str> = match self {
            Self::One(text) => text.split(',').collect(),
            Self::Many(items) => items.iter().map(String::as_str).collect(),
        };
        items.into_iter().map(str::trim).filter(|item| !matches!(*item, "" | "off")).collect()
    }
}

/// What a value may look like, with its bounds.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// Bytes, within bounds.
    Size(u64, u64),
    /// A whole number, within bounds.
    Count(u64, u64),
    /// Milliseconds, within bounds.
    Span(u64, u64),
    /// `true` or `false`.
    Flag,
    /// One printable character.
    Letter,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these words.
    Words(&'static [&'static str]),
    /// Free text: what it is, and whether a given text is one.
    Text(&'static str, fn(&str) -> bool),
    /// Where to listen.
    Address,
    /// A list of addresses.
    Addresses,
    /// `off` (or 0), or the form inside.
    OrOff(&'static Form),
}

impl Form {
    /// The bounds in words.
    pub fn words(&self) -> String {
        match *self {
            Self::Size(min, max) => format!("{} to {}", show_size(min), show_size(max)),
            Self::Count(min, max) => format!("{min} to {max}"),
            Self::Span(min, max) => format!("{} to {}", show_millis(min), show_millis(max)),
            Self::Flag => "true or false".to_owned(),
            Self::Letter => "one printable character".to_owned(),
            Self::Choice(names) => format!("one of {}", names.join(", ")),
            Self::Words(names) => format!("a list of {}", names.join(", ")),
            Self::Text(what, _) => what.to_owned(),
            Self::Address => {
                "IP:PORT or [IPV6]:PORT with a port of 0 to 65535, or unix:PATH[?mode=OCTAL]"
                    .to_owned()
            }
            Self::Addresses => format!("a list of {}; or off", Self::Address.words()),
            Self::OrOff(inner) => format!("off, or {}", inner.words()),
        }
    }

    /// Whether TOML writes such a value without quotes.
    pub fn bare(&self) -> bool {
        matches!(self, Self::Count(..) | Self::Flag)
    }

    fn number(&self, text: &str) -> Result<u64, String> {
        let (number, min, max) = match *self {
            Self::Size(min, max) => (parse_size(text), min, max),
            Self::Count(min, max) => (text.replace('_', "").parse().ok(), min, max),
            _ => (None, 0, 0),
        };
        let within = number.filter(|number| (min..=max).contains(number));
        within.ok_or_else(|| self.refusal(text))
    }

    fn span(&self, text: &str) -> Result<Duration, String> {
        let Self::Span(min, max) = *self else { return Err(self.refusal(text)) };
        let bounds = Duration::from_millis(min)..=Duration::from_millis(max);
        let within = parse_span(text).filter(|span| bounds.contains(span));
        within.ok_or_else(|| self.refusal(text))
    }

    /// Why `text` is not of this form.
    pub fn refusal(&self, text: &str) -> String {
        format!("`{text}` is not {}", self.words())
    }
}

fn show_millis(millis: u64) -> String {
    show_span(Duration::from_millis(millis))
}

/// A type of the model that can be read from what a user wrote.
pub trait Field: Sized {
    /// Reads a value; the error says what was wrong and what is allowed.
    fn parse(raw: &Raw, form: &Form) -> Result<Self, String>;
    /// The value as a user would write it; empty when there is nothing to write.
    fn show(&self, form: &Form) -> Raw;
}

/// Reading and writing one field of a struct of the model.
macro_rules! field {
    ($target:ty, $($part:ident).+) => {
        $crate::config::key::Access {
            read: |target: &$target, form| $crate::config::field::Field::show(&target.$($part).+, form),
            write: |target: &mut $target, raw, form| {
                target.$($part).+ = $crate::config::field::Field::parse(raw, form)?;
                Ok(())
            },
        }
    };
}
pub(super) use field;

impl Field for u64 {
    fn parse(raw: &Raw, form: &Form) -> Result<Self, String> {
        form.number(raw.one()?)
    }

    fn show(&self, form: &Form) -> Raw {
        Raw::One(match form {
            Form::Size(..) => show_size(*self),
            _ => self.to_string(),
        })
    }
}

/// Numbers that are narrower than the bounds of any form: the form has checked the bounds.
macro_rules! narrow {
    ($($type:ty),+) => { $(
        impl Field for $type {
            fn parse(raw: &Raw, form: &Form) -> Result<Self, String> {
                let number = u64::parse(raw, form)?;
                Self::try_from(number).map_err(|_| format!("`{number}` is more than {}", Self::MAX))
            }

            fn show(&self, form: &Form) -> Raw {
                u64::try_from(*self).unwrap_or(u64::MAX).show(form)
            }
        }
    )+ };
}
narrow!(usize, u32);

impl Field for Duration {
    fn parse(raw: &Raw, form: &Form) -> Result<Self, String> {
        form.span(raw.one()?)
    }

    fn show(&self, _: &Form) -> Raw {
        Raw::One(show_span(*self))
    }
}

impl<T: Field> Field for Option<T> {
    fn parse(raw: &Raw, form: &Form) -> Result<Self, String> {
        match form {
            Form::OrOff(_) if matches!(raw.one()?, "off" | "0") => Ok(None),
            Form::OrOff(inner) => {
                T::parse(raw, inner).map(Some).map_err(|e| format!("{e}, or off"))
            }
            form => T::parse(raw, form).map(Some),
        }
    }

    fn show(&self, form: &Form) -> Raw {
        match (self, form) {
            (Some(value), Form::OrOff(inner)) => value.show(inner),
            (Some(value), form) => value.show(form),
            (None, Form::OrOff(_)) => Raw::One("off".to_owned()),
            (None, _) => Raw::One(String::new()),
        }
    }
}

impl Field for bool {
    fn parse(raw: &Raw, form: &Form) -> Result<Self, String> {
        match raw.one()? {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            other => Err(form.refusal(other)),
        }
    }

    fn show(&self, _: &Form) -> Raw {
        Raw::One(self.to_string())
    }
}

impl Field for char {
    fn parse(raw: &Raw, form: &Form) -> Result<Self, String> {
        let text = raw.one()?;
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) if letter.is_ascii_graphic() => Ok(letter),
            _ => Err(form.refusal(text)),
        }
    }

    fn show(&self, _: &Form) -> Raw {
        Raw::One(self.to_string())
    }
}

impl Field for String {
    fn parse(raw: &Raw, form: &Form) -> Result<Self, String> {
        let text = raw.one()?;
        let good = match form {
            Form::Choice(names) => names.contains(&text),
            Form::Text(_, is_one) => is_one(text),
            _ => true,
        };
        good.then(|| text.to_owned()).ok_or_else(|| form.refusal(text))
    }

    fn show(&self, _: &Form) -> Raw {
        Raw::One(self.clone())
    }
}

impl Field for Accept {
    fn parse(raw: &Raw, form: &Form) -> Result<Self, String> {
        let mut accept = Self { memcached: false, http: false, native: false };
        let words = raw.list();
        for word in &words {
            match *word {
                "memcached" => accept.memcached = true,
                "http" => accept.http = true,
                "native" => accept.native = true,
                other => return Err(form.refusal(other)),
            }
        }
        if words.is_empty() { Err(form.refusal("")) } else { Ok(accept) }
    }

    fn show(&self, _: &Form) -> Raw {
        let accepted = self.named().into_iter().filter(|(_, accepted)| *accepted);
        Raw::Many(accepted.map(|(name, _)| name.to_owned()).collect())
    }
}

/// Enums whose variants have one name each.
macro_rules! choice {
    ($type:ty, $($name:literal => $variant:path),+) => {
        impl Field for $type {
            fn parse(raw: &Raw, form: &Form) -> Result<Self, String> {
                match raw.one()? {
                    $($name => Ok($variant),)+
                    other => Err(form.refusal(other)),
                }
            }

            fn show(&self, _: &Form) -> Raw {
                Raw::One(match self { $($variant => $name,)+ }.to_owned())
            }
        }
    };
}
choice!(ProtocolChoice, "auto" => Self::Auto, "ascii" => Self::Ascii, "binary" => Self::Binary);
choice!(Mode, "auto" => Self::Auto, "on" => Self::On, "off" => Self::Off);
choice!(Discover, "off" => Self::Off, "multicast" => Self::Multicast);
choice!(Role, "data" => Self::Data, "witness" => Self::Witness);
choice!(TlsMode, "off" => Self::Off, "on" => Self::On, "optional" => Self::Optional);
choice!(
    CacheMode,
    "local" => Self::Local, "distributed" => Self::Distributed,
    "replicated" => Self::Replicated, "invalidated" => Self::Invalidated
);
choice!(
    ListenerTls,
    "node" => Self::Node, "off" => Self::Off, "on" => Self::On, "optional" => Self::Optional
);
choice!(
    ClientCertificates,
    "off" => Self::Off, "optional" => Self::Optional, "required" => Self::Required
);
choice!(LogFormat, "pretty" => Self::Pretty, "json" => Self::Json);

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Raw {
        Raw::One(text.to_owned())
    }

    #[test]
    fn a_refusal_says_the_value_and_the_bounds() {
        let form = Form::Size(1 << 10, 1 << 30);
        let error = usize::parse(&one("10"), &form).unwrap_err();
        assert_eq!(error, "`10` is not 1KiB to 1GiB");
        let form = Form::OrOff(&Form::Span(1_000, 60_000));
        let error = <Option<Duration>>::parse(&one("2h"), &form).unwrap_err();
        assert_eq!(error, "`2h` is not 1s to 1m, or off");
    }

    #[test]
    fn off_and_zero_are_nothing() {
        let form = Form::OrOff(&Form::Span(1, 60_000));
        for (text, span) in [("off", None), ("0", None), ("10s", Some(Duration::from_secs(10)))] {
            assert_eq!(<Option<Duration>>::parse(&one(text), &form), Ok(span), "{text}");
        }
    }
}
