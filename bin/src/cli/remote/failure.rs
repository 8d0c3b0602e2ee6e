//! Why a command could not be done: the message, the next step, the exit code.

use std::process::ExitCode;

use isogrid_wire::client::{Cause, Error, Refusal};
use isogrid_wire::native::{ErrorCode, Retry};

use crate::cli::{CONDITION, NOT_FOUND, TIMED_OUT, UNAUTHORIZED, UNAVAILABLE, USAGE};

/// Why a command could not be done.
#[derive(Debug)]
pub struct Failure {
    /// `E4003 NO_QUORUM`, of an error that has a number.
    code: Option<ErrorCode>,
    why: String,
    help: String,
    exit: u8,
}

impl Failure {
    /// One with an exit code.
    pub fn new(why: impl Into<String>, exit: u8) -> Self {
        Failure { code: None, why: why.into(), help: String::new(), exit }
    }

    /// One of no kind.
    pub fn general(why: impl Into<String>) -> Self {
        Failure::new(why, 1)
    }

    /// What is asked for is not there.
    pub fn not_found(why: impl Into<String>) -> Self {
        Failure::new(why, NOT_FOUND)
    }

    /// What was to be so is not.
    pub fn condition(why: impl Into<String>) -> Self {
        Failure::new(why, CONDITION)
    }

    /// The command was given something that it does not take.
    pub fn usage(why: impl Into<String>) -> Self {
        Failure::new(why, USAGE)
    }

    /// Nobody answers there.
    pub fn unreachable(server: &str, why: &str) -> Self {
        Failure::new(format!("cannot reach the server {server}: {why}"), UNAVAILABLE)
            .help("start one here with `isogrid serve`, or say which: --server HOST:PORT")
    }

    /// With what to do about it.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Failure { help: help.into(), ..self }
    }

    /// Says it; the exit code.
    pub fn say(&self) -> ExitCode {
        eprint!("{}", self.text());
        ExitCode::from(self.exit)
    }

    fn text(&self) -> String {
        let help =
            if self.help.is_empty() { String::new() } else { format!("  help: {}\n", self.help) };
        match self.code {
            Some(code) => {
                let (number, name) = (code as u16, code.name());
                let more = format!("  more: isogrid explain E{number}\n");
                format!("error[E{number} {name}]: {}\n{help}{more}", self.why)
            }
            None => format!("error: {}\n{help}", self.why),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let unknown = error.is_unknown();
        let failure = match error.cause {
            Cause::Refused(refusal) => refused(&refusal),
            Cause::Timeout => Failure::new("the server did not answer in time", TIMED_OUT)
                .help("say how long it may take: --timeout 30s"),
            Cause::Disconnected | Cause::OtherLife | Cause::Closed | Cause::Partial { .. } => {
                Failure::new(error.cause.to_string(), UNAVAILABLE)
            }
            Cause::Insecure(why) => Failure::new(why, UNAUTHORIZED).help(
                "--tls connects over TLS, --cacert FILE names who signed the server's certificate",
            ),
            Cause::NoSuchObject(name) => Failure::not_found(format!("there is no {name:?}")),
            Cause::LeaseLost | Cause::Conflict(_) => Failure::condition(error.cause.to_string()),
            Cause::Protocol(_) | Cause::Malformed(_) => Failure::general(error.cause.to_string())
                .help("is this the native port of an Isogrid server (7400 unless configured)?"),
        };
        if unknown {
            Failure { why: format!("{}; it may have been done", failure.why), ..failure }
        } else {
            failure
        }
    }
}

/// The server's words; the next step is the server's too, or else that of the catalogue.
fn refused(refusal: &Refusal) -> Failure {
    let Some(code) = refusal.known() else {
        return Failure::general(refusal.to_string());
    };
    let (why, help) = match refusal.message.split_once("\n  help: ") {
        Some((why, help)) => (why, help),
        None => (refusal.message.as_str(), code.info().help),
    };
    Failure { code: Some(code), why: why.to_owned(), help: help.to_owned(), exit: exit(code) }
}

fn exit(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::AuthRequired
        | ErrorCode::AuthFailed
        | ErrorCode::Forbidden
        | ErrorCode::TlsRequired
        | ErrorCode::MechUnsupported => UNAUTHORIZED,
        ErrorCode::InvalidArgument
        | ErrorCode::WrongType
        | ErrorCode::KeyTooLarge
        | ErrorCode::ValueTooLarge => USAGE,
        ErrorCode::NoSuchObject => NOT_FOUND,
        ErrorCode::ObjectExists
        | ErrorCode::NotANumber
        | ErrorCode::OutOfRange
        | ErrorCode::QuotaExceeded
        | ErrorCode::Fenced => CONDITION,
        ErrorCode::DeadlineExceeded => TIMED_OUT,
        _ if matches!(code.retry(), Retry::Same | Retry::Other) => UNAVAILABLE,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_told_with_the_next_step_once() {
        for (code, message, text) in [
            (
                3002,
                "there is no method `a`\n  help: did you mean `b`?",
                "error[E3002 NO_SUCH_OBJECT]: there is no method `a`\n  help: did you mean `b`?\n  \
                 more: isogrid explain E3002\n",
            ),
            (65_000, "new", "error: E65000: new\n"),
        ] {
            let (retry, details) = (Retry::Never, Vec::new());
            let message = message.to_owned();
            let refusal = Refusal { code, retry, retry_after_ms: 0, message, details };
            assert_eq!(refused(&refusal).text(), text);
        }
    }

    #[test]
    fn exit_codes_tell_kinds_apart() {
        for (code, is) in [
            (ErrorCode::NoQuorum, UNAVAILABLE),
            (ErrorCode::Forbidden, UNAUTHORIZED),
            (ErrorCode::DeadlineExceeded, TIMED_OUT),
            (ErrorCode::ObjectExists, CONDITION),
            (ErrorCode::NoSuchObject, NOT_FOUND),
            (ErrorCode::Internal, 1),
        ] {
            assert_eq!(exit(code), is, "{code:?}");
        }
    }
}
