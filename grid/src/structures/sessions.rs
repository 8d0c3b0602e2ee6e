//! Web sessions that are entries of a table and nothing else: a session is one entry, and what an
//! operation does to it one write, so that it is kept and replicated as any write of a cache is.
//!
//! For each name that sessions of a segment can be found by there is one more entry, in the same
//! segment, with their ids: so to find sessions is to look into one entry of each segment. It is
//! written ahead of the session that it leads to, and whoever reads it looks whether that is so, so
//! that every prefix of the log is true.

mod found;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use isogrid_engine::persist::{KeptTable, PersistMode, Preload};
use isogrid_engine::{Cursor, Error, NewEntry, Table, Timestamp};
use parking_lot::Mutex;
use thiserror::Error;

pub use self::found::{Ended, Found};
use crate::structure::session::{Change, Kept, Record, SessionOp, SessionReply, Stored, apply};

/// Bytes of sessions that a node takes which stands alone. None is evicted to make room: that would
/// log somebody out.
pub const BYTES_MAX: u64 = 256 << 20;
/// ... that a member of a cluster takes, copies of those that others serve included.
pub const SHARED_BYTES_MAX: u64 = 1 << 30;
/// The first byte of the key of a session.
const SESSION: u8 = b's';
/// The first byte of the key of what can be found by a name.
const NAME: u8 = b'i';
/// Operations of as many segments go on at once.
const TURNS: usize = 64;

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SessionError {
    /// It cannot be kept.
    #[error(transparent)]
    Engine(#[from] Error),
    /// Too many sessions have the same name to find them by.
    #[error(
        "{limit} sessions can be found by this name in a segment already, as many as may be: names \
         are for the sessions of one user"
    )]
    Crowded {
        /// How many there may be.
        limit: usize,
    },
    /// Something else has the key.
    #[error("what is kept under the session's key is no session")]
    Unreadable,
}

/// What was done to sessions here, since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Begun.
    pub created: u64,
    /// Saves.
    pub saved: u64,
    /// Attributes that a save has overwritten though somebody else had changed them.
    pub conflicts: u64,
    /// Saves that were refused for such an attribute.
    pub refused: u64,
    /// Uses that were written.
    pub touched: u64,
    /// Destroyed.
    pub destroyed: u64,
    /// Given another id.
    pub renewed: u64,
}

/// The sessions of a table.
pub struct Sessions {
    table: Arc<Table>,
    /// Held around what is done in a segment: a session and what it can be found by change together.
    turns: Vec<Mutex<()>>,
    counts: [AtomicU64; 7],
}

/// Where a session is.
#[derive(Debug, Clone, Copy)]
struct Place<'p> {
    segment: u32,
    space: &'p str,
    id: &'p [u8],
}

/// What a session can be found by.
type Names<'a> = BTreeSet<Cow<'a, str>>;

/// A session as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown<'a> {
    /// Its id.
    pub id: &'a [u8],
    /// What it is.
    pub record: Record<'a>,
}

impl Sessions {
    /// The name under which the table is kept; no cache can have it.
    pub const TABLE: &'static str = "$sessions";

    /// Those of this table.
    #[must_use]
    pub fn new(table: Arc<Table>) -> Self {
        let turns = (0..TURNS).map(|_| Mutex::new(())).collect();
        Sessions { table, turns, counts: Default::default() }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The table, to be kept in this mode.
    #[must_use]
    pub fn kept_table(&self, mode: PersistMode) -> KeptTable {
        let (name, table) = (Self::TABLE.to_owned(), Arc::clone(&self.table));
        KeptTable { name, table, mode, preload: Preload::All }
    }

    /// What was done here.
    #[must_use]
    pub fn counts(&self) -> SessionCounts {
        let [created, saved, conflicts, refused, touched, destroyed, renewed] =
            self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        SessionCounts { created, saved, conflicts, refused, touched, destroyed, renewed }
    }

    /// In which segment the session of this id is, in a space of sessions.
    #[must_use]
    pub fn segment_of(table: &Table, space: &str, id: &[u8]) -> u32 {
        table.hash(&session_key(space, id)).segment()
    }

    /// Does an operation on one session; `say` hears what comes of it, and the version that the
    /// session has then. What is read may not be committed yet: whoever answers waits until it is
    /// (R19).
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn apply<R>(
        &self,
        now: Timestamp,
        (space, id): (&str, &[u8]),
        op: &SessionOp<'_>,
        say: impl FnOnce(&SessionReply<'_>, u64) -> R,
    ) -> Result<R, SessionError> {
        let key = session_key(space, id);
        let place = Place { segment: self.table.hash(&key).segment(), space, id };
        let _turn = self.turn(place.segment);
        let pinned = self.table.pin();
        let entry = pinned.entry(self.table.hash(&key), &key, now);
        let before = entry.ok_or(Error::KeyLength { len: key.len() })?.get();
        let there = match before {
            None => None,
            Some(entry) => Some(
                Stored::decode(entry.value(), entry.version(), entry.flags())
                    .ok_or(SessionError::Unreadable)?,
            ),
        };
        let had = there.as_ref().map(Stored::index).unwrap_or_default();
        let (reply, change) = apply(now, op, there);
        let version = before.map_or(0, |entry| entry.version());
        let version = match change {
            Change::Keep => version,
            Change::Touch(record) => {
                let value = before.map_or(&b""[..], |entry| entry.value());
                self.touch(now, place, (&key, value), record)?;
                version
            }
            Change::Put(stored) => self.put(now, place, &key, (&stored, &had))?,
        };
        self.count(op, &reply);
        Ok(say(&reply, version))
    }

    /// Writes that a session was used.
    fn touch(
        &self,
        now: Timestamp,
        place: Place<'_>,
        (key, value): (&[u8], &[u8]),
        record: Record<'_>,
    ) -> Result<(), SessionError> {
        let (flags, deadline) = (record.flags(), record.expires());
        let stored = Stored::Live(record);
        self.lead(now, place, (&stored, &stored.index()))?;
        let new = NewEntry { value: [value, b""], flags, deadline, ..NewEntry::default() };
        let pinned = self.table.pin();
        let entry = pinned.entry(self.table.hash(key), key, now);
        Ok(entry.ok_or(Error::KeyLength { len: key.len() })?.rewrite(&new)?)
    }

    /// Writes what is under an id now, and what leads to it, which it had other names for before; its
    /// version.
    fn put(
        &self,
        now: Timestamp,
        place: Place<'_>,
        key: &[u8],
        (stored, had): (&Stored<'_>, &Names<'_>),
    ) -> Result<u64, SessionError> {
        self.lead(now, place, (stored, had))?;
        let Kept { value, flags, deadline } = stored.encode();
        let new = NewEntry { value: [&value, b""], flags, deadline, ..NewEntry::default() };
        let pinned = self.table.pin();
        let entry = pinned.entry(self.table.hash(key), key, now);
        let version = entry.ok_or(Error::KeyLength { len: key.len() })?.put(&new)?;
        for name in had.difference(&stored.index()) {
            // Whoever finds it there looks whether it is so.
            let _ = self.lead_away(now, place, name);
        }
        Ok(version)
    }

    /// How many sessions of a space there are in a segment, of those that are committed.
    #[must_use]
    pub fn count_in(&self, now: Timestamp, segment: u32, space: &str) -> u64 {
        let mut count = 0;
        let mut at = Some(0);
        while let Some(from) = at {
            at = self.page(now, (segment, from), space, usize::MAX, |_| count += 1);
        }
        count
    }

    /// Shows sessions of a space in a segment, of those that are committed, from a place on, until
    /// there are so many; the place to go on from, `None` at its end.
    pub fn page(
        &self,
        now: Timestamp,
        (segment, from): (u32, u64),
        space: &str,
        most: usize,
        mut show: impl FnMut(Shown<'_>),
    ) -> Option<u64> {
        let front = session_key(space, b"");
        let mut count = 0;
        let cursor = Cursor::at(segment as usize, from);
        let next = self.table.scan_step(None, cursor, now, |entry| {
            let Some(id) = entry.key().strip_prefix(&*front) else { return true };
            let stored = Stored::decode(entry.value(), entry.version(), entry.flags());
            if let Some(Stored::Live(record)) = stored {
                count += 1;
                show(Shown { id, record });
            }
            count < most
        });
        next.map(|next| next.position())
    }

    fn turn(&self, segment: u32) -> Option<parking_lot::MutexGuard<'_, ()>> {
        self.turns.get(segment as usize % TURNS).map(Mutex::lock)
    }

    fn count(&self, op: &SessionOp<'_>, reply: &SessionReply<'_>) {
        use SessionReply::{Created, Differs, Done, Saved, Touched};
        let (at, by) = match (op, reply) {
            (_, Created) => (0, 1),
            (_, Saved { conflicts }) => {
                self.add(2, conflicts.len() as u64);
                (1, 1)
            }
            (_, Differs { .. }) => (3, 1),
            (_, Touched(_)) => (4, 1),
            (SessionOp::Destroy, Done) => (5, 1),
            (SessionOp::Retire { .. }, Done) => (6, 1),
            _ => return,
        };
        self.add(at, by);
    }

    fn add(&self, at: usize, by: u64) {
        self.counts.get(at).map(|count| count.fetch_add(by, Ordering::Relaxed));
    }
}

/// The key of a session: the space's name and its length are in front of the id.
fn session_key(space: &str, id: &[u8]) -> Vec<u8> {
    let len = u8::try_from(space.len()).unwrap_or(u8::MAX);
    [&[SESSION, len], space.as_bytes(), id].concat()
}

#[cfg(test)]
mod tests;
