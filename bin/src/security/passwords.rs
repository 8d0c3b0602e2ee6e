//! memcached's files of passwords, for the drop-in: `user:password` lines, as `-Y` and
//! `MEMCACHED_SASL_PWDB` have them. The passwords lie there in the clear; a server that is not a
//! drop-in does not read such files.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::users::USERS_MAX;

/// Users and their passwords, hashed as soon as they are read: the length of a password must not
/// show in the time that a comparison takes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Passwords(BTreeMap<Vec<u8>, [u8; 32]>);

impl Passwords {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The line that is wrong, without what it says.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut passwords = BTreeMap::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':').filter(|at| *at > 0);
            let Some((user, password)) = colon.and_then(|at| line.split_at_checked(at)) else {
                return Err(format!("line {} is not `user:password`", number + 1));
            };
            let password = password.get(1..).unwrap_or_default();
            passwords.insert(user.to_owned(), Sha256::digest(password).into());
        }
        if passwords.is_empty() || passwords.len() > USERS_MAX {
            return Err(format!("it has {} users; 1 to {USERS_MAX} are allowed", passwords.len()));
        }
        Ok(Passwords(passwords))
    }

    /// Whether `password` is the user's.
    #[must_use]
    pub fn matches(&self, user: &[u8], password: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(password).into();
        let (known, kept) = self.0.get(user).map_or((false, &[0; 32]), |kept| (true, kept));
        bool::from(kept.ct_eq(&hash)) && known
    }

    /// Whether there is a user of that name.
    #[must_use]
    pub fn has(&self, user: &[u8]) -> bool {
        self.0.contains_key(user)
    }

    /// Whether a user of that name has this very password on file in `other`, too.
    #[must_use]
    pub fn is_same(&self, other: &Passwords, user: &[u8]) -> bool {
        self.0.get(user).is_some_and(|kept| other.0.get(user) == Some(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let file = Passwords::parse(b"alice:secret\r\nbob:pass word:x\n\nempty:\n").unwrap();
        for (user, password, matches) in [
            ("alice", "secret", true),
            ("alice", "secret\r", false),
            ("alice", "", false),
            ("bob", "pass word:x", true),
            ("empty", "", true),
            ("nobody", "secret", false),
            ("", "", false),
        ] {
            assert_eq!(file.matches(user.as_bytes(), password.as_bytes()), matches, "{user}");
        }
        for bad in [&b""[..], b"\n", b"alice\n", b":secret\n"] {
            assert!(Passwords::parse(bad).is_err());
        }
        let changed = Passwords::parse(b"alice:secret\nbob:x\n").unwrap();
        assert!(file.is_same(&changed, b"alice") && !file.is_same(&changed, b"bob"));
        assert!(!file.is_same(&changed, b"empty"));
    }
}
