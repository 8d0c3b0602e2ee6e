//! The side that holds a lease.

use std::collections::VecDeque;

use super::Monotonic;
use crate::mutant::is_planted;

/// Beats without an answer that are remembered.
const BEATS_MAX: usize = 16;

/// A member's lease, or none.
#[derive(Debug, Clone)]
pub struct Lease {
    length: u64,
    beats: VecDeque<(u64, Monotonic)>,
    next: u64,
    until: Monotonic,
    /// The newest grant that waits for the log: how far that must be applied, and what it is worth.
    waiting: Option<(u64, Monotonic)>,
}

impl Lease {
    /// No lease yet; each will be `length` ms long.
    #[must_use]
    pub fn new(length: u64) -> Self {
        Lease { length, beats: VecDeque::new(), next: 1, until: 0, waiting: None }
    }

    /// A beat goes out: its number. A lease that answers it counts from now.
    pub fn beat(&mut self, now: Monotonic) -> u64 {
        let n = self.next;
        self.next += 1;
        self.beats.push_back((n, now));
        if self.beats.len() > BEATS_MAX {
            self.beats.pop_front();
        }
        n
    }

    /// The leader, whose metadata were at `index`, grants what the beat `n` asked for. `applied`
    /// is how far ours are: a grant counts only once we know what the leader knew (R8).
    pub fn granted(&mut self, n: u64, index: u64, applied: u64) {
        let Some(at) = self.beats.iter().position(|(beat, _)| *beat == n) else { return };
        let sent = self.beats.drain(..=at).next_back().map_or(0, |(_, sent)| sent);
        let percent = if is_planted("lease-too-long") { 120 } else { 99 };
        let until = sent + self.length * percent / 100;
        match self.waiting {
            Some((_, better)) if better >= until => {}
            _ => self.waiting = Some((index, until)),
        }
        self.applied(applied);
    }

    /// The metadata are at `index` now.
    pub fn applied(&mut self, index: u64) {
        if let Some((_, until)) =
            self.waiting.take_if(|(needed, _)| *needed <= index || is_planted("grant-not-applied"))
        {
            self.until = self.until.max(until);
        }
    }

    /// Until when the member may act, on its own clock: it may at any time before.
    #[must_use]
    pub fn until(&self) -> Monotonic {
        self.until
    }

    /// Whether the member may act.
    #[must_use]
    pub fn holds(&self, now: Monotonic) -> bool {
        now < self.until
    }
}
