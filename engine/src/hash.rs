//! The two hashes of a key: one that says which segment it lives in, and a keyed one that says
//! where in the segment.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
use xxhash_rust::xxh64::xxh64;

/// A map whose hasher is seeded anew for each process, so that nobody can choose keys that collide.
pub(crate) type RandomMap<K, V> = hashbrown::HashMap<K, V>;

/// The hashes of one key in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash {
    /// The segment's number.
    pub(crate) segment: u32,
    /// The place in the segment's index and the fingerprint in policies.
    pub(crate) index: u64,
}

impl KeyHash {
    /// The number of the segment that the key is in.
    #[must_use]
    pub fn segment(self) -> u32 {
        self.segment
    }
}

/// Hashes keys for one table. The index hash is keyed by a seed that clients do not know, so that
/// nobody can choose keys that collide. Where the number of segments was given, the segment hash
/// is the same on every node; where the table chose it for itself, nobody else
/// need know the segments of its keys, and bits of the index hash are as good and cost nothing.
#[derive(Debug, Clone)]
pub struct Hasher {
    secrets: RapidSecrets,
    segment_mask: u64,
    stable: bool,
}

/// The bits of an index hash that choose a segment lie above the 16 that index lines keep of it,
/// and below the 32 that choose the line.
const SEGMENT_SHIFT: u32 = 16;

/// The segment of a key where every node agrees on it, of `segments`, a power of two.
#[must_use]
#[inline]
pub fn stable_segment(key: &[u8], segments: usize) -> usize {
    let mask = segments.saturating_sub(1) as u64;
    usize::try_from(xxh64(key, 0) & mask).unwrap_or(0)
}

impl Hasher {
    /// A hasher over `segments` segments, a power of two up to 2^16; `stable` = every node is to
    /// agree on the segment of a key.
    #[must_use]
    pub fn new(segments: u32, stable: bool, seed: u64) -> Self {
        debug_assert!(segments.is_power_of_two());
        Hasher {
            secrets: RapidSecrets::seed(seed),
            segment_mask: u64::from(segments.saturating_sub(1)),
            stable,
        }
    }

    /// Whether every node agrees on the segment of a key.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        self.stable
    }

    /// Both hashes of `key`.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the mask keeps 32 bits at most")]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let index = self.index_hash(key);
        let segment = if self.stable { xxh64(key, 0) } else { index >> SEGMENT_SHIFT };
        KeyHash { segment: (segment & self.segment_mask) as u32, index }
    }

    /// The index hash alone.
    #[must_use]
    #[inline]
    pub fn index_hash(&self, key: &[u8]) -> u64 {
        rapidhash_v3_seeded(key, &self.secrets)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What rustc hashes with, of keys of two words: anybody can turn it around.
    fn fx(first: u64, second: u64) -> u64 {
        let add = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FX);
        add(add(0, first), second)
    }

    const FX: u64 = 0x517c_c1b7_2722_0a95;

    /// SECURITY S7.10: keys that are chosen to collide in a hash without a secret are keys like any
    /// others here, in lines of the index and in segments alike, with every seed.
    #[test]
    fn keys_that_collide_elsewhere_are_spread() {
        const KEYS: u32 = 1 << 17;
        const LINES: usize = 1 << 15;
        let key = |n: u32| {
            let first = u64::from(n);
            let second = first.wrapping_mul(FX).rotate_left(5);
            assert_eq!(fx(first, second), 0);
            [first.to_le_bytes(), second.to_le_bytes()].concat()
        };
        for (seed, stable) in [(1, false), (u64::MAX, false), (7, true)] {
            let hasher = Hasher::new(256, stable, seed);
            let mut all = BTreeSet::new();
            let (mut lines, mut segments) = (vec![0_u32; LINES], vec![0_u32; 256]);
            for hash in (0..KEYS).map(|n| hasher.hash(&key(n))) {
                all.insert(hash.index);
                lines[usize::try_from(hash.index >> 32).unwrap() % LINES] += 1;
                segments[hash.segment as usize] += 1;
            }
            assert_eq!(all.len(), KEYS as usize, "{seed}: two have the same hash");
            // Four a line and 512 a segment in the mean; of random keys no line in a million has 20.
            let (fullest, largest) = (lines.iter().max(), segments.iter().max());
            assert!(fullest < Some(&20) && largest < Some(&700), "{seed}: {fullest:?} {largest:?}");
        }
    }
}
