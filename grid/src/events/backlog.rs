//! What waits for one consumer: at most one item a key, in the order of the last change, within
//! limits. Beyond them everything is dropped and the consumer is told that it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

/// Bytes that an item costs beside its key and what it carries: two map entries, allocations.
pub(super) const ITEM_BYTES: usize = 192;

/// A key, shared by all who wait for news of it.
pub type Key = Arc<[u8]>;

/// A segment and the number of its last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentSeq {
    /// The segment.
    pub segment: u32,
    /// The number.
    pub seq: u64,
}

/// How much may wait for one consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogLimits {
    /// Keys. Default: 65,536.
    pub items: usize,
    /// Bytes, everything counted. Default: 8 MiB.
    pub bytes: usize,
}

impl Default for BacklogLimits {
    fn default() -> Self {
        BacklogLimits { items: 1 << 16, bytes: 8 << 20 }
    }
}

/// Bytes that may wait for all consumers of a node together.
#[derive(Debug)]
pub struct Budget {
    used: AtomicU64,
    max: u64,
}

/// Bytes of a node's budget when nobody says otherwise.
pub const BUDGET_BYTES_DEFAULT: u64 = 64 << 20;

impl Budget {
    /// A budget of `max` bytes.
    #[must_use]
    pub fn new(max: u64) -> Budget {
        Budget { used: AtomicU64::new(0), max }
    }

    /// Bytes that wait now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.max {
            self.give_back(bytes);
            return false;
        }
        true
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Budget::new(BUDGET_BYTES_DEFAULT)
    }
}

/// What waits.
#[derive(Debug)]
pub(super) enum Item<T> {
    /// News of one key.
    Key(News<T>),
    /// Segments that were cleared after all that came before, and before all that comes after,
    /// with the numbers of these events.
    Clear(BTreeMap<u32, u64>),
}

/// The last change of one key.
#[derive(Debug)]
pub(super) struct News<T> {
    pub at: SegmentSeq,
    pub key: Key,
    pub what: T,
    bytes: usize,
}

/// The segments of a clear.
pub(super) fn cleared(all: BTreeMap<u32, u64>) -> Vec<SegmentSeq> {
    all.into_iter().map(|(segment, seq)| SegmentSeq { segment, seq }).collect()
}

#[derive(Debug)]
pub(super) struct Backlog<T> {
    limits: BacklogLimits,
    budget: Arc<Budget>,
    bytes: usize,
    items: BTreeMap<u64, Item<T>>,
    by_key: BTreeMap<(u32, Key), u64>,
    next: u64,
    /// The place of the clear that waits.
    clear: Option<u64>,
    lost: bool,
    waker: Option<Waker>,
}

impl<T> Backlog<T> {
    pub fn new(limits: BacklogLimits, budget: Arc<Budget>) -> Backlog<T> {
        Backlog {
            limits,
            budget,
            bytes: 0,
            items: BTreeMap::new(),
            by_key: BTreeMap::new(),
            next: 0,
            clear: None,
            lost: false,
            waker: None,
        }
    }

    /// Whether something waits for a key.
    pub fn has(&self, segment: u32, key: &Key) -> bool {
        self.by_key.contains_key(&(segment, Arc::clone(key)))
    }

    /// Takes out what waits for a key.
    pub fn take(&mut self, segment: u32, key: &Key) -> Option<News<T>> {
        let place = self.by_key.remove(&(segment, Arc::clone(key)))?;
        let Some(Item::Key(news)) = self.items.remove(&place) else { return None };
        self.release(news.bytes);
        Some(news)
    }

    /// Adds news of a key for which nothing waits. `extra` are the bytes that `what` holds.
    pub fn push(&mut self, at: SegmentSeq, key: Key, what: T, extra: usize) {
        let bytes = ITEM_BYTES + key.len() + extra;
        if self.lost || !self.reserve(bytes) {
            return;
        }
        self.by_key.insert((at.segment, Arc::clone(&key)), self.next);
        self.items.insert(self.next, Item::Key(News { at, key, what, bytes }));
        self.next += 1;
    }

    /// Whether a clear of a segment waits.
    pub fn clears(&self, segment: u32) -> bool {
        let clear = self.clear.and_then(|place| self.items.get(&place));
        matches!(clear, Some(Item::Clear(all)) if all.contains_key(&segment))
    }

    /// A segment was cleared: what waits for its keys is of no use any more.
    pub fn clear(&mut self, at: SegmentSeq) {
        let first: Key = Arc::from(&b""[..]);
        let of_segment = (at.segment, Arc::clone(&first))..(at.segment + 1, first);
        let gone: Vec<_> = self.by_key.range(of_segment).map(|(of, _)| of.1.clone()).collect();
        gone.iter().for_each(|key| drop(self.take(at.segment, key)));
        if self.lost {
            return;
        }
        if let Some(Item::Clear(all)) = self.clear.and_then(|place| self.items.get_mut(&place)) {
            all.insert(at.segment, at.seq);
        } else {
            self.clear = Some(self.next);
            self.items.insert(self.next, Item::Clear(BTreeMap::from([(at.segment, at.seq)])));
            self.next += 1;
        }
    }

    fn reserve(&mut self, bytes: usize) -> bool {
        let fits = self.by_key.len() < self.limits.items && self.bytes + bytes <= self.limits.bytes;
        if !fits || !self.budget.take(bytes) {
            self.lose();
            return false;
        }
        self.bytes += bytes;
        true
    }

    fn release(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.budget.give_back(bytes as u64);
    }

    /// Drops everything. Nothing is added until the consumer has been told.
    pub fn lose(&mut self) {
        self.items.clear();
        self.by_key.clear();
        self.clear = None;
        self.release(self.bytes);
        self.lost = true;
    }

    /// Whether something was lost that the consumer has to be told; from now on it goes on.
    pub fn recover(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    pub fn is_lost(&self) -> bool {
        self.lost
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && !self.lost
    }

    /// The next item.
    pub fn pop(&mut self) -> Option<Item<T>> {
        let (place, item) = self.items.pop_first()?;
        match &item {
            Item::Key(news) => {
                self.by_key.remove(&(news.at.segment, Arc::clone(&news.key)));
                self.release(news.bytes);
            }
            Item::Clear(_) => self.clear = self.clear.filter(|clear| *clear != place),
        }
        Some(item)
    }

    /// Who sleeps until there is something.
    pub fn set_waker(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(own) => own.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Who is to be woken, if there is something.
    pub fn take_waker(&mut self) -> Option<Waker> {
        if self.is_empty() { None } else { self.waker.take() }
    }
}

impl<T> Drop for Backlog<T> {
    fn drop(&mut self) {
        self.release(self.bytes);
    }
}
