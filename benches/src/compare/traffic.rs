//! What is asked of a server: a reproducible stream of gets and sets.

use std::ops::Range;

use super::random::{Random, zipf};
use super::values::Sizes;

/// Zipf draws are made once and then repeated, so that drawing costs the load nothing.
const DRAWS: usize = 1 << 20;

/// One request.
#[derive(Debug)]
pub enum Request {
    /// A get of the keys at these places of [`Traffic::ids`].
    Get(Range<usize>),
    /// A set of a key to a value of so many bytes.
    Set {
        /// The key's number.
        id: u64,
        /// Bytes of the value.
        size: usize,
    },
    /// Behind the sets of a batch: to be answered when a replica has them.
    Wait,
}

/// How keys are drawn.
#[derive(Debug, Clone)]
enum Keys {
    /// From a list, over and over.
    Listed(Vec<u64>),
    /// 0, 1, 2, ..
    Counted,
    /// All alike, below a bound.
    Uniform(u64),
}

/// A stream of requests.
#[derive(Debug, Clone)]
pub struct Traffic {
    keys: Keys,
    next: usize,
    left: u64,
    asked: u64,
    set_percent: u64,
    keys_per_get: usize,
    sizes: Sizes,
    random: Random,
}

impl Traffic {
    /// One set for each of the keys `0..keys`.
    pub fn preload(keys: u64, sizes: Sizes) -> Self {
        Self::sets(Keys::Counted, keys, sizes)
    }

    /// So many sets of keys drawn from `0..keys`; another `seed` draws others.
    pub fn churn(keys: u64, count: u64, sizes: Sizes, seed: u64) -> Self {
        let random = Random::seeded(seed);
        Self { random, ..Self::sets(Keys::Uniform(keys), count, sizes) }
    }

    /// An endless mix of gets and sets by Zipf's law.
    pub fn mix(
        keys: u64,
        exponent: f64,
        set_percent: u64,
        keys_per_get: usize,
        size: usize,
    ) -> Self {
        let mut random = Random::seeded(keys);
        let drawn = zipf(keys, exponent, DRAWS, &mut random);
        Self {
            set_percent,
            keys_per_get,
            random,
            ..Self::sets(Keys::Listed(drawn), u64::MAX, Sizes::Fixed(size))
        }
    }

    /// One get for each run of `keys_per_get` keys of `0..keys`, to see whether they are there.
    pub fn sweep(keys: u64, keys_per_get: usize, size: usize) -> Self {
        let requests = keys / keys_per_get.max(1) as u64;
        let listed = Keys::Listed((0..keys).collect());
        let sets = Self::sets(listed, requests, Sizes::Fixed(size));
        Self { set_percent: 0, keys_per_get, ..sets }
    }

    fn sets(keys: Keys, left: u64, sizes: Sizes) -> Self {
        let random = Random::seeded(left);
        Self { keys, next: 0, left, asked: 0, set_percent: 100, keys_per_get: 1, sizes, random }
    }

    /// The keys at the places of a [`Request::Get`].
    pub fn ids(&self, places: &Range<usize>) -> &[u64] {
        match &self.keys {
            Keys::Listed(ids) => ids.get(places.clone()).unwrap_or_default(),
            Keys::Counted | Keys::Uniform(_) => &[],
        }
    }

    /// How many keys the gets so far have asked for.
    pub fn keys_asked(&self) -> u64 {
        self.asked
    }

    /// Bytes that the value of a key that is got must have; `None` when a get cannot know.
    pub fn size_of_values(&self) -> Option<usize> {
        match self.sizes {
            Sizes::Fixed(size) => Some(size),
            Sizes::Spread { .. } => None,
        }
    }
}

impl Iterator for Traffic {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        self.left = self.left.checked_sub(1)?;
        if self.set_percent < 100 && self.random.below(100) >= self.set_percent {
            self.asked += self.keys_per_get as u64;
            return Some(Request::Get(self.places(self.keys_per_get)));
        }
        let id = self.id();
        Some(Request::Set { id, size: self.sizes.draw(self.random.bits()) })
    }
}

impl Traffic {
    /// The next `count` listed keys; starts over where too few are left.
    fn places(&mut self, count: usize) -> Range<usize> {
        let Keys::Listed(ids) = &self.keys else { return 0..0 };
        if self.next + count > ids.len() {
            self.next = 0;
        }
        let start = self.next;
        self.next += count;
        start..self.next
    }

    /// The next key to set.
    fn id(&mut self) -> u64 {
        match self.keys {
            Keys::Listed(_) => {
                let places = self.places(1);
                self.ids(&places).first().copied().unwrap_or_default()
            }
            Keys::Counted => {
                self.next += 1;
                self.next as u64 - 1
            }
            Keys::Uniform(keys) => self.random.below(keys),
        }
    }
}
