//! What a user may be permitted to do.

use std::fmt::{self, Display, Formatter};

/// One thing that may be permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Permission {
    /// Read entries.
    Read = 1 << 0,
    /// Store and change entries.
    Write = 1 << 1,
    /// Delete entries; without a key prefix, clear the cache.
    Delete = 1 << 2,
    /// Change settings, make and drop caches, stop the server.
    Admin = 1 << 3,
    /// Put messages into queues.
    QueueSend = 1 << 4,
    /// Take messages out of queues.
    QueueReceive = 1 << 5,
    /// Schedule and run jobs.
    Job = 1 << 6,
    /// Keep sessions.
    Session = 1 << 7,
    /// See figures of the server.
    Monitor = 1 << 8,
    /// Change the cluster.
    Cluster = 1 << 9,
}

impl Permission {
    /// All of them.
    pub const ALL: [Permission; 10] = [
        Permission::Read,
        Permission::Write,
        Permission::Delete,
        Permission::Admin,
        Permission::QueueSend,
        Permission::QueueReceive,
        Permission::Job,
        Permission::Session,
        Permission::Monitor,
        Permission::Cluster,
    ];

    /// The word for it in roles.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Permission::Read => "read",
            Permission::Write => "write",
            Permission::Delete => "delete",
            Permission::Admin => "admin",
            Permission::QueueSend => "queue_send",
            Permission::QueueReceive => "queue_receive",
            Permission::Job => "job",
            Permission::Session => "session",
            Permission::Monitor => "monitor",
            Permission::Cluster => "cluster",
        }
    }
}

/// A set of permissions; the empty one permits nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u16);

impl Permissions {
    /// The word for all permissions.
    pub const ALL_NAME: &'static str = "all";

    /// These permissions.
    #[must_use]
    pub fn of(permissions: &[Permission]) -> Self {
        Permissions(permissions.iter().fold(0, |bits, one| bits | *one as u16))
    }

    /// Whether `permission` is among them.
    #[must_use]
    pub fn has(self, permission: Permission) -> bool {
        self.0 & permission as u16 != 0
    }

    /// Reads words with commas between them.
    ///
    /// # Errors
    /// A word that is no permission, with all that are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let named = |word: &str| Permission::ALL.into_iter().find(|one| one.name() == word);
        let mut set = Permissions::default();
        for word in text.split(',').map(str::trim) {
            let more = match (word, named(word)) {
                (Self::ALL_NAME, _) => Permissions::of(&Permission::ALL),
                (_, Some(permission)) => Permissions::of(&[permission]),
                _ => {
                    let names = Permission::ALL.map(Permission::name).join(", ");
                    return Err(format!("`{word}` is no permission; there are all, {names}"));
                }
            };
            set.0 |= more.0;
        }
        Ok(set)
    }
}

impl Display for Permissions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if *self == Permissions::of(&Permission::ALL) {
            return f.write_str(Self::ALL_NAME);
        }
        let names = Permission::ALL.into_iter().filter(|one| self.has(*one)).map(Permission::name);
        f.write_str(&names.collect::<Vec<_>>().join(","))
    }
}
