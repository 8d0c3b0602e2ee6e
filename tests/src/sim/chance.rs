//! Draws from the seed.

use isogrid_engine::env::split_mix;

/// A source of chance.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The chance of a seed; `stream` tells sources of one seed apart.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut state = seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let _ = split_mix(&mut state);
        Chance(state)
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        split_mix(&mut self.0)
    }

    /// A number below `end`; 0 when that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw().checked_rem(end).unwrap_or(0)
    }

    /// A number of the range, both ends included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// Whether something happens that happens so often in a million.
    pub fn hits(&mut self, per_million: u64) -> bool {
        self.below(1_000_000) < per_million
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let at = self.below(all.len() as u64);
        all.get(usize::try_from(at).unwrap_or(0))
    }

    /// How many of some events come before what a seed has in store, which has a stream of its own so
    /// that all else is drawn as it would be without it; 0: every other seed has none.
    #[must_use]
    pub fn ahead(seed: u64, stream: u64, (from, to): (u64, u64)) -> u64 {
        let mut chance = Chance::new(seed, stream);
        let ahead = chance.between(from, to);
        if chance.hits(500_000) { ahead } else { 0 }
    }
}
