//! A counter in a session, over many requests.

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::app::{App, Browser};
use super::table::Framework;

const PAUSE: Duration = Duration::from_millis(100);

/// What the users of one session were told.
#[derive(Debug, Default)]
pub struct Told {
    /// The numbers, in the order of each of them.
    counts: Vec<Vec<u64>>,
    /// Requests that were answered by an error, or not at all.
    failed: u64,
    /// The longest time that one had to wait for the next number.
    gap: Duration,
}

impl Told {
    fn acknowledged(&self) -> u64 {
        self.counts.iter().map(|counts| counts.len() as u64).sum()
    }

    /// That the numbers were 1 to N: none twice, each user's in order, and none left out but by a
    /// request that failed, which may have counted.
    pub fn check(&self, name: &str) {
        let all: BTreeSet<u64> = self.counts.iter().flatten().copied().collect();
        let acknowledged = self.acknowledged();
        assert!(self.counts.iter().all(|counts| counts.is_sorted()), "{name}: {self:?}");
        assert_eq!(all.len() as u64, acknowledged, "{name}: a number came twice: {self:?}");
        let last = all.last().copied().unwrap_or(0);
        assert!(last <= acknowledged + self.failed, "{name}: numbers are left out: {self:?}");
    }
}

impl Display for Told {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        let (done, failed, gap) = (self.acknowledged(), self.failed, self.gap.as_millis());
        write!(out, "{done} requests done, {failed} failed, {gap} ms without one at most")
    }
}

/// Counts in one session, by so many users at once, until `stop`. `total` counts with them.
pub fn count(app: &App, users: usize, stop: &AtomicBool, total: &AtomicU64) -> Told {
    let browser = Browser::logged_in(app);
    let mut told = Told::default();
    std::thread::scope(|scope| {
        let user = || use_it(app, browser.clone(), stop, total);
        let users: Vec<_> = (0..users).map(|_| scope.spawn(user)).collect();
        for (counts, failed, gap) in users.into_iter().map(|user| user.join().unwrap()) {
            told.counts.push(counts);
            told.failed += failed;
            told.gap = told.gap.max(gap);
        }
    });
    told
}

fn use_it(
    app: &App,
    mut browser: Browser,
    stop: &AtomicBool,
    total: &AtomicU64,
) -> (Vec<u64>, u64, Duration) {
    let (mut counts, mut failed, mut gap, mut last) =
        (Vec::new(), 0, Duration::ZERO, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        match browser.ask(app, "count") {
            Ok(session) => {
                counts.push(session["n"].as_u64().unwrap());
                total.fetch_add(1, Ordering::Relaxed);
                gap = gap.max(last.elapsed());
                last = Instant::now();
            }
            Err(_) => failed += 1,
        }
        std::thread::sleep(PAUSE);
    }
    (counts, failed, gap.max(last.elapsed()))
}

/// How many users a session has at a time: two where they cannot undo what the other one does.
pub fn users(framework: &Framework) -> usize {
    if framework.locks() { 2 } else { 1 }
}
