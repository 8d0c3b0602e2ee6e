//! The way of one cache's changes to the store: its journal, and what the writer takes from it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::capture::Capture;
use super::dirty::{Dirty, Unit};
use super::reading::Away;
use super::signal::Signal;
use super::{BehindTable, Lag};
use crate::env::{Clock, Timestamp};
use crate::hash::Hasher;
use crate::store::{CacheId, Store, Stored};
use crate::table::{
    Account, Change, Entry, Journal, Leaving, NewEntry, SEQ_BITS, Table, Unrecorded,
};

/// Bytes that wait at which they are written before they are due: what the store takes at once.
const EARLY_BYTES: usize = 1 << 20;

/// A mark of the store: the version was chosen by the writer, the table had its own number for it.
pub(super) const CHOSEN: u8 = 1 << 7;
/// A mark of the store: the value is followed by when the entry was read last, as far as is known,
/// ms in 8 bytes.
pub(super) const ACCESSED: u8 = 1 << 6;
const ACCESSED_LEN: usize = 8;

/// One cache on its way to the store.
pub(super) struct Feed {
    pub name: String,
    /// The table, as long as somebody uses it.
    pub table: Weak<Table>,
    pub account: Arc<Account>,
    /// Where its entries are, once it is written behind.
    pub store: OnceLock<Arc<dyn Store>>,
    /// Tells apart the keys that are away.
    pub prints: Hasher,
    /// Whether any key ever was away.
    pub used: AtomicBool,
    /// When it came.
    pub opened: Timestamp,
    /// How long a change waits, ms.
    delay: AtomicU64,
    /// Bytes that may wait.
    bytes_max: AtomicUsize,
    /// What the store has under its name is another one's.
    pub is_new: bool,
    pub clock: Arc<dyn Clock>,
    pub signal: Arc<Signal>,
    /// The disk is full: what a refusal says.
    pub out_of_space: AtomicBool,
    /// The table was dropped.
    pub closed: AtomicBool,
    pub counts: Counts,
    /// A save that is under way.
    pub capture: RwLock<Option<Arc<Capture>>>,
    state: Mutex<State>,
}

/// What the writer counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub batches: AtomicU64,
    pub written: AtomicU64,
    pub retries: AtomicU64,
    pub refused: AtomicU64,
    pub loaded: AtomicU64,
}

/// What is not durable, and how far sequence numbers may go.
#[derive(Debug, Default)]
pub(super) struct State {
    pub dirty: Dirty,
    /// Set when the cache was cleared and the store does not know yet: since when it is behind.
    /// Everything that waits came after the clear.
    pub cleared: Option<Timestamp>,
    /// The highest sequence number of the table.
    pub highest: u64,
    /// The highest one that may be given: the store knows durably that they may be.
    pub ceiling: u64,
    /// Where the store has its entries; `None` = it has none that count.
    pub home: Option<CacheId>,
    pub away: Away,
    /// The store was read into memory.
    pub filled: bool,
    /// The store lost entries and gets them back from memory.
    pub refilling: bool,
}

impl Feed {
    pub fn new(config: BehindTable, clock: Arc<dyn Clock>, signal: Arc<Signal>) -> Self {
        Feed {
            name: config.name,
            account: config.table.account(),
            table: Arc::downgrade(&config.table),
            store: OnceLock::new(),
            prints: Feed::new_prints(),
            used: AtomicBool::new(false),
            opened: clock.now(),
            delay: AtomicU64::new(config.delay_ms),
            bytes_max: AtomicUsize::new(config.bytes_max),
            is_new: config.is_new,
            clock,
            signal,
            out_of_space: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            counts: Counts::default(),
            capture: RwLock::default(),
            state: Mutex::default(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// From now on changes wait so long, ms, and so many bytes of them may.
    pub fn set_limits(&self, delay: u64, bytes_max: usize) {
        self.delay.store(delay, Ordering::Relaxed);
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Bytes that may wait.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// A save that is under way.
    pub fn captured(&self) -> Option<Arc<Capture>> {
        self.capture.read().clone()
    }

    /// When there is something to write; `None` = nothing waits.
    pub fn due(&self) -> Option<Timestamp> {
        let state = self.state.lock();
        let first = state.dirty.oldest_queued().into_iter().chain(state.cleared).min();
        let early = state.dirty.bytes() >= self.early_bytes();
        let delay = self.delay.load(Ordering::Relaxed);
        let due = first.map(|since| if early { 0 } else { since.saturating_add(delay) });
        due.into_iter().chain(state.dirty.next_retry()).min()
    }

    fn early_bytes(&self) -> usize {
        EARLY_BYTES.min(self.bytes_max() / 2)
    }

    /// These were not written: `units`, and a clear before them.
    pub fn put_back(&self, units: &[Unit], cleared: Option<Timestamp>) {
        let mut state = self.state.lock();
        state.dirty.put_back(units);
        state.cleared = cleared.into_iter().chain(state.cleared).min();
        state.home = state.home.filter(|_| state.cleared.is_none());
    }

    /// How far behind the store is.
    pub fn lag(&self, now: Timestamp) -> Lag {
        let state = self.state.lock();
        let oldest = state.oldest();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Lag {
            entries: state.dirty.len() as u64 + u64::from(state.cleared.is_some()),
            bytes: state.dirty.bytes() as u64,
            oldest_ms: oldest.map_or(0, |since| now.saturating_sub(since)),
            failing: state.dirty.failing() as u64,
            coalesced: state.dirty.coalesced(),
            batches: count(&self.counts.batches),
            written: count(&self.counts.written),
            retries: count(&self.counts.retries),
            refused: count(&self.counts.refused),
            away: state.away.len() as u64,
            loaded: count(&self.counts.loaded),
        }
    }

    fn refuse(&self) -> Unrecorded {
        if self.closed.load(Ordering::Acquire) {
            return Unrecorded::Dropped;
        }
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        let full = self.out_of_space.load(Ordering::Relaxed);
        if full { Unrecorded::OutOfSpace } else { Unrecorded::Busy }
    }

    /// Notes changes if all of them fit into `bytes_max`; whether they do. What is larger than that
    /// is taken where nothing else waits.
    fn note(&self, changes: &[Change<'_>], bytes_max: usize) -> bool {
        if self.closed.load(Ordering::Acquire) {
            return false;
        }
        let now = self.clock.now();
        let mut state = self.state.lock();
        let growth: usize = changes.iter().map(|change| state.growth(change)).sum();
        let was = state.dirty.bytes();
        let fits = growth == 0 || was == 0 || was.saturating_add(growth) <= bytes_max;
        if !fits || changes.iter().any(|change| place(change).1 > state.ceiling) {
            return false;
        }
        let mut first = false;
        for change in changes {
            let (key, seq) = place(change);
            state.highest = state.highest.max(seq);
            first |= state.note(key, stored(change, now), now);
        }
        if changes.len() > 1 {
            state.dirty.join(changes.iter().map(|change| place(change).0));
        }
        let early = self.early_bytes();
        let early = was < early && state.dirty.bytes() >= early;
        drop(state);
        if first || early {
            self.signal.wake();
        }
        true
    }

    fn must_note(&self, changes: &[Change<'_>]) -> Result<(), Unrecorded> {
        if self.note(changes, self.bytes_max()) { Ok(()) } else { Err(self.refuse()) }
    }

    fn clear(&self) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        // The store is behind since the oldest change that this one supersedes.
        state.cleared = state.oldest().or(Some(now));
        state.dirty.clear();
        state.home = None;
        drop(state);
        self.signal.wake();
    }
}

impl State {
    /// Notes that a key is this now. Whether nothing waited before.
    pub fn note(&mut self, key: &[u8], to: Option<Stored>, now: Timestamp) -> bool {
        self.away.changed(key);
        self.dirty.note(key, to, now)
    }

    /// Changes that are to be written as one batch; none while those before a clear are to go first.
    pub fn take(&mut self, now: Timestamp, bytes_max: usize) -> Vec<Unit> {
        match self.cleared {
            Some(_) => Vec::new(),
            None => self.dirty.take(now, bytes_max),
        }
    }

    /// The store has the cache there. Not when it was cleared since.
    pub fn move_in(&mut self, home: Option<CacheId>) {
        self.home = home.filter(|_| self.cleared.is_none());
    }

    /// Since when the store is behind.
    fn oldest(&self) -> Option<Timestamp> {
        self.dirty.oldest().into_iter().chain(self.cleared).min()
    }

    fn growth(&self, change: &Change<'_>) -> usize {
        match change {
            Change::Put { key, entry, .. } => {
                let accessed = if entry.max_idle.is_some() { ACCESSED_LEN } else { 0 };
                let len: usize = entry.value.iter().map(|piece| piece.len()).sum();
                self.dirty.growth(key, len + accessed)
            }
            other => self.dirty.growth(place(other).0, 0),
        }
    }
}

impl Journal for Feed {
    fn record(&self, change: &Change<'_>) -> Result<u64, Unrecorded> {
        match change {
            Change::Put { .. } | Change::Remove { .. } => {
                self.must_note(std::slice::from_ref(change))?;
            }
            Change::Transaction(changes) => self.must_note(changes)?,
            Change::Clear => self.clear(),
            // The ceiling says so before it is needed.
            Change::Life { .. } => {}
        }
        Ok(0)
    }

    fn publishes(&self) -> bool {
        false
    }

    /// Not at the cost of changes: where many wait it stays in the store, and a restart finds it
    /// expired.
    fn expired(&self, key: &[u8]) {
        self.note(&[removal(key)], self.bytes_max() / 2);
    }
}

/// A removal that needs no number: nobody sees it.
fn removal(key: &[u8]) -> Change<'_> {
    Change::Remove { key, epoch: 0, seq: 0 }
}

/// The key of a put or a removal and its sequence number.
fn place<'a>(change: &Change<'a>) -> (&'a [u8], u64) {
    match *change {
        Change::Put { key, seq, .. } | Change::Remove { key, seq, .. } => (key, seq),
        Change::Clear | Change::Life { .. } | Change::Transaction(_) => (b"", 0),
    }
}

/// What a change leaves of its key.
fn stored(change: &Change<'_>, now: Timestamp) -> Option<Stored> {
    let Change::Put { entry, epoch, seq, .. } = change else { return None };
    Some(store_entry(entry, u64::from(*epoch) << SEQ_BITS | seq, now))
}

/// An entry as the store keeps it; `version` is the table's own, and it was read last at `accessed`.
fn store_entry(entry: &NewEntry<'_>, version: u64, accessed: Timestamp) -> Stored {
    let mut marks = u8::try_from(entry.marks.bits()).unwrap_or(0);
    let mut value = entry.value.concat();
    if entry.max_idle.is_some() {
        marks |= ACCESSED;
        value.extend_from_slice(&accessed.to_le_bytes());
    }
    Stored {
        value,
        version: entry.version.unwrap_or(version),
        flags: entry.flags,
        deadline: entry.deadline,
        max_idle: entry.max_idle,
        marks: marks | if entry.version.is_some() { CHOSEN } else { 0 },
    }
}

/// An entry of the table as the store keeps it.
pub(super) fn entry_stored(entry: &Entry<'_>, now: Timestamp) -> Stored {
    let new = NewEntry {
        value: [entry.value(), b""],
        flags: entry.flags(),
        deadline: entry.deadline(),
        max_idle: entry.max_idle(),
        version: entry.chosen_version(),
        marks: entry.marks(),
    };
    store_entry(&new, entry.version(), now)
}

/// An entry that is about to leave memory as the store keeps it.
pub(super) fn kept_entry(leaving: &Leaving<'_>) -> Stored {
    let version = u64::from(leaving.epoch) << SEQ_BITS | leaving.seq;
    store_entry(&leaving.entry, version, leaving.accessed)
}

/// The value of an entry in the store, and when it was read last where that is known.
pub(super) fn value_of(stored: &Stored) -> (&[u8], Timestamp) {
    match stored.value.split_last_chunk::<ACCESSED_LEN>() {
        Some((value, accessed)) if stored.marks & ACCESSED != 0 => {
            (value, u64::from_le_bytes(*accessed))
        }
        _ => (&stored.value, 0),
    }
}
