//! A ghost queue: keys that were evicted lately, as fingerprints.
//!
//! A set-associative table. Each bucket is a queue of its own, so that the table as a whole
//! forgets in about the order in which it learnt, without links: 2 bytes a ghost. It grows a bucket
//! at a time (Litwin: "Linear hashing: a new tool for file and table addressing", VLDB 1980), as how
//! long a key is remembered decides about its return: with a table that doubles, a cache of 690
//! entries remembered twice as many as one of 680.

use super::{chunks::Chunks, mix};

/// Fingerprints in a bucket.
const WAYS: u32 = 8;
/// Buckets allocated together: half a KiB, which a segment of few entries can spare.
const BUCKETS: usize = 32;

/// Fingerprints, newest first; 0 is an empty place.
type Bucket = [u16; WAYS as usize];

/// Fingerprints of evicted keys.
#[derive(Debug)]
pub(super) struct Ghosts {
    buckets: Chunks<Bucket, BUCKETS>,
    len: u32,
}

impl Default for Ghosts {
    fn default() -> Self {
        Self { buckets: Chunks::default(), len: 1 }
    }
}

impl Ghosts {
    /// Remembers a key, among so many in the end: one call makes room for eight.
    pub(super) fn insert(&mut self, hash: u64, ghosts: u32) {
        if self.len * WAYS < ghosts {
            self.grow();
        }
        let (bucket, fingerprint) = self.find(hash);
        bucket.rotate_right(1);
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
        self.buckets.memory()
    }

    /// The next bucket takes half the keys of an older one. It begins as its copy: what is never
    /// asked for again ages away in both.
    fn grow(&mut self) {
        let copy = self.buckets.get(self.len - self.half());
        *self.buckets.get_mut(self.len) = copy;
        self.len += 1;
    }

    /// The highest power of two that is not above the number of buckets.
    fn half(&self) -> u32 {
        1 << self.len.ilog2()
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low and the high bits are meant")]
    fn find(&mut self, hash: u64) -> (&mut Bucket, u16) {
        let hash = mix(hash);
        let half = self.half();
        let place = hash as u32 & (half * 2 - 1);
        let place = if place < self.len { place } else { place - half };
        (self.buckets.get_mut(place), ((hash >> 48) as u16).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_about_as_many_as_asked_and_the_latest() {
        for room in [40, 300, 520, 700, 1000, 1030, 5000_u32] {
            let mut ghosts = Ghosts::default();
            let last = u64::from(room) * 10;
            (0..last).for_each(|key| ghosts.insert(key, room));
            let mut known = |age: std::ops::Range<u32>| {
                let keys = age.map(|age| last - 1 - u64::from(age));
                keys.filter(|key| ghosts.remove(*key)).count() as f64 / f64::from(room)
            };
            let (late, then) = (known(0..room / 2), known(room / 2..room * 2));
            assert!(late > 0.4, "of {room}, {late} of the latest half");
            assert!((0.8..1.1).contains(&(late + then)), "of {room}, {late} and {then}");
            assert_eq!(known(room * 3..room * 9), 0.0, "of {room}");
            assert_eq!(known(0..room * 2), 0.0, "of {room}, asked twice");
        }
    }

    #[test]
    fn growth_keeps_the_ghosts() {
        let mut ghosts = Ghosts::default();
        (0..8).for_each(|key| ghosts.insert(key, 8));
        (0..1000).for_each(|_| ghosts.grow());
        assert!((0..8).all(|key| ghosts.remove(key)));
    }
}
