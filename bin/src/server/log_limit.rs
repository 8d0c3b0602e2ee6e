//! A line of the log that clients can cause is written once in a while, with the number of those
//! that were left out: a flood of connections must not become a flood of lines.

use std::sync::atomic::{AtomicU64, Ordering};

/// Between two lines about the same thing, ms.
const PAUSE: u64 = 10_000;

/// When a line was last written, and how often it was not since.
#[derive(Default)]
pub struct LogLimit {
    /// From when on the next line may be written, ms.
    next: AtomicU64,
    left_out: AtomicU64,
}

impl LogLimit {
    /// How many lines were left out since the last one, when one may be written at `now`.
    pub fn pass(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let won = now >= next
            && self
                .next
                .compare_exchange(next, now + PAUSE, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !won {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_and_the_rest_counted() {
        let limit = LogLimit::default();
        for (now, passes) in [
            (5, Some(0)),
            (6, None),
            (10_004, None),
            (10_005, Some(2)),
            (10_006, None),
            (50_000, Some(1)),
            (60_000, Some(0)),
        ] {
            assert_eq!(limit.pass(now), passes, "at {now}");
        }
    }
}
