//! Who may log in, whichever file says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use isogrid_wire::scram::Verifier;
use sha2::{Digest, Sha256};

use super::access::{Identity, Way};
use super::passwords::Passwords;
use super::role::Role;
use super::users::{User, Users};
use super::users_file::{self, UsersFileError};

/// Where users come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file that `isogrid user` writes.
    Users(PathBuf),
    /// A file of `user:password` lines, for the drop-in: everybody in it may do everything.
    Passwords(PathBuf),
}

impl Source {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Source::Users(path) | Source::Passwords(path) => path,
        }
    }
}

/// Everybody who may log in.
#[derive(Clone, PartialEq, Eq)]
pub enum Accounts {
    /// Users with roles.
    Users(Users),
    /// Passwords that open everything.
    Passwords(Passwords, Arc<[Role]>),
}

impl Accounts {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or has something wrong in it.
    pub fn read(source: &Source) -> Result<Self, UsersFileError> {
        match source {
            Source::Users(path) => users_file::read(path).map(Accounts::Users),
            Source::Passwords(path) => {
                let io = |source| UsersFileError::Io { path: path.clone(), source };
                let content = |why| UsersFileError::Content { path: path.clone(), why };
                let text = users_file::read_file(path).map_err(io)?;
                let passwords = Passwords::parse(&text).map_err(content)?;
                let everything = Role::parse("all@*").map_err(content)?;
                Ok(Accounts::Passwords(passwords, [everything].into()))
            }
        }
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Accounts::Users(users) if users.by_name.is_empty())
    }

    fn user(&self, name: &str) -> Option<&User> {
        match self {
            Accounts::Users(users) => users.by_name.get(name),
            Accounts::Passwords(..) => None,
        }
    }

    /// Who has this name and password. Takes milliseconds of CPU, for a name that nobody has too.
    #[must_use]
    pub fn with_password(&self, name: &[u8], password: &[u8], decoy: &[u8]) -> Option<Identity> {
        let text = std::str::from_utf8(name).ok();
        let roles = match self {
            Accounts::Passwords(passwords, roles) => {
                passwords.matches(name, password).then(|| Arc::clone(roles))
            }
            Accounts::Users(_) => {
                let user = text.and_then(|name| self.user(name));
                let verifier = user.and_then(|user| user.verifier.clone());
                let known = verifier.is_some();
                let verifier =
                    verifier.unwrap_or_else(|| Verifier::decoy(decoy, text.unwrap_or_default()));
                let matches = verifier.matches(password);
                user.filter(|_| matches && known).map(|user| Arc::clone(&user.roles))
            }
        };
        // memcached's files may have names that are not UTF-8; they are shown as well as they can.
        let name = String::from_utf8_lossy(name);
        roles.map(|roles| Identity { user: name.as_ref().into(), roles, way: Way::Plain })
    }

    /// Who has this token: `NAME.SECRET`.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Option<Identity> {
        let (name, secret) = token.rsplit_once('.')?;
        let user = self.user(name).filter(|user| user.has_token(secret.as_bytes()))?;
        Some(Identity { user: name.into(), roles: Arc::clone(&user.roles), way: Way::Token })
    }

    /// Who has this name, shown by other means: a certificate, a finished SCRAM login.
    #[must_use]
    pub fn named(&self, name: &str, way: Way) -> Option<Identity> {
        let user = self.user(name)?;
        Some(Identity { user: name.into(), roles: Arc::clone(&user.roles), way })
    }

    /// What a SCRAM login of `name` is checked against; a decoy for a name that nobody has.
    #[must_use]
    pub fn verifier(&self, name: &str, decoy: &[u8]) -> Verifier {
        let verifier = self.user(name).and_then(|user| user.verifier.clone());
        verifier.unwrap_or_else(|| Verifier::decoy(decoy, name))
    }

    /// The secret behind decoys that is on file.
    #[must_use]
    pub fn decoy(&self) -> Option<[u8; 32]> {
        match self {
            Accounts::Users(users) => users.decoy,
            Accounts::Passwords(..) => None,
        }
    }

    /// The identity as these accounts have it, for one who logged in under `before`: the roles may
    /// be others. `None` when the user is gone, or what they logged in with is worth nothing now.
    #[must_use]
    pub fn again(&self, before: &Accounts, identity: &Identity) -> Option<Identity> {
        let name = identity.user.as_ref();
        if let (Accounts::Passwords(now, roles), Accounts::Passwords(then, _)) = (self, before) {
            let same = now.is_same(then, name.as_bytes());
            return same.then(|| Identity { roles: Arc::clone(roles), ..identity.clone() });
        }
        let (now, then) = (self.user(name)?, before.user(name)?);
        let same = match identity.way {
            Way::Plain | Way::Scram => now.verifier == then.verifier,
            Way::Token => now.token == then.token,
            Way::Certificate => true,
        };
        same.then(|| Identity { roles: Arc::clone(&now.roles), ..identity.clone() })
    }
}

/// A name of any length as the limiter of guesses keeps it.
#[must_use]
pub fn name_hash(name: &[u8]) -> [u8; 32] {
    Sha256::digest(name).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(password: &str, token: &str, roles: &str) -> Accounts {
        let user = User {
            verifier: Some(Verifier::derive(password.as_bytes(), &[1; 16])),
            token: Some(Sha256::digest(token.as_bytes()).into()),
            roles: [Role::parse(roles).unwrap()].into(),
        };
        let by_name = [("app".to_owned(), user)].into();
        Accounts::Users(Users { decoy: None, by_name })
    }

    #[test]
    fn who_gets_in() {
        let accounts = accounts("right", "t", "read@*");
        let plain = |name: &str, password: &str| {
            accounts.with_password(name.as_bytes(), password.as_bytes(), b"decoy").is_some()
        };
        assert!(plain("app", "right"));
        assert!(!plain("app", "wrong") && !plain("nobody", "right") && !plain("", ""));
        for (token, good) in
            [("app.t", true), ("app.u", false), ("nobody.t", false), ("t", false), ("", false)]
        {
            assert_eq!(accounts.with_token(token).is_some(), good, "{token}");
        }
        assert!(accounts.named("app", Way::Certificate).is_some());
        assert!(accounts.named("nobody", Way::Certificate).is_none());
    }

    #[test]
    fn what_a_change_leaves_of_a_login() {
        let before = accounts("right", "t", "read@*");
        let identity = |way| Identity { way, ..before.named("app", way).unwrap() };
        let gone = Accounts::Users(Users::default());
        for (after, way, roles) in [
            (&before, Way::Plain, Some("read@*")),
            (&accounts("right", "t", "write@own"), Way::Plain, Some("write@own")),
            (&accounts("other", "t", "read@*"), Way::Plain, None),
            (&accounts("other", "t", "read@*"), Way::Token, Some("read@*")),
            (&accounts("right", "u", "read@*"), Way::Token, None),
            (&accounts("right", "u", "read@*"), Way::Scram, Some("read@*")),
            (&accounts("other", "u", "read@*"), Way::Certificate, Some("read@*")),
            (&gone, Way::Certificate, None),
        ] {
            let again = after.again(&before, &identity(way));
            let shown = again.map(|identity| identity.roles[0].to_string());
            assert_eq!(shown.as_deref(), roles, "{way:?}");
        }
    }
}
