//! S3-FIFO: Yang, Zhang, Qiu, Yue, Vinayak: "FIFO queues are all you need for cache eviction",
//! SOSP 2023.
//!
//! A small queue (10 % of the weight) sifts out what is read once. What is read again in it, or
//! comes back while its ghost is remembered, goes to the main queue, a FIFO with second chances.

use super::{Entries, Policy, Reads, Slot, ghost::Ghosts, queues::Queues};

const SMALL: usize = 0;
const MAIN: usize = 1;
/// The small queue's share of the weight is one in this many.
const SMALL_SHARE: u64 = 10;
/// Reads in the small queue that lead to the main one.
const PROMOTE_READS: u16 = 2;
/// Ghosts for four entries. One for each would do, as in the paper, if their buckets filled evenly.
const GHOSTS_IN_4: u32 = 5;
/// The count of reads saturates here.
const READS_MAX: u16 = 3;

/// Evicts what was read least since it came, queue by queue. 8 bytes an entry, and 2.5 for the
/// ghosts. Reads cost nothing but the mark on the entry.
#[derive(Debug, Default)]
pub struct S3Fifo {
    queues: Queues<2>,
    ghosts: Ghosts,
}

impl S3Fifo {
    /// Reads of a slot that are not yet used up: its note and the reader's marks.
    fn reads_of(&self, slot: Slot, entries: &dyn Entries) -> u16 {
        (self.queues.note(slot) + u16::from(entries.take_reads(slot))).min(READS_MAX)
    }

    /// Looks at the oldest of the small queue: promotes it or takes it as the victim.
    fn sift(&mut self, slot: Slot, entries: &dyn Entries) -> Option<Slot> {
        let weight = entries.weight(slot);
        if self.reads_of(slot, entries) >= PROMOTE_READS {
            self.queues.transfer(MAIN, slot, weight);
            return None;
        }
        self.queues.remove(slot, weight);
        self.ghosts.insert(entries.hash(slot), self.queues.len() / 4 * GHOSTS_IN_4);
        Some(slot)
    }

    /// Looks at the oldest of the main queue: gives it another round or takes it as the victim.
    fn second_chance(&mut self, slot: Slot, entries: &dyn Entries) -> Option<Slot> {
        let reads = self.reads_of(slot, entries);
        if reads == 0 {
            self.queues.remove(slot, entries.weight(slot));
            return Some(slot);
        }
        self.queues.move_to_head(slot);
        self.queues.set_note(slot, reads - 1);
        None
    }
}

impl Policy for S3Fifo {
    fn reads(&self) -> Reads {
        Reads::Marked
    }

    fn insert(&mut self, slot: Slot, hash: u64, weight: u32, _entries: &dyn Entries) {
        let queue = if self.ghosts.remove(hash) { MAIN } else { SMALL };
        self.queues.push(queue, slot, weight);
    }

    fn update(&mut self, slot: Slot, _hash: u64, old_weight: u32, new_weight: u32) {
        self.queues.reweigh(slot, old_weight, new_weight);
        let reads = self.queues.note(slot) + 1;
        self.queues.set_note(slot, reads.min(READS_MAX));
    }

    fn touch(&mut self, _slot: Slot, _hash: u64, _entries: &dyn Entries) {}

    fn remove(&mut self, slot: Slot, weight: u32) {
        self.queues.remove(slot, weight);
    }

    /// Ends because each step evicts, empties the small queue by one, or uses up a read.
    fn evict(&mut self, entries: &dyn Entries) -> Option<Slot> {
        loop {
            let small_is_full =
                self.queues.weight(SMALL) * SMALL_SHARE >= self.queues.total_weight();
            let victim = match (self.queues.tail(SMALL), self.queues.tail(MAIN)) {
                (None, None) => return None,
                (Some(slot), None) => self.sift(slot, entries),
                (Some(slot), _) if small_is_full => self.sift(slot, entries),
                (_, Some(slot)) => self.second_chance(slot, entries),
            };
            if victim.is_some() {
                return victim;
            }
        }
    }

    fn memory(&self) -> usize {
        self.queues.memory() + self.ghosts.memory()
    }
}
