//! The seams through which time and chance come in. The only file that reads a clock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds since the Unix epoch.
pub type Timestamp = u64;

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock, carried on by the monotonic clock so that it never goes back.
#[derive(Debug)]
pub struct SystemClock {
    start_wall: Timestamp,
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock that starts at the wall time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the seam that reads the real clock")]
    pub fn new() -> Self {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        SystemClock { start_wall: wall, start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.start.elapsed();
        self.start_wall + elapsed.as_secs() * 1000 + u64::from(elapsed.subsec_millis())
    }
}

/// Measures how long something takes. For figures alone: nothing is decided by it.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// One that runs from now on.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the seam that reads the real clock")]
    pub fn start() -> Self {
        Stopwatch(std::time::Instant::now())
    }

    /// Microseconds since it was started.
    #[must_use]
    pub fn micros(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Milliseconds of a clock that never goes back and goes on while the machine sleeps: what leases
/// are counted on (DATA_PATH R11).
#[must_use]
pub fn boot_millis() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let millis = |number: i64, each: u64| u64::try_from(number).unwrap_or(0).saturating_mul(each);
    millis(now.tv_sec, 1_000) + millis(now.tv_nsec, 1) / 1_000_000
}

/// A clock that tests move by hand.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        ManualClock(AtomicU64::new(now))
    }

    /// Moves the clock on by `ms`.
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.load(Ordering::Relaxed)
    }
}

/// One draw of SplitMix64 (Steele, Lea, Flood 2014): enough chance for hash seeds and random
/// eviction, and the same for equal seeds.
#[must_use]
pub fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seed from the operating system, by way of the standard library's hash keys.
#[must_use]
pub fn os_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0x1509_721d_u64)
}
