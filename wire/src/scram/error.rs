//! Why a login does not go on.

use std::fmt::{self, Display, Formatter};

/// Why a login does not go on. None says whether the user exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramError {
    /// The message is not one of this step.
    Malformed,
    /// The message asks for an extension that nobody has defined.
    Extension,
    /// The client wants to act as somebody else.
    Authorization,
    /// Mechanism, channel and binding do not fit each other, or somebody is between the two ends.
    Binding,
    /// The nonce is not the one of this login: a replay.
    Nonce,
    /// The server asks for fewer rounds than are safe, or for more than are patient.
    Iterations,
    /// The other end does not know the password (the verifier).
    Proof,
    /// The server refused, in its own words.
    Refused,
}

impl ScramError {
    /// The value of the `e=` attribute that tells the other end.
    #[must_use]
    pub fn attribute(self) -> &'static str {
        match self {
            ScramError::Malformed | ScramError::Nonce | ScramError::Iterations => "other-error",
            ScramError::Extension => "extensions-not-supported",
            ScramError::Authorization => "other-error",
            ScramError::Binding => "channel-bindings-dont-match",
            ScramError::Proof | ScramError::Refused => "invalid-proof",
        }
    }
}

impl Display for ScramError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ScramError::Malformed => "not a message of this step of SCRAM",
            ScramError::Extension => "an extension that is not supported",
            ScramError::Authorization => "acting as another user is not supported",
            ScramError::Binding => "the channel binding does not fit the connection",
            ScramError::Nonce => "the nonce is not the one of this login",
            ScramError::Iterations => "the number of rounds is out of bounds",
            ScramError::Proof => "the password is not right",
            ScramError::Refused => "the server refused the login",
        })
    }
}

impl std::error::Error for ScramError {}
