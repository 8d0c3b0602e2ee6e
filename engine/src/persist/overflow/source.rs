//! The way back into memory.

use super::part::Inner;
use super::{Counts, Kept, Op, Overflow, Where};
use crate::error::Error;
use crate::hash::KeyHash;
use crate::load::{LoadError, Source};
use crate::store::{Error as StoreError, Stored};
use crate::table::{Back, Backing, Table};

/// How often a key that is changed while it is read is looked at again before others have their
/// turn; who waits asks once more.
const TRIES: usize = 4;

/// What a try came to.
enum Tried {
    Done,
    Again,
}

impl Source for Overflow {
    fn load(&self, key: &[u8]) -> Result<(), LoadError> {
        let Some(table) = self.table.upgrade() else { return Err(LoadError::Failed) };
        let hash = table.hash(key);
        for _ in 0..TRIES {
            if let Tried::Done = self.try_load(&table, hash, key)? {
                break;
            }
        }
        Ok(())
    }
}

impl Overflow {
    fn try_load(&self, table: &Table, hash: KeyHash, key: &[u8]) -> Result<Tried, LoadError> {
        let Some(part) = self.part(hash) else { return Ok(Tried::Done) };
        let (found, generation, ticket) = part.with(|inner| match inner.find(hash.index, key) {
            Where::Store => (Where::Store, inner.generation, inner.begin_read(hash.index)),
            found => (found, inner.generation, 0),
        });
        match found {
            Where::Nowhere => Ok(Tried::Done),
            Where::Waiting(kept, ticket) => {
                let waits = |inner: &Inner| inner.waits(key, ticket);
                self.bring(table, hash, key, &kept, &waits)
            }
            Where::Unread => self.read_segment(table, hash.segment).map(|()| Tried::Again),
            Where::Store => {
                let tried = self.try_read(table, hash, key, generation, ticket);
                part.with(|inner| inner.end_read(ticket));
                tried
            }
        }
    }

    fn try_read(
        &self,
        table: &Table,
        hash: KeyHash,
        key: &[u8],
        generation: u64,
        ticket: u64,
    ) -> Result<Tried, LoadError> {
        let Some(store) = self.feed.store()? else { return Ok(Tried::Done) };
        let Some(id) = self.id(generation) else { return Ok(Tried::Done) };
        let valid = |inner: &Inner| inner.is_read_valid(key, ticket);
        let Some(kept) = self.read(store.get(id, key))? else {
            // It only seemed to be there, or nobody knew. Who waits shall find nothing, and not ask
            // again: a deletion that waits says so, and is none when its turn comes.
            self.queue_delete(hash, key, &valid);
            return Ok(Tried::Done);
        };
        self.bring(table, hash, key, &kept, &valid)
    }

    /// What a store said.
    fn read(&self, got: Result<Option<Stored>, StoreError>) -> Result<Option<Kept>, LoadError> {
        let counts = &self.feed.counts;
        match got {
            Ok(None) => Ok(None),
            Ok(Some(stored)) => Kept::from_stored(stored).map(Some).ok_or_else(|| {
                Counts::add(&counts.damaged);
                LoadError::Damaged
            }),
            Err(StoreError::Damaged(_)) => {
                Counts::add(&counts.damaged);
                Err(LoadError::Damaged)
            }
            Err(_) => {
                Counts::add(&counts.failures);
                Err(LoadError::Failed)
            }
        }
    }

    /// Brings an entry into memory if it is still what the key holds; `valid` is asked under the
    /// locks of the segment and of its part.
    fn bring(
        &self,
        table: &Table,
        hash: KeyHash,
        key: &[u8],
        kept: &Kept,
        valid: &dyn Fn(&Inner) -> bool,
    ) -> Result<Tried, LoadError> {
        let Some(part) = self.part(hash) else { return Ok(Tried::Done) };
        let saved = kept.saved(key, self.feed.opened);
        let is_valid = &mut || part.with(|inner| valid(inner));
        match table.bring_back(&saved, self.feed.now(), true, is_valid) {
            Ok(Back::Stored) => {
                Counts::add(&self.feed.counts.loaded);
                Ok(Tried::Done)
            }
            Ok(Back::There) => Ok(Tried::Done),
            // Who waits sees it, or what it did not replace after all.
            Ok(Back::Unpublished) => {
                self.feed.wait_durable(self.feed.position());
                Ok(Tried::Again)
            }
            Ok(Back::Void) => Ok(Tried::Again),
            Ok(Back::Expired) => {
                self.drop_expired(hash, key, valid);
                Ok(Tried::Done)
            }
            Err(Error::Behind) => {
                self.feed.wake();
                self.feed.wait_room(|| self.has_room())?;
                Ok(Tried::Again)
            }
            Err(_) => Err(LoadError::NoRoom),
        }
    }

    /// Removes an entry whose time is over, if it is still what the key holds.
    pub(super) fn drop_expired(&self, hash: KeyHash, key: &[u8], valid: &dyn Fn(&Inner) -> bool) {
        if self.queue_delete(hash, key, valid) {
            Counts::add(&self.feed.counts.expired);
        }
    }

    fn queue_delete(&self, hash: KeyHash, key: &[u8], valid: &dyn Fn(&Inner) -> bool) -> bool {
        let (Some(part), lsn) = (self.part(hash), self.feed.position()) else { return false };
        let queue =
            |inner: &mut Inner| valid(inner).then(|| inner.queue(hash.index, key, Op::Delete, lsn));
        let queued = part.with(queue);
        self.charge(queued.unwrap_or(0));
        queued.is_some()
    }
}
