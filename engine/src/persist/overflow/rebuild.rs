//! Which keys the store has, found out at the start; and what is removed from it in peace: entries
//! whose time is over, and those of caches that were cleared or are gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Overflow;
use super::feed::Feed;
use super::feeder::Worker;
use super::kept::Kept;
use super::part::Inner;
use crate::store::{Batch, CacheId, Damage, Error, Scan, ScanCursor, Store};

/// Entries of a page that is swept, and how often one is, ms: a million entries are looked at
/// within four hours, at the cost of some 20 us each.
const SWEEP_ENTRIES: usize = 256;
const SWEEP_EVERY_MS: u64 = 4_000;
/// Entries of a dead cache that are removed at once.
const BURIED_ENTRIES: usize = 1_000;

/// Finds out which keys of a cache are in the store. Nothing is written meanwhile.
pub(super) struct Rebuild {
    overflow: Arc<Overflow>,
    id: CacheId,
    cursor: Option<ScanCursor>,
}

impl Rebuild {
    pub fn new(overflow: &Arc<Overflow>, id: CacheId) -> Rebuild {
        Rebuild { overflow: Arc::clone(overflow), id, cursor: None }
    }

    /// Whether it is of this table.
    pub fn is_of(&self, overflow: &Arc<Overflow>) -> bool {
        Arc::ptr_eq(&self.overflow, overflow)
    }

    /// There is nothing in the store.
    pub fn nothing(overflow: &Overflow) {
        overflow.parts.iter().for_each(|part| part.with(|inner| inner.known = true));
    }

    /// One page; whether it was the last.
    pub fn page(&mut self, store: &dyn Store, feed: &Feed) -> Result<bool, Error> {
        let page = store.scan(&Scan::all(self.id).after(self.cursor.as_ref()))?;
        for entry in page.entries {
            match entry {
                Ok((key, stored)) => self.note(&key, Kept::from_stored(stored), feed),
                // The key is there: whoever asks for it is told.
                Err(Damage::Entry { key, .. }) => self.note(&key, None, feed),
                Err(damage) => return Err(Error::Damaged(damage)),
            }
        }
        self.cursor = page.next;
        if self.cursor.is_none() {
            let known = |inner: &mut Inner| inner.known = true;
            self.overflow.parts.iter().for_each(|part| part.with(known));
            self.overflow.charge_filters();
        }
        Ok(self.cursor.is_none())
    }

    /// A key is in the store. What memory has of it is as new, or newer.
    fn note(&self, key: &[u8], kept: Option<Kept>, feed: &Feed) {
        let Some(table) = self.overflow.table.upgrade() else { return };
        let hash = table.hash(key);
        let Some(part) = self.overflow.part(hash) else { return };
        let cleared = part.with(|inner| {
            if !inner.known {
                inner.filter.insert(hash.index);
            }
            inner.known
        });
        let Some(kept) = kept.filter(|_| !cleared) else { return };
        let saved = kept.saved(key, feed.opened);
        let lsn = feed.position();
        let mut judge = |compared| {
            let judge = |inner: &mut Inner| inner.judge(hash.index, key, compared, lsn);
            let (stays, bytes) = part.with(judge);
            self.overflow.charge(bytes);
            stays
        };
        table.compare(&saved, feed.now(), &mut judge);
    }
}

/// Where the sweep is.
#[derive(Default)]
pub(super) struct Sweep {
    cache: usize,
    cursor: Option<ScanCursor>,
    next_at: u64,
}

impl Sweep {
    /// A little of what is to be removed in peace.
    pub fn step(&mut self, worker: &mut Worker, store: &dyn Store) -> Result<(), Error> {
        // What is dead now may have been alive at the moment that a save is of.
        if worker.feed.captures.load(Ordering::Acquire) > 0 {
            return Ok(());
        }
        if let Some(dead) = worker.meta.dead.first().copied() {
            return bury(worker, store, dead);
        }
        let now = worker.feed.now();
        if now < self.next_at {
            return Ok(());
        }
        self.next_at = now + SWEEP_EVERY_MS;
        let Some(cache) = worker.caches.get(self.cache) else {
            self.cache = 0;
            return Ok(());
        };
        let overflow = Arc::clone(&cache.overflow);
        // What the store has of a key that is still to be read may be older in its last access.
        let reads = worker.feed.reading.segments() > 0;
        let of_now = |_: &CacheId| !reads && cache.generation == overflow.generation();
        let Some(id) = cache.id.filter(of_now) else {
            self.cache += 1;
            return Ok(());
        };
        let scan = Scan { entries_max: SWEEP_ENTRIES, ..Scan::all(id) };
        let page = store.scan(&scan.after(self.cursor.as_ref()))?;
        for (key, stored) in page.entries.into_iter().flatten() {
            let Some(kept) = Kept::from_stored(stored) else { continue };
            drop_if_expired(&overflow, &key, &kept, &worker.feed);
        }
        self.cursor = page.next;
        self.cache += usize::from(self.cursor.is_none());
        let bytes = store.size_on_disk().unwrap_or(0);
        worker.feed.counts.store_bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// The thread that sweeps is the one that writes: what it read is what the store has, unless
/// something else waits to be written.
fn drop_if_expired(overflow: &Overflow, key: &[u8], kept: &Kept, feed: &Feed) {
    let Some(table) = overflow.table.upgrade() else { return };
    let hash = table.hash(key);
    let saved = kept.saved(key, feed.opened);
    if saved.is_expired(feed.now()) {
        overflow.drop_expired(hash, key, &|inner: &Inner| inner.is_quiet(hash.index, key));
    }
}

/// Removes some of what stands under a dead number.
fn bury(worker: &mut Worker, store: &dyn Store, id: CacheId) -> Result<(), Error> {
    let page = store.scan(&Scan { entries_max: BURIED_ENTRIES, ..Scan::all(id) })?;
    let mut batch = Batch::default();
    for (key, _) in page.entries.into_iter().flatten() {
        batch.delete(id, &key)?;
    }
    if batch.is_empty() {
        // What is damaged, or was left by a crash.
        store.clear(id)?;
        worker.meta.gone(id, &mut batch)?;
    }
    worker.commit(store, &mut batch, 0, false)?;
    Ok(())
}
