//! Hill climbing on the hit ratio: Einziger, Eytan, Friedman, Manes: "Adaptive software cache
//! management", Middleware 2018.

/// A larger change of the hit ratio than this starts the climb anew.
const RESTART_CHANGE: f32 = 0.05;
/// The first step.
const STEP: f32 = 0.0625;
/// Each step is this much of the one before, so that the climb settles.
const STEP_DECAY: f32 = 0.98;
/// Accesses for each entry held, between two steps.
const SAMPLE_PER_ENTRY: u32 = 10;
/// Bounds of the share that is sought.
const SHARE_MIN: f32 = 0.01;
const SHARE_MAX: f32 = 0.8;

/// Seeks the share (of the window) that gives the best hit ratio, a step at a time.
#[derive(Debug)]
pub(super) struct Climber {
    share: f32,
    step: f32,
    last_ratio: f32,
    hits: u32,
    misses: u32,
}

impl Default for Climber {
    fn default() -> Self {
        Self { share: SHARE_MIN, step: STEP, last_ratio: 0.0, hits: 0, misses: 0 }
    }
}

impl Climber {
    /// The share now.
    pub(super) fn share(&self) -> f32 {
        self.share
    }

    pub(super) fn hit(&mut self, entries: u32) {
        self.hits += 1;
        self.climb(entries);
    }

    pub(super) fn miss(&mut self, entries: u32) {
        self.misses += 1;
        self.climb(entries);
    }

    /// At the end of a sample: on in the same direction if it was better, else back.
    fn climb(&mut self, entries: u32) {
        let sample = self.hits + self.misses;
        if sample < entries.max(16).saturating_mul(SAMPLE_PER_ENTRY) {
            return;
        }
        let ratio = self.hits as f32 / sample as f32;
        let change = ratio - self.last_ratio;
        let direction = if change >= 0.0 { self.step } else { -self.step };
        self.share = (self.share + direction).clamp(SHARE_MIN, SHARE_MAX);
        self.step = if change.abs() >= RESTART_CHANGE {
            STEP.copysign(direction)
        } else {
            direction * STEP_DECAY
        };
        (self.last_ratio, self.hits, self.misses) = (ratio, 0, 0);
    }
}
