//! Passivation: entries of a kept table that memory has no room for stay readable.
//!
//! An evicted entry is handed to its segment's queue, in memory; a thread writes the queues to a
//! [`Store`](crate::store::Store) in batches, and what is queued can be read at once. A copy in the
//! store is void as soon as its key is changed: then the store is told to delete it. Which keys the
//! store has is known in memory (`filter.rs`), so a miss does not ask a disk.
//!
//! **Invariants**
//! * A key is in memory, or queued, or in the store, or nowhere; whoever moves an entry puts it in
//!   its new place before he takes it out of the old one. A copy in the store beside the entry in
//!   memory is equal to it, or a deletion of it is queued.
//! * Nothing is in the store before the record of the log that it follows from is durable. So the
//!   store is never ahead of what a crash leaves of the log.
//! * A checkpoint lets the log go only when all that is queued is durable in the store, and only
//!   then the snapshot file gets its name. So of each key the truth after a crash is what the log
//!   says, else what the snapshot file has, else what the store has.
//! * What was evicted is never dropped: when the queue is full the entry stays in memory, and when
//!   memory is full writes wait ([`Error::Behind`](crate::Error::Behind)).
//!
//! | file | what it is |
//! |---|---|
//! | `filter.rs`, `kept.rs`, `part.rs` | one segment: which keys, which entries, what waits |
//! | `feed.rs`, `feeder.rs`, `meta.rs` | the way into the store, in batches, on a thread of its own |
//! | `rebuild.rs` | which keys the store has, at the start; what is removed from it in peace |
//! | `source.rs` | the way back into memory |
//! | `unread.rs` | what of a snapshot file is read while others are served already |
//! | `capture.rs` | what a snapshot file takes of all this |

mod capture;
mod feed;
mod feeder;
mod filter;
mod kept;
mod meta;
mod part;
mod rebuild;
mod source;
mod unread;

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use parking_lot::{Mutex, RwLock};

use crate::error::Error as Refused;
use crate::hash::KeyHash;
use crate::load::LoadError;
use crate::store::{CacheId, Error, Report, Store};
use crate::table::{Account, Backing, Leaving, Table};
pub(super) use capture::Capture;
use feed::{Counts, Feed};
pub(super) use feeder::Feeder;
pub use feeder::OverflowStats;
use kept::Kept;
use part::{Op, Part, Where};
pub(super) use unread::Unread;

/// Opens the store, or makes it.
pub type OpenStore = Box<dyn Fn() -> Result<(Arc<dyn Store>, Report), Error> + Send + Sync>;

/// Where entries are stored that memory has no room for.
pub struct StoreConfig {
    /// Opens it: when the first entry is to be stored, or at once where there is one.
    pub open: OpenStore,
    /// Whether there is one.
    pub exists: bool,
}

/// Share of a table's limit that may wait to be written, and its bounds.
const QUEUE_SHARE: u64 = 16;
const QUEUE_BYTES_MIN: u64 = 4 << 10;
const QUEUE_BYTES_MAX: u64 = 64 << 20;

/// What of one table is not in memory.
pub(super) struct Overflow {
    name: String,
    table: Weak<Table>,
    account: Arc<Account>,
    parts: Box<[Part]>,
    feed: Arc<Feed>,
    /// Whether anything ever was away.
    used: AtomicBool,
    generation: AtomicU64,
    /// The cache's number in the store, and of which generation.
    id: Mutex<Option<(u64, CacheId)>>,
    /// Bytes of what is known of keys, as the account knows it.
    charged: Mutex<usize>,
    /// The save that is under way.
    capture: RwLock<Option<Arc<Capture>>>,
    /// It has as much to take as it may have.
    crowded: AtomicBool,
    /// What of the snapshot file that the process began with is read later, if anything.
    unread: Mutex<Option<Arc<Unread>>>,
}

impl Overflow {
    fn new(name: &str, table: &Arc<Table>, exists: bool, feed: &Arc<Feed>) -> Overflow {
        let account = table.account();
        let parts: Box<[Part]> = (0..table.segment_count()).map(|_| Part::new(!exists)).collect();
        account.charge_structures(signed(std::mem::size_of_val::<[Part]>(&parts)));
        Overflow {
            name: name.to_owned(),
            table: Arc::downgrade(table),
            account,
            parts,
            feed: Arc::clone(feed),
            used: AtomicBool::new(exists),
            generation: AtomicU64::new(0),
            id: Mutex::new(None),
            charged: Mutex::new(0),
            capture: RwLock::new(None),
            crowded: AtomicBool::new(false),
            unread: Mutex::default(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn part(&self, hash: KeyHash) -> Option<&Part> {
        self.parts.get(hash.segment as usize)
    }

    /// Bytes that may wait to be written.
    fn queue_bytes_max(&self) -> u64 {
        (self.account.max_bytes() / QUEUE_SHARE).clamp(QUEUE_BYTES_MIN, QUEUE_BYTES_MAX)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The cache's number in the store, if it has one in this generation.
    fn id(&self, generation: u64) -> Option<CacheId> {
        self.id.lock().filter(|(of, _)| *of == generation).map(|(_, id)| id)
    }

    fn charge(&self, bytes: i64) {
        if bytes != 0 {
            self.account.charge_queued(bytes);
        }
    }

    /// Tells the account how much is known of keys.
    fn charge_filters(&self) {
        let memory = self.parts.iter().map(|part| part.with(|inner| inner.memory())).sum();
        let mut charged = self.charged.lock();
        self.account.charge_structures(signed(memory) - signed(*charged));
        *charged = memory;
    }

    /// Puts an entry aside without it ever having been in memory; waits for room.
    pub fn stash(&self, hash: KeyHash, leaving: &Leaving<'_>) -> Result<(), LoadError> {
        if !self.has_room() {
            self.feed.release();
            self.wait_room()?;
        }
        self.take(hash, leaving);
        Ok(())
    }

    /// Waits until the queue has room.
    pub fn wait_room(&self) -> Result<(), LoadError> {
        self.feed.wake();
        self.feed.wait_room(|| self.has_room())
    }

    /// Whether the queue has room, or wakes the task when it is worth asking again.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), LoadError>> {
        self.feed.wake();
        self.feed.poll_room(cx, || self.has_room())
    }

    /// Does something that adds to the table, again and again until there is room for it.
    pub fn with_room<T>(&self, work: impl Fn() -> Result<T, Refused>) -> Result<T, String> {
        loop {
            match work() {
                Err(Refused::Behind) => {
                    self.feed.release();
                    self.wait_room().map_err(|_| self.trouble())?;
                }
                Err(error) => return Err(error.to_string()),
                Ok(done) => return Ok(done),
            }
        }
    }

    /// Why the store cannot be used.
    pub fn trouble(&self) -> String {
        self.feed.trouble().unwrap_or_else(|| "it takes nothing".to_owned())
    }

    /// The save that is under way.
    fn captured(&self) -> Option<Arc<Capture>> {
        self.capture.read().clone()
    }

    fn crowd(&self, crowded: bool) {
        self.crowded.store(crowded, Ordering::Release);
    }

    /// Keys that are not in memory alone, as far as is known.
    pub fn away(&self) -> u64 {
        let (stored, waiting) = self.keys();
        stored.max(waiting)
    }

    /// Keys in the store, and keys that wait, as far as is known.
    fn keys(&self) -> (u64, u64) {
        let of = |part: &Part| part.with(|inner| (inner.filter.len(), inner.pending.len()));
        let sum = |a: (u64, u64), b: (usize, usize)| (a.0 + b.0 as u64, a.1 + b.1 as u64);
        self.parts.iter().map(of).fold((0, 0), sum)
    }
}

impl Backing for Overflow {
    fn take(&self, hash: KeyHash, entry: &Leaving<'_>) -> bool {
        let Some(part) = self.part(hash).filter(|_| self.has_room()) else { return false };
        self.used.store(true, Ordering::Release);
        let (kept, lsn) = (Arc::new(Kept::new(entry)), self.feed.position());
        self.charge(part.with(|inner| inner.queue(hash.index, entry.key, Op::Put(kept), lsn)));
        Counts::add(&self.feed.counts.passivated);
        if !self.has_room() || self.account.queued() > self.queue_bytes_max() / 2 {
            self.feed.wake();
        }
        true
    }

    fn has_room(&self) -> bool {
        self.account.queued() < self.queue_bytes_max() && !self.crowded.load(Ordering::Acquire)
    }

    fn may_hold(&self, hash: KeyHash, key: &[u8], in_memory: &mut dyn FnMut() -> bool) -> bool {
        if !self.used.load(Ordering::Acquire) {
            return false;
        }
        let Some(part) = self.part(hash) else { return false };
        // In this order, under the lock: an entry comes here before it leaves memory, so one that is
        // not here now is in memory now or nowhere.
        part.with(|inner| !matches!(inner.find(hash.index, key), Where::Nowhere) || in_memory())
    }

    fn forget(&self, hash: KeyHash, key: &[u8]) {
        let Some(part) = self.part(hash).filter(|part| part.is_used()) else { return };
        self.charge(part.with(|inner| inner.forget(hash.index, key, || self.feed.position())));
    }

    fn forget_replayed(&self, hash: KeyHash, key: &[u8]) {
        let Some(part) = self.part(hash).filter(|part| part.is_used()) else { return };
        self.charge(part.with(|inner| inner.forget_replayed(hash.index, key)));
    }

    fn left(&self, hash: KeyHash, key: &[u8]) {
        if self.feed.reading.segments() > 0
            && let Some(part) = self.part(hash)
        {
            part.with(|inner| inner.void(hash.index, key));
        }
    }

    fn forget_all(&self) {
        let generation = self.generation() + 1;
        for part in &self.parts {
            let (unread, bytes) =
                part.with(|inner| (inner.end_unread(), inner.forget_all(generation)));
            self.charge(bytes);
            self.feed.reading.done(usize::from(unread));
        }
        *self.unread.lock() = None;
        self.feed.reading.wake();
        self.generation.store(generation, Ordering::Release);
        self.feed.wake();
    }

    fn saves(&self, segment: u32) -> Option<RangeInclusive<u64>> {
        let mark = self.capture.read().as_ref()?.mark(segment)?;
        Some(mark.cleared + 1..=mark.committed)
    }

    fn save(&self, hash: KeyHash, entry: &Leaving<'_>) {
        self.captured().into_iter().for_each(|capture| capture.leaves(hash, entry));
    }

    fn came_back(&self, hash: KeyHash, key: &[u8]) {
        self.captured().into_iter().for_each(|capture| capture.came_back(hash, key));
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
