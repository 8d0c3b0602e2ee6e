//! How many connections a second are accepted: a token bucket. Who comes faster waits in the
//! kernel's backlog, so that a storm of connections leaves time for those that are there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What one connection takes. A millisecond brings as many parts as a second brings connections.
const PARTS: u64 = 1_000;
/// Seconds whose connections may come at once.
const BURST_SECONDS: u64 = 2;

/// The bucket of all listeners.
pub struct AcceptRate {
    per_second: Option<u64>,
    bucket: Mutex<Bucket>,
    /// Connections that were accepted late.
    pub delayed: AtomicU64,
}

struct Bucket {
    parts: u64,
    /// When it was filled, ms.
    at: u64,
}

impl AcceptRate {
    /// A full bucket; `None` never runs out.
    pub fn new(per_second: Option<u64>, now: u64) -> Self {
        let parts = per_second.unwrap_or(0) * BURST_SECONDS * PARTS;
        let bucket = Mutex::new(Bucket { parts, at: now });
        AcceptRate { per_second, bucket, delayed: AtomicU64::new(0) }
    }

    /// Takes what a connection takes, which may come later: how long until then.
    pub fn take(&self, now: u64) -> Option<Duration> {
        let rate = self.per_second?;
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let brought = now.saturating_sub(bucket.at).saturating_mul(rate);
        bucket.parts = bucket.parts.saturating_add(brought).min(rate * BURST_SECONDS * PARTS);
        bucket.at = bucket.at.max(now);
        // What comes until then is taken already.
        let wait = PARTS.saturating_sub(bucket.parts).div_ceil(rate);
        bucket.parts = bucket.parts + wait * rate - PARTS;
        bucket.at += wait;
        let late = bucket.at - now;
        self.delayed.fetch_add(u64::from(late > 0), Ordering::Relaxed);
        (late > 0).then(|| Duration::from_millis(late))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments at which connections come, ms, and how long each waits.
    fn check(per_second: Option<u64>, come: &[(u64, u64)]) {
        let rate = AcceptRate::new(per_second, 0);
        for (n, (now, wait)) in come.iter().enumerate() {
            let waited = rate.take(*now).map_or(0, |wait| wait.as_millis());
            assert_eq!(waited, u128::from(*wait), "connection {n} at {now} ms");
        }
        let late = come.iter().filter(|(_, wait)| *wait > 0).count();
        assert_eq!(rate.delayed.load(Ordering::Relaxed), late as u64);
    }

    #[test]
    fn two_seconds_at_once_and_then_at_the_rate() {
        // The bucket's four, and each half second one.
        check(Some(2), &[(0, 0), (0, 0), (0, 0), (0, 0), (0, 500), (0, 1_000), (10, 1_490)]);
        // It fills while nobody comes, and no further than to the brim.
        let mut come = vec![(0, 0); 4];
        come.extend([(500, 0), (500, 500), (90_000, 0), (90_000, 0), (90_000, 0), (90_000, 0)]);
        come.push((90_000, 500));
        check(Some(2), &come);
        check(Some(2_000), &[vec![(0, 0); 4_000], vec![(0, 1), (0, 1), (0, 2)]].concat());
        check(None, &[(0, 0); 10_000]);
    }
}
