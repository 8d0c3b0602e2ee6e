//! Least recently used.

use super::{Entries, Policy, Reads, Slot, queues::Queues};

const RECENT: usize = 0;

/// Evicts the entry that was read or written longest ago. 8 bytes an entry.
#[derive(Debug, Default)]
pub struct Lru {
    queues: Queues<1>,
}

impl Policy for Lru {
    fn reads(&self) -> Reads {
        Reads::Reported
    }

    fn insert(&mut self, slot: Slot, _hash: u64, weight: u32, _entries: &dyn Entries) {
        self.queues.push(RECENT, slot, weight);
    }

    fn update(&mut self, slot: Slot, _hash: u64, old_weight: u32, new_weight: u32) {
        self.queues.reweigh(slot, old_weight, new_weight);
        self.queues.move_to_head(slot);
    }

    fn touch(&mut self, slot: Slot, _hash: u64, _entries: &dyn Entries) {
        self.queues.move_to_head(slot);
    }

    fn remove(&mut self, slot: Slot, weight: u32) {
        self.queues.remove(slot, weight);
    }

    fn evict(&mut self, entries: &dyn Entries) -> Option<Slot> {
        let victim = self.queues.tail(RECENT)?;
        self.queues.remove(victim, entries.weight(victim));
        Some(victim)
    }

    fn memory(&self) -> usize {
        self.queues.memory()
    }
}
