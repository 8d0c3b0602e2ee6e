//! What a server keeps in the place of a password.

use std::fmt::{self, Debug, Display, Formatter};
use std::str::FromStr;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{ITERATIONS, MECHANISM};
use crate::base64;

/// Bytes of a salt that is made here.
pub const SALT_LEN: usize = 16;

/// Salts of up to this length are understood.
const SALT_LEN_MAX: usize = 64;

/// RFC 7677's least, and a bound on the time that one login may take.
pub(super) const ITERATIONS_ALLOWED: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;

pub(super) type Key = [u8; 32];

/// Salt, rounds and the two keys of RFC 5802, section 3. Who reads one can check a password, and
/// can guess at it with all the time in the world; nobody can log in with it.
///
/// Its text is that of RFC 5803 as PostgreSQL writes it:
/// `SCRAM-SHA-256$<rounds>:<salt>$<stored key>:<server key>`. `Debug` shows no part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    /// The verifier of `password`, of [`ITERATIONS`] rounds. Takes milliseconds of CPU.
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8; SALT_LEN]) -> Self {
        Self::with(password, salt, ITERATIONS)
    }

    pub(super) fn with(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = salted(password, salt, iterations);
        Verifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(mac(&salted, &[b"Client Key"])).into(),
            server_key: mac(&salted, &[b"Server Key"]),
        }
    }

    /// The verifier of nobody: the same for the same name as long as `secret` is the same, so that
    /// a name that is not known looks like one that is. No password fits it.
    #[must_use]
    pub fn decoy(secret: &[u8], name: &str) -> Self {
        let part = |label: &[u8]| mac(secret, &[label, name.as_bytes()]);
        let salt = part(b"salt").get(..SALT_LEN).unwrap_or_default().to_vec();
        let (stored_key, server_key) = (part(b"stored"), part(b"server"));
        Verifier { iterations: ITERATIONS, salt, stored_key, server_key }
    }

    /// Whether `password` is the one. Takes the same time for every password of a length.
    #[must_use]
    pub fn matches(&self, password: &[u8]) -> bool {
        let salted = salted(password, &self.salt, self.iterations);
        let stored: Key = Sha256::digest(mac(&salted, &[b"Client Key"])).into();
        bool::from(stored.ct_eq(&self.stored_key))
    }

    pub(super) fn iterations(&self) -> u32 {
        self.iterations
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Whether `proof` is that of one who knows the password.
    pub(super) fn proves(&self, proof: &Key, auth_message: &[&[u8]]) -> bool {
        let client_key = xor(proof, &mac(&self.stored_key, auth_message));
        let stored: Key = Sha256::digest(client_key).into();
        bool::from(stored.ct_eq(&self.stored_key))
    }

    /// What shows a client that the server has this verifier.
    pub(super) fn signature(&self, auth_message: &[&[u8]]) -> Key {
        mac(&self.server_key, auth_message)
    }
}

/// RFC 5802's `SaltedPassword`.
pub(super) fn salted(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations)
}

/// HMAC-SHA-256 over the concatenation of `parts`.
pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> Key {
    // A key of any length will do, so there is nothing to fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Key::default() };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

pub(super) fn xor(left: &Key, right: &Key) -> Key {
    let mut both = *left;
    both.iter_mut().zip(right).for_each(|(byte, other)| *byte ^= other);
    both
}

impl Display for Verifier {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Verifier { iterations, salt, stored_key, server_key } = self;
        let [salt, stored, server] = [salt, &stored_key[..], server_key].map(base64::text);
        write!(f, "{MECHANISM}${iterations}:{salt}${stored}:{server}")
    }
}

impl Debug for Verifier {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl FromStr for Verifier {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or("not SCRAM-SHA-256$<rounds>:<salt>$<stored key>:<server key>")
    }
}

fn parse(text: &str) -> Option<Verifier> {
    let (rounds, keys) = text.strip_prefix(MECHANISM)?.strip_prefix('$')?.split_once('$')?;
    let ((rounds, salt), (stored, server)) = (rounds.split_once(':')?, keys.split_once(':')?);
    let key = |text: &str| Key::try_from(base64::decode(text.as_bytes())?).ok();
    let salt = base64::decode(salt.as_bytes()).filter(|salt| salt.len() <= SALT_LEN_MAX)?;
    let iterations = rounds.parse().ok().filter(|n| ITERATIONS_ALLOWED.contains(n))?;
    Some(Verifier { iterations, salt, stored_key: key(stored)?, server_key: key(server)? })
}
