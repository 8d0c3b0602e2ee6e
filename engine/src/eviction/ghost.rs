//! A ghost queue: keys that were evicted lately, as fingerprints.
//!
//! A set-associative table. Each bucket is a queue of its own, so that the table as a whole
//! forgets in about the order in which it learnt, without links: 2 bytes a ghost.

use super::mix;

/// Fingerprints in a bucket.
const WAYS: usize = 8;

/// Fingerprints of evicted keys, newest first in each bucket; 0 is an empty place.
#[derive(Debug)]
pub(super) struct Ghosts {
    buckets: Vec<[u16; WAYS]>,
}

impl Default for Ghosts {
    fn default() -> Self {
        Self { buckets: vec![[0; WAYS]] }
    }
}

impl Ghosts {
    /// Makes room for about as many ghosts as there are entries.
    pub(super) fn fit(&mut self, entries: u32) {
        // A bucket is chosen by low bits of the hash, and the next bit decides between it and its
        // copy in the new half; the copies that are never asked for again age away.
        while self.buckets.len() * WAYS * 4 < entries as usize * 3 {
            self.buckets.extend_from_within(..);
        }
    }

    /// Remembers a key.
    pub(super) fn insert(&mut self, hash: u64) {
        let (bucket, fingerprint) = self.find(hash);
        bucket.copy_within(..WAYS - 1, 1);
        bucket[0] = fingerprint;
    }

    /// Forgets a key; whether it was known.
    pub(super) fn remove(&mut self, hash: u64) -> bool {
        let (bucket, fingerprint) = self.find(hash);
        match bucket.iter_mut().find(|f| **f == fingerprint) {
            Some(place) => {
                *place = 0;
                true
            }
            None => false,
        }
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.buckets.capacity() * size_of::<[u16; WAYS]>()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::indexing_slicing,
        reason = "the low bits are meant, and the mask keeps them inside; a length of 2^k"
    )]
    fn find(&mut self, hash: u64) -> (&mut [u16; WAYS], u16) {
        let hash = mix(hash);
        let mask = self.buckets.len() - 1;
        (&mut self.buckets[hash as usize & mask], ((hash >> 48) as u16).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_latest_and_forgets_the_oldest() {
        let mut ghosts = Ghosts::default();
        ghosts.fit(1000);
        (0..10_000).for_each(|key| ghosts.insert(key));
        let known = |ghosts: &mut Ghosts, keys: std::ops::Range<u64>| {
            keys.filter(|key| ghosts.remove(*key)).count()
        };
        assert!(known(&mut ghosts, 9_700..10_000) > 270);
        assert!(known(&mut ghosts, 0..5_000) < 5);
        assert_eq!(known(&mut ghosts, 9_700..10_000), 0, "asked twice");
    }

    #[test]
    fn growth_keeps_the_ghosts() {
        let mut ghosts = Ghosts::default();
        (0..8).for_each(|key| ghosts.insert(key));
        ghosts.fit(100_000);
        assert!((0..8).all(|key| ghosts.remove(key)));
    }
}
