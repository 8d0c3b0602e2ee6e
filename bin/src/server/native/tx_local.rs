//! Transactions over caches of this node: the part that each cache has in one, and its commit.

use std::sync::Arc;

use isogrid_engine::persist::PersistMode;
use isogrid_engine::{Isolation, Joint, Transaction, TransactionError};
use isogrid_grid::Cache;
use isogrid_grid::catalog::{Index, Kind, Object};
use isogrid_wire::native::tx::Conflict;
use isogrid_wire::native::{ErrorCode, Key};

use super::clustered::Partner;
use super::failure::Failure;
use super::session::Session;
use super::tx::{cache_of, failed};
use crate::cluster::Cluster;

/// Caches of one transaction: while it is open each of them keeps old versions in memory.
const CACHES_MAX: usize = 16;

/// Why a cache does not join.
const MOVED_ON: &str = "what the transaction has read of other caches has changed since: there is no \
                        one moment of all of them; begin anew, and read of each cache early";

/// # Errors
/// So many caches are too many for one transaction.
pub fn check_caches(count: usize) -> Result<(), Failure> {
    if count <= CACHES_MAX {
        return Ok(());
    }
    let why = format!("a transaction works on at most {CACHES_MAX} caches");
    Err(Failure::new(ErrorCode::QuotaExceeded, why).with("limit", CACHES_MAX.to_string()))
}

/// The caches that a transaction is over.
pub trait Parts {
    /// Acts on one of them, and on the transaction in it.
    ///
    /// # Errors
    /// It is none of them; or what `act` says.
    fn with<R>(
        &mut self,
        object: u32,
        act: impl FnOnce(&Cache, &mut Transaction<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure>;
}

/// A transaction over caches of this node.
pub struct Local {
    joint: Joint,
    /// In the order in which they joined.
    caches: Vec<Joined>,
    now: u64,
}

struct Joined {
    object: u32,
    mode: PersistMode,
    cache: Arc<Cache>,
}

/// Why nothing was committed.
pub enum Refused {
    /// These keys are not as they were.
    Conflict(Conflicts),
    /// Something else; another try may do better where that is said.
    Failed(Failure, bool),
}

impl Local {
    /// One over no cache yet.
    pub fn new(isolation: Isolation, origin: u64) -> Local {
        Local { joint: Joint::new(isolation, origin), caches: Vec::new(), now: 0 }
    }

    /// Lets a cache join, unless it has.
    ///
    /// # Errors
    /// There are too many; or what was read of others has changed since.
    pub fn join(&mut self, object: &Object, now: u64) -> Result<(), Failure> {
        self.now = now;
        if self.caches.iter().any(|joined| joined.object == object.id) {
            return Ok(());
        }
        check_caches(self.caches.len() + 1)?;
        let cache = cache_of(object)?;
        cache.join(&mut self.joint, now).map_err(|error| match error {
            TransactionError::Conflict { .. } => {
                Failure::new(ErrorCode::TxConflict, MOVED_ON).for_good()
            }
            other => failed(&other),
        })?;
        let (object, mode) = (object.id, object.options.persist);
        self.caches.push(Joined { object, mode, cache: Arc::clone(cache) });
        Ok(())
    }

    /// The name of its first cache.
    pub fn name(&self) -> &str {
        self.caches.first().map_or("", |joined| joined.cache.name())
    }

    /// How the caches are kept.
    pub fn modes(&self) -> impl Iterator<Item = PersistMode> {
        self.caches.iter().map(|joined| joined.mode)
    }

    /// Does all of it, or nothing.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn commit(self, now: u64) -> Result<Versions, Refused> {
        let Local { joint, caches, .. } = self;
        let of = |at: usize| caches.get(at).map_or(0, |joined| joined.object);
        match joint.commit(now) {
            Ok(done) => {
                let all = done.into_iter().enumerate().map(|(at, done)| (of(at), done.versions));
                Ok(Versions(all.collect()))
            }
            Err(refused) => {
                let mut conflicts = Vec::new();
                for (at, why) in refused {
                    let TransactionError::Conflict { keys } = why else {
                        let is_blocked = matches!(why, TransactionError::Blocked);
                        return Err(Refused::Failed(failed(&why), is_blocked));
                    };
                    let cache = caches.get(at).map(|joined| &*joined.cache);
                    conflicts.extend(cache.map(|cache| (of(at), versions_now(cache, keys, now))));
                }
                Err(Refused::Conflict(Conflicts(conflicts)))
            }
        }
    }
}

impl Parts for Local {
    fn with<R>(
        &mut self,
        object: u32,
        act: impl FnOnce(&Cache, &mut Transaction<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let joined = self.caches.iter().find(|joined| joined.object == object);
        let cache = &joined.ok_or_else(|| Failure::of(ErrorCode::NoSuchObject))?.cache;
        let part = cache.join(&mut self.joint, self.now).map_err(|error| failed(&error))?;
        act(cache, part)
    }
}

/// Keys and their versions, in order.
type Keys = Vec<(Vec<u8>, u64)>;

/// What a commit gave keys as their versions, by cache.
#[derive(Debug, Default)]
pub struct Versions(Vec<(u32, Keys)>);

impl Versions {
    /// Those of caches.
    pub fn of(all: Vec<(u32, Keys)>) -> Versions {
        Versions(all)
    }

    /// The version of a key; 0 where nothing was put.
    pub fn get(&self, object: u32, key: &[u8]) -> u64 {
        let of = self.0.iter().find(|(of, _)| *of == object);
        let version = of.and_then(|(_, all)| {
            let at = all.binary_search_by(|(own, _)| own.as_slice().cmp(key)).ok()?;
            all.get(at)
        });
        version.map_or(0, |(_, version)| *version)
    }
}

/// Keys that are not as a transaction saw them, and their versions now, by cache.
#[derive(Debug, Default)]
pub struct Conflicts(Vec<(u32, Keys)>);

impl Conflicts {
    /// As they are told.
    pub fn list(&self) -> Vec<Conflict<'_>> {
        let each =
            self.0.iter().flat_map(|(object, keys)| keys.iter().map(move |key| (*object, key)));
        each.map(|(object, (key, version))| Conflict { object, key: Key(key), version: *version })
            .collect()
    }
}

/// Keys and the versions that are there now; 0 for none.
fn versions_now(cache: &Cache, keys: Vec<Vec<u8>>, now: u64) -> Keys {
    let batch = cache.batch(now);
    let version = |key: &Vec<u8>| batch.peek(cache.hash(key), key).map_or(0, |e| e.version());
    let versions: Vec<u64> = keys.iter().map(version).collect();
    keys.into_iter().zip(versions).collect()
}

/// The caches of a transaction.
pub enum Over<'i> {
    /// Of this node.
    Local(Vec<&'i Arc<Object>>),
    /// Of the cluster.
    Clustered(Arc<Cluster>, Vec<Partner>),
}

impl Session {
    /// Where the caches of these numbers are; each is named once or more.
    ///
    /// # Errors
    /// One is no cache, or cannot be in a transaction with the others.
    pub fn over<'i>(
        &self,
        index: &'i Index,
        numbers: impl Iterator<Item = u32>,
    ) -> Result<Over<'i>, Failure> {
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut all = Vec::with_capacity(numbers.len());
        for number in numbers {
            let object = index.by_id(number).filter(|object| object.kind == Kind::Cache);
            let missing = || Failure::new(ErrorCode::NoSuchObject, format!("{number} is no cache"));
            all.push(object.ok_or_else(missing)?);
        }
        let (mut local, mut shared, mut of) = (Vec::new(), Vec::new(), None);
        for object in all {
            if self.invalidated(Some(object)).is_some() {
                return Err(invalidated(&object.name));
            }
            match self.clustered(Some(object)) {
                Some((cluster, way)) => {
                    shared.push(Partner::new(way, object)?);
                    of = Some(cluster);
                }
                None => local.push(object),
            }
        }
        match (of, shared.first().zip(local.first())) {
            (_, Some((shared, local))) => Err(apart(&shared.shared.name, &local.name)),
            (Some(cluster), None) => {
                check_caches(shared.len()).map(|()| Over::Clustered(cluster, shared))
            }
            (None, None) => Ok(Over::Local(local)),
        }
    }
}

/// What nodes have of an invalidated cache is dropped at any moment, and differs from node to node.
pub fn invalidated(name: &str) -> Failure {
    let why = format!(
        "the cache {name} is invalidated, and has no transactions: each node keeps of it what it \
         likes; leave it out, or have a cache with mode = distributed or replicated for this"
    );
    Failure::new(ErrorCode::UnsupportedOp, why)
}

/// A transaction cannot be over a cache of the cluster and one of this node: what a node has alone
/// nobody can bring to an end when it dies in the middle.
pub fn apart(shared: &str, local: &str) -> Failure {
    let why = format!(
        "the cache {shared} is one of the cluster and {local} is of this node alone, so that nobody \
         else could end its part of the transaction: give {local} mode = distributed or replicated, \
         or write it apart from this (ADR 8)"
    );
    Failure::new(ErrorCode::UnsupportedOp, why)
}
