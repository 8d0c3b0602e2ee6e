//! LFU with dynamic ageing: Arlitt, Cherkasova, Dilley, Friedrich, Jin: "Evaluating content
//! management techniques for Web proxy caches", 1999; in lists by priority, after Shah, Mitra,
//! Matani: "An O(1) algorithm for implementing the LFU cache eviction scheme", 2010.
//!
//! An entry's priority is its count of accesses plus the age of the cache when it was last
//! accessed; the age is the priority of the last victim. So what was once hot does not stay for
//! ever. Counts saturate, so all priorities lie within one turn of a ring of lists.

use super::{
    Entries, Policy, Reads, Slot,
    list::{Links, List},
};

/// Lists in the ring.
const RING: usize = 256;
/// Counts saturate below the ring's size, so that a priority is never mistaken for a lower one.
const COUNT_MAX: u8 = 254;

/// Evicts the entry accessed least often, old accesses forgotten. 8 bytes an entry.
#[derive(Debug)]
pub struct Lfu {
    links: Links,
    ring: Box<[List; RING]>,
    /// Priority of the last victim, modulo the ring. No entry's priority is lower.
    age: u8,
    len: u32,
}

impl Default for Lfu {
    fn default() -> Self {
        let ring = Box::new([List::default(); RING]);
        Self { links: Links::default(), ring, age: 0, len: 0 }
    }
}

impl Lfu {
    /// Counts are at least 1 for slots held, so a tag of 0 is a slot that is not.
    fn file(&mut self, slot: Slot, count: u8) {
        let priority = self.age.wrapping_add(count);
        self.links.set_tag(slot, u16::from_le_bytes([count, priority]));
        self.links.push(list(&mut self.ring, priority), slot);
    }

    fn unfile(&mut self, slot: Slot) -> u8 {
        let [count, priority] = self.links.tag(slot).to_le_bytes();
        if count > 0 {
            self.links.remove(list(&mut self.ring, priority), slot);
            self.links.set_tag(slot, 0);
        }
        count
    }

    fn access(&mut self, slot: Slot) {
        let count = self.unfile(slot);
        if count > 0 {
            self.file(slot, count.saturating_add(1).min(COUNT_MAX));
        }
    }
}

impl Policy for Lfu {
    fn reads(&self) -> Reads {
        Reads::Reported
    }

    fn insert(&mut self, slot: Slot, _hash: u64, _weight: u32, _entries: &dyn Entries) {
        self.file(slot, 1);
        self.len += 1;
    }

    fn update(&mut self, slot: Slot, _hash: u64, _old_weight: u32, _new_weight: u32) {
        self.access(slot);
    }

    fn touch(&mut self, slot: Slot, _hash: u64, _entries: &dyn Entries) {
        self.access(slot);
    }

    fn remove(&mut self, slot: Slot, _weight: u32) {
        if self.unfile(slot) > 0 {
            self.len -= 1;
        }
    }

    fn evict(&mut self, entries: &dyn Entries) -> Option<Slot> {
        if self.len == 0 {
            return None;
        }
        loop {
            if let Some(victim) = list(&mut self.ring, self.age).tail() {
                self.remove(victim, entries.weight(victim));
                return Some(victim);
            }
            self.age = self.age.wrapping_add(1);
        }
    }

    fn memory(&self) -> usize {
        self.links.memory() + size_of_val(&*self.ring)
    }
}

#[expect(clippy::indexing_slicing, reason = "the ring has a list for each value of a byte")]
fn list(ring: &mut [List; RING], priority: u8) -> &mut List {
    &mut ring[usize::from(priority)]
}
