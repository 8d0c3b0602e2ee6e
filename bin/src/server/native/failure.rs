//! Why a request fails, as an `ERR` says it: the only place that maps errors to codes.

use std::borrow::Cow;

use isogrid_engine::{Error, Unrecorded};
use isogrid_grid::catalog::CatalogError;
use isogrid_grid::structures::NotKept;
use isogrid_wire::native::{
    Detail, ErrorBody, ErrorCode, Limits, List, Malformed, Reader, Refused, Retry, decode_all,
};

use super::reply::Given;
use crate::server::admin::Fault;
use crate::server::caches::{self, Why};

/// An error, its words and its details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it is.
    pub code: ErrorCode,
    message: Cow<'static, str>,
    retry_after_ms: u32,
    /// Asked again it would fail again, whatever its code says.
    is_final: bool,
    details: Vec<(&'static str, String)>,
    /// Nothing was done, for want of room until the disk has caught up: it can be done then.
    pub is_behind: bool,
}

impl Failure {
    /// An error with a message.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        let details = Vec::new();
        let message = message.into();
        Failure { code, message, retry_after_ms: 0, is_final: false, details, is_behind: false }
    }

    /// The error that another member answered with.
    pub fn of_given(given: &Given) -> Self {
        match decode_all::<ErrorBody<'_>>(Reader::new(&given.payload, &Limits::default())) {
            Ok(body) => {
                let code = ErrorCode::of(body.code).unwrap_or(ErrorCode::Internal);
                Failure::new(code, body.message.to_owned())
            }
            Err(_) => Failure::of(ErrorCode::Internal),
        }
    }

    /// Its words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// An error that needs no more words than its own.
    pub fn of(code: ErrorCode) -> Self {
        Failure::new(code, code.info().reason)
    }

    /// A value of the request that is not allowed.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Failure::new(ErrorCode::InvalidArgument, message)
    }

    /// With a fact for programs.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// To be tried again after so many milliseconds.
    #[must_use]
    pub fn after(self, retry_after_ms: u32) -> Self {
        Failure { retry_after_ms, ..self }
    }

    /// Not to be tried again.
    #[must_use]
    pub fn for_good(self) -> Self {
        Failure { is_final: true, ..self }
    }

    /// Of a write that can be done when the disk has caught up.
    #[must_use]
    pub fn behind(self) -> Self {
        Failure { is_behind: true, ..self }
    }

    /// Hands the payload of the `ERR` to `say`.
    pub fn body<R>(&self, say: impl FnOnce(&ErrorBody<'_>) -> R) -> R {
        let details: Vec<_> =
            self.details.iter().map(|(name, value)| Detail { name, value }).collect();
        let body = ErrorBody::new(self.code, &self.message);
        let (retry_after_ms, details) = (self.retry_after_ms, List::of(&details));
        let retry = if self.is_final { Retry::Never } else { body.retry };
        say(&ErrorBody { retry, retry_after_ms, details, ..body })
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Failure::new(malformed.code(), malformed.to_string())
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Failure::new(refused.code(), refused.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Full { .. } => ErrorCode::OutOfMemory,
            // It went from memory a moment ago, or there is no room until the disk has caught up.
            Error::Away | Error::Behind => ErrorCode::Overloaded,
            Error::KeyLength { .. } => ErrorCode::KeyTooLarge,
            Error::ValueLength { .. } => ErrorCode::ValueTooLarge,
            Error::Unrecorded(Unrecorded::Busy) => ErrorCode::Overloaded,
            Error::Unrecorded(Unrecorded::OutOfSpace | Unrecorded::Failed) => ErrorCode::Storage,
            Error::Unrecorded(Unrecorded::Elsewhere | Unrecorded::TooFewCopies) => {
                ErrorCode::Overloaded
            }
            Error::Unrecorded(Unrecorded::Held) => ErrorCode::TxConflict,
            Error::Unrecorded(Unrecorded::Dropped) => ErrorCode::NoSuchObject,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<NotKept> for Failure {
    fn from(error: NotKept) -> Self {
        match error {
            NotKept { why, done: 0 } => why.into(),
            // Some were done, and the others were not.
            NotKept { .. } => Failure::new(ErrorCode::OutcomeUnknown, error.to_string()),
        }
    }
}

impl From<caches::Refused> for Failure {
    fn from(refused: caches::Refused) -> Self {
        let message = refused.to_string();
        match refused.why {
            Why::Catalog(error) => {
                let failure = Failure::new(code(&error), message);
                differences(&error)
                    .into_iter()
                    .fold(failure, |failure, d| failure.with("option", d))
            }
            Why::Options { .. } | Why::InUse { .. } | Why::NoCluster { .. } | Why::Cluster(_) => {
                Failure::invalid(message)
            }
        }
    }
}

fn code(error: &CatalogError) -> ErrorCode {
    match error {
        CatalogError::NotFound { .. } => ErrorCode::NoSuchObject,
        CatalogError::Exists { .. } => ErrorCode::ObjectExists,
        CatalogError::Limit { .. } => ErrorCode::QuotaExceeded,
        CatalogError::Storage { .. } => ErrorCode::Storage,
        CatalogError::File { .. } => ErrorCode::Corrupt,
        CatalogError::Name { .. }
        | CatalogError::Option(_)
        | CatalogError::NotLive { .. }
        | CatalogError::NothingIsKept { .. }
        | CatalogError::BuiltIn { .. } => ErrorCode::InvalidArgument,
    }
}

fn differences(error: &CatalogError) -> Vec<String> {
    match error {
        CatalogError::Exists { differences, .. } => {
            differences.iter().map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    }
}

/// Of what several members were asked for.
impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let why = failure.message.into_owned();
        match failure.code {
            ErrorCode::OutcomeUnknown => Fault::Unknown(why),
            _ => Fault::Unavailable(why),
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Invalid(why) => Failure::invalid(why),
            Fault::NoSuchCache(name) => {
                Failure::new(ErrorCode::NoSuchObject, format!("there is no cache `{name}`"))
            }
            Fault::Write(error) => error.into(),
            Fault::Unavailable(why) => Failure::new(ErrorCode::SegmentUnavailable, why),
            Fault::Unknown(why) => Failure::new(ErrorCode::OutcomeUnknown, why),
            Fault::Failed(why) => Failure::new(ErrorCode::Storage, why),
        }
    }
}
