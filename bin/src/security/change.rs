//! What can be changed about users, whoever asks for it: `isogrid user` in the file, or an operator
//! over the network. Passwords come as verifiers: who changes them has made those.

use std::sync::Arc;

use isogrid_wire::scram::Verifier;

use super::role::Role;
use super::users::{ROLES_MAX, USERS_MAX, User, Users, check_name};

/// What a user logs in with.
#[derive(Debug, Clone)]
pub enum Secret {
    /// A password.
    Password(Verifier),
    /// A token, by the SHA-256 of its secret.
    Token([u8; 32]),
}

/// One change.
#[derive(Debug)]
pub enum Change {
    /// A new user. One without a secret logs in by a certificate alone.
    Add(Arc<[Role]>, Option<Secret>),
    /// Another password or token; one of the other kind stays.
    Secret(Secret),
    /// All roles from now on.
    Roles(Arc<[Role]>),
    /// The user goes.
    Remove,
}

impl Change {
    /// Makes the change for the user of this name.
    ///
    /// # Errors
    /// Why it cannot be made; nothing is changed.
    pub fn apply(self, name: &str, users: &mut Users) -> Result<(), String> {
        if let Change::Add(roles, _) | Change::Roles(roles) = &self
            && roles.len() > ROLES_MAX
        {
            return Err(format!("more than {ROLES_MAX} roles"));
        }
        if let Change::Add(roles, secret) = self {
            check_name(name)?;
            if users.by_name.contains_key(name) {
                return Err(format!("there is a user `{name}` already"));
            }
            if users.by_name.len() >= USERS_MAX {
                return Err(format!("there are {USERS_MAX} users, as many as may be: remove one"));
            }
            let mut user = User { verifier: None, token: None, roles };
            secret.into_iter().for_each(|secret| secret.put(&mut user));
            users.by_name.insert(name.to_owned(), user);
            return Ok(());
        }
        let user = users.by_name.get_mut(name);
        let user = user.ok_or_else(|| format!("there is no user `{name}`"))?;
        match self {
            Change::Secret(secret) => secret.put(user),
            Change::Roles(roles) => user.roles = roles,
            Change::Add(..) | Change::Remove => drop(users.by_name.remove(name)),
        }
        Ok(())
    }
}

impl Secret {
    fn put(self, user: &mut User) {
        match self {
            Secret::Password(verifier) => user.verifier = Some(verifier),
            Secret::Token(hash) => user.token = Some(hash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(word: &str) -> Arc<[Role]> {
        [Role::parse(word).unwrap()].into()
    }

    #[test]
    fn each_change_and_what_it_refuses() {
        let mut users = Users::default();
        let password = || Secret::Password(Verifier::derive(b"pass-phrase", &[1; 16]));
        Change::Add(roles("read@*"), Some(password())).apply("app", &mut users).unwrap();
        Change::Add(roles("read@*"), None).apply("by-certificate", &mut users).unwrap();
        Change::Secret(Secret::Token([7; 32])).apply("app", &mut users).unwrap();
        Change::Roles(roles("all@*")).apply("app", &mut users).unwrap();
        let app = &users.by_name["app"];
        assert!(app.verifier.is_some() && app.token == Some([7; 32]), "both are there");
        assert_eq!(app.roles, roles("all@*"));
        let many = || vec![Role::parse("read@*").unwrap(); ROLES_MAX + 1].into();
        let before = users.clone();
        for (name, change, why) in [
            ("app", Change::Add(roles("read@*"), None), "there is a user `app` already"),
            ("a b", Change::Add(roles("read@*"), None), "`a b` is no name of a user"),
            ("no", Change::Roles(roles("read@*")), "there is no user `no`"),
            ("no", Change::Secret(password()), "there is no user `no`"),
            ("no", Change::Remove, "there is no user `no`"),
            ("app", Change::Roles(many()), "more than 64 roles"),
            ("new", Change::Add(many(), None), "more than 64 roles"),
        ] {
            let said = change.apply(name, &mut users).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(users, before);
        Change::Remove.apply("app", &mut users).unwrap();
        assert_eq!(users.by_name.keys().collect::<Vec<_>>(), ["by-certificate"]);
    }

    #[test]
    fn as_many_users_as_a_file_takes_and_no_more() {
        let mut users = Users::default();
        let mut add =
            |n: usize| Change::Add(roles("read@*"), None).apply(&format!("u{n}"), &mut users);
        assert!((0..USERS_MAX).all(|n| add(n).is_ok()));
        assert!(add(USERS_MAX).unwrap_err().contains("as many as may be"));
    }
}
