//! When the requests of one connection are sent. No clock: every moment comes in as a number,
//! the time since the phase began.

use std::time::Duration;

/// Whoever is behind its schedule by no more than this has kept it, however short the phase.
const TOLERANCE_MIN: Duration = Duration::from_millis(100);

/// The arrivals of one connection of an open loop: every `stride`th of those of the whole load,
/// which come in equal steps. They are fixed ahead, whatever the server does.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals {
    /// Requests a second of the whole load.
    pub rate: u64,
    /// The number of this connection.
    pub first: u64,
    /// How many connections there are.
    pub stride: u64,
}

impl Arrivals {
    /// When the request with this number, from 0, is due.
    pub fn at(&self, number: u64) -> Duration {
        let place = u128::from(self.first) + u128::from(number) * u128::from(self.stride);
        let nanos = place * 1_000_000_000 / u128::from(self.rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many are due before `end`.
    fn before(&self, end: Duration) -> u64 {
        // Places below rate * end, rounded up; of those, every stride-th from `first` on.
        let places = (end.as_nanos() * u128::from(self.rate)).div_ceil(1_000_000_000);
        let of_mine = places.saturating_sub(self.first.into()).div_ceil(self.stride.max(1).into());
        u64::try_from(of_mine).unwrap_or(u64::MAX)
    }
}

/// When a phase ends: at the first of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Requests of this connection.
    pub requests: Option<u64>,
    /// Time since the phase began.
    pub time: Option<Duration>,
}

/// What a connection does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Sends a request. Its latency counts from `due`, whenever it is really sent.
    Send {
        /// When it was to be sent.
        due: Duration,
        /// Whether it had to wait for answers to earlier ones: then the server is why it is late.
        held: bool,
    },
    /// Waits until then; answers may come before.
    Until(Duration),
    /// Waits for an answer: as many requests as allowed are under way.
    Full,
    /// Sends no more.
    Over,
}

/// The schedule of one connection in one phase.
#[derive(Debug)]
pub struct Schedule {
    arrivals: Option<Arrivals>,
    depth: usize,
    sent: u64,
    left: u64,
    /// When sending ends. In an open loop that is a while behind the last arrival, so that all are
    /// sent unless the schedule cannot be kept.
    end: Option<Duration>,
    held: bool,
}

impl Schedule {
    /// A closed loop: a request is due as soon as fewer than `depth` are under way.
    pub fn closed(depth: usize, limit: Limit) -> Self {
        let left = limit.requests.unwrap_or(u64::MAX);
        Schedule { arrivals: None, depth, sent: 0, left, end: limit.time, held: false }
    }

    /// An open loop: requests are due at their arrivals; `depth` bounds what is under way.
    pub fn open(arrivals: Arrivals, depth: usize, limit: Limit) -> Self {
        let in_time = limit.time.map_or(u64::MAX, |time| arrivals.before(time));
        let left = in_time.min(limit.requests.unwrap_or(u64::MAX));
        let last = arrivals.at(left.saturating_sub(1));
        let end = Some(last.saturating_add((last / 100).max(TOLERANCE_MIN)));
        Schedule { arrivals: Some(arrivals), depth, sent: 0, left, end, held: false }
    }

    /// What to do at `now`, with so many requests under way.
    pub fn next(&mut self, now: Duration, under_way: usize) -> Turn {
        if self.left == 0 || self.end.is_some_and(|end| now >= end) {
            return Turn::Over;
        }
        let due = self.arrivals.map_or(now, |arrivals| arrivals.at(self.sent));
        if due > now {
            return Turn::Until(due);
        }
        if under_way >= self.depth {
            self.held = true;
            return Turn::Full;
        }
        self.left -= 1;
        self.sent += 1;
        Turn::Send { due, held: std::mem::take(&mut self.held) }
    }

    /// Requests that were due in an open loop and not sent when it was over: if there are any, the
    /// rate was not kept.
    pub fn unsent(&self) -> u64 {
        if self.arrivals.is_some() { self.left } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn limit(requests: Option<u64>, time_ms: Option<u32>) -> Limit {
        Limit { requests, time: time_ms.map(|ms| MS * ms) }
    }

    fn arrivals(rate: u64, first: u64, stride: u64) -> Arrivals {
        Arrivals { rate, first, stride }
    }

    #[test]
    fn connections_share_the_arrivals_of_one_rate() {
        for (rate, connections, time) in [(1_000, 3, MS * 10), (7, 4, MS * 999), (50_000, 50, MS)] {
            let mut all: Vec<Duration> = (0..connections)
                .map(|first| arrivals(rate, first, connections))
                .flat_map(|mine| (0..mine.before(time)).map(move |number| mine.at(number)))
                .collect();
            all.sort_unstable();
            let one = arrivals(rate, 0, 1);
            let expected: Vec<Duration> =
                (0..).map(|number| one.at(number)).take_while(|at| *at < time).collect();
            assert_eq!(all, expected, "{rate} {connections}");
            assert!(!all.is_empty());
        }
    }

    /// Plays a schedule on a clock that stands still but for the steps given: when each request is
    /// sent, and for when it was due.
    fn play(schedule: &mut Schedule, steps: &[(u32, usize)]) -> Vec<(u32, Turn)> {
        let step = |&(now, under_way): &(u32, usize)| (now, schedule.next(MS * now, under_way));
        steps.iter().map(step).collect()
    }

    #[test]
    fn a_closed_loop_sends_whenever_there_is_room() {
        let mut schedule = Schedule::closed(2, limit(Some(3), Some(50)));
        let send = |ms: u32, held| Turn::Send { due: MS * ms, held };
        let played = play(&mut schedule, &[(0, 0), (0, 1), (0, 2), (7, 1), (8, 0)]);
        let turns = [send(0, false), send(0, false), Turn::Full, send(7, true), Turn::Over];
        assert_eq!(played.iter().map(|(_, turn)| *turn).collect::<Vec<_>>(), turns);
        assert_eq!(schedule.unsent(), 0);
        let mut schedule = Schedule::closed(1, limit(None, Some(50)));
        assert_eq!(schedule.next(MS * 49, 0), send(49, false));
        assert_eq!(schedule.next(MS * 50, 0), Turn::Over);
    }

    #[test]
    fn an_open_loop_keeps_the_moments_that_were_fixed_ahead() {
        let mut schedule = Schedule::open(arrivals(100, 0, 1), 2, limit(None, Some(60)));
        let send = |ms: u32, held| Turn::Send { due: MS * ms, held };
        let steps = [
            ((0, 0), send(0, false)),
            ((0, 1), Turn::Until(MS * 10)),
            // The generator is late: the request is as old as its arrival.
            ((13, 1), send(10, false)),
            ((19, 2), Turn::Until(MS * 20)),
            // The server stalls: what becomes due meanwhile waits, and its time is counted.
            ((20, 2), Turn::Full),
            ((47, 2), Turn::Full),
            ((48, 0), send(20, true)),
            ((48, 1), send(30, false)),
            ((49, 1), send(40, false)),
            ((49, 1), Turn::Until(MS * 50)),
            ((50, 0), send(50, false)),
            ((51, 1), Turn::Over),
        ];
        for ((now, under_way), turn) in steps {
            assert_eq!(schedule.next(MS * now, under_way), turn, "at {now} ms");
        }
        assert_eq!(schedule.unsent(), 0);
    }

    #[test]
    fn a_rate_that_is_not_kept_leaves_requests_unsent() {
        let mut schedule = Schedule::open(arrivals(1_000, 0, 1), 1, limit(Some(10), None));
        assert_eq!(schedule.next(MS * 5, 0), Turn::Send { due: Duration::ZERO, held: false });
        // Late, but within what is tolerated behind the last arrival at 9 ms.
        assert_eq!(schedule.next(MS * 108, 1), Turn::Full);
        assert!(matches!(schedule.next(MS * 108, 0), Turn::Send { held: true, .. }));
        assert_eq!(schedule.next(MS * 109, 0), Turn::Over);
        assert_eq!(schedule.unsent(), 8);
    }
}
