//! What can come of a request other than its answer.

use std::fmt;

use crate::native::{ErrorBody, ErrorCode, Malformed, Retry};

/// Whether a request that was not answered has been executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Surely not: nothing has changed.
    Failed,
    /// Nobody knows: it may have been executed, and may still be.
    Unknown,
}

/// A request that has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Whether it has been executed all the same. Of a request that only reads this is always
    /// [`Outcome::Failed`].
    pub outcome: Outcome,
    /// Why.
    pub cause: Cause,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Its time was over.
    Timeout,
    /// The connection broke, and the request cannot be sent again.
    Disconnected,
    /// The server refused it.
    Refused(Refusal),
    /// The two ends do not trust each other: TLS failed, the server did not prove that it knows
    /// the password, or a secret would have been readable on its way; or a file of authorities, a
    /// certificate or a key is missing or cannot be read.
    Insecure(String),
    /// What came is not GNP, or not what was asked for.
    Protocol(&'static str),
    /// The answer is not what the operation answers with.
    Malformed(Malformed),
    /// The server has no such object, and the caller did not ask to make it.
    NoSuchObject(String),
    /// Of many keys, so many were surely not done, and of so many nobody knows.
    Partial {
        /// Surely not done.
        failed: usize,
        /// Perhaps done.
        unknown: usize,
    },
    /// The lease, the lock or the permits are no longer the caller's.
    LeaseLost,
    /// Other transactions were first each time that it was tried.
    Conflict(Vec<super::ConflictKey>),
    /// The server that the object's number came from is not the one that is reached now.
    OtherLife,
    /// The client's own runtime has ended.
    Closed,
}

/// The `ERR` of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the error.
    pub code: u16,
    /// What a client may do.
    pub retry: Retry,
    /// How long to wait before, in milliseconds.
    pub retry_after_ms: u32,
    /// For people.
    pub message: String,
    /// For programs: names and facts.
    pub details: Vec<(String, String)>,
}

impl Refusal {
    pub(super) fn of(body: &ErrorBody<'_>) -> Self {
        let detail =
            |detail: crate::native::Detail<'_>| (detail.name.to_owned(), detail.value.to_owned());
        Refusal {
            code: body.code,
            retry: body.retry,
            retry_after_ms: body.retry_after_ms,
            message: body.message.to_owned(),
            details: body.details.iter().map(detail).collect(),
        }
    }

    /// The error, if this release knows it.
    #[must_use]
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::of(self.code)
    }

    /// The fact of this name, such as `owner`, `limit` or `actual`.
    #[must_use]
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.iter().find(|(is, _)| is == name).map(|(_, fact)| fact.as_str())
    }
}

impl Error {
    pub(super) fn failed(cause: Cause) -> Self {
        Error { outcome: Outcome::Failed, cause }
    }

    pub(super) fn unknown(cause: Cause) -> Self {
        Error { outcome: Outcome::Unknown, cause }
    }

    /// Whether nothing has changed.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.outcome == Outcome::Failed
    }

    /// Whether nobody knows if it was executed.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.outcome == Outcome::Unknown
    }

    /// The error that the server refused with, if it did and this release knows it.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match &self.cause {
            Cause::Refused(refusal) => refusal.known(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Failed => "not done",
            Outcome::Unknown => "perhaps done",
        };
        write!(f, "{outcome}: {}", self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Timeout => f.write_str("the time for the request was over"),
            Cause::Disconnected => f.write_str("the connection broke"),
            Cause::Refused(refusal) => refusal.fmt(f),
            Cause::Insecure(why) => f.write_str(why),
            Cause::Protocol(what) => f.write_str(what),
            Cause::Malformed(malformed) => write!(f, "the answer is malformed: {malformed}"),
            Cause::NoSuchObject(name) => write!(f, "there is no object {name:?}"),
            Cause::Partial { failed, unknown } => {
                write!(f, "of the keys {failed} were not done, and {unknown} perhaps")
            }
            Cause::LeaseLost => f.write_str("the lease has ended"),
            Cause::Conflict(keys) => write!(f, "{} entries were changed by others", keys.len()),
            Cause::OtherLife => f.write_str("the server has begun anew"),
            Cause::Closed => f.write_str("the client's runtime has ended"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(code) => write!(f, "E{} {}: {}", self.code, code.name(), self.message),
            None => write!(f, "E{}: {}", self.code, self.message),
        }
    }
}

impl std::error::Error for Error {}
