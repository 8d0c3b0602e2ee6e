//! Tracking for near caches: a consumer is told which keys have changed, so that it can keep
//! copies of its own.
//!
//! **The rule for near caches** (reserve, then publish):
//! 1. Before a read is sent whose answer shall be kept, the key is reserved.
//! 2. An invalidation of a key, or a resync of its segment, drops the copy *and* the reservation.
//! 3. When the answer comes, it is kept only if the reservation is still there.
//! 4. A write of one's own drops copy and reservation when it is sent and when its answer comes.
//!
//! The answer and the invalidation may overtake each other; the rule does not depend on it, and
//! not on one connection carrying both.
//!
//! **What it promises.** A copy was read after every change whose invalidation of that key the near
//! cache has worked off, so it is never older than the last of these. Every change that the copy
//! does not have has an invalidation on its way: once everything that was sent has been worked off,
//! each copy is what the cache has. In between a copy may be older than a write that another client
//! has been told is done; whoever needs more must read from the cache.
//!
//! Where reads are tracked, [`Tracker::register`] comes *before* the read, and one change ends the
//! registration. Numbers: with an invalidation everything that concerns the tracker up to its
//! number in that segment has been given out, so a near cache that watches everything (the empty
//! prefix) and comes back after a break may keep the copies of segments whose life and number
//! (`Cache::part_seq`) are those that it has seen last. One that tracks reads may not: its
//! registrations went with the tracker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use isogrid_engine::Table;
use isogrid_engine::table::EventKind;

use super::WatchError;
use super::backlog::{Backlog, BacklogLimits, Item, Key, SegmentSeq, cleared};
use super::hub::{Hub, Shot};
use super::metrics::count;

/// Prefixes of one tracker at the most.
pub const PREFIXES_MAX: usize = 64;

/// Which changes a tracker hears of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrackMode {
    /// Of keys that were registered, once each.
    Reads,
    /// Of all keys with one of these prefixes.
    Prefixes(Vec<Vec<u8>>),
}

/// What a tracker is to be told.
#[derive(Debug, Clone)]
pub struct TrackOptions {
    /// Which changes.
    pub mode: TrackMode,
    /// Changes by this origin are not told (and registrations stay); 0 = all are.
    pub no_loop: u64,
    /// What others serve changes elsewhere: [`Tracker::changed`] and [`Tracker::missed`] tell of it,
    /// and the table does not.
    pub elsewhere: bool,
    /// How much may wait.
    pub limits: BacklogLimits,
}

impl TrackOptions {
    /// With the default limits, and told of everybody's changes.
    #[must_use]
    pub fn new(mode: TrackMode) -> TrackOptions {
        TrackOptions { mode, no_loop: 0, elsewhere: false, limits: BacklogLimits::default() }
    }

    pub(super) fn check(&self) -> Result<(), WatchError> {
        match &self.mode {
            TrackMode::Prefixes(all) if all.len() > PREFIXES_MAX => {
                Err(WatchError::Prefixes(all.len()))
            }
            _ => Ok(()),
        }
    }
}

/// What a tracker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// A copy of this key may be out of date.
    Key {
        /// Its segment and a number up to which all is told.
        at: SegmentSeq,
        /// The key.
        key: Key,
    },
    /// All copies of these segments may be out of date.
    Resync(Vec<SegmentSeq>),
}

/// The half of a tracker that the hub has.
pub(super) struct Trail {
    options: TrackOptions,
    backlog: Mutex<Backlog<()>>,
}

impl Trail {
    pub fn new(options: TrackOptions, backlog: Backlog<()>) -> Trail {
        Trail { options, backlog: Mutex::new(backlog) }
    }

    pub fn is_elsewhere(&self) -> bool {
        self.options.elsewhere
    }

    fn lock(&self) -> MutexGuard<'_, Backlog<()>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn ignores(&self, origin: u64) -> bool {
        origin != 0 && origin == self.options.no_loop
    }

    /// Takes in an invalidation; whom to wake then. One that waits already says as much: it keeps
    /// its number, since nothing that came after it may be given out as told with it.
    pub fn invalidate(&self, at: SegmentSeq, key: Key) -> Option<Waker> {
        let mut backlog = self.lock();
        if !backlog.has(at.segment, &key) {
            backlog.push(at, key, (), 0);
        }
        backlog.take_waker()
    }

    fn has_prefix_of(&self, key: &[u8]) -> bool {
        let TrackMode::Prefixes(prefixes) = &self.options.mode else { return false };
        prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// Takes in what was told together, but for what registrations are for.
    pub fn hear(&self, shots: &[Shot<'_, '_>]) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let told: &[_] = if self.options.elsewhere { &[] } else { shots };
        for shot in told {
            if shot.event.kind == EventKind::Clear {
                let mut backlog = self.lock();
                backlog.clear(shot.at());
                wakers.extend(backlog.take_waker());
            } else if !self.ignores(shot.event.origin) && self.has_prefix_of(shot.event.key()) {
                wakers.extend(self.invalidate(shot.at(), shot.key()));
            }
        }
        wakers
    }
}

/// A tracker; to drop it is to end it, with its registrations.
pub struct Tracker {
    hub: Arc<Hub>,
    table: Arc<Table>,
    trail: Arc<Trail>,
    id: u64,
}

impl Tracker {
    pub(super) fn new(hub: Arc<Hub>, table: Arc<Table>, trail: Arc<Trail>, id: u64) -> Tracker {
        Tracker { hub, table, trail, id }
    }

    /// The next change of this key will be told. To be called before the read that it is for.
    pub fn register(&self, key: &[u8]) {
        let segment = self.table.hash(key).segment();
        self.hub.register(&self.table, (self.id, self.trail.is_elsewhere()), segment, key);
    }

    /// A key was changed elsewhere.
    pub fn changed(&self, at: SegmentSeq, key: &[u8]) {
        let key: Key = key.into();
        let others = |id: &u64| *id != self.id;
        let was_read = !self.hub.elsewhere.take(at.segment, &key, others).is_empty();
        if was_read || self.trail.has_prefix_of(&key) {
            self.trail.invalidate(at, key).into_iter().for_each(Waker::wake);
        }
    }

    /// Keys of a segment may have been changed elsewhere; without one, of all.
    pub fn missed(&self, at: Option<SegmentSeq>) {
        let mut backlog = self.trail.lock();
        match at {
            Some(at) => backlog.clear(at),
            None => backlog.lose(),
        }
        let waker = backlog.take_waker();
        drop(backlog);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Appends at most `credit` invalidations to `out`; how many.
    pub fn poll(&self, credit: usize, out: &mut Vec<Invalidation>) -> usize {
        let before = out.len();
        let mut backlog = self.trail.lock();
        if credit > 0 && backlog.recover() {
            count(&self.hub.metrics.resyncs);
            out.push(Invalidation::Resync(self.hub.seqs(&self.table)));
        }
        while out.len() - before < credit {
            match backlog.pop() {
                Some(Item::Key(news)) => {
                    out.push(Invalidation::Key { at: news.at, key: news.key });
                }
                Some(Item::Clear(all)) => out.push(Invalidation::Resync(cleared(all))),
                None => break,
            }
        }
        let sent = (out.len() - before) as u64;
        let counter = &self.hub.metrics.invalidations_sent;
        counter.fetch_add(sent, std::sync::atomic::Ordering::Relaxed);
        out.len() - before
    }

    /// Whether [`Tracker::poll`] has something to give; if not, `waker` is woken when it has.
    #[must_use]
    pub fn is_ready(&self, waker: &Waker) -> bool {
        let mut backlog = self.trail.lock();
        let ready = !backlog.is_empty();
        if !ready {
            backlog.set_waker(waker);
        }
        ready
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.hub.leave(|watchers| drop(watchers.trails.remove(&self.id)));
        self.hub.registrations_of(self.trail.is_elsewhere()).forget_tracker(self.id);
    }
}
