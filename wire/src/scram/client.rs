//! The client's end.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::ScramError;
use super::message::{attribute, escaped, key, text};
use super::verifier::{ITERATIONS_ALLOWED, Key, mac, salted, xor};
use crate::base64;

/// A login of a client, step by step: [`Client::first`], [`Client::prove`], [`Client::verify`].
pub struct Client {
    password: Vec<u8>,
    header: String,
    channel: Vec<u8>,
    bare: String,
    nonce: String,
    /// What the server has to answer with, once the proof is made.
    expected: Option<Key>,
}

impl Client {
    /// A login of `user`. `random` is fresh for each login. `exporter` is the keying material of
    /// the connection when the mechanism is [`super::MECHANISM_PLUS`]; without it,
    /// `could_bind` says that the client would have bound itself had the server offered to.
    #[must_use]
    pub fn new(
        user: &str,
        password: &[u8],
        random: &[u8; 18],
        exporter: Option<&[u8]>,
        could_bind: bool,
    ) -> Self {
        Client::with_nonce(user, password, base64::text(random), exporter, could_bind)
    }

    pub(super) fn with_nonce(
        user: &str,
        password: &[u8],
        nonce: String,
        exporter: Option<&[u8]>,
        could_bind: bool,
    ) -> Self {
        let header = match (exporter, could_bind) {
            (Some(_), _) => "p=tls-exporter,,",
            (None, true) => "y,,",
            (None, false) => "n,,",
        };
        Client {
            password: password.to_vec(),
            header: header.to_owned(),
            channel: exporter.unwrap_or_default().to_vec(),
            bare: format!("n={},r={nonce}", escaped(user)),
            nonce,
            expected: None,
        }
    }

    /// The client's first message.
    #[must_use]
    pub fn first(&self) -> String {
        format!("{}{}", self.header, self.bare)
    }

    /// The proof that answers the server's first message. Takes milliseconds of CPU.
    ///
    /// # Errors
    /// When the message is not one, answers another login, or asks for too few or too many rounds.
    pub fn prove(&mut self, message: &[u8]) -> Result<String, ScramError> {
        let first = text(message)?;
        let (nonce, rest) = attribute(first, 'r')?;
        let (salt, rest) = attribute(rest, 's')?;
        let (rounds, _) = attribute(rest, 'i')?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let salt = base64::decode(salt.as_bytes()).ok_or(ScramError::Malformed)?;
        let rounds = rounds.parse().ok().filter(|rounds| ITERATIONS_ALLOWED.contains(rounds));
        let salted = salted(&self.password, &salt, rounds.ok_or(ScramError::Iterations)?);
        let bound = [self.header.as_bytes(), &self.channel].concat();
        let without_proof = format!("c={},r={nonce}", base64::text(&bound));
        let signed = [self.bare.as_bytes(), b",", message, b",", without_proof.as_bytes()];
        let client_key = mac(&salted, &[b"Client Key"]);
        let stored_key: Key = Sha256::digest(client_key).into();
        let proof = xor(&client_key, &mac(&stored_key, &signed));
        self.expected = Some(mac(&mac(&salted, &[b"Server Key"]), &signed));
        Ok(format!("{without_proof},p={}", base64::text(&proof)))
    }

    /// Checks the server's last message: only now the client knows whom it speaks to.
    ///
    /// # Errors
    /// When the server refused, or does not know the user's verifier.
    pub fn verify(&self, message: &[u8]) -> Result<(), ScramError> {
        let message = text(message)?;
        if message.starts_with("e=") {
            return Err(ScramError::Refused);
        }
        let (signature, _) = attribute(message, 'v')?;
        let signature = key(signature)?;
        let expected = self.expected.ok_or(ScramError::Malformed)?;
        if bool::from(signature.ct_eq(&expected)) { Ok(()) } else { Err(ScramError::Proof) }
    }
}
