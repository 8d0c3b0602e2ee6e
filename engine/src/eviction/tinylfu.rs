//! W-TinyLFU: Einziger, Friedman, Manes: "TinyLFU: a highly efficient cache admission policy",
//! ACM Transactions on Storage 2017.
//!
//! New entries come into a window, an LRU. What falls out of it must have been accessed twice as
//! often, byte for byte, as the next victim of the main space to take its place. A victim that
//! withstands goes to the head: the next candidate meets another, so that one that is hard to beat
//! does not shield all behind it. Who is rejected leaves a ghost, as in S3-FIFO; a key that comes
//! back while its ghost is remembered was perhaps rejected wrongly, and takes its place in the main
//! space if it was accessed but half as often as the victim (the paper knows neither factor nor
//! ghosts, and leaves the victim where it is; ADR 1 has the figures). Where small winners have left
//! much room to the window, two of them come in for one victim. The main space is a segmented LRU:
//! probation, and protected (80 %) for what was read there. A sketch counts the accesses, those of
//! keys that are not held too. A climber seeks the window's size, which starts as 1 %.

use super::{
    Entries, Policy, Reads, Slot,
    climber::Climber,
    ghost::Ghosts,
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
/// Who wins a place is mostly smaller than who had it, and the window gets what is left over. Where
/// it has come to more than so many times its share, a second winner takes the same victim's place.
const WINDOW_SWELLS: f32 = 4.0;
const WINNERS_MAX: usize = 2;
/// So many times the victim's worth is asked of a candidate, and a rejected key that came back is
/// taken for.
const MARGIN: u64 = 2;
/// Ghosts of the rejected, for four entries.
const GHOSTS_IN_4: u32 = 3;
/// Inserts without an eviction, as one in so many entries, that show that there is room.
const ROOM: u32 = 16;
/// The head of the protected queue, as one in so many entries, in which order does not matter.
const FRESH: u32 = 16;

/// Evicts the less frequent of two: the oldest of the window and the oldest on probation. 8 bytes
/// an entry, 2.5 to 5 for the sketch and 1.5 for the ghosts.
#[derive(Debug, Default)]
pub struct TinyLfu {
    queues: Queues<3>,
    sketch: Sketch,
    rejected: Ghosts,
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

    /// Whether the window has more than so many times its share of the weight.
    fn window_exceeds(&self, times: f32) -> bool {
        let few = WINDOW_ENTRIES_MIN / self.queues.len().max(1) as f32;
        let share = self.climber.share().max(few.min(FEW_SHARE_MAX)) * times;
        self.queues.weight(WINDOW) as f32 > self.queues.total_weight() as f32 * share
    }

    /// The oldest of the window go on without contest while the cache is filling up, faster than
    /// new ones come.
    fn drain_window(&mut self, entries: &dyn Entries) {
        for _ in 0..2 {
            match self.queues.tail(WINDOW) {
                Some(slot) if self.window_exceeds(1.0) => {
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

    fn worth(&self, hash: u64, weight: u32) -> Worth {
        let accesses = u64::from(self.sketch.estimate(hash)) * 2 + 1;
        Worth { accesses, weight: u64::from(weight) }
    }

    fn worth_of(&self, slot: Slot, entries: &dyn Entries) -> Worth {
        self.worth(entries.hash(slot), entries.weight(slot))
    }

    /// The next victim of the main space.
    fn main_tail(&self) -> Option<Slot> {
        self.queues.tail(PROBATION).or(self.queues.tail(PROTECTED))
    }

    /// Where a new entry goes.
    fn entrance(&mut self, hash: u64, weight: u32, entries: &dyn Entries) -> usize {
        if !self.rejected.remove(hash) {
            return WINDOW;
        }
        let newcomer = self.worth(hash, weight).times(MARGIN);
        match self.main_tail() {
            Some(victim) if !newcomer.exceeds(self.worth_of(victim, entries)) => WINDOW,
            _ => PROBATION,
        }
    }

    /// The next victim. A candidate that wins moves on to probation; one that loses goes, and the
    /// victim that won makes way for the next one to be challenged.
    fn choose(&mut self, entries: &dyn Entries) -> Option<Slot> {
        let mut beaten = None;
        for _ in 0..WINNERS_MAX {
            match (self.queues.tail(WINDOW), self.main_tail()) {
                (Some(candidate), Some(victim)) if self.window_exceeds(1.0) => {
                    let bar = self.worth_of(victim, entries).times(MARGIN);
                    if !self.worth_of(candidate, entries).exceeds(bar) {
                        self.reject(candidate, victim, entries);
                        return Some(candidate);
                    }
                    self.queues.transfer(PROBATION, candidate, entries.weight(candidate));
                    beaten = beaten.or(Some(victim));
                    if !self.window_exceeds(WINDOW_SWELLS) {
                        break;
                    }
                }
                (candidate, victim) => return beaten.or(victim).or(candidate),
            }
        }
        beaten
    }

    fn reject(&mut self, candidate: Slot, victim: Slot, entries: &dyn Entries) {
        self.queues.move_to_head(victim);
        let ghosts = self.queues.len() / 4 * GHOSTS_IN_4;
        self.rejected.insert(entries.hash(candidate), ghosts);
    }
}

/// What keeping an entry is worth: accesses for each byte, as it is hits that count and a large
/// entry takes the room of several small ones. Accesses are in halves; a key that the sketch has
/// forgotten counts as one half, so that size still decides between two of them.
#[derive(Clone, Copy)]
struct Worth {
    accesses: u64,
    weight: u64,
}

impl Worth {
    fn times(self, factor: u64) -> Self {
        Self { accesses: self.accesses * factor, ..self }
    }

    fn exceeds(self, other: Self) -> bool {
        self.accesses * other.weight > other.accesses * self.weight
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
        self.sketch.fit(self.queues.len());
        self.access(hash);
        let queue = self.entrance(hash, weight, entries);
        self.queues.push(queue, slot, weight);
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
        self.queues.memory() + self.sketch.memory() + self.rejected.memory()
    }
}
