//! What came of the requests.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::codec::{Answer, Asked};

/// Longer latencies are counted as this long.
const LATENCY_MAX: Duration = Duration::from_secs(600);

/// The counts of one phase, of one connection or all.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Gets that were sent.
    pub gets: u64,
    /// Sets that were sent.
    pub sets: u64,
    /// Gets that found something.
    pub hits: u64,
    /// Gets that found nothing.
    pub misses: u64,
    /// Sets that were done.
    pub stored: u64,
    /// Requests that were surely not done, by the reason.
    pub failed: BTreeMap<String, u64>,
    /// Requests of which nobody knows, by the reason.
    pub unknown: BTreeMap<String, u64>,
    /// Connections that broke, by the reason.
    pub lost: BTreeMap<String, u64>,
    /// Open loop: requests that waited for answers to earlier ones.
    pub held: u64,
    /// Open loop: requests that were due and never sent.
    pub unsent: u64,
    /// Nanoseconds from when a get was due to its answer; errors are not in it.
    pub get_latency: Histogram<u64>,
    /// The same of sets.
    pub set_latency: Histogram<u64>,
    /// Open loop: nanoseconds from when a request was due to its sending, where only the generator
    /// was in the way.
    pub late: Histogram<u64>,
    /// From the start to the last answer.
    pub elapsed: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            gets: 0,
            sets: 0,
            hits: 0,
            misses: 0,
            stored: 0,
            failed: BTreeMap::new(),
            unknown: BTreeMap::new(),
            lost: BTreeMap::new(),
            held: 0,
            unsent: 0,
            get_latency: histogram(),
            set_latency: histogram(),
            late: histogram(),
            elapsed: Duration::ZERO,
        }
    }
}

impl Tally {
    /// A request was sent.
    pub fn sent(&mut self, is_set: bool) {
        *(if is_set { &mut self.sets } else { &mut self.gets }) += 1;
    }

    /// A request of an open loop was sent `late`, `held` back by answers or not.
    pub fn sent_late(&mut self, late: Duration, held: bool) {
        if held {
            self.held += 1;
        } else {
            record(&mut self.late, late);
        }
    }

    /// An answer came at `now`.
    pub fn answered(&mut self, asked: Asked, answer: Answer, now: Duration) {
        let waited = now.saturating_sub(asked.due);
        match answer {
            Answer::Stored => {
                self.stored += 1;
                record(&mut self.set_latency, waited);
            }
            Answer::Hit | Answer::Miss => {
                let found = matches!(answer, Answer::Hit);
                *(if found { &mut self.hits } else { &mut self.misses }) += 1;
                record(&mut self.get_latency, waited);
            }
            Answer::Failed(why) => *self.failed.entry(why).or_default() += 1,
            Answer::Unknown(why) => *self.unknown.entry(why).or_default() += 1,
        }
    }

    /// The connection broke with these requests under way: what only reads has failed, and of a
    /// write nobody knows.
    pub fn broke(&mut self, why: &str, under_way: &[Asked]) {
        *self.lost.entry(why.to_owned()).or_default() += 1;
        for asked in under_way {
            let kind = if asked.is_set { &mut self.unknown } else { &mut self.failed };
            *kind.entry("connection lost".to_owned()).or_default() += 1;
        }
    }

    /// Counts those of another connection too.
    pub fn add(&mut self, other: &Tally) {
        self.gets += other.gets;
        self.sets += other.sets;
        self.hits += other.hits;
        self.misses += other.misses;
        self.stored += other.stored;
        self.held += other.held;
        self.unsent += other.unsent;
        self.elapsed = self.elapsed.max(other.elapsed);
        for (mine, theirs) in [
            (&mut self.failed, &other.failed),
            (&mut self.unknown, &other.unknown),
            (&mut self.lost, &other.lost),
        ] {
            for (why, count) in theirs {
                *mine.entry(why.clone()).or_default() += count;
            }
        }
        for (mine, theirs) in [
            (&mut self.get_latency, &other.get_latency),
            (&mut self.set_latency, &other.set_latency),
            (&mut self.late, &other.late),
        ] {
            // Both have the same bounds, so that all of it fits.
            let _ = mine.add(theirs);
        }
    }

    /// Gets and sets together.
    pub fn latency(&self) -> Histogram<u64> {
        let mut all = self.get_latency.clone();
        let _ = all.add(&self.set_latency);
        all
    }

    /// Requests that were answered as they should be.
    pub fn done(&self) -> u64 {
        self.hits + self.misses + self.stored
    }

    /// Whether every request that was to be sent was sent and answered without an error.
    pub fn is_clean(&self) -> bool {
        self.unsent == 0
            && self.failed.is_empty()
            && self.unknown.is_empty()
            && self.lost.is_empty()
    }
}

/// Nanoseconds, three digits of them.
#[expect(clippy::expect_used, reason = "the bounds are constants, and a test makes one")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, nanos(LATENCY_MAX), 3).expect("good bounds")
}

fn record(histogram: &mut Histogram<u64>, span: Duration) {
    histogram.saturating_record(nanos(span));
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn every_request_ends_in_one_count() {
        let (get, set) = (Asked { is_set: false, due: MS }, Asked { is_set: true, due: MS });
        let why = || "E1".to_owned();
        let mut one = Tally::default();
        for (asked, answer) in [
            (get, Answer::Hit),
            (get, Answer::Miss),
            (set, Answer::Stored),
            (get, Answer::Failed(why())),
            (set, Answer::Unknown(why())),
        ] {
            one.sent(asked.is_set);
            one.answered(asked, answer, MS * 3);
        }
        one.broke("gone", &[get, set, set]);
        let mut all = Tally::default();
        all.add(&one);
        all.add(&one);
        assert_eq!((all.gets, all.sets, all.hits, all.misses, all.stored), (6, 4, 2, 2, 2));
        assert_eq!(all.failed, BTreeMap::from([(why(), 2), ("connection lost".to_owned(), 2)]));
        assert_eq!(all.unknown, BTreeMap::from([(why(), 2), ("connection lost".to_owned(), 4)]));
        assert_eq!(all.lost, BTreeMap::from([("gone".to_owned(), 2)]));
        assert_eq!((all.latency().len(), all.done()), (6, 6));
        assert_eq!(all.latency().max() / 1_000, 2_000, "from when it was due");
        assert!(!all.is_clean() && Tally::default().is_clean());
    }

    #[test]
    fn only_what_was_not_held_back_is_lateness_of_the_generator() {
        let mut tally = Tally::default();
        tally.sent_late(MS, false);
        tally.sent_late(MS * 1_000, true);
        assert_eq!((tally.held, tally.late.len()), (1, 1));
        assert!(tally.late.max() < 2_000_000);
    }
}
