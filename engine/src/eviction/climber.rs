//! Hill climbing on the hit ratio, after Einziger, Eytan, Friedman, Manes: "Adaptive software
//! cache management", Middleware 2018.
//!
//! Where they never stand still, this climber takes a step back that did not pay, and rests the
//! longer the more often that happens: most workloads do not reward the search, and each wrong
//! step costs hits.

/// Bounds of the share that is sought.
const SHARE_MIN: f32 = 0.01;
const SHARE_MAX: f32 = 0.81;
/// One step.
const STEP: f32 = 0.05;
/// A step pays when the hit ratio rises by this.
const GAIN_MIN: f32 = 0.005;
/// A larger change of the hit ratio than this, at rest, is another workload: the rest is over.
const CHANGE_MAX: f32 = 0.05;
/// Longest rest, in samples.
const REST_MAX: u32 = 64;
/// Accesses in a sample, for each entry held.
const SAMPLE_PER_ENTRY: u32 = 10;
/// Fewer entries than this are counted as if they were so many.
const ENTRIES_MIN: u32 = 128;

/// Seeks the share (of the window) that gives the best hit ratio, a step at a time.
#[derive(Debug)]
pub(super) struct Climber {
    share: f32,
    step: f32,
    /// The hit ratio before the step, or at rest.
    home_ratio: f32,
    /// Samples until the next step; none while a step is on trial.
    rest: Option<u32>,
    /// How long the next rest will be.
    patience: u32,
    hits: u32,
    misses: u32,
}

impl Default for Climber {
    fn default() -> Self {
        Self {
            share: SHARE_MIN,
            step: STEP,
            home_ratio: 0.0,
            rest: Some(1),
            patience: 1,
            hits: 0,
            misses: 0,
        }
    }
}

impl Climber {
    /// The share now.
    pub(super) fn share(&self) -> f32 {
        self.share
    }

    /// Counts a read of one of so many entries.
    pub(super) fn hit(&mut self, entries: u32) {
        self.hits += 1;
        self.count(entries);
    }

    /// Counts a new entry as a read that missed.
    pub(super) fn miss(&mut self, entries: u32) {
        self.misses += 1;
        self.count(entries);
    }

    fn count(&mut self, entries: u32) {
        let sample = self.hits + self.misses;
        if sample >= entries.max(ENTRIES_MIN).saturating_mul(SAMPLE_PER_ENTRY) {
            let ratio = self.hits as f32 / sample as f32;
            (self.hits, self.misses) = (0, 0);
            self.climb(ratio);
        }
    }

    /// The end of a sample.
    fn climb(&mut self, ratio: f32) {
        let gain = ratio - self.home_ratio;
        match self.rest {
            Some(rest) => {
                self.home_ratio = ratio;
                self.rest = rest.checked_sub(1).filter(|_| gain.abs() < CHANGE_MAX);
                if self.rest.is_none() {
                    self.walk();
                }
            }
            None if gain >= GAIN_MIN => {
                self.home_ratio = ratio;
                self.patience = 1;
                self.walk();
            }
            None => {
                self.turn_back();
                self.rest = Some(self.patience);
                self.patience = (self.patience * 2).min(REST_MAX);
            }
        }
    }

    fn walk(&mut self) {
        let to = self.share + self.step;
        if !(SHARE_MIN..=SHARE_MAX).contains(&to) {
            self.step = -self.step;
        }
        self.share = (self.share + self.step).clamp(SHARE_MIN, SHARE_MAX);
    }

    fn turn_back(&mut self) {
        self.share = (self.share - self.step).clamp(SHARE_MIN, SHARE_MAX);
        self.step = -self.step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the climber is, on average, in the last half of 1,000 samples, when the hit ratio
    /// is a function of the share.
    fn settles_at(ratio: impl Fn(f32) -> f32) -> f32 {
        let mut climber = Climber::default();
        let shares = (0..1000).map(|_| {
            climber.climb(ratio(climber.share()));
            climber.share()
        });
        shares.skip(500).sum::<f32>() / 500.0
    }

    #[test]
    fn goes_where_the_hits_are() {
        let hill = |top: f32| move |share: f32| 0.8 - (share - top).abs() / 2.0;
        for (top, expect) in [(0.0, 0.01..0.03), (0.3, 0.25..0.35), (0.8, 0.75..0.81)] {
            let share = settles_at(hill(top));
            assert!(expect.contains(&share), "top at {top}: settles at {share}");
        }
    }

    #[test]
    fn stays_where_no_step_pays() {
        assert!(settles_at(|_| 0.5) < 0.03);
    }
}
