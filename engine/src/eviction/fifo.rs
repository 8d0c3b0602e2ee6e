//! First in, first out: reads and overwrites change nothing.

use super::{
    Entries, Policy, Reads, Slot,
    list::{Links, List},
};

/// Evicts the oldest entry. 8 bytes an entry.
#[derive(Debug, Default)]
pub struct Fifo {
    links: Links,
    queue: List,
}

impl Policy for Fifo {
    fn reads(&self) -> Reads {
        Reads::Ignored
    }

    fn insert(&mut self, slot: Slot, _hash: u64, _weight: u32, _entries: &dyn Entries) {
        self.links.push(&mut self.queue, slot);
    }

    fn update(&mut self, _slot: Slot, _hash: u64, _old_weight: u32, _new_weight: u32) {}

    fn touch(&mut self, _slot: Slot, _hash: u64, _entries: &dyn Entries) {}

    fn remove(&mut self, slot: Slot, _weight: u32) {
        self.links.remove(&mut self.queue, slot);
    }

    fn evict(&mut self, _entries: &dyn Entries) -> Option<Slot> {
        self.links.pop(&mut self.queue)
    }

    fn memory(&self) -> usize {
        self.links.memory()
    }
}
