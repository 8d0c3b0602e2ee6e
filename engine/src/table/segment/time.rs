//! Time: expiry, the sweep after a clear, trimming, and what else is done in the background.

use std::collections::VecDeque;

use super::super::observer::EventKind;
use super::{Locked, Slot, Version, count, version_at};
use crate::sync::Ordering;

/// Lines of the index that one step of a sweep or a scan covers.
const SWEEP_LINES: usize = 16;

impl Locked<'_> {
    /// Removes what has expired, at most `budget` slots; whether there may be more.
    pub fn expire(&mut self, budget: usize) -> bool {
        // Of a copy that follows another nothing goes before it does there.
        let Some(mut wheel) =
            self.w.wheel.take_if(|_| !self.segment.follows.load(Ordering::Relaxed))
        else {
            return false;
        };
        let (now, mut gone) = (self.now, Vec::new());
        let committed = self.segment.committed.load(Ordering::Relaxed);
        let slots = &self.w.slots;
        let asked = wheel.advance(now, budget, &mut |slot| {
            let version = version_at(slots.pointer(slot))?;
            let at = version.expires_at(now)?;
            if at > now {
                return Some(at);
            }
            // An unpublished write waits for its publication, then goes.
            if version.seq() > committed {
                return Some(now + 1);
            }
            gone.push(version);
            None
        });
        self.w.wheel = Some(wheel);
        let _kept = self.keep_for_telling();
        for version in gone {
            if self.must_stay(version) || !self.record_drop(version) {
                self.schedule_at(version.slot(), now + 1);
                continue;
            }
            count(&self.segment.metrics.expired);
            if !self.segment.accesses.get(version.slot()).fetched() {
                count(&self.segment.metrics.expired_unfetched);
            }
            if let Some(journal) = self.shared.journal.get() {
                journal.expired(version.key());
            }
            self.take_out(version, true);
            self.tell_gone(EventKind::Expire, version);
        }
        self.settle();
        asked == budget
    }

    /// Hides everything that is stored now; the memory comes back in [`Locked::sweep`].
    pub fn clear(&mut self) {
        self.segment.cleared.store(self.w.seq, Ordering::Release);
        self.w.sweep = Some(0);
        self.note_due();
        self.tell_cleared();
    }

    /// One step of removing what was cleared; whether there is more. Waits while snapshots are
    /// open, since they may still read it.
    pub fn sweep(&mut self) -> bool {
        let Some(from) = self.w.sweep.filter(|_| !self.shared.snapshots.any_open()) else {
            return false;
        };
        let cleared = self.segment.cleared.load(Ordering::Relaxed);
        let mut gone = Vec::new();
        self.w.sweep = self.scan(from, |version| {
            if version.seq() <= cleared && !version.is_tombstone() {
                gone.push(version);
            }
        });
        for version in gone {
            count(&self.segment.metrics.cleared);
            self.take_out(version, true);
        }
        self.settle();
        self.w.sweep.is_some()
    }

    /// How many entries are in the index.
    pub fn entries(&self) -> u64 {
        self.w.grower.entries() as u64
    }

    /// Visits the newest version of some entries from `from` on; where to go on.
    pub fn scan<'t>(&self, from: u64, mut found: impl FnMut(Version<'t>)) -> Option<u64> {
        let hash = |pointer: u64| {
            version_at(pointer).map_or(0, |v| self.shared.hasher.index_hash(v.key()))
        };
        let visit = |pointer: u64| version_at(pointer).into_iter().for_each(&mut found);
        self.w.grower.scan(&self.segment.index, from, SWEEP_LINES, hash, visit)
    }

    /// Cuts off versions that no snapshot can see any more, `budget` of them at most; whether there
    /// are more.
    pub fn trim(&mut self, budget: usize) -> bool {
        if self.w.linked.is_empty() {
            return false;
        }
        let committed = self.segment.committed.load(Ordering::Relaxed);
        let horizon = self.shared.snapshots.horizon(self.segment.number).min(committed);
        for _ in 0..budget {
            match self.w.linked.front().copied() {
                Some((seq, slot)) if seq <= horizon => {
                    self.w.linked.pop_front();
                    self.trim_slot(slot, horizon);
                }
                Some(_) => return false,
                None => break,
            }
        }
        if self.w.linked.is_empty() {
            // A long snapshot made it long; the next one may be far away.
            self.w.linked = VecDeque::new();
        }
        self.w.linked.front().is_some_and(|(seq, _)| *seq <= horizon)
    }

    /// Keeps the newest version that the oldest snapshot sees, drops those behind it.
    pub(super) fn trim_slot(&mut self, slot: Slot, horizon: u64) {
        let Some(newest) = version_at(self.w.slots.pointer(slot)) else { return };
        let mut version = newest;
        while version.seq() > horizon {
            let Some(older) = version.older().and_then(|older| version_at(older.to_bits())) else {
                return;
            };
            version = older;
        }
        let older = version.older();
        version.set_older(None);
        self.retire_chain(older);
        if newest.is_tombstone() && newest.seq() == version.seq() {
            self.take_out(newest, false);
        }
    }

    /// Sends what was retired on its way even if it is little.
    pub fn flush_garbage(&mut self) {
        let shared = self.shared;
        self.w.bag.flush(shared);
    }

    /// Bytes of the index.
    pub fn index_bytes(&self) -> usize {
        self.w.grower.memory()
    }

    /// Whether a step of background work is left: resizing, trimming.
    pub fn work(&mut self) -> bool {
        let more = self.trim(64);
        self.settle();
        more || self.w.grower.is_growing(&self.segment.index)
    }
}
