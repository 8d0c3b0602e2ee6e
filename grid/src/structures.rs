//! The structures of a node, shared by its connections: counters, leases, locks and semaphores.
//!
//! Counters, and the mark of the fencing tokens, are kept as entries of one table,
//! [`Structures::TABLE`], so that the log and the checkpoints of the caches keep them too. A
//! change is recorded ahead of the answer; who answers waits for the log as after any write.
//! Leases and locks are not kept: they end with the process, and every token from before it is
//! refused after it.

pub mod counted;
pub mod hosted;
pub mod queues;
pub mod sessions;

use std::sync::{Arc, OnceLock};

use isogrid_engine::persist::{KeptTable, PersistError, PersistMode, Persistence, Preload};
use isogrid_engine::{
    Allocator, ConfigError, Cursor, Error, NewEntry, PolicyKind, Table, TableConfig, Timestamp,
};
use parking_lot::Mutex;
use thiserror::Error;

use crate::structure::Structure;
use crate::structure::counter::{CounterOp, CounterReply, Counters, Kept};
use crate::structure::lock::{LockLimits, LockOp, LockReply, Locks, Wake};

/// The key of the mark of the numbers; counters have `c` ahead of their names.
const MARK_KEY: &[u8] = b"n";
const COUNTER: u8 = b'c';
/// Bytes that counters may take: more than their number allows.
const BYTES_MAX: u64 = 64 << 20;
/// Entries that are read at a time.
const BATCH: usize = 1_000;

/// The structures of a node.
pub struct Structures {
    kept: Arc<Table>,
    counters: Mutex<Counters>,
    locks: Mutex<Locks>,
    persistence: OnceLock<Arc<Persistence>>,
}

/// A change of counters that could not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{why}; {done} of the additions were done")]
pub struct NotKept {
    /// Why.
    pub why: Error,
    /// How many additions of [`CounterOp::AddMany`] were done before; else 0.
    pub done: usize,
}

/// A write under a lock that is not held, or not any more, under this token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the lock is not held under this token")]
pub struct Fenced;

/// Why numbers could not be reserved.
#[derive(Debug, Error)]
pub enum ReserveError {
    /// The mark could not be recorded.
    #[error("the mark of the fencing tokens cannot be recorded: {0}")]
    Record(#[from] Error),
    /// It is unknown whether the mark is durable.
    #[error(transparent)]
    Durable(#[from] PersistError),
}

impl Structures {
    /// The name under which the table is kept; no cache can have it.
    pub const TABLE: &'static str = "$structures";

    /// Empty, and not ready: see [`Structures::begin`].
    ///
    /// # Errors
    /// When no table can be made.
    pub fn new(allocator: Allocator, now: Timestamp) -> Result<Self, ConfigError> {
        Ok(Structures {
            // What has one segment is read whole at a start, before `begin` looks through it.
            kept: Arc::new(new_table(1, allocator, now)?),
            counters: Mutex::default(),
            locks: Mutex::new(Locks::new(LockLimits::default(), 0)),
            persistence: OnceLock::new(),
        })
    }

    /// The table, to be given to [`Persistence::open`].
    #[must_use]
    pub fn kept_table(&self, mode: PersistMode) -> KeptTable {
        let (name, table) = (Self::TABLE.to_owned(), Arc::clone(&self.kept));
        KeptTable { name, table, mode, preload: Preload::All }
    }

    /// Takes over what came back into the table, and reserves the first numbers. To be called
    /// once, before anybody is served; without a `persistence` when nothing is kept.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn begin(
        &self,
        persistence: Option<Arc<Persistence>>,
        now: Timestamp,
    ) -> Result<(), ReserveError> {
        let mut mark = 0;
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.kept.scan(from, BATCH, now, |entry| {
                let Ok(bytes) = <[u8; 8]>::try_from(entry.value()) else { return };
                match entry.key().split_first() {
                    Some((&COUNTER, name)) => {
                        let name = String::from_utf8_lossy(name);
                        self.counters.lock().put_back(&name, Some(i64::from_le_bytes(bytes)));
                    }
                    _ => mark = u64::from_le_bytes(bytes),
                }
            });
        }
        *self.locks.lock() = Locks::new(LockLimits::default(), mark);
        if let Some(persistence) = persistence {
            let _ = self.persistence.set(persistence);
        }
        self.refill(now, &mut Vec::new())
    }

    /// Does an operation on counters. When it has changed something, the change is in the log,
    /// though maybe not written yet; a value that is read may be one that is not either.
    ///
    /// # Errors
    /// [`NotKept`]: nothing was changed but the additions that it counts.
    pub fn counters(&self, now: Timestamp, op: CounterOp<'_>) -> Result<CounterReply, NotKept> {
        let mut counters = self.counters.lock();
        let CounterOp::AddMany { all } = op else {
            return self.count(&mut counters, now, op).map_err(|why| NotKept { why, done: 0 });
        };
        let mut replies = Vec::with_capacity(all.len());
        for (name, delta) in all.iter().copied() {
            let added = self.count(&mut counters, now, CounterOp::Add { name, delta });
            replies.push(added.map_err(|why| NotKept { why, done: replies.len() })?);
        }
        Ok(CounterReply::Many(replies))
    }

    /// One operation on one counter: its change is kept, or taken back.
    fn count(
        &self,
        counters: &mut Counters,
        now: Timestamp,
        op: CounterOp<'_>,
    ) -> Result<CounterReply, Error> {
        let mut changes = Vec::new();
        let reply = counters.apply(now, op, &mut changes);
        for Kept { name, before, after } in &changes {
            let key = counter_key(name);
            let value = after.map(i64::to_le_bytes);
            if let Err(why) = self.record(&key, value, now) {
                counters.put_back(name, *before);
                return Err(why);
            }
        }
        Ok(reply)
    }

    fn record(&self, key: &[u8], value: Option<[u8; 8]>, now: Timestamp) -> Result<(), Error> {
        let pinned = self.kept.pin();
        let entry = pinned.entry(self.kept.hash(key), key, now);
        let mut entry = entry.ok_or(Error::KeyLength { len: key.len() })?;
        match value {
            Some(value) => {
                entry.put(&NewEntry { value: [&value, b""], ..NewEntry::default() })?;
            }
            None => drop(entry.remove()?),
        }
        Ok(())
    }

    /// Does an operation on leases, locks and semaphores; `out` gets those who wait no more.
    pub fn locks(&self, now: Timestamp, op: LockOp<'_>, out: &mut Vec<Wake>) -> LockReply {
        self.locks.lock().apply(now, op, out)
    }

    /// Ends what is due by time.
    pub fn advance(&self, now: Timestamp, out: &mut Vec<Wake>) {
        self.locks.lock().advance(now, out);
    }

    /// When something is due by time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.locks.lock().next_deadline()
    }

    /// Does `write` if the lock is held under this token, and lets nobody else have the lock
    /// before it is done: what the next holder writes comes behind it. It must not wait for
    /// anything, and not come back here.
    ///
    /// # Errors
    /// [`Fenced`]; nothing was done.
    pub fn fenced<R>(
        &self,
        now: Timestamp,
        key: &[u8],
        token: u64,
        write: impl FnOnce() -> R,
    ) -> Result<R, Fenced> {
        let locks = self.locks.lock();
        if locks.is_held(now, key, token) { Ok(write()) } else { Err(Fenced) }
    }

    /// Whether [`Structures::refill`] has something to do.
    #[must_use]
    pub fn wants_refill(&self) -> bool {
        self.locks.lock().mark_wanted().is_some()
    }

    /// Reserves numbers for leases and tokens when few are left. Waits for the disk.
    ///
    /// # Errors
    /// [`ReserveError`]; it is to be tried again.
    pub fn refill(&self, now: Timestamp, out: &mut Vec<Wake>) -> Result<(), ReserveError> {
        let Some(mark) = self.locks.lock().mark_wanted() else { return Ok(()) };
        self.record(MARK_KEY, Some(mark.to_le_bytes()), now)?;
        if let Some(persistence) = self.persistence.get() {
            persistence.wait_durable(persistence.last()).map_err(PersistError::from)?;
        }
        self.locks(now, LockOp::Reserve { mark }, out);
        Ok(())
    }

    /// Background work of the table that is due.
    pub fn maintain(&self, now: Timestamp) {
        self.kept.maintain(now, BATCH);
    }
}

/// The tables of structures.
pub const TABLES: [&str; 3] = [Structures::TABLE, queues::Queues::TABLE, sessions::Sessions::TABLE];

/// Whether a table is of structures: no cache has such a name.
#[must_use]
pub fn is_of_structures(table: &str) -> bool {
    table.starts_with('$')
}

/// A table for structures: nothing of it is ever evicted.
///
/// # Errors
/// When no table can be made.
pub fn new_table(
    segments: u32,
    allocator: Allocator,
    now: Timestamp,
) -> Result<Table, ConfigError> {
    let config = TableConfig {
        segments: Some(segments),
        max_bytes: BYTES_MAX,
        eviction: PolicyKind::None,
        allocator,
        ..TableConfig::default()
    };
    Table::new(&config, now)
}

fn counter_key(name: &str) -> Vec<u8> {
    [&[COUNTER], name.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
