//! Transactions over caches of this node: the part that each cache has in one, and its commit.

use std::sync::Arc;

use isogrid_engine::persist::PersistMode;
use isogrid_engine::{Isolation, Joint, Transaction, TransactionError};
use isogrid_grid::Cache;
use isogrid_grid::catalog::{Index, Kind, Object};
use isogrid_wire::native::tx::Conflict;
use isogrid_wire::native::{ErrorCode, Key};

use super::clustered::phases::Way;
use super::failure::Failure;
use super::session::Session;
use super::tx::{cache_of, failed};

/// Caches of one transaction: while it is open each of them keeps old versions in memory.
const CACHES_MAX: usize = 16;

/// Why a cache does not join.
const MOVED_ON: &str = "what the transaction has read of other caches has changed since: there is no \
                        one moment of all of them; begin anew, and read of each cache early";

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

/// One cache, and the transaction in it.
pub struct One<'a, 't>(pub &'a Cache, pub &'a mut Transaction<'t>);

impl Parts for One<'_, '_> {
    fn with<R>(
        &mut self,
        _: u32,
        act: impl FnOnce(&Cache, &mut Transaction<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        act(self.0, self.1)
    }
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
        if self.caches.len() >= CACHES_MAX {
            let why = format!("a transaction works on at most {CACHES_MAX} caches");
            let failure = Failure::new(ErrorCode::QuotaExceeded, why);
            return Err(failure.with("limit", CACHES_MAX.to_string()));
        }
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
    /// Those of one cache.
    pub fn of(object: u32, versions: Keys) -> Versions {
        Versions(vec![(object, versions)])
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
    /// One of the cluster.
    Clustered(Way, &'i Arc<Object>),
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
        for object in &all {
            if self.invalidated(Some(object)).is_some() {
                let why =
                    format!("the cache {} is invalidated: it has no transactions", object.name);
                return Err(Failure::new(ErrorCode::UnsupportedOp, why));
            }
            if let Some(way) = self.clustered(Some(object)) {
                return if all.len() == 1 {
                    Ok(Over::Clustered(way, object))
                } else {
                    Err(alone(&object.name))
                };
            }
        }
        Ok(Over::Local(all))
    }
}

/// A transaction cannot be over this cache and another one.
pub fn alone(name: &str) -> Failure {
    let why = format!(
        "the cache {name} is one of the cluster: a transaction over it works on no other cache \
         (ADR 8)"
    );
    Failure::new(ErrorCode::UnsupportedOp, why)
}
