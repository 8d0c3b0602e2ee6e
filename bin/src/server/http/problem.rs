//! Errors as RFC 9457 has them: `application/problem+json` with the code, the retry class and the
//! next step, the same as the native protocol would say. What that has as an expected outcome and
//! HTTP as an error (no such entry, another version) is a problem of the same form.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use isogrid_wire::native::{ErrorCode, Retry, Status};
use serde_json::{Value, json};

use crate::server::invalidated::Closed;

/// What a client is asked for that has to log in.
const CHALLENGE: &str = "Basic realm=\"isogrid\", charset=\"UTF-8\"";

/// Whether it helps to ask again.
fn retry_name(retry: Retry) -> &'static str {
    match retry {
        Retry::Never => "never",
        Retry::Same => "same",
        Retry::Other => "other",
        Retry::Unknown => "unknown-outcome",
    }
}

macro_rules! codes {
    ($($name:ident $status:ident $help:literal,)*) => {
        /// The errors of the native protocol's catalogue that HTTP answers with, each with a
        /// status and what to do over HTTP. Number and retry class are the catalogue's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $help] $name,)*
        }

        impl Code {
            const ALL: &[Code] = &[$(Code::$name,)*];

            /// That of an error, if HTTP answers with it.
            pub fn of(error: ErrorCode) -> Option<Code> {
                Self::ALL.iter().copied().find(|code| code.entry().0 == error)
            }

            /// The error, status and next step.
            fn entry(self) -> (ErrorCode, StatusCode, &'static str) {
                match self {
                    $(Code::$name => (ErrorCode::$name, StatusCode::$status, $help),)*
                }
            }
        }
    };
}

codes! {
    UnsupportedOp METHOD_NOT_ALLOWED "see /v1/openapi.json for what can be asked",
    AuthRequired UNAUTHORIZED "send `Authorization: Basic` or `Bearer`; `isogrid user` knows who may",
    AuthFailed UNAUTHORIZED "check the name and the password or token with `isogrid user ls`",
    Forbidden FORBIDDEN "`isogrid user ls` says what a user may do; where nobody logs in, ask from this machine, by its address or as localhost",
    InvalidArgument BAD_REQUEST "see /v1/openapi.json for what is allowed",
    NoSuchObject NOT_FOUND "GET /v1/caches lists the caches, /v1/openapi.json the paths",
    ObjectExists CONFLICT "leave out what differs, alter the cache, or choose another name",
    KeyTooLarge BAD_REQUEST "keys have 1 to 65535 bytes",
    ValueTooLarge PAYLOAD_TOO_LARGE "raise limits.max_item_size, or store less",
    NotANumber CONFLICT "only decimal text can be counted up and down",
    QuotaExceeded INSUFFICIENT_STORAGE "remove what is not needed, or raise the limit",
    SegmentUnavailable SERVICE_UNAVAILABLE "ask again in a moment; `isogrid cluster status` says what nobody serves",
    Overloaded SERVICE_UNAVAILABLE "ask again in a moment",
    OutOfMemory INSUFFICIENT_STORAGE "raise the cache's memory, or let its policy evict",
    NotReady SERVICE_UNAVAILABLE "GET /health/ready says when",
    OutcomeUnknown INTERNAL_SERVER_ERROR "read the entry to see what became of it",
    Internal INTERNAL_SERVER_ERROR "see the server's log, and look what became of it",
    Storage SERVICE_UNAVAILABLE "see the server's log and its disk; reads go on",
}

/// What somebody is told of an outcome that is expected.
const ABSENT: &str = "PUT stores an entry";
const OTHER_VERSION: &str = "read the entry, and ask again with its ETag";

/// What is told of all problems of a kind.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// `urn:isogrid:KIND:CODE`.
    namespace: &'static str,
    code: u16,
    retry: Retry,
    help: &'static str,
}

/// Why a request was not done.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    kind: Kind,
    title: String,
    detail: String,
    /// Facts for programs, and the next step where it is another than the code's.
    members: Vec<(&'static str, Value)>,
}

impl Problem {
    /// A problem of the catalogue.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let (error, status, help) = code.entry();
        let kind = Kind { namespace: "error", code: error as u16, retry: error.retry(), help };
        Problem::of(status, kind, format!("{code:?}"), detail.into())
    }

    /// There is no such entry.
    pub fn absent(detail: impl Into<String>) -> Self {
        Problem::outcome(StatusCode::NOT_FOUND, Status::NotFound, ABSENT, detail.into())
    }

    /// A condition does not hold.
    pub fn other_version(detail: impl Into<String>) -> Self {
        let status = StatusCode::PRECONDITION_FAILED;
        Problem::outcome(status, Status::VersionMismatch, OTHER_VERSION, detail.into())
    }

    fn outcome(status: StatusCode, outcome: Status, help: &'static str, detail: String) -> Self {
        let kind = Kind { namespace: "status", code: outcome as u16, retry: Retry::Never, help };
        Problem::of(status, kind, format!("{outcome:?}"), detail)
    }

    fn of(status: StatusCode, kind: Kind, title: String, detail: String) -> Self {
        Problem { status, kind, title, detail, members: Vec::new() }
    }

    /// With a member more, or another value of one.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// A value of the request that cannot be used.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Problem::new(Code::InvalidArgument, detail)
    }

    /// As a document.
    pub fn document(&self) -> Value {
        let Kind { namespace, code, retry, help } = self.kind;
        let mut document = json!({
            "type": format!("urn:isogrid:{namespace}:{code}"),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": code,
            "retry": retry_name(retry),
            "help": help,
        });
        if let Some(fields) = document.as_object_mut() {
            let members = self.members.iter().map(|(name, value)| ((*name).into(), value.clone()));
            fields.extend(members);
        }
        document
    }
}

impl From<Closed> for Problem {
    fn from(closed: Closed) -> Problem {
        let code = match closed {
            Closed::Away => Code::SegmentUnavailable,
            Closed::Unknown => Code::OutcomeUnknown,
        };
        Problem::new(code, closed.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(format!("{}\n", self.document())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.kind.retry == Retry::Same {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_one_meaning_and_says_what_to_do() {
        let numbers: Vec<u16> = Code::ALL.iter().map(|code| code.entry().0 as u16).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        let of_codes = Code::ALL.iter().map(|code| Problem::new(*code, "why"));
        let outcomes = [Problem::absent("why"), Problem::other_version("why")];
        let mut types = std::collections::BTreeSet::new();
        for problem in of_codes.chain(outcomes) {
            let document = problem.document();
            for field in ["title", "status", "detail", "code", "retry", "help"] {
                assert!(document.get(field).is_some(), "{field} of {document}");
            }
            assert!(types.insert(document["type"].to_string()), "{document} has another's type");
        }
        let other = Problem::other_version("why").with("help", "else").document();
        assert_eq!(
            (&other["type"], &other["help"]),
            (&"urn:isogrid:status:3".into(), &"else".into())
        );
    }
}
