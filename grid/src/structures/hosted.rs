//! The leases, locks and semaphores of a cluster, at the member that serves them: one state machine,
//! whose parts are entries of a table of which other members have copies. Whoever takes over makes
//! the state machine anew of the entries.
//!
//! All parts are in one segment, so they have one log and one order: what a lease held is given to
//! the next holder behind, and never ahead of, what came before it.

use std::collections::BTreeMap;

use isogrid_engine::{Cursor, Error, NewEntry, Table, Timestamp};

use super::NotKept;
use crate::id::Epoch;
use crate::structure::Structure;
use crate::structure::lock::{LockOp, LockReply, Locks, Wake};

/// The segment of all parts.
pub const SEGMENT: u32 = 0;
/// Bits of a number that are counted; the epoch is in front of them.
const COUNTED_BITS: u32 = 40;

/// The locks of a cluster, where they are served. `now` is of a clock that only this process has;
/// `wall` is the table's.
pub struct Hosted {
    locks: Locks,
}

impl Hosted {
    /// What the committed entries say; nothing else may be on its way to being committed. Numbers are
    /// above all that were given out in epochs before this one, and not below `next`, which this
    /// process gave out last in it.
    #[must_use]
    pub fn load(
        table: &Table,
        epoch: Epoch,
        next: u64,
        (now, wall): (Timestamp, Timestamp),
    ) -> Self {
        let mut parts = BTreeMap::new();
        let mut cursor = Some(Cursor::at(SEGMENT as usize, 0));
        while let Some(from) = cursor.filter(|at| at.segment() == SEGMENT as usize) {
            cursor = table.scan_step(None, from, wall, |entry| {
                if let Some(name) = name_of(entry.key()) {
                    parts.insert(name.to_vec(), entry.value().to_vec());
                }
                true
            });
        }
        let first = u64::from(epoch.0) << COUNTED_BITS;
        let numbers = (first.max(next), first + (1 << COUNTED_BITS));
        let all = parts.iter().map(|(name, bytes)| (&**name, &**bytes));
        Hosted { locks: Locks::of_parts(all, now, numbers) }
    }

    /// Does an operation under a name and prepares what it changes; 0 is no name. Whoever answers
    /// waits until all of that is committed.
    ///
    /// # Errors
    /// Not all that has changed could be prepared: this is not what the entries say any more, and is
    /// to be loaded anew.
    pub fn apply(
        &mut self,
        table: &Table,
        (now, wall): (Timestamp, Timestamp),
        (asked, op): (u128, LockOp<'_>),
        out: &mut Vec<Wake>,
    ) -> Result<LockReply, NotKept> {
        let reply = self.locks.apply_as(asked, now, op, out);
        self.keep(table, wall).map(|()| reply)
    }

    /// Ends what is due by time.
    ///
    /// # Errors
    /// As [`Hosted::apply`].
    pub fn advance(
        &mut self,
        table: &Table,
        (now, wall): (Timestamp, Timestamp),
        out: &mut Vec<Wake>,
    ) -> Result<(), NotKept> {
        self.locks.advance(now, out);
        self.keep(table, wall)
    }

    /// The state, to look at.
    #[must_use]
    pub fn locks(&self) -> &Locks {
        &self.locks
    }

    /// When something is due by time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.locks.next_deadline()
    }

    /// The number that is given out next.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.locks.next_number()
    }

    fn keep(&mut self, table: &Table, wall: Timestamp) -> Result<(), NotKept> {
        for (done, part) in self.locks.take_changed().iter().enumerate() {
            let bytes = self.locks.part(part);
            put(table, &part.name(), bytes.as_deref(), wall)
                .map_err(|why| NotKept { why, done })?;
        }
        Ok(())
    }
}

fn put(table: &Table, name: &[u8], bytes: Option<&[u8]>, wall: Timestamp) -> Result<(), Error> {
    let (key, pinned) = (key_of(table, name), table.pin());
    let entry = pinned.entry(table.hash(&key), &key, wall);
    let mut entry = entry.ok_or(Error::KeyLength { len: key.len() })?;
    match bytes {
        Some(bytes) => {
            entry.put(&NewEntry { value: [bytes, b""], ..NewEntry::default() })?;
        }
        None => drop(entry.remove()?),
    }
    Ok(())
}

/// The key of a part: behind its name the first number with which it is in the segment of all parts.
fn key_of(table: &Table, name: &[u8]) -> Vec<u8> {
    let mut key = [name, &[0; 2]].concat();
    for salt in 0..=u16::MAX {
        if let Some(place) = key.last_chunk_mut::<2>() {
            *place = salt.to_le_bytes();
        }
        if table.hash(&key).segment() == SEGMENT {
            break;
        }
    }
    key
}

fn name_of(key: &[u8]) -> Option<&[u8]> {
    key.split_last_chunk::<2>().map(|(name, _)| name)
}

#[cfg(test)]
mod tests;
