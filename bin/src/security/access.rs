//! The one question that every protocol asks before it carries a request out. What is not
//! permitted by a role is denied.

use std::sync::Arc;

use super::permission::{Permission, Permissions};
use super::role::Role;

/// How somebody showed who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A password in the clear, over TLS or on this machine.
    Plain,
    /// SCRAM-SHA-256, with or without channel binding.
    Scram,
    /// A token.
    Token,
    /// A client certificate.
    Certificate,
}

impl Way {
    /// The word for it in the audit log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Way::Plain => "plain",
            Way::Scram => "scram",
            Way::Token => "token",
            Way::Certificate => "certificate",
        }
    }
}

/// Somebody who has logged in. It lives in the connection alone and is never looked up by address.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The user's name.
    pub user: Arc<str>,
    /// What the user may do.
    pub roles: Arc<[Role]>,
    /// How they showed who they are.
    pub way: Way,
}

/// What kind of thing a request does: the rows of the table of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpClass {
    /// Nothing to protect: a ping, a version, the end of a connection, a login, a refusal.
    Open,
    /// Reads one entry.
    Read,
    /// Changes an entry and tells nothing of it.
    Write,
    /// Changes an entry and tells its value.
    ReadWrite,
    /// Deletes an entry, or marks it for deletion.
    Delete,
    /// Deletes all entries.
    Clear,
    /// Tells the keys of a cache.
    Keys,
    /// Makes, changes or drops a cache or another structure.
    Configure,
    /// Puts a message into a queue.
    QueueSend,
    /// Takes messages out of a queue.
    QueueReceive,
    /// Schedules or runs a job.
    Job,
    /// Keeps a session.
    Session,
    /// Tells figures of the server.
    Monitor,
    /// Changes how the server runs, or stops it.
    Admin,
    /// Changes the cluster.
    Cluster,
}

/// What a class of requests is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The cache (queue, ...) that is named: the key, or all of it when there is no key.
    Named,
    /// The node.
    Node,
}

impl OpClass {
    /// All of them.
    pub const ALL: [OpClass; 15] = [
        OpClass::Open,
        OpClass::Read,
        OpClass::Write,
        OpClass::ReadWrite,
        OpClass::Delete,
        OpClass::Clear,
        OpClass::Keys,
        OpClass::Configure,
        OpClass::QueueSend,
        OpClass::QueueReceive,
        OpClass::Job,
        OpClass::Session,
        OpClass::Monitor,
        OpClass::Admin,
        OpClass::Cluster,
    ];

    /// What is needed, and where.
    fn needs(self) -> (&'static [Permission], Scope) {
        use Permission as P;
        match self {
            OpClass::Open => (&[], Scope::Node),
            OpClass::Read | OpClass::Keys => (&[P::Read], Scope::Named),
            OpClass::Write => (&[P::Write], Scope::Named),
            OpClass::ReadWrite => (&[P::Read, P::Write], Scope::Named),
            OpClass::Delete | OpClass::Clear => (&[P::Delete], Scope::Named),
            OpClass::Configure => (&[P::Admin], Scope::Named),
            OpClass::QueueSend => (&[P::QueueSend], Scope::Named),
            OpClass::QueueReceive => (&[P::QueueReceive], Scope::Named),
            OpClass::Job => (&[P::Job], Scope::Named),
            OpClass::Session => (&[P::Session], Scope::Named),
            OpClass::Monitor => (&[P::Monitor], Scope::Node),
            OpClass::Admin => (&[P::Admin], Scope::Node),
            OpClass::Cluster => (&[P::Cluster], Scope::Node),
        }
    }

    /// What a role has to permit, in the words of roles.
    #[must_use]
    pub fn permissions(self) -> Permissions {
        Permissions::of(self.needs().0)
    }

    /// Whether requests of this class are about all keys, whatever key they name.
    fn is_of_whole(self) -> bool {
        matches!(self, OpClass::Clear | OpClass::Keys | OpClass::Configure)
    }
}

/// Whether `identity` may do a thing of this class to the cache (queue, ...) called `name`: to
/// `key`, or to all of it when there is no key. Somebody who has not logged in may do what is
/// [`OpClass::Open`].
#[must_use]
pub fn allow(identity: Option<&Identity>, class: OpClass, name: &str, key: Option<&[u8]>) -> bool {
    let (needed, scope) = class.needs();
    let key = key.filter(|_| !class.is_of_whole());
    let roles = identity.map(|identity| &identity.roles[..]).unwrap_or_default();
    needed.iter().all(|permission| {
        roles.iter().any(|role| match scope {
            Scope::Named => role.permits(*permission, name, key),
            Scope::Node => role.permits_everywhere(*permission),
        })
    })
}

/// Whether `identity` may do a thing of this class to something in what is called `name`, be it
/// only to keys that begin with a prefix.
#[must_use]
pub fn allow_some(identity: Option<&Identity>, class: OpClass, name: &str) -> bool {
    let (needed, scope) = class.needs();
    if class.is_of_whole() || scope == Scope::Node {
        return allow(identity, class, name, None);
    }
    let roles = identity.map(|identity| &identity.roles[..]).unwrap_or_default();
    needed.iter().all(|permission| roles.iter().any(|role| role.permits_some(*permission, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(roles: &[&str]) -> Identity {
        let roles = roles.iter().map(|role| Role::parse(role).unwrap()).collect();
        Identity { user: "u".into(), roles, way: Way::Plain }
    }

    /// Each class against each permission alone: what one permission opens.
    #[test]
    fn every_permission_opens_its_classes_and_no_other() {
        for (role, opens) in [
            ("read@*", &[OpClass::Read, OpClass::Keys][..]),
            ("write@*", &[OpClass::Write]),
            ("delete@*", &[OpClass::Delete, OpClass::Clear]),
            ("admin@*", &[OpClass::Configure, OpClass::Admin]),
            ("queue_send@*", &[OpClass::QueueSend]),
            ("queue_receive@*", &[OpClass::QueueReceive]),
            ("job@*", &[OpClass::Job]),
            ("session@*", &[OpClass::Session]),
            ("monitor@*", &[OpClass::Monitor]),
            ("cluster@*", &[OpClass::Cluster]),
            ("all@*", &OpClass::ALL),
        ] {
            for class in OpClass::ALL {
                let expected = class == OpClass::Open || opens.contains(&class);
                let allowed = allow(Some(&identity(&[role])), class, "c", Some(b"k"));
                assert_eq!(allowed, expected, "{role} {class:?}");
                assert_eq!(allow(None, class, "c", None), class == OpClass::Open, "{class:?}");
            }
        }
    }

    #[test]
    fn two_roles_together_and_the_whole_cache() {
        let both = identity(&["read@own/a", "write@own"]);
        for (class, key, allowed) in [
            (OpClass::ReadWrite, Some(&b"ab"[..]), true),
            (OpClass::ReadWrite, Some(b"b"), false),
            (OpClass::Read, None, false),
            (OpClass::Write, None, true),
            (OpClass::Keys, Some(b"ab"), false),
            (OpClass::Admin, None, false),
        ] {
            assert_eq!(allow(Some(&both), class, "own", key), allowed, "{class:?} {key:?}");
            assert!(!allow(Some(&both), class, "other", key), "{class:?} {key:?}");
        }
    }

    #[test]
    fn some_keys_are_enough_where_a_class_is_of_keys() {
        let both = identity(&["read@own/a", "write@own"]);
        for (class, some) in [
            (OpClass::Read, true),
            (OpClass::ReadWrite, true),
            (OpClass::Delete, false),
            (OpClass::Keys, false),
            (OpClass::Admin, false),
        ] {
            assert_eq!(allow_some(Some(&both), class, "own"), some, "{class:?}");
            assert!(!allow_some(Some(&both), class, "other"), "{class:?}");
            assert!(!allow_some(None, class, "own"), "{class:?}");
        }
        assert_eq!(OpClass::ReadWrite.permissions().to_string(), "read,write");
    }
}
