//! The options of a queue as people write them.

use std::time::Duration;

use thiserror::Error;

use super::options::QueueOptions;
use super::settle::VISIBLE_MAX;
use crate::unit::{parse_size, parse_span, show_size, show_span};

/// Why an option cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QueueOptionError {
    /// There is none of that name.
    #[error("{what} has no option {name:?}")]
    Unknown {
        /// What it was set of: a queue or a topic.
        what: &'static str,
        /// What was given.
        name: String,
    },
    /// The value is none of those that it takes.
    #[error("{name}: {value:?} is not {allowed}")]
    Value {
        /// The option.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed, in words.
        allowed: &'static str,
    },
}

/// An option as text.
pub(in crate::structure) struct Field<T> {
    pub name: &'static str,
    pub allowed: &'static str,
    pub show: fn(&T) -> String,
    pub set: fn(&mut T, &str) -> Option<()>,
}

const SWITCH: &str = "yes or no";

const FIELDS: [Field<QueueOptions>; 8] = [
    Field {
        name: "max_len",
        allowed: "a number of messages from 1 on",
        show: |options| options.max_len.to_string(),
        set: |options, text| put(&mut options.max_len, above_zero(text.parse().ok()?)?),
    },
    Field {
        name: "max_bytes",
        allowed: "a size such as 64MiB",
        show: |options| show_size(options.max_bytes),
        set: |options, text| put(&mut options.max_bytes, above_zero(parse_size(text)?)?),
    },
    Field {
        name: "visible",
        allowed: "a time from 1ms to 12h",
        show: |options| show_span(Duration::from_millis(options.visible)),
        set: |options, text| {
            let visible = millis(text).filter(|ms| (1..=VISIBLE_MAX).contains(ms))?;
            put(&mut options.visible, visible)
        },
    },
    Field {
        name: "attempts",
        allowed: "a number of deliveries from 1 to 1000",
        show: |options| options.attempts.to_string(),
        set: |options, text| {
            let attempts = text.parse().ok().filter(|many| (1..=1_000).contains(many))?;
            put(&mut options.attempts, attempts)
        },
    },
    Field {
        name: "backoff",
        allowed: "a time up to 1h; 0s: none",
        show: |options| show_span(Duration::from_millis(options.backoff)),
        set: |options, text| put(&mut options.backoff, millis(text).filter(|ms| *ms <= 3_600_000)?),
    },
    Field {
        name: "dead_letters",
        allowed: SWITCH,
        show: |options| word(options.dead_letters),
        set: |options, text| put(&mut options.dead_letters, switch(text)?),
    },
    Field {
        name: "strict",
        allowed: SWITCH,
        show: |options| word(options.strict),
        set: |options, text| put(&mut options.strict, switch(text)?),
    },
    Field {
        name: "exclusive",
        allowed: SWITCH,
        show: |options| word(options.exclusive),
        set: |options, text| put(&mut options.exclusive, switch(text)?),
    },
];

impl QueueOptions {
    /// These options with some changed.
    ///
    /// # Errors
    /// [`QueueOptionError`].
    pub fn with(self, changes: &[(&str, &str)]) -> Result<Self, QueueOptionError> {
        changed("a queue", &FIELDS, self, changes)
    }

    /// All options as text.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, String)> {
        shown(&FIELDS, self)
    }

    /// The options that `want` has other than these, in words.
    #[must_use]
    pub fn differences(&self, want: &QueueOptions) -> Vec<String> {
        differences(self.texts(), want.texts())
    }
}

/// Options with some changed.
pub(in crate::structure) fn changed<T>(
    what: &'static str,
    fields: &[Field<T>],
    mut options: T,
    changes: &[(&str, &str)],
) -> Result<T, QueueOptionError> {
    for (name, text) in changes {
        let unknown = || QueueOptionError::Unknown { what, name: (*name).to_owned() };
        let field = fields.iter().find(|field| field.name == *name).ok_or_else(unknown)?;
        let (name, value, allowed) = (field.name, (*text).to_owned(), field.allowed);
        let wrong = || QueueOptionError::Value { name, value, allowed };
        (field.set)(&mut options, text).ok_or_else(wrong)?;
    }
    Ok(options)
}

/// All options as text.
pub(in crate::structure) fn shown<T>(
    fields: &'static [Field<T>],
    options: &T,
) -> impl Iterator<Item = (&'static str, String)> {
    fields.iter().map(move |field| (field.name, (field.show)(options)))
}

/// Where two sets of options are not the same, in words.
pub(in crate::structure) fn differences(
    have: impl Iterator<Item = (&'static str, String)>,
    want: impl Iterator<Item = (&'static str, String)>,
) -> Vec<String> {
    let both = have.zip(want).filter(|(have, want)| have != want);
    both.map(|((name, have), (_, want))| format!("{name}: have {have}, want {want}")).collect()
}

pub(in crate::structure) fn put<T>(place: &mut T, value: T) -> Option<()> {
    *place = value;
    Some(())
}

pub(in crate::structure) fn above_zero(number: u64) -> Option<u64> {
    Some(number).filter(|number| *number > 0)
}

/// A time; a number alone is milliseconds.
pub(in crate::structure) fn millis(text: &str) -> Option<u64> {
    let span = || u64::try_from(parse_span(text)?.as_millis()).ok();
    text.parse().ok().or_else(span)
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn word(switch: bool) -> String {
    if switch { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_what_their_texts_say() {
        let texts = [
            ("max_len", "5"),
            ("max_bytes", "2MiB"),
            ("visible", "90s"),
            ("attempts", "3"),
            ("backoff", "0s"),
            ("dead_letters", "no"),
            ("strict", "yes"),
            ("exclusive", "yes"),
        ];
        let options = QueueOptions::default().with(&texts).unwrap();
        let told: Vec<_> = options.texts().collect();
        assert!(told.iter().zip(texts).all(|(told, text)| (told.0, &*told.1) == text), "{told:?}");
        assert_eq!(options.with(&[("visible", "1500")]).unwrap().visible, 1_500);
        assert_eq!(
            options.differences(&QueueOptions { attempts: 4, ..options }),
            ["attempts: have 3, want 4"]
        );
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_what_is_not() {
        for (name, text) in [
            ("max_len", "0"),
            ("max_bytes", "many"),
            ("visible", "13h"),
            ("visible", "0s"),
            ("attempts", "0"),
            ("backoff", "2h"),
            ("strict", "true"),
        ] {
            let error = QueueOptions::default().with(&[(name, text)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: {text:?} is not ")), "{error}");
        }
        let unknown = QueueOptions::default().with(&[("ttl", "1s")]);
        assert_eq!(unknown.unwrap_err().to_string(), "a queue has no option \"ttl\"");
    }
}
