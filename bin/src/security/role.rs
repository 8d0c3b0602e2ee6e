//! Roles: which permissions, on which caches, on which keys.

use std::fmt::{self, Display, Formatter};

use super::glob::Glob;
use super::permission::{Permission, Permissions};

/// Permissions on the caches (queues, ...) whose name matches a pattern, and there only on keys
/// that begin with a prefix, if there is one. As text: `read,write@orders*/user:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    permissions: Permissions,
    names: Glob,
    prefix: String,
}

impl Role {
    /// Reads a role.
    ///
    /// # Errors
    /// What is wrong with it, with an example.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((permissions, place)) = text.split_once('@') else {
            return Err(format!(
                "`{text}` says no caches: write for example `read,write@orders*` or `all@*`"
            ));
        };
        let (names, prefix) = place.split_once('/').unwrap_or((place, ""));
        if prefix.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err(format!("`{text}`: no key begins with blanks"));
        }
        let permissions = Permissions::parse(permissions)?;
        Ok(Role { permissions, names: Glob::parse(names)?, prefix: prefix.to_owned() })
    }

    /// Whether the role permits it on `name`: on `key`, or on all keys when there is none.
    #[must_use]
    pub fn permits(&self, permission: Permission, name: &str, key: Option<&[u8]>) -> bool {
        let key_in = match key {
            Some(key) => key.starts_with(self.prefix.as_bytes()),
            None => self.prefix.is_empty(),
        };
        key_in && self.permissions.has(permission) && self.names.matches(name)
    }

    /// Whether the role permits it on `name`, be it on some keys only.
    #[must_use]
    pub fn permits_some(&self, permission: Permission, name: &str) -> bool {
        self.permissions.has(permission) && self.names.matches(name)
    }

    /// Whether the role permits it on the whole node.
    #[must_use]
    pub fn permits_everywhere(&self, permission: Permission) -> bool {
        self.prefix.is_empty() && self.permissions.has(permission) && self.names.is_everything()
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.permissions, self.names)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_what_they_show() {
        for (text, shown) in [
            ("read@*", Some("read@*")),
            ("write,read@orders*", Some("read,write@orders*")),
            ("read@a/user:1/", Some("read@a/user:1/")),
            ("all@*", Some("all@*")),
            ("read,read@a", Some("read@a")),
            ("read", None),
            ("@a", None),
            ("read@", None),
            ("reed@a", None),
            ("read@a/b c", None),
        ] {
            let role = Role::parse(text).map(|role| role.to_string());
            assert_eq!(role.ok().as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn a_prefix_is_of_keys_and_not_of_the_whole_cache() {
        let role = Role::parse("read@own/app:").unwrap();
        let read = |name, key| role.permits(Permission::Read, name, key);
        assert!(read("own", Some(b"app:1")) && read("own", Some(b"app:")));
        assert!(!read("own", Some(b"app")) && !read("other", Some(b"app:1")));
        assert!(!read("own", None));
        assert!(!role.permits(Permission::Write, "own", Some(b"app:1")));
        assert!(Role::parse("monitor@*").unwrap().permits_everywhere(Permission::Monitor));
        for narrow in ["monitor@a*", "monitor@*/x", "admin@*"] {
            assert!(!Role::parse(narrow).unwrap().permits_everywhere(Permission::Monitor));
        }
    }
}
