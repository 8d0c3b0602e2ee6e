//! The hub of one cache: hears of its changes and passes them on to listeners and trackers.
//!
//! Locks are taken in this order: the switch, segments, the list of watchers, registrations, a
//! backlog. The hub is told under the locks of segments, so it takes no segment's lock then.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::task::Waker;

use isogrid_engine::table::{Event, EventKind, Observer, OwnedEntry};
use isogrid_engine::{Table, Timestamp};

use super::WatchError;
use super::backlog::{Backlog, Budget, Key, SegmentSeq};
use super::listener::{Ear, ListenOptions, Listener};
use super::metrics::{EventMetrics, Metrics};
use super::registrations::Registrations;
use super::scan::{Scan, ScanOptions, Scans};
use super::tracker::{TrackOptions, Tracker, Trail};

/// Listeners and trackers of one cache at the most.
pub const WATCHERS_MAX: usize = 1_024;

/// Who is told of what.
#[derive(Default)]
pub(crate) struct Hub {
    watchers: RwLock<Watchers>,
    /// Whether the table tells: from the first watcher on until [`Hub::rest`] finds none.
    switch: Mutex<bool>,
    registrations: Registrations,
    /// Those of trackers that the table does not tell.
    pub(super) elsewhere: Registrations,
    pub(super) scans: Arc<Scans>,
    pub(super) metrics: Metrics,
    budget: OnceLock<Arc<Budget>>,
    next: AtomicU64,
}

#[derive(Default)]
pub(super) struct Watchers {
    pub ears: Vec<Arc<Ear>>,
    pub trails: BTreeMap<u64, Arc<Trail>>,
}

impl Watchers {
    fn len(&self) -> usize {
        self.ears.len() + self.trails.len()
    }
}

/// An event, with what watchers keep of it made once for all.
pub(super) struct Shot<'a, 'e> {
    pub event: &'a Event<'e>,
    key: OnceCell<Key>,
    entry: OnceCell<Option<OwnedEntry>>,
    previous: OnceCell<Option<OwnedEntry>>,
}

impl<'a, 'e> Shot<'a, 'e> {
    fn new(event: &'a Event<'e>) -> Self {
        let (key, entry, previous) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Shot { event, key, entry, previous }
    }

    pub fn at(&self) -> SegmentSeq {
        SegmentSeq { segment: self.event.segment, seq: self.event.seq }
    }

    pub fn key(&self) -> Key {
        Arc::clone(self.key.get_or_init(|| self.event.key().into()))
    }

    pub fn entry(&self, value: bool) -> Option<OwnedEntry> {
        if !value {
            return self.event.entry(false);
        }
        self.entry.get_or_init(|| self.event.entry(true)).clone()
    }

    pub fn previous(&self, value: bool) -> Option<OwnedEntry> {
        if !value {
            return self.event.previous(false);
        }
        self.previous.get_or_init(|| self.event.previous(true)).clone()
    }
}

impl Observer for Hub {
    fn tell(&self, events: &[Event<'_>]) {
        let shots: Vec<_> = events.iter().map(Shot::new).collect();
        let mut wakers: Vec<Waker> = Vec::new();
        {
            let watchers = self.read();
            for ear in &watchers.ears {
                wakers.extend(ear.hear(&shots, self));
            }
            if !watchers.trails.is_empty() {
                self.invalidate(&watchers, &shots, &mut wakers);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Hub {
    fn read(&self) -> RwLockReadGuard<'_, Watchers> {
        self.watchers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut Watchers) -> R) -> R {
        change(&mut self.watchers.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn invalidate(&self, watchers: &Watchers, shots: &[Shot<'_, '_>], wakers: &mut Vec<Waker>) {
        for shot in shots {
            if shot.event.kind == EventKind::Clear {
                self.registrations.forget_segment(shot.event.segment);
            } else {
                let keeps = |id: &u64| {
                    watchers.trails.get(id).is_some_and(|trail| trail.ignores(shot.event.origin))
                };
                let registered = self.registrations.take(shot.at().segment, &shot.key(), keeps);
                for trail in registered.iter().filter_map(|id| watchers.trails.get(id)) {
                    wakers.extend(trail.invalidate(shot.at(), shot.key()));
                }
            }
        }
        for trail in watchers.trails.values() {
            wakers.extend(trail.hear(shots));
        }
    }

    /// A read of a tracker will be followed by an invalidation when the key changes.
    pub fn register(
        &self,
        table: &Table,
        (id, is_elsewhere): (u64, bool),
        segment: u32,
        key: &[u8],
    ) {
        let evicted = self.registrations_of(is_elsewhere).add(segment, key.into(), id);
        if evicted.is_empty() {
            return;
        }
        let wakers: Vec<_> = {
            let watchers = self.read();
            let tell = |gone: super::registrations::Registration| {
                super::metrics::count(&self.metrics.registrations_evicted);
                let at =
                    SegmentSeq { segment: gone.segment, seq: table.told(gone.segment as usize) };
                watchers.trails.get(&gone.tracker)?.invalidate(at, gone.key)
            };
            evicted.into_iter().filter_map(tell).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The registrations of trackers that the table tells, or does not.
    pub(super) fn registrations_of(&self, is_elsewhere: bool) -> &Registrations {
        if is_elsewhere { &self.elsewhere } else { &self.registrations }
    }

    /// All segments with their last events.
    pub fn seqs(&self, table: &Table) -> Vec<SegmentSeq> {
        let seq = |segment: u32| SegmentSeq { segment, seq: table.told(segment as usize) };
        (0..u32::try_from(table.segment_count()).unwrap_or(u32::MAX)).map(seq).collect()
    }

    /// Sets what all watchers of a node share. Only the first call counts, before any watcher.
    pub fn set_budget(&self, budget: Arc<Budget>) {
        let _ = self.budget.set(budget);
    }

    fn budget(&self) -> Arc<Budget> {
        Arc::clone(self.budget.get_or_init(Arc::default))
    }

    /// Begins to listen.
    pub fn listen(
        self: &Arc<Self>,
        table: &Arc<Table>,
        options: ListenOptions,
        now: Timestamp,
    ) -> Result<Listener, WatchError> {
        let _entered = self.enter(table)?;
        let (initial, glob) = (options.initial, options.glob.clone());
        let value = options.value;
        let backlog = Backlog::new(options.limits, self.budget());
        let ear = Arc::new(Ear::new(options, backlog));
        let listener = Listener::new(Arc::clone(self), Arc::clone(table), Arc::clone(&ear));
        let join = || self.change(|watchers| watchers.ears.push(ear));
        if !initial {
            join();
            return Ok(listener);
        }
        // At the very moment of the snapshot: what is told is what it does not have.
        let (snapshot, told) = table.snapshot_beside(now, || {
            join();
            self.seqs(table).into_iter().map(|at| at.seq).collect()
        });
        let scan = ScanOptions { glob, value, ..ScanOptions::default() };
        let scan = Scan::over(self, table, scan, snapshot, now);
        Ok(listener.with_initial(scan, told))
    }

    /// Begins to track.
    pub fn track(
        self: &Arc<Self>,
        table: &Arc<Table>,
        options: TrackOptions,
    ) -> Result<Tracker, WatchError> {
        options.check()?;
        let _entered = self.enter(table)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let backlog = Backlog::new(options.limits, self.budget());
        let trail = Arc::new(Trail::new(options, backlog));
        self.change(|watchers| watchers.trails.insert(id, Arc::clone(&trail)));
        Ok(Tracker::new(Arc::clone(self), Arc::clone(table), trail, id))
    }

    /// Has the table tell, for a watcher that joins before the result is dropped.
    fn enter(self: &Arc<Self>, table: &Table) -> Result<MutexGuard<'_, bool>, WatchError> {
        let mut on = self.switch.lock().unwrap_or_else(PoisonError::into_inner);
        if self.read().len() >= WATCHERS_MAX {
            return Err(WatchError::TooMany);
        }
        if !*on {
            table.set_observer(Arc::clone(self) as Arc<dyn Observer>);
            table.observe(true);
            *on = true;
        }
        Ok(on)
    }

    /// Ends a watcher. Takes no segment's lock: it may be called from where one is held, by a
    /// waker that drops what slept.
    pub(super) fn leave(&self, change: impl FnOnce(&mut Watchers)) {
        self.change(change);
    }

    /// Closes what scans have left behind; ends the telling when nobody watches any more.
    pub fn rest(&self, table: &Table, now: Timestamp) {
        self.scans.expire(now);
        let mut on = self.switch.lock().unwrap_or_else(PoisonError::into_inner);
        if *on && self.read().len() == 0 {
            table.observe(false);
            *on = false;
        }
    }

    /// The counters.
    pub fn metrics(&self) -> EventMetrics {
        let (listeners, trackers) = {
            let watchers = self.read();
            (watchers.ears.len() as u64, watchers.trails.len() as u64)
        };
        EventMetrics {
            listeners,
            trackers,
            registrations: self.registrations.len() + self.elsewhere.len(),
            scan_snapshots: self.scans.len(),
            ..self.metrics.snapshot()
        }
    }
}
