//! The clocks of one machine. True time is the world's, in microseconds.

use isogrid_grid::membership::Now;

use super::chance::Chance;

/// 2026-01-01, ms.
const EPOCH: u64 = 1_767_225_600_000;
/// What a monotonic clock begins with, ms: not the same everywhere.
const BEGIN_MAX: u64 = 1_000_000;

/// A machine's clocks.
#[derive(Debug, Clone)]
pub struct SimClock {
    begin: u64,
    /// Parts in a million that it runs too fast.
    drift: i64,
    /// How fast it runs, in hundredths, since when, and what it showed then, us.
    pace: (u64, u64, u64),
    /// How far the wall clock is off, ms.
    pub skew: i64,
}

impl SimClock {
    /// Clocks that drift by at most `drift` parts in a million, and are off by at most `skew` ms.
    #[must_use]
    pub fn new(chance: &mut Chance, drift: u64, skew: u64) -> Self {
        let begin = chance.below(BEGIN_MAX);
        let (drift, pace) = (signed(chance, drift), (100, 0, 0));
        SimClock { begin, drift, pace, skew: signed(chance, skew) }
    }

    /// What they show at a true time.
    #[must_use]
    pub fn now(&self, true_us: u64) -> Now {
        let monotonic = self.begin + self.local(true_us) / 1_000;
        Now { monotonic, wall: (EPOCH + true_us / 1_000).saturating_add_signed(self.skew) }
    }

    fn local(&self, true_us: u64) -> u64 {
        let (percent, since, shown) = self.pace;
        let span = true_us.saturating_sub(since);
        shown + span.saturating_add_signed(scaled(span, self.drift)) * percent / 100
    }

    /// The monotonic clock runs at this pace from now on, in hundredths of what it should.
    pub fn run_at(&mut self, percent: u64, true_us: u64) {
        self.pace = (percent, true_us, self.local(true_us));
    }

    /// How long a span of the machine's own clock really takes, us.
    #[must_use]
    pub fn really(&self, span_us: u64) -> u64 {
        span_us.saturating_add_signed(scaled(span_us, -self.drift))
    }
}

fn signed(chance: &mut Chance, max: u64) -> i64 {
    let drawn = i64::try_from(chance.between(0, 2 * max)).unwrap_or(0);
    drawn - i64::try_from(max).unwrap_or(0)
}

fn scaled(span: u64, parts: i64) -> i64 {
    i64::try_from(span).unwrap_or(i64::MAX) / 1_000 * parts / 1_000
}
