//! The errors: what a request failed with, what to do about it, and how it looks in an `ERR`
//! frame. A miss, an entry that is there already or another version are no errors but
//! [`super::Status`]es.

mod catalogue;

use super::declare::{choices, record};
use super::list::List;

pub use catalogue::ErrorCode;

choices! {
    /// What a client may do with a request that failed. It is on the wire, so that codes which a
    /// client does not know are still treated rightly.
    Retry {
        /// Not again: it would fail again.
        0 Never "NEVER",
        /// Again, after `retry_after_ms`. The request was not executed.
        1 Same "SAME",
        /// Again, at another member. The request was not executed.
        2 Other "OTHER",
        /// It may have been executed: again only if it is of repeat class R or I, or has an
        /// `idem` tag.
        3 Unknown "UNKNOWN_OUTCOME",
    }
}

/// What is said of an error in documents and by `isogrid explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorInfo {
    /// The error.
    pub code: ErrorCode,
    /// Its name, in capitals.
    pub name: &'static str,
    /// What a client may do.
    pub retry: Retry,
    /// What happened, in one sentence without an end.
    pub reason: &'static str,
    /// What to do about it, in sentences.
    pub help: &'static str,
}

impl ErrorCode {
    /// Its name, in capitals.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// What a client may do.
    #[must_use]
    pub fn retry(self) -> Retry {
        self.info().retry
    }

    /// Finds it by what a person types: `4003`, `E4003`, `no_quorum` or `NO_QUORUM`.
    #[must_use]
    pub fn find(text: &str) -> Option<ErrorCode> {
        let number = text.trim_start_matches(['E', 'e']).parse().ok();
        let by_name = || Self::ALL.iter().find(|code| code.name().eq_ignore_ascii_case(text));
        number.and_then(Self::of).or_else(|| by_name().copied())
    }
}

record! {
    /// A fact for programs that goes with an error, or a header of a message.
    Detail<'a> {
        /// What it is: `owner`, `limit`, `actual`, `incident`, ..
        name: &'a str,
        /// The fact.
        value: &'a str,
    }
}

record! {
    /// The payload of an `ERR` frame, extensions apart.
    ErrorBody<'a> {
        /// The number of the error. Codes that the reader does not know are treated by their
        /// retry class.
        code: u16,
        /// What the client may do.
        retry: Retry,
        /// How long to wait before, in milliseconds.
        retry_after_ms: u32,
        /// For people. No program may depend on its words.
        message: &'a str,
        /// For programs.
        details: List<'a, Detail<'a>>,
    }
}

impl<'a> ErrorBody<'a> {
    /// An error with a message and without details.
    #[must_use]
    pub fn new(code: ErrorCode, message: &'a str) -> Self {
        let (retry, details) = (code.retry(), List::of(&[]));
        ErrorBody { code: code as u16, retry, retry_after_ms: 0, message, details }
    }

    /// The error, if this side knows it.
    #[must_use]
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::of(self.code)
    }
}
