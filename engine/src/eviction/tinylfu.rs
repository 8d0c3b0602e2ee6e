//! W-TinyLFU: Einziger, Friedman, Manes: "TinyLFU: a highly efficient cache admission policy",
//! ACM Transactions on Storage 2017.
//!
//! New entries come into a window, an LRU. What falls out of it must have been accessed more
//! often, byte for byte, than the next victim of the main space to take its place. A victim that
//! withstands goes to the head: the next candidate meets another, so that one that is hard to beat
//! does not shield all behind it (the paper leaves it where it is; ADR 1 has the figures). The main
//! space is a segmented LRU: probation, and protected (80 %) for what was read there. A sketch
//! counts the accesses, those of keys that are not held too. A climber seeks the window's size,
//! which starts as 1 %.

use super::{
    Entries, Policy, Reads, Slot,
    climber::Climber,
    queues::{NOTE_MAX, Queues},
    sketch::Sketch,
};

const WINDOW: usize = 0;
const PROBATION: usize = 1;
const PROTECTED: usize = 2;
/// The protected share of the main space.
const PROTECTED_SHARE: f32 = 0.8;
/// The window is not smaller than so many entries: where few are held, 1 % would be none, and what
/// is read in bursts would never come in. But it is not widened for that over this share.
const WINDOW_ENTRIES_MIN: f32 = 4.0;
const FEW_SHARE_MAX: f32 = 0.2;
/// Inserts without an eviction, as one in so many entries, that show that there is room.
const ROOM: u32 = 16;
/// The head of the protected queue, as one in so many entries, in which order does not matter.
const FRESH: u32 = 16;

/// Evicts the less frequent of two: the oldest of the window and the oldest on probation. 8 bytes
/// an entry, and 2.5 to 5 for the sketch.
#[derive(Debug, Default)]
pub struct TinyLfu {
    queues: Queues<3>,
    sketch: Sketch,
    climber: Climber,
    /// Inserts since the last eviction.
    quiet: u32,
    /// Protected slots that came to the head since `stamp` began bear it as their note; they are
    /// still near the head and stay where they are when they are read again.
    stamp: u16,
    /// Slots that may still come to the head under this stamp.
    stamp_left: u32,
}

impl TinyLfu {
    /// Counts an access to a key.
    fn access(&mut self, hash: u64) {
        self.sketch.add(hash, self.queues.len());
    }

    /// Whether the window has more than its share of the weight.
    fn window_is_full(&self) -> bool {
        let few = WINDOW_ENTRIES_MIN / self.queues.len().max(1) as f32;
        let share = self.climber.share().max(few.min(FEW_SHARE_MAX));
        self.queues.weight(WINDOW) as f32 > self.queues.total_weight() as f32 * share
    }

    /// The oldest of the window go on without contest while the cache is filling up, faster than
    /// new ones come.
    fn drain_window(&mut self, entries: &dyn Entries) {
        for _ in 0..2 {
            match self.queues.tail(WINDOW) {
                Some(slot) if self.window_is_full() => {
                    self.queues.transfer(PROBATION, slot, entries.weight(slot));
                }
                _ => return,
            }
        }
    }

    /// A protected slot was read.
    fn refresh(&mut self, slot: Slot) {
        if self.queues.note(slot) != self.stamp {
            self.queues.move_to_head(slot);
            self.mark_fresh(slot);
        }
    }

    fn mark_fresh(&mut self, slot: Slot) {
        if self.stamp_left == 0 {
            self.stamp = self.stamp % NOTE_MAX + 1;
            self.stamp_left = self.queues.len() / FRESH;
        } else {
            self.stamp_left -= 1;
        }
        self.queues.set_note(slot, self.stamp);
    }

    /// A slot on probation was read: it is protected, and the oldest protected ones are no more.
    fn protect(&mut self, slot: Slot, entries: &dyn Entries) {
        self.queues.transfer(PROTECTED, slot, entries.weight(slot));
        self.mark_fresh(slot);
        let main = self.queues.total_weight() - self.queues.weight(WINDOW);
        while self.queues.weight(PROTECTED) as f32 > main as f32 * PROTECTED_SHARE {
            let Some(oldest) = self.queues.tail(PROTECTED) else { return };
            self.queues.transfer(PROBATION, oldest, entries.weight(oldest));
        }
    }

    /// Whether a candidate is worth more than a victim: accesses for each byte, as it is hits that
    /// count and a large entry takes the room of several small ones. A key that the sketch has
    /// forgotten counts as half an access, so that size still decides between two of them.
    fn admits(&self, candidate: Slot, victim: Slot, entries: &dyn Entries) -> bool {
        let accesses = |slot| u64::from(self.sketch.estimate(entries.hash(slot))) * 2 + 1;
        let weight = |slot| u64::from(entries.weight(slot));
        accesses(candidate) * weight(victim) > accesses(victim) * weight(candidate)
    }

    /// The next victim; a candidate that wins moves on to probation, a victim that wins makes way
    /// for the next one to be challenged.
    fn choose(&mut self, entries: &dyn Entries) -> Option<Slot> {
        let main = self.queues.tail(PROBATION).or(self.queues.tail(PROTECTED));
        let window = self.queues.tail(WINDOW);
        match (window, main) {
            (Some(candidate), Some(victim)) if self.window_is_full() => {
                if !self.admits(candidate, victim, entries) {
                    self.queues.move_to_head(victim);
                    return Some(candidate);
                }
                self.queues.transfer(PROBATION, candidate, entries.weight(candidate));
                Some(victim)
            }
            (_, Some(victim)) => Some(victim),
            (candidate, None) => candidate,
        }
    }
}

impl Policy for TinyLfu {
    fn reads(&self) -> Reads {
        Reads::Reported
    }

    fn insert(&mut self, slot: Slot, hash: u64, weight: u32, entries: &dyn Entries) {
        self.quiet += 1;
        if self.quiet > self.queues.len() / ROOM {
            self.drain_window(entries);
        }
        self.queues.push(WINDOW, slot, weight);
        self.sketch.fit(self.queues.len());
        self.access(hash);
        self.climber.miss(self.queues.len());
    }

    fn update(&mut self, slot: Slot, hash: u64, old_weight: u32, new_weight: u32) {
        self.queues.reweigh(slot, old_weight, new_weight);
        self.queues.move_to_head(slot);
        self.access(hash);
    }

    fn touch(&mut self, slot: Slot, hash: u64, entries: &dyn Entries) {
        self.access(hash);
        self.climber.hit(self.queues.len());
        match self.queues.queue(slot) {
            Some(PROBATION) => self.protect(slot, entries),
            Some(PROTECTED) => self.refresh(slot),
            _ => self.queues.move_to_head(slot),
        }
    }

    fn remove(&mut self, slot: Slot, weight: u32) {
        self.queues.remove(slot, weight);
    }

    fn evict(&mut self, entries: &dyn Entries) -> Option<Slot> {
        let victim = self.choose(entries)?;
        self.queues.remove(victim, entries.weight(victim));
        self.quiet = 0;
        Some(victim)
    }

    fn memory(&self) -> usize {
        self.queues.memory() + self.sketch.memory()
    }
}
