//! A table: segments of versioned entries. Readers [`pin`](Table::pin) once for a batch and then
//! read without a lock; writers take the lock of one segment at a time.

mod account;
mod away;
mod bag;
mod copy;
mod defragment;
mod entry;
mod epochs;
mod index;
mod journal;
mod observer;
mod restore;
mod segment;
mod slots;
mod snapshot;
mod transaction;
mod version;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

pub(crate) use account::Account;
pub(crate) use away::Compared;
pub use away::{Back, Backing, Leaving};
pub use copy::{ChunkError, SegmentCopy, decode_change, each_change, encode_change, removals};
use sha2::{Digest, Sha256};

pub use defragment::Pass;
pub use entry::{Entry, EntryMut, Hint, NewEntry, Pinned, Prepared};
pub use journal::{Change, Journal, Unrecorded};
pub use observer::{Event, EventKind, Observer};
pub use restore::{Restored, Saved};
pub(crate) use snapshot::Watermark;
pub use snapshot::{Cursor, Snapshot};
pub use transaction::{
    Committed, Isolation, IsolationChoice, Joint, OwnedEntry, Refused, TRANSACTION_BYTES_MAX,
    Transaction, TransactionError,
};
pub(crate) use version::SEQ_BITS;
pub use version::{Marks, SHARED_VALUE_LEN_MIN};

use crate::config::TableConfig;
use crate::env::{Timestamp, split_mix};
use crate::error::{ConfigError, Error};
use crate::eviction::PolicyKind;
use crate::hash::{Hasher, KeyHash};
use crate::memory::Allocator;
use crate::metrics::MetricsSnapshot;
use observer::Told;
use segment::{Locked, Segment};
use snapshot::Snapshots;

/// Longest key in bytes.
pub const KEY_LEN_MAX: usize = 0xffff;
/// Longest value in bytes.
pub const VALUE_LEN_MAX: usize = 1 << 30;

/// What all segments of a table share.
pub(crate) struct Shared {
    hasher: Hasher,
    allocator: Allocator,
    account: Arc<Account>,
    snapshots: Snapshots,
    /// The policy of each region; region 0 is everything without a prefix of its own.
    policies: Vec<PolicyKind>,
    /// Prefixes of the regions from 1 on, longest first.
    prefixes: Vec<(Vec<u8>, u8)>,
    epoch: u64,
    life: u128,
    /// Where changes are recorded, if they are to be there after a restart.
    journal: OnceLock<Arc<dyn Journal>>,
    /// Who is told of changes, while `observed`. That is read under a segment's lock.
    observer: OnceLock<Arc<dyn Observer>>,
    observed: AtomicBool,
    /// Where entries go that are evicted, if they are to be kept.
    backing: OnceLock<Arc<dyn Backing>>,
    /// How many segments there are.
    segments: u64,
    /// When the table was made: access words count seconds from here.
    origin: Timestamp,
    /// Garbage that a segment keeps before it bothers the collector.
    bag_bytes_max: usize,
    /// Garbage beyond which writers help the collector.
    retired_bytes_max: u64,
    /// Segments are copies among several, with epochs of their own.
    copied: AtomicBool,
    /// Set once something is half full: before that nobody will be evicted soon, and policies are
    /// spared the reads (as Caffeine does).
    pressure: AtomicBool,
}

impl Shared {
    fn region_of(&self, key: &[u8]) -> u8 {
        let region = self.prefixes.iter().find(|(prefix, _)| key.starts_with(prefix));
        region.map_or(0, |(_, region)| *region)
    }

    fn evicts(&self, region: u8) -> bool {
        self.policies.get(usize::from(region)).is_some_and(|kind| *kind != PolicyKind::None)
    }

    /// Whether policies are to hear of reads.
    #[inline]
    fn under_pressure(&self) -> bool {
        self.pressure.load(Ordering::Relaxed)
    }

    #[inline]
    fn is_observed(&self) -> bool {
        self.observed.load(Ordering::Relaxed)
    }

    #[cold]
    fn tell(&self, events: &[Event<'_>]) {
        if let Some(observer) = self.observer.get() {
            observer.tell(events);
        }
    }

    fn watch_pressure(&self, region: u8) {
        if !self.under_pressure() && self.account.is_half_full(region) {
            self.pressure.store(true, Ordering::Relaxed);
        }
    }

    #[inline]
    fn seconds(&self, now: Timestamp) -> u32 {
        u32::try_from(now.saturating_sub(self.origin) / 1000).unwrap_or(u32::MAX)
    }
}

/// A map from keys to versioned, expiring, evictable entries.
pub struct Table {
    segments: Box<[Segment]>,
    shared: Shared,
    /// Which segment gives way next when the one that was written to has nothing to give.
    relief: AtomicUsize,
}

/// Bytes and entries of a table at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Entries, those that are expired or cleared but not removed yet included.
    pub entries: u64,
    /// Bytes of everything the table holds, garbage and what waits to be written included.
    pub bytes: u64,
    /// Bytes of garbage that readers may still look at.
    pub retired_bytes: u64,
    /// The limit in bytes.
    pub max_bytes: u64,
}

impl Table {
    /// An empty table.
    ///
    /// # Errors
    /// When the configuration does not [`validate`](TableConfig::validate).
    pub fn new(config: &TableConfig, now: Timestamp) -> Result<Table, ConfigError> {
        config.validate()?;
        let mut seed = config.seed;
        let count = config.segment_count();
        let shared = Shared::new(config, count, split_mix(&mut seed), now);
        let segments = (0..count as usize)
            .map(|number| Segment::new(&shared, number, split_mix(&mut seed)))
            .collect();
        let table = Table { segments, shared, relief: AtomicUsize::new(0) };
        table.charge_fixed();
        Ok(table)
    }

    /// Charges what an empty table costs.
    fn charge_fixed(&self) {
        let fixed = std::mem::size_of_val::<[Segment]>(&self.segments);
        self.shared.account.charge_structures(i64::try_from(fixed).unwrap_or(i64::MAX));
        for segment in &self.segments {
            segment.lock(&self.shared, self.shared.origin).work();
        }
    }

    /// The hashes of a key, to be computed once for a request.
    #[must_use]
    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        self.shared.hasher.hash(key)
    }

    /// Begins a batch of reads and writes. What was read stays valid as long as the result lives;
    /// memory that is overwritten meanwhile cannot be freed, so it must not live long.
    #[must_use]
    #[inline]
    pub fn pin(&self) -> Pinned<'_> {
        Pinned::new(self)
    }

    /// Hides everything that is stored now. The work does not depend on how much that is: the
    /// memory is given back by [`Table::maintain`].
    ///
    /// # Errors
    /// [`Error::Unrecorded`]; nothing was cleared.
    pub fn clear(&self, now: Timestamp) -> Result<(), Error> {
        let _gate = self.shared.snapshots.gate();
        let Some(journal) = self.shared.journal.get() else {
            self.segments.iter().for_each(|segment| segment.lock(&self.shared, now).clear());
            return Ok(());
        };
        // One record stands for all segments, so no change may come between them.
        let mut all: Vec<_> = self.segments.iter().map(|s| s.lock(&self.shared, now)).collect();
        journal.record(&Change::Clear)?;
        all.iter_mut().for_each(Locked::clear);
        if let Some(backing) = self.shared.backing.get() {
            backing.forget_all();
        }
        Ok(())
    }

    /// From now on changes are recorded in `journal`. Only the first call counts.
    pub fn set_journal(&self, journal: Arc<dyn Journal>) {
        let _ = self.shared.journal.set(journal);
    }

    /// Who is to be told of changes, from [`Table::observe`] on. Only the first call counts.
    pub fn set_observer(&self, observer: Arc<dyn Observer>) {
        let _ = self.shared.observer.set(observer);
    }

    /// Begins or ends to tell the observer. When it has returned, every change that readers do
    /// not see yet will be told.
    pub fn observe(&self, on: bool) {
        self.shared.observed.store(on, Ordering::Relaxed);
        // Whoever holds a lock may have looked before, and publish after this.
        self.segments.iter().for_each(|segment| drop(segment.lock(&self.shared, 0)));
    }

    /// The number of the last event of a segment. Events are numbered one by one, whether they
    /// are told to anybody or not: when the number is the same nothing has changed.
    #[must_use]
    pub fn told(&self, segment: usize) -> u64 {
        self.segments.get(segment).map_or(0, |segment| segment.told.load(Ordering::Acquire))
    }

    /// Makes the writes visible that wait for records of the journal up to this one.
    pub fn publish_upto(&self, record: u64, now: Timestamp) {
        let _gate = self.shared.snapshots.gate();
        self.publish_waiting(record, now);
    }

    fn publish_waiting(&self, record: u64, now: Timestamp) {
        let waiting = self.segments.iter().filter(|segment| segment.waits_for(record));
        self.publish_each(waiting, now, |locked, told| locked.publish_upto(record, told));
    }

    fn waits_for(&self, record: u64) -> bool {
        self.segments.iter().any(|segment| segment.waits_for(record))
    }

    /// Its place in the one order in which the gates and locks of several tables are taken.
    fn rank(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Publishes in several segments, in ascending order. For an observer it holds all their
    /// locks at once: what becomes visible together is told together.
    fn publish_each<'s>(
        &'s self,
        segments: impl Iterator<Item = &'s Segment>,
        now: Timestamp,
        mut publish: impl FnMut(&mut Locked<'s>, &mut Told<'s>),
    ) {
        let (mut told, mut held) = (Told::default(), Vec::new());
        let together = self.shared.is_observed();
        for segment in segments {
            let mut locked = segment.lock(&self.shared, now);
            publish(&mut locked, &mut told);
            if together {
                held.push(locked);
            } else {
                // Somebody may have begun to observe since.
                told.tell(&self.shared);
            }
        }
        told.tell(&self.shared);
    }

    /// Takes back the writes that wait for records of the journal from this one on.
    pub fn abort_from(&self, record: u64, now: Timestamp) {
        for segment in &self.segments {
            segment.lock(&self.shared, now).abort_from(record);
        }
    }

    /// Makes prepared writes visible, over several segments all at once for snapshots.
    pub fn publish(&self, prepared: &[Prepared], now: Timestamp) {
        let _gate = self.shared.snapshots.gate();
        let mut numbers: Vec<_> = prepared.iter().map(|write| write.segment).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let segments = numbers.iter().filter_map(|number| self.segments.get(*number as usize));
        self.publish_each(segments, now, |locked, told| {
            let number = locked.number();
            let own = prepared.iter().filter(|write| write.segment == number);
            own.for_each(|write| locked.publish(write.seq, told));
        });
    }

    /// Takes prepared writes back, and whatever was prepared in their segments after them.
    pub fn abort(&self, prepared: &[Prepared], now: Timestamp) {
        for write in prepared {
            if let Some(segment) = self.segments.get(write.segment as usize) {
                segment.lock(&self.shared, now).abort(write.seq);
            }
        }
    }

    /// Does background work that is due: expiry, freeing what was cleared or retired. At most
    /// about `budget` entries in each segment; whether there is more to do at once.
    pub fn maintain(&self, now: Timestamp, budget: usize) -> bool {
        let garbage = self.shared.account.retired() > 0;
        let mut more = false;
        for segment in self.segments.iter().filter(|segment| garbage || segment.due() <= now) {
            let Some(mut locked) = segment.try_lock(&self.shared, now) else { continue };
            more |= locked.expire(budget) | locked.sweep() | locked.work();
            locked.flush_garbage();
        }
        if garbage {
            crossbeam_epoch::pin().flush();
        }
        self.relieve(self.shared.account.leaving(), now);
        more
    }

    /// Evicts from other segments when the one that was written to could not give enough, in
    /// which case the caller may hold its lock. `leaving` bytes count as held.
    fn relieve(&self, leaving: u64, now: Timestamp) {
        let mut idle = 0;
        while self.shared.account.is_over(leaving, 0) && idle < self.segments.len() {
            let at = self.relief.fetch_add(1, Ordering::Relaxed) % self.segments.len();
            let segment = self.segments.get(at).and_then(|s| s.try_lock(&self.shared, now));
            let helped = segment.is_some_and(|mut locked| locked.help_evict());
            idle = if helped { 0 } else { idle + 1 };
        }
    }

    /// Bytes and entries now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let account = &self.shared.account;
        let retired_bytes = account.retired();
        Usage {
            entries: account.entries(),
            bytes: account.live() + retired_bytes + account.queued(),
            retired_bytes,
            max_bytes: account.max_bytes(),
        }
    }

    /// Bytes and entries of a region, by its place in the configuration.
    #[must_use]
    pub fn region_usage(&self, region: usize) -> (u64, u64) {
        let region = u8::try_from(region + 1).unwrap_or(u8::MAX);
        self.shared.account.region(region)
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> MetricsSnapshot {
        let all = self.segments.iter().map(|segment| segment.metrics.snapshot());
        all.fold(MetricsSnapshot::default(), MetricsSnapshot::plus)
    }

    /// Sets the counters to zero.
    pub fn reset_metrics(&self) {
        for segment in &self.segments {
            let _counting = segment.lock(&self.shared, 0);
            segment.metrics.reset();
        }
    }

    /// Changes the limit in bytes. Surplus entries go with the next writes and in maintenance.
    pub fn set_max_bytes(&self, bytes: u64) {
        self.shared.account.set_max_bytes(bytes);
        self.shared.watch_pressure(0);
    }

    /// Bytes of the indexes alone.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        let bytes = |segment: &Segment| segment.lock(&self.shared, 0).index_bytes();
        self.segments.iter().map(bytes).sum()
    }

    /// A number that tells this table from every other and from itself after a restart: numbers of
    /// events and places of scans mean something within one life only.
    #[must_use]
    pub fn life(&self) -> u128 {
        self.shared.life
    }

    /// The version of an entry that has the table's own.
    #[inline]
    fn own_version(&self, key: &[u8], seq: u64) -> u64 {
        if self.shared.copied.load(Ordering::Relaxed) {
            let at = self.hash(key).segment as usize;
            return self.segments.get(at).map_or(0, |segment| segment.epochs.version(seq));
        }
        self.shared.epoch << SEQ_BITS | seq
    }

    /// The epoch of versions written now, where segments have none of their own.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        u32::try_from(self.shared.epoch).unwrap_or(u32::MAX)
    }

    /// Whether the segment of a key depends on nothing but the number of segments.
    #[must_use]
    pub fn segments_are_stable(&self) -> bool {
        self.shared.hasher.is_stable()
    }

    /// How many segments there are.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }
}

/// [`Table::publish_upto`] of tables with one log, over all of them at once for snapshots.
pub fn publish_upto(tables: &[Arc<Table>], record: u64, now: Timestamp) {
    let mut waiting: Vec<_> = tables.iter().filter(|table| table.waits_for(record)).collect();
    waiting.sort_by_key(|table| table.rank());
    let _gates: Vec<_> = waiting.iter().map(|table| table.shared.snapshots.gate()).collect();
    waiting.iter().for_each(|table| table.publish_waiting(record, now));
}

impl Shared {
    fn new(config: &TableConfig, segments: u32, seed: u64, now: Timestamp) -> Shared {
        let own = config.regions.iter().map(|region| region.eviction.unwrap_or(config.eviction));
        let numbers = 1..=u8::MAX;
        let mut prefixes: Vec<_> =
            config.regions.iter().map(|region| region.prefix.clone()).zip(numbers).collect();
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let share = config.max_bytes / 256 / u64::from(segments);
        Shared {
            hasher: Hasher::new(segments, config.segments.is_some(), seed),
            allocator: config.allocator,
            account: Arc::new(Account::new(config)),
            snapshots: Snapshots::default(),
            policies: std::iter::once(config.eviction).chain(own).collect(),
            prefixes,
            epoch: u64::from(config.epoch),
            life: life(config.seed, now),
            journal: OnceLock::new(),
            observer: OnceLock::new(),
            observed: AtomicBool::new(false),
            backing: OnceLock::new(),
            segments: u64::from(segments),
            origin: now,
            copied: AtomicBool::new(false),
            bag_bytes_max: usize::try_from(share).unwrap_or(0).clamp(1 << 10, 64 << 10),
            retired_bytes_max: (config.max_bytes / 64).max(64 << 10),
            pressure: AtomicBool::new(false),
        }
    }
}

/// Clients see it, so nobody must be able to go back from it to the seed.
fn life(seed: u64, now: Timestamp) -> u128 {
    let digest = Sha256::new().chain_update(b"life of a table").chain_update(seed.to_le_bytes());
    let digest = digest.chain_update(now.to_le_bytes()).finalize();
    digest.iter().take(16).fold(0, |life, byte| life << 8 | u128::from(*byte))
}

impl Drop for Table {
    #[expect(unsafe_code, reason = "the last owner frees the versions that are left")]
    fn drop(&mut self) {
        for segment in &mut self.segments {
            for newest in segment.drain() {
                let mut next = Some(newest);
                while let Some(version) = next {
                    // SAFETY: `&mut self`: no reader and no writer is left, and every chain
                    // hangs on exactly one entry of the index.
                    unsafe {
                        next = version.get().older();
                        version.free();
                    }
                }
            }
        }
    }
}
