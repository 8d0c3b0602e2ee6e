//! The caches of a cluster, and the structures, which are three: each is a group of the metadata.

use std::sync::{Arc, OnceLock};

use isogrid_engine::Table;
use isogrid_grid::copies::Copies;
use isogrid_grid::id::GroupId;
use isogrid_grid::metadata::{Acks, GroupSettings, Owners, Persist};
use isogrid_grid::structures::TABLES;
use isogrid_wire::native::topology::CLUSTER_OBJECTS;

use super::ClusterError;
use crate::config::{CacheConfig, CacheMode, ServerConfig};

/// Copies of each counter, lock, queue and session.
const STRUCTURE_OWNERS: u8 = 3;

/// A cache of the cluster, on this node.
pub struct Shared {
    /// Its name.
    pub name: String,
    /// The group that it is.
    pub group: GroupId,
    pub(super) settings: GroupSettings,
    /// Reads are confirmed by the other copies (R25).
    pub(super) confirms: bool,
    /// What is on disks is what the cluster has, once that is known, and not what is configured here.
    agreed: Option<OnceLock<Persist>>,
    pub(super) table: Arc<Table>,
    pub(super) copies: OnceLock<Arc<Copies>>,
}

impl Shared {
    fn new(config: &CacheConfig, table: Arc<Table>) -> Shared {
        let owners = match config.mode {
            CacheMode::Local | CacheMode::Invalidated | CacheMode::Distributed => {
                Owners::Count(u8::try_from(config.owners).unwrap_or(u8::MAX).max(1))
            }
            CacheMode::Replicated => Owners::All,
        };
        let acks = if config.answers_at_once() { Acks::Async } else { Acks::Sync };
        // What a copy has is all that was acknowledged only where copies are waited for (R24), and
        // that it is one in sync still only a lease says.
        let confirms = config.confirms_reads();
        let local_reads = config.mode == CacheMode::Replicated && acks == Acks::Sync && !confirms;
        let many = config.mode == CacheMode::Distributed && config.owners > 2;
        let min_insync = if many { 2 } else { 1 };
        let persist = config.kept_by_members();
        let settings = GroupSettings { owners, persist, local_reads, min_insync, acks };
        let (name, group) = (config.name.clone(), group_of(&config.name));
        let (agreed, copies) = (None, OnceLock::new());
        Shared { name, group, settings, confirms, agreed, table, copies }
    }

    /// Whether every member answers reads from a copy of its own (R24).
    #[must_use]
    pub fn has_local_reads(&self) -> bool {
        self.settings.local_reads
    }

    /// Whether a restart of all members leaves as much of it as of another one.
    #[must_use]
    pub fn is_kept_as(&self, other: &Shared) -> bool {
        self.settings.persist == other.settings.persist
    }

    /// Whether writes are acknowledged before the copies have them (R37).
    #[must_use]
    pub fn answers_at_once(&self) -> bool {
        self.settings.acks == Acks::Async
    }

    /// The structures of the cluster, which are the entries of a table as a cache is. They have
    /// one copy more than a cache has: there are few, and to lose one hurts more. Where the cluster has
    /// none yet, they are to be kept like this.
    fn structures(name: &str, persist: Persist, table: Arc<Table>) -> Shared {
        let owners = Owners::Count(STRUCTURE_OWNERS);
        let settings =
            GroupSettings { owners, persist, local_reads: false, min_insync: 1, acks: Acks::Sync };
        let (name, group) = (name.to_owned(), group_of(name));
        let (agreed, copies) = (Some(OnceLock::new()), OnceLock::new());
        Shared { name, group, settings, confirms: false, agreed, table, copies }
    }

    /// Whether it is structures.
    pub(super) fn is_of_structures(&self) -> bool {
        self.agreed.is_some()
    }

    /// With what copies begin: until it is known how the cluster keeps structures, their copies are
    /// ready for anything ([`Copies::keep_as`]).
    pub(super) fn first_settings(&self) -> GroupSettings {
        let persist = if self.is_of_structures() { Persist::Async } else { self.settings.persist };
        GroupSettings { persist, ..self.settings.clone() }
    }

    /// Whether this member's copies are what the cluster takes them for. With other disks, others would
    /// trust it to keep what it does not, or the other way round; with other acks it would answer
    /// writes when it must not. Structures are kept as the cluster has it, where there is a disk.
    pub(super) fn agrees(&self, there: &GroupSettings) -> bool {
        let persist = there.persist;
        let Some(agreed) = &self.agreed else {
            return (persist, there.acks) == (self.settings.persist, self.settings.acks);
        };
        let Some(copies) = self.copies() else { return false };
        if persist.is_kept() && !copies.is_kept() {
            return false;
        }
        agreed.get_or_init(|| {
            copies.keep_as(persist);
            persist
        });
        true
    }

    /// Its entries on this node.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// This node's copies; `None` as long as it is no member.
    #[must_use]
    pub fn copies(&self) -> Option<&Arc<Copies>> {
        self.copies.get()
    }
}

/// The same on every node: the name's hash.
pub(super) fn group_of(name: &str) -> GroupId {
    let at = isogrid_engine::hash::stable_segment(name.as_bytes(), 1 << 16);
    GroupId(u16::try_from(at).unwrap_or(0))
}

/// The number that a cache of the cluster has on every node, whenever it was made there.
#[must_use]
pub fn object_number(name: &str) -> u32 {
    let hash = isogrid_engine::hash::stable_segment(name.as_bytes(), 1 << 31);
    CLUSTER_OBJECTS | u32::try_from(hash).unwrap_or(0)
}

/// What of the configuration is the cluster's: caches, and behind them the structures.
pub(super) fn shared_caches(
    config: &ServerConfig,
    table: impl Fn(&str) -> Option<Arc<Table>>,
) -> Result<Vec<Arc<Shared>>, ClusterError> {
    let mut all: Vec<Arc<Shared>> = Vec::new();
    for cache in config.caches.iter().filter(|cache| cache.mode.has_copies()) {
        let Some(table) = table(&cache.name) else { continue };
        all.push(Arc::new(Shared::new(cache, table)));
    }
    let persist = config.structures_of_cluster();
    for name in TABLES {
        all.extend(table(name).map(|table| Arc::new(Shared::structures(name, persist, table))));
    }
    for (at, shared) in all.iter().enumerate() {
        if let Some(other) = all.iter().take(at).find(|other| other.group == shared.group) {
            return Err(ClusterError::SameGroup(other.name.clone(), shared.name.clone()));
        }
    }
    Ok(all)
}
