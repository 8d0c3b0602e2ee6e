//! How often keys were accessed lately: a count-min sketch of 4-bit counters that ages.
//!
//! Cormode, Muthukrishnan: "An improved data stream summary: the count-min sketch and its
//! applications", 2005; ageing by halving after Einziger, Friedman, Manes: "TinyLFU: a highly
//! efficient cache admission policy", 2017. They halve all at once; here a hand goes round and
//! halves one block at a time, so that no access pays for all (the hit ratios are the same). The
//! four counters of a key lie in one cache line, as in Caffeine.

use super::mix;

/// Words in a block: one cache line, four rows of two words, sixteen counters to a word.
const BLOCK: usize = 8;
/// Counters of a key.
const ROWS: usize = 4;
/// Counters, in all rows, for each entry held.
const COUNTERS_PER_ENTRY: usize = 5;
/// Accesses for each entry held, in which each counter is halved once.
const SAMPLE_PER_ENTRY: usize = 10;
/// Fewer entries than this are counted as if they were so many.
const ENTRIES_MIN: u32 = 16;
/// The highest count.
const COUNT_MAX: u8 = 15;

/// Counts of accesses by the hash of the key, at most [`COUNT_MAX`].
#[derive(Debug)]
pub(super) struct Sketch {
    blocks: Vec<[u64; BLOCK]>,
    /// The block that is halved next.
    hand: usize,
    /// Grows with each access by as many as there are blocks; a sample's worth of it moves the
    /// hand by one.
    wear: usize,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { blocks: vec![[0; BLOCK]], hand: 0, wear: 0 }
    }
}

impl Sketch {
    /// Makes room for so many entries.
    pub(super) fn fit(&mut self, entries: u32) {
        // A block is chosen by low bits of the hash; the next bit decides between it and its copy
        // in the new half, where each count is as good an upper bound as it was.
        while self.blocks.len() * BLOCK * 16 < entries as usize * COUNTERS_PER_ENTRY {
            self.blocks.extend_from_within(..);
        }
    }

    /// Counts an access while so many entries are held.
    pub(super) fn add(&mut self, hash: u64, entries: u32) {
        let (block, places) = self.find(hash);
        let Some(words) = self.blocks.get_mut(block) else { return };
        let counts = places.map(|place| count(words, place));
        let least = least(counts);
        if least == COUNT_MAX {
            return;
        }
        for (place, count) in places.into_iter().zip(counts) {
            // Only the lowest of its counters tell of the key; the others are left alone
            // (Estan, Varghese: "New directions in traffic measurement and accounting", 2002).
            // Which they are no branch predictor knows, so this is arithmetic.
            if let Some(word) = words.get_mut(place.word) {
                *word += u64::from(count == least) << place.shift;
            }
        }
        self.age(entries);
    }

    /// Accesses of a key: an upper bound, most likely exact.
    pub(super) fn estimate(&self, hash: u64) -> u8 {
        let (block, places) = self.find(hash);
        self.blocks.get(block).map_or(0, |words| least(places.map(|place| count(words, place))))
    }

    /// What one access while so many entries are held ages the counters.
    fn age(&mut self, entries: u32) {
        let sample = entries.max(ENTRIES_MIN) as usize * SAMPLE_PER_ENTRY;
        self.wear += self.blocks.len();
        if self.wear < sample {
            return;
        }
        self.wear %= sample;
        self.hand = (self.hand + 1) % self.blocks.len();
        for word in self.blocks.get_mut(self.hand).into_iter().flatten() {
            *word = (*word >> 1) & 0x7777_7777_7777_7777;
        }
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.blocks.capacity() * size_of::<[u64; BLOCK]>()
    }

    /// The block of a key, and the place of its counter in each row.
    fn find(&self, hash: u64) -> (usize, [Place; ROWS]) {
        let hash = mix(hash);
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
        let block = hash as usize & (self.blocks.len() - 1);
        (block, [0, 1, 2, 3].map(|row| Place::new(row, hash >> (44 + 5 * row))))
    }
}

/// Where a counter is in its block.
#[derive(Debug, Clone, Copy)]
struct Place {
    word: usize,
    shift: u32,
}

impl Place {
    /// The counter of a row that five bits choose.
    fn new(row: usize, bits: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
        let bits = bits as u32;
        Self { word: row * 2 + (bits >> 4 & 1) as usize, shift: (bits & 15) * 4 }
    }
}

fn count(words: &[u64; BLOCK], place: Place) -> u8 {
    let word = words.get(place.word).copied().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "four bits are meant")]
    let count = (word >> place.shift) as u8 & COUNT_MAX;
    count
}

fn least([a, b, c, d]: [u8; ROWS]) -> u8 {
    a.min(b).min(c.min(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_few_accesses_exactly_and_saturates() {
        let mut sketch = Sketch::default();
        sketch.fit(1000);
        for (key, accesses) in [(1, 1), (2, 3), (3, 15), (4, 40)] {
            (0..accesses).for_each(|_| sketch.add(key, 1000));
        }
        let estimates = [1, 2, 3, 4, 5].map(|key| sketch.estimate(key));
        assert_eq!(estimates, [1, 3, 15, 15, 0]);
    }

    #[test]
    fn forgets_half_in_each_sample() {
        let mut sketch = Sketch::default();
        sketch.fit(1000);
        (0..8).for_each(|_| sketch.add(7, 100));
        (8..1000).for_each(|other| sketch.add(1_000_000 + other, 100));
        assert!((4..7).contains(&sketch.estimate(7)), "{}", sketch.estimate(7));
        (0..1000).for_each(|other| sketch.add(2_000_000 + other, 100));
        assert!((2..5).contains(&sketch.estimate(7)), "{}", sketch.estimate(7));
    }

    #[test]
    fn ages_on_when_few_entries_are_left_of_many() {
        let mut sketch = Sketch::default();
        sketch.fit(100_000);
        (0..8).for_each(|_| sketch.add(7, 100_000));
        let blocks = sketch.blocks.len() as u64;
        (0..blocks).for_each(|other| sketch.add(1_000_000 + other, 1));
        assert_eq!(sketch.estimate(7), 4);
    }

    #[test]
    fn growth_keeps_the_counts() {
        let mut sketch = Sketch::default();
        (0..10_u64).for_each(|key| (0..=key % 4).for_each(|_| sketch.add(key, 1000)));
        sketch.fit(100_000);
        assert!((0..10).all(|key| u64::from(sketch.estimate(key)) > key % 4));
    }

    #[test]
    fn hashes_that_share_their_low_bits_do_not_collide() {
        let mut sketch = Sketch::default();
        sketch.fit(1000);
        (0..500_u64).for_each(|key| sketch.add(key << 24 | 0xabcdef, 100_000));
        let strangers = (500..1500_u64).map(|key| sketch.estimate(key << 24 | 0xabcdef));
        assert!(strangers.filter(|estimate| *estimate > 0).count() < 100);
    }
}
