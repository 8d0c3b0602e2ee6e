//! Pauses that grow, and the chance in them.

use std::time::Duration;

/// A generator of numbers that differ from one client to the next: splitmix64.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Any span between the half of `span` and all of it, so that clients which lost the same
    /// server do not come back at the same moment.
    pub fn about(&mut self, span: Duration) -> Duration {
        let half = span / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(self.number() % nanos.max(1))
    }
}

/// The pause before the next attempt: doubled with each, up to `most`.
pub fn pause(first: Duration, most: Duration, attempts: u32) -> Duration {
    first.saturating_mul(1 << attempts.min(20)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_largest_and_stay_there() {
        let ms = Duration::from_millis;
        let pauses = [0, 1, 2, 6, 7, 40, u32::MAX].map(|n| pause(ms(20), ms(2_000), n));
        assert_eq!(pauses, [20, 40, 80, 1_280, 2_000, 2_000, 2_000].map(ms));
    }

    #[test]
    fn chance_stays_between_the_half_and_the_whole() {
        let mut random = Random::new(7);
        let span = Duration::from_millis(100);
        let drawn: Vec<Duration> = (0..1_000).map(|_| random.about(span)).collect();
        assert!(drawn.iter().all(|one| *one >= span / 2 && *one <= span));
        let late = drawn.iter().filter(|one| **one > span * 3 / 4).count();
        assert!((300..700).contains(&late), "{late} of 1000 in the upper half");
        assert_eq!(random.about(Duration::ZERO), Duration::ZERO);
    }
}
