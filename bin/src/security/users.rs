//! Users: their verifiers, tokens and roles, and the text of the file that keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;

use isogrid_wire::scram::Verifier;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::hex;
use super::role::Role;

/// Users that a node may have.
pub const USERS_MAX: usize = 1_000;
/// Roles that a user may have.
pub const ROLES_MAX: usize = 64;
/// Bytes of a user's name.
const NAME_LEN_MAX: usize = 64;

/// What stands above the users in the file.
const HEAD: &str = "\
# The users of Isogrid, as `isogrid user` writes them. The running server reads a change within a
# second. The verifiers are no passwords, but whoever has them can guess at passwords: keep this
# file to yourself.
";

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Checks the password; a user without one cannot log in with a password.
    pub verifier: Option<Verifier>,
    /// SHA-256 of the token's secret; a user without one has no token.
    pub token: Option<[u8; 32]>,
    /// What the user may do.
    pub roles: Arc<[Role]>,
}

/// The users of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// What names that nobody has are answered from ([`Verifier::decoy`]): kept, so that they are
    /// answered the same after a restart.
    pub decoy: Option<[u8; 32]>,
    /// Users by name.
    pub by_name: BTreeMap<String, User>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    decoy_secret: Option<String>,
    #[serde(default)]
    user: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_sha256: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
}

impl User {
    /// Whether `secret` is that of the user's token. The secret has 256 random bits: one round of
    /// a hash keeps it well.
    #[must_use]
    pub fn has_token(&self, secret: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(secret).into();
        self.token.is_some_and(|token| bool::from(token.ct_eq(&hash)))
    }
}

/// Whether a text may name a user.
///
/// # Errors
/// Why not.
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-@+".contains(&byte);
    if (1..=NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "`{name}` is no name of a user: 1 to {NAME_LEN_MAX} of A-Z, a-z, 0-9, _, -, @ and +"
    ))
}

/// The users as an operator is shown them: what each logs in with and may do, and no secret.
#[must_use]
pub fn documents(users: &Users) -> Value {
    let user = |(name, user): (&String, &User)| {
        json!({
            "name": name,
            "password": user.verifier.is_some(),
            "token": user.token.is_some(),
            "roles": user.roles.iter().map(Role::to_string).collect::<Vec<_>>(),
        })
    };
    json!({ "users": users.by_name.iter().map(user).collect::<Vec<_>>() })
}

impl Users {
    /// Reads the text of a file of users.
    ///
    /// # Errors
    /// The first thing that is wrong; never a verifier.
    pub fn parse(text: &str) -> Result<Self, String> {
        // The error's own text would quote the line, verifier and all.
        let document: Document = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.get(..at).unwrap_or(text).matches('\n').count() + 1;
            format!("line {line}: {}", error.message())
        })?;
        let decoy = document.decoy_secret.map(|text| {
            hex::parse(&text).ok_or_else(|| "decoy_secret is not 64 hex digits".to_owned())
        });
        let mut users = Users { decoy: decoy.transpose()?, by_name: BTreeMap::new() };
        for row in document.user {
            let name = row.name.clone();
            let user = row.user().map_err(|why| format!("user `{name}`: {why}"))?;
            if users.by_name.insert(name.clone(), user).is_some() {
                return Err(format!("user `{name}` is there twice"));
            }
        }
        if users.by_name.len() > USERS_MAX {
            return Err(format!("more than {USERS_MAX} users"));
        }
        Ok(users)
    }

    /// The text of the file.
    #[must_use]
    pub fn show(&self) -> String {
        let user = self.by_name.iter().map(|(name, user)| Row {
            name: name.clone(),
            verifier: user.verifier.as_ref().map(Verifier::to_string),
            token_sha256: user.token.as_ref().map(|token| hex::show(token)),
            roles: user.roles.iter().map(Role::to_string).collect(),
        });
        let decoy_secret = self.decoy.as_ref().map(|secret| hex::show(secret));
        let document = Document { decoy_secret, user: user.collect() };
        // Strings and lists of strings can always be written.
        format!("{HEAD}\n{}", toml::to_string(&document).unwrap_or_default())
    }
}

impl Row {
    fn user(self) -> Result<User, String> {
        check_name(&self.name)?;
        if self.roles.len() > ROLES_MAX {
            return Err(format!("more than {ROLES_MAX} roles"));
        }
        let token = self.token_sha256.map(|text| {
            hex::parse(&text).ok_or_else(|| "token_sha256 is not 64 hex digits".to_owned())
        });
        Ok(User {
            verifier: self.verifier.map(|text| text.parse()).transpose()?,
            token: token.transpose()?,
            roles: self.roles.iter().map(|role| Role::parse(role)).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let roles = ["read@*", "write@own/app:"].map(|role| Role::parse(role).unwrap());
        let user = User {
            verifier: Some(Verifier::derive(b"pass-phrase", &[1; 16])),
            token: Some(Sha256::digest(b"token").into()),
            roles: roles.into(),
        };
        let bare = User { verifier: None, token: None, roles: [].into() };
        let by_name = [("app".to_owned(), user), ("bare".to_owned(), bare)].into();
        Users { decoy: Some([9; 32]), by_name }
    }

    #[test]
    fn the_file_reads_what_it_shows() {
        let text = users().show();
        assert_eq!(Users::parse(&text).unwrap(), users(), "{text}");
        assert!(!text.contains("pass-phrase") && text.contains("\"write@own/app:\""));
        assert_eq!(Users::parse("").unwrap(), Users::default());
    }

    #[test]
    fn tokens() {
        let users = users().by_name;
        assert!(users["app"].has_token(b"token") && !users["app"].has_token(b"Token"));
        assert!(!users["bare"].has_token(b""));
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        let good = users().show();
        for (text, said) in [
            (good.replace("$15000:", "$1:"), "user `app`: not SCRAM-SHA-256$"),
            (good.replace("read@*", "reed@*"), "user `app`: `reed` is no permission"),
            (good.replace("\"bare\"", "\"app\""), "user `app` is there twice"),
            (good.replace("\"bare\"", "\"a b\""), "`a b` is no name of a user"),
            (good.replace("roles =", "rolls ="), "unknown field `rolls`"),
            (format!("{good}\n[[user]]\n"), "missing field `name`"),
            ("[[user]".to_owned(), "line 1: "),
            ("user = 3".to_owned(), "line 1: "),
        ] {
            let error = Users::parse(&text).unwrap_err();
            assert!(error.contains(said), "{said}: {error}");
            assert!(!error.contains("$1"), "{error}");
        }
        let many =
            |count| (0..count).map(|n| format!("[[user]]\nname = \"u{n}\"\n")).collect::<String>();
        assert!(Users::parse(&many(USERS_MAX)).is_ok());
        assert!(Users::parse(&many(USERS_MAX + 1)).is_err());
    }
}
