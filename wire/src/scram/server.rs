//! The server's end.

use subtle::ConstantTimeEq;

use super::ScramError;
use super::message::{attribute, is_nonce, key, text, unescaped};
use super::verifier::Verifier;
use crate::base64;

/// The client's first message, read and found to fit its connection.
#[derive(Debug, Clone)]
pub struct Hello {
    user: String,
    /// The message without its header.
    bare: String,
    nonce: String,
    /// What the client has to repeat of its header and of the channel, as base64.
    binding: String,
}

impl Hello {
    /// Reads the client's first message. `plus` says that the client chose
    /// [`super::MECHANISM_PLUS`]; `exporter` is the keying material of its connection, where the
    /// server offered that mechanism.
    ///
    /// # Errors
    /// When the message is not one, wants to act as another user, or its binding does not fit
    /// mechanism and connection. A client that says that it would have bound itself if it had been
    /// offered to, on a connection where it was, has been lied to: [`ScramError::Binding`].
    pub fn read(message: &[u8], plus: bool, exporter: Option<&[u8]>) -> Result<Self, ScramError> {
        let message = text(message)?;
        let (flag, rest) = message.split_once(',').ok_or(ScramError::Malformed)?;
        let (authorization, bare) = rest.split_once(',').ok_or(ScramError::Malformed)?;
        let channel = match (flag, plus, exporter) {
            ("n", false, _) | ("y", false, None) => &[][..],
            ("p=tls-exporter", true, Some(exporter)) => exporter,
            ("n" | "y", ..) => return Err(ScramError::Binding),
            (flag, ..) if flag.starts_with("p=") => return Err(ScramError::Binding),
            _ => return Err(ScramError::Malformed),
        };
        let (name, rest) = attribute(bare, 'n')?;
        let (nonce, _) = attribute(rest, 'r')?;
        let user = unescaped(name)?;
        if !is_nonce(nonce) {
            return Err(ScramError::Malformed);
        }
        if !authorization.is_empty() {
            let (other, _) = attribute(authorization, 'a')?;
            if unescaped(other)? != user {
                return Err(ScramError::Authorization);
            }
        }
        let header = [flag.as_bytes(), b",", authorization.as_bytes(), b",", channel].concat();
        let (bare, nonce) = (bare.to_owned(), nonce.to_owned());
        Ok(Hello { user, bare, nonce, binding: base64::text(&header) })
    }

    /// Who wants to log in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Goes on with the user's verifier, or a decoy. `random` is fresh for each login.
    #[must_use]
    pub fn challenge(self, verifier: Verifier, random: &[u8; 18]) -> Challenge {
        self.challenge_with(verifier, &base64::text(random))
    }

    pub(super) fn challenge_with(self, verifier: Verifier, nonce: &str) -> Challenge {
        let nonce = format!("{}{nonce}", self.nonce);
        let (salt, rounds) = (base64::text(verifier.salt()), verifier.iterations());
        let first = format!("r={nonce},s={salt},i={rounds}");
        Challenge { bare: self.bare, binding: self.binding, nonce, first, verifier }
    }
}

/// A login half-way: the client is to prove that it knows the password.
#[derive(Debug, Clone)]
pub struct Challenge {
    bare: String,
    binding: String,
    nonce: String,
    first: String,
    verifier: Verifier,
}

impl Challenge {
    /// The server's first message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.first
    }

    /// Reads the client's proof; the server's last message, when it is right.
    ///
    /// # Errors
    /// When it is not a proof, or not one of this login, this connection and this password.
    pub fn finish(&self, message: &[u8]) -> Result<String, ScramError> {
        let message = text(message)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let (binding, rest) = attribute(without_proof, 'c')?;
        let (nonce, _) = attribute(rest, 'r')?;
        let proof = key(proof)?;
        if !bool::from(binding.as_bytes().ct_eq(self.binding.as_bytes())) {
            return Err(ScramError::Binding);
        }
        if nonce != self.nonce {
            return Err(ScramError::Nonce);
        }
        let signed =
            [self.bare.as_bytes(), b",", self.first.as_bytes(), b",", without_proof.as_bytes()];
        if !self.verifier.proves(&proof, &signed) {
            return Err(ScramError::Proof);
        }
        Ok(format!("v={}", base64::text(&self.verifier.signature(&signed))))
    }
}
