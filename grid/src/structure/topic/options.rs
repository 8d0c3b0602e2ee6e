//! What a topic is set to, and where who reads it begins.

use std::time::Duration;

use isogrid_engine::Timestamp;

use crate::bytes::{Input, put_u64};
use crate::structure::queue::{
    Field, QueueOptionError, above_zero, changed, differences, millis, put, shown,
};
use crate::unit::{parse_size, show_size, show_span};

/// The longest time for which messages can be kept, ms: ten years.
const AGE_MAX_MS: u64 = 10 * 365 * 86_400_000;

/// What a topic is set to: whichever bound is met first takes the oldest messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicOptions {
    /// Messages older than that are gone, ms; 0: none is for its age. Default: 86,400,000, a day.
    pub max_age: u64,
    /// Messages that it keeps. Default: 1,000,000.
    pub max_len: u64,
    /// Bytes of messages that it keeps. Default: 64 MiB.
    pub max_bytes: u64,
}

impl Default for TopicOptions {
    fn default() -> Self {
        TopicOptions { max_age: 86_400_000, max_len: 1_000_000, max_bytes: 64 << 20 }
    }
}

const FIELDS: [Field<TopicOptions>; 3] = [
    Field {
        name: "max_age",
        allowed: "a time up to ten years; 0s: messages do not go by age",
        show: |options| show_span(Duration::from_millis(options.max_age)),
        set: |options, text| {
            put(&mut options.max_age, millis(text).filter(|ms| *ms <= AGE_MAX_MS)?)
        },
    },
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
];

impl TopicOptions {
    /// These options with some changed.
    ///
    /// # Errors
    /// [`QueueOptionError`].
    pub fn with(self, changes: &[(&str, &str)]) -> Result<Self, QueueOptionError> {
        changed("a topic", &FIELDS, self, changes)
    }

    /// All options as text.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, String)> {
        shown(&FIELDS, self)
    }

    /// The options that `want` has other than these, in words.
    #[must_use]
    pub fn differences(&self, want: &TopicOptions) -> Vec<String> {
        differences(self.texts(), want.texts())
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.max_age, self.max_len, self.max_bytes] {
            put_u64(out, number);
        }
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (max_age, max_len, max_bytes) = (input.u64()?, input.u64()?, input.u64()?);
        Some(TopicOptions { max_age, max_len, max_bytes })
    }
}

/// Where who reads a topic begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With what is published from now on.
    #[default]
    New,
    /// With the oldest message that there is.
    First,
    /// With the message of this id, or the next one.
    Position(u64),
    /// With what was published at this time or later, ms since 1970.
    Time(Timestamp),
}

impl Start {
    /// `new`, `first`, an id, or `@` and a time in ms since 1970.
    #[must_use]
    pub fn parse(text: &str) -> Option<Start> {
        Some(match (text, text.strip_prefix('@')) {
            ("new", _) => Start::New,
            ("first", _) => Start::First,
            (_, Some(time)) => Start::Time(time.parse().ok()?),
            (id, None) => Start::Position(id.parse().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_starts_are_what_their_texts_say() {
        let texts = [("max_age", "90s"), ("max_len", "5"), ("max_bytes", "2MiB")];
        let options = TopicOptions::default().with(&texts).unwrap();
        let told: Vec<_> = options.texts().collect();
        assert!(told.iter().zip(texts).all(|(told, text)| (told.0, &*told.1) == text), "{told:?}");
        assert_eq!(
            options.differences(&TopicOptions { max_len: 6, ..options }),
            ["max_len: have 5, want 6"]
        );
        for (name, text) in [("max_age", "100000d"), ("max_len", "0"), ("max_bytes", "0")] {
            let error = options.with(&[(name, text)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: {text:?} is not ")), "{error}");
        }
        let unknown = options.with(&[("visible", "1s")]).unwrap_err().to_string();
        assert_eq!(unknown, "a topic has no option \"visible\"");
        for (text, start) in [
            ("new", Some(Start::New)),
            ("first", Some(Start::First)),
            ("17", Some(Start::Position(17))),
            ("@1700", Some(Start::Time(1_700))),
            ("last", None),
            ("@", None),
        ] {
            assert_eq!(Start::parse(text), start, "{text}");
        }
    }
}
