//! Random replacement.

use super::{Entries, Policy, Reads, Slot, chunks::Chunks};

/// Evicts any entry with equal chance, from a seeded generator. 8 bytes an entry.
///
/// The held slots stand in seats `0..len` without gaps; the last one takes the seat of the one
/// that goes.
#[derive(Debug)]
pub struct Random {
    chairs: Chunks<Chair>,
    len: u32,
    state: u64,
}

/// At index i: the slot in seat i, and (unrelated) the seat of slot i.
#[derive(Debug, Clone, Copy, Default)]
struct Chair {
    slot: u32,
    seat: u32,
}

impl Random {
    /// An empty policy whose choices follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { chairs: Chunks::default(), len: 0, state: seed }
    }

    fn sit(&mut self, slot: Slot, seat: u32) {
        self.chairs.get_mut(seat).slot = slot.0;
        self.chairs.get_mut(slot.0).seat = seat;
    }

    /// The next number of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
    /// generators", OOPSLA 2014), scaled to `0..below`.
    fn draw(&mut self, below: u32) -> u32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from(((z >> 32) * u64::from(below)) >> 32).unwrap_or(0)
    }
}

impl Policy for Random {
    fn reads(&self) -> Reads {
        Reads::Ignored
    }

    fn insert(&mut self, slot: Slot, _hash: u64, _weight: u32, _entries: &dyn Entries) {
        self.sit(slot, self.len);
        self.len += 1;
    }

    fn update(&mut self, _slot: Slot, _hash: u64, _old_weight: u32, _new_weight: u32) {}

    fn touch(&mut self, _slot: Slot, _hash: u64, _entries: &dyn Entries) {}

    fn remove(&mut self, slot: Slot, _weight: u32) {
        self.len -= 1;
        let last = Slot(self.chairs.get(self.len).slot);
        self.sit(last, self.chairs.get(slot.0).seat);
    }

    fn evict(&mut self, entries: &dyn Entries) -> Option<Slot> {
        if self.len == 0 {
            return None;
        }
        let seat = self.draw(self.len);
        let victim = Slot(self.chairs.get(seat).slot);
        self.remove(victim, entries.weight(victim));
        Some(victim)
    }

    fn memory(&self) -> usize {
        self.chairs.memory()
    }
}
