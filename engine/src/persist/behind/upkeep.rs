//! What the writer does beside writing changes, a bounded amount at a time: entries of caches that
//! were cleared or given up go, and a store that lost entries gets them back from memory.

use super::feed::entry_stored;
use super::writer::{Slot, Writer};
use crate::env::Timestamp;
use crate::store::{BATCH_BYTES_DEFAULT, Batch, CacheId, Damage, Error, Scan};

/// Entries in one step.
const STEP_ENTRIES: usize = 500;

impl Writer {
    pub(super) fn has_upkeep(&self) -> bool {
        self.next_old().is_some() || self.slots.iter().any(|slot| slot.refill.is_some())
    }

    /// One step of each kind that there is to do.
    pub(super) fn upkeep(&mut self, now: Timestamp) -> Result<(), Error> {
        for at in 0..self.slots.len() {
            self.refill(at, now)?;
        }
        self.next_old().map_or(Ok(()), |old| self.sweep(old))
    }

    /// A number that is to be swept: none that a save reads.
    fn next_old(&self) -> Option<CacheId> {
        self.catalog.old.iter().copied().find(|old| !self.status().captures.read(*old))
    }

    /// Removes entries of a cache that nobody finds any more; the last step forgets its number.
    fn sweep(&mut self, old: CacheId) -> Result<(), Error> {
        let scan = Scan { entries_max: STEP_ENTRIES, ..Scan::all(old) };
        let page = self.store.scan(&scan)?;
        let mut batch = self.batch();
        for entry in &page.entries {
            match entry {
                Ok((key, _)) | Err(Damage::Entry { key, .. }) => batch.delete(old, key)?,
                Err(Damage::File { .. }) => {}
            }
        }
        if page.next.is_none() {
            // With what is damaged beyond knowing its key.
            self.store.clear(old)?;
            self.catalog.removed(old, &mut batch)?;
        }
        self.store.commit(&batch)?;
        if page.next.is_none() { self.store.checkpoint().map(drop) } else { Ok(()) }
    }

    /// Writes some entries of a table as they are now. What waits is left out: it is newer.
    fn refill(&mut self, at: usize, now: Timestamp) -> Result<(), Error> {
        let Some(Slot { feed, home: Some(home), refill: Some(from) }) = self.slots.get(at) else {
            return Ok(());
        };
        let (feed, cache, mut found) = (std::sync::Arc::clone(feed), home.id, Vec::new());
        let Some(table) = feed.table.upgrade() else { return Ok(()) };
        let next = table.scan(*from, STEP_ENTRIES, now, |entry| {
            if feed.lock().dirty.get(entry.key()).is_none() {
                found.push((entry.key().to_vec(), entry_stored(&entry, now)));
            }
        });
        let mut batch = Batch::new(BATCH_BYTES_DEFAULT);
        for (key, stored) in found {
            if !batch.has_room(key.len(), stored.value.len()) {
                self.put(&mut batch)?;
            }
            batch.put(cache, &key, stored)?;
        }
        self.put(&mut batch)?;
        if next.is_none() {
            self.store.checkpoint()?;
            feed.lock().refilling = false;
        }
        self.slots.get_mut(at).into_iter().for_each(|slot| slot.refill = next);
        Ok(())
    }

    fn put(&mut self, batch: &mut Batch) -> Result<(), Error> {
        batch.advance(self.batch().position());
        self.store.commit(batch)?;
        batch.clear();
        Ok(())
    }
}
