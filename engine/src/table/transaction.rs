//! Optimistic transactions over the keys of one table.
//!
//! A transaction reads from a snapshot and keeps its writes to itself. Only the commit takes
//! locks, those of its segments in ascending order: under them it looks whether the keys are
//! still what the transaction took them to be, prepares all writes, tells the journal of them in
//! one record, and publishes them behind the gate that snapshots pass. Whatever refuses it, no
//! entry is changed; where entries may be evicted, some may have gone to make room.
//!
//! One over several tables ([`Joint`]) is a transaction in each of them: their snapshots are of one
//! moment, and they commit with one record under the locks of all.
//!
//! An open transaction is an open snapshot: each version that is written over or deleted
//! meanwhile, by anybody, stays in memory until it ends. So it must not wait for anything slow.

mod commit;
mod isolation;
mod joint;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::entry::check;
use super::snapshot::Holder;
use super::{Entry, KeyHash, Marks, NewEntry, Snapshot, Table};
use crate::env::Timestamp;
use crate::error::Error;
pub use isolation::{Isolation, IsolationChoice};
pub use joint::{Joint, Refused};

/// Bytes that a transaction may hold: keys read and written, values written, and 128 for each
/// key. Half of the largest record of the log, so that it fits into one.
pub const TRANSACTION_BYTES_MAX: usize = 32 << 20;
/// What a key costs beside its own bytes.
const KEY_BYTES: usize = 128;

/// Reads and writes that are done together or not at all. To drop it is to roll it back.
pub struct Transaction<'t> {
    table: Holder<'t>,
    snapshot: Snapshot<'t>,
    isolation: Isolation,
    origin: u64,
    /// Every key that was read or written.
    keys: BTreeMap<Box<[u8]>, Touched>,
    bytes: usize,
}

/// What a transaction did with a key.
struct Touched {
    hash: KeyHash,
    /// What the first read saw, if the key was read before it was written.
    seen: Option<Seen>,
    /// What the commit does.
    write: Option<Write>,
}

/// What a read saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Absent,
    /// A version with this sequence number.
    Version(u64),
}

enum Write {
    Put(OwnedEntry),
    Remove,
}

/// An entry that a transaction has read or will write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedEntry {
    /// The value.
    pub value: Arc<[u8]>,
    /// The client's 32 bits.
    pub flags: u32,
    /// When it expires.
    pub deadline: Option<Timestamp>,
    /// How long it lives without being read, ms.
    pub max_idle: Option<u32>,
    /// The version that was read; of a write of the transaction's own the one that was chosen.
    pub version: Option<u64>,
    /// What it is marked with.
    pub marks: Marks,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// Each key that was put and its version, in the order of the keys.
    pub versions: Vec<(Vec<u8>, u64)>,
    /// The number of its record in the journal, if there is a journal and anything was changed.
    /// Where the journal publishes, nobody sees the writes before it has published this record; a
    /// transaction that is begun sooner conflicts with them.
    pub record: Option<u64>,
}

/// Why a transaction was refused. No entry was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// Keys were written by others since the transaction began, or (those that it read) are gone
    /// by expiry or eviction. A new transaction may succeed.
    #[error("{} keys have changed since the transaction began", keys.len())]
    Conflict {
        /// The keys, in ascending order.
        keys: Vec<Vec<u8>>,
    },
    /// Entries are not in memory. When they have been loaded a new transaction may succeed.
    #[error("{} entries are not in memory", keys.len())]
    Away {
        /// Their keys, in ascending order.
        keys: Vec<Vec<u8>>,
    },
    /// A prepared write in one of the segments waits for its owner to publish it; what comes
    /// behind it would be seen later than the rest. A later commit may succeed.
    #[error("a prepared write has to be published first")]
    Blocked,
    /// It writes to tables whose changes cannot be kept as one: they have no log in common, or they
    /// are seen at different times.
    #[error("changes of these tables cannot be kept as one")]
    Apart,
    /// The transaction has read and written too much. It goes on without this read or write.
    #[error("a transaction of {bytes} bytes: at most {TRANSACTION_BYTES_MAX}")]
    TooLarge {
        /// What it would hold, bytes.
        bytes: usize,
    },
    /// A write was refused as it would have been alone.
    #[error(transparent)]
    Refused(#[from] Error),
}

impl Table {
    /// Begins a transaction that sees what is committed now.
    #[must_use]
    pub fn transaction(&self, isolation: Isolation, now: Timestamp) -> Transaction<'_> {
        Transaction::new(Holder::Borrowed(self), self.snapshot(now), isolation)
    }
}

impl<'t> Transaction<'t> {
    fn new(table: Holder<'t>, snapshot: Snapshot<'t>, isolation: Isolation) -> Self {
        Transaction { table, snapshot, isolation, origin: 0, keys: BTreeMap::new(), bytes: 0 }
    }
}

impl Transaction<'_> {
    /// The entry of a key: as the transaction wrote it, else as it was when the transaction began.
    /// What has expired or was evicted since is absent. The read counts for eviction and idle time.
    ///
    /// # Errors
    /// [`TransactionError::TooLarge`], [`TransactionError::Away`].
    pub fn get(
        &mut self,
        key: &[u8],
        now: Timestamp,
    ) -> Result<Option<OwnedEntry>, TransactionError> {
        if let Some(write) = self.keys.get(key).and_then(|touched| touched.write.as_ref()) {
            return Ok(write.entry(now).cloned());
        }
        let table = self.table.table();
        let (hash, pinned) = (table.hash(key), table.pin());
        let entry = self.snapshot.get(&pinned, hash, key, now);
        if entry.is_none() && pinned.is_away(hash, key, now) {
            return Err(TransactionError::Away { keys: vec![key.to_vec()] });
        }
        let seen = entry.map_or(Seen::Absent, |entry| Seen::Version(entry.seq()));
        let entry = entry.inspect(|entry| pinned.note_read(hash, entry, now));
        let owned = entry.map(|entry| OwnedEntry::from(&entry));
        drop(pinned);
        self.touch(key, 0)?.seen.get_or_insert(seen);
        Ok(owned)
    }

    /// Will store a value.
    ///
    /// # Errors
    /// [`TransactionError::TooLarge`], or [`TransactionError::Refused`] for a key or a value of a
    /// length that nothing can have. What was to be written to the key before still is.
    pub fn put(&mut self, key: &[u8], new: &NewEntry<'_>) -> Result<(), TransactionError> {
        check(key, new)?;
        let len = new.value[0].len() + new.value[1].len();
        self.touch(key, len)?.write = Some(Write::Put(OwnedEntry::from(new)));
        Ok(())
    }

    /// Will delete the entry of a key, if there is one.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn remove(&mut self, key: &[u8]) -> Result<(), TransactionError> {
        check(key, &NewEntry::default())?;
        self.touch(key, 0)?.write = Some(Write::Remove);
        Ok(())
    }

    /// Says who writes, for the table's observer.
    pub fn set_origin(&mut self, origin: u64) {
        self.origin = origin;
    }

    /// What it will do to each key that it writes: the entry that is put, or `None` for a removal.
    pub fn writes(&self) -> impl Iterator<Item = (&[u8], Option<&OwnedEntry>)> {
        self.keys.iter().filter_map(|(key, touched)| match touched.write.as_ref()? {
            Write::Put(entry) => Some((&**key, Some(entry))),
            Write::Remove => Some((&**key, None)),
        })
    }

    /// Bytes that it holds, of [`TRANSACTION_BYTES_MAX`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The place of a key, charged for a value of `len` bytes in the place of the one before.
    fn touch(&mut self, key: &[u8], len: usize) -> Result<&mut Touched, TransactionError> {
        let before = self.keys.get(key).map(|touched| KEY_BYTES + key.len() + touched.value_len());
        let bytes = self.bytes - before.unwrap_or(0) + KEY_BYTES + key.len() + len;
        if bytes > TRANSACTION_BYTES_MAX {
            return Err(TransactionError::TooLarge { bytes });
        }
        self.bytes = bytes;
        let hash = self.table.table().hash(key);
        let touched = self.keys.entry(key.into());
        Ok(touched.or_insert(Touched { hash, seen: None, write: None }))
    }
}

impl Touched {
    fn value_len(&self) -> usize {
        match &self.write {
            Some(Write::Put(entry)) => entry.value.len(),
            Some(Write::Remove) | None => 0,
        }
    }
}

impl Write {
    /// What a read sees of it.
    fn entry(&self, now: Timestamp) -> Option<&OwnedEntry> {
        match self {
            Write::Put(entry) => {
                Some(entry).filter(|entry| entry.deadline.is_none_or(|at| at > now))
            }
            Write::Remove => None,
        }
    }
}

impl OwnedEntry {
    /// As a write takes it; under a version of its own unless the caller chooses one.
    #[must_use]
    pub fn as_new(&self) -> NewEntry<'_> {
        NewEntry {
            value: [&self.value, b""],
            flags: self.flags,
            deadline: self.deadline,
            max_idle: self.max_idle,
            version: None,
            marks: self.marks,
        }
    }
}

impl From<&NewEntry<'_>> for OwnedEntry {
    fn from(new: &NewEntry<'_>) -> Self {
        OwnedEntry {
            value: new.value.concat().into(),
            flags: new.flags,
            deadline: new.deadline,
            max_idle: new.max_idle,
            version: new.version,
            marks: new.marks,
        }
    }
}

impl From<&Entry<'_>> for OwnedEntry {
    fn from(entry: &Entry<'_>) -> Self {
        OwnedEntry {
            value: entry.shared().unwrap_or_else(|| entry.value().into()),
            flags: entry.flags(),
            deadline: entry.deadline(),
            max_idle: entry.max_idle(),
            version: Some(entry.version()),
            marks: entry.marks(),
        }
    }
}
