//! Which keys are in the store, in few bytes: a multiset of fingerprints of keyed hashes.
//!
//! Linear probing over words of 32 bits, 0 = free; 5 to 10 bytes a key. A key that is not in it is
//! not in the store. One that seems to be is there but for one in some hundred millions: then a
//! read of the store says so. A fingerprint is only taken out for a key that was surely in, so
//! that no other key's goes in its place (Bender et al. 2012, "Don't thrash: how to cache your hash
//! on flash", section 3, keeps fingerprints in the same way).

/// Slots of the smallest table.
const SLOTS_MIN: usize = 8;

/// Fingerprints, each as often as it was put in.
#[derive(Debug, Default)]
pub(super) struct Filter {
    slots: Vec<u32>,
    len: usize,
}

impl Filter {
    /// How many are in.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }

    /// Whether a key with this hash may be in.
    pub fn contains(&self, hash: u64) -> bool {
        self.find(hash).is_some()
    }

    /// Puts a key in.
    pub fn insert(&mut self, hash: u64) {
        if (self.len + 1) * 5 > self.slots.len() * 4 {
            self.resize((self.slots.len() * 2).max(SLOTS_MIN));
        }
        self.place(home(hash), fingerprint(hash));
        self.len += 1;
    }

    /// Takes a key out that is in.
    pub fn remove(&mut self, hash: u64) {
        let Some(mut hole) = self.find(hash) else { return };
        self.len -= 1;
        let mask = self.slots.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let print = self.get(at);
            if print == 0 {
                break;
            }
            // What lies behind the hole moves into it, unless its home is behind the hole too.
            let home = spread(print) & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.set(hole, print);
                hole = at;
            }
        }
        self.set(hole, 0);
        if self.len * 8 < self.slots.len() && self.slots.len() > SLOTS_MIN {
            self.resize(self.slots.len() / 2);
        }
    }

    fn find(&self, hash: u64) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let (print, mut at) = (fingerprint(hash), home(hash) & mask);
        loop {
            match self.get(at) {
                0 => return None,
                found if found == print => return Some(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn place(&mut self, home: usize, print: u32) {
        let mask = self.slots.len() - 1;
        let mut at = home & mask;
        while self.get(at) != 0 {
            at = (at + 1) & mask;
        }
        self.set(at, print);
    }

    fn resize(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![0; slots]);
        old.into_iter().filter(|print| *print != 0).for_each(|print| {
            self.place(spread(print), print);
        });
    }

    fn get(&self, at: usize) -> u32 {
        self.slots.get(at).copied().unwrap_or(0)
    }

    fn set(&mut self, at: usize, print: u32) {
        self.slots.get_mut(at).into_iter().for_each(|slot| *slot = print);
    }
}

/// The upper half of the hash: index and policies use bits of the lower one.
fn fingerprint(hash: u64) -> u32 {
    ((hash >> 32) as u32).max(1)
}

fn home(hash: u64) -> usize {
    spread(fingerprint(hash))
}

/// Where a fingerprint belongs follows from itself, so that the table can grow without the keys.
fn spread(print: u32) -> usize {
    (u64::from(print).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::env::split_mix;

    #[test]
    fn it_is_the_multiset_of_its_fingerprints() {
        for seed in 0..20 {
            let (mut rng, mut filter) = (seed, Filter::default());
            let mut model = BTreeMap::<u32, usize>::new();
            for step in 0..4_000 {
                // Few enough that they collide, and meet in their homes.
                let hash = (split_mix(&mut rng) % 300) << 32 | step;
                let count = model.entry(fingerprint(hash)).or_default();
                let grows = if step < 2_000 { 2 } else { 1 };
                if split_mix(&mut rng) % 3 < grows {
                    filter.insert(hash);
                    *count += 1;
                } else if *count > 0 {
                    filter.remove(hash);
                    *count -= 1;
                }
                assert_eq!(filter.len(), model.values().sum::<usize>());
                let probe = (split_mix(&mut rng) % 400) << 32;
                let there = model.get(&fingerprint(probe)).is_some_and(|count| *count > 0);
                assert_eq!(filter.contains(probe), there, "seed {seed}, step {step}");
            }
        }
    }

    #[test]
    fn a_key_costs_at_most_ten_bytes_and_few_are_taken_for_others() {
        let (mut rng, mut filter) = (7, Filter::default());
        for n in 1..=100_000usize {
            filter.insert(split_mix(&mut rng));
            assert!(n < 100 || filter.memory() <= n * 10 + 8, "{} bytes at {n}", filter.memory());
        }
        let wrong = (0..1_000_000).filter(|_| filter.contains(split_mix(&mut rng))).count();
        assert!(wrong < 100, "{wrong} of a million");
    }
}
