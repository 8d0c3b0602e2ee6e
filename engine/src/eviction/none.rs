//! No eviction: the cache refuses writes over its limit.

use super::{Entries, Policy, Reads, Slot};

/// Never gives a victim, so a write over the limit fails. No memory at all.
#[derive(Debug, Default)]
pub struct Refuse;

impl Policy for Refuse {
    fn reads(&self) -> Reads {
        Reads::Ignored
    }

    fn insert(&mut self, _slot: Slot, _hash: u64, _weight: u32, _entries: &dyn Entries) {}

    fn update(&mut self, _slot: Slot, _hash: u64, _old_weight: u32, _new_weight: u32) {}

    fn touch(&mut self, _slot: Slot, _hash: u64, _entries: &dyn Entries) {}

    fn remove(&mut self, _slot: Slot, _weight: u32) {}

    fn evict(&mut self, _entries: &dyn Entries) -> Option<Slot> {
        None
    }

    fn memory(&self) -> usize {
        0
    }
}
