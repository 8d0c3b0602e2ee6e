//! What a primary has answered that not all copies have: the tail of the log that a failover may
//! lose where writes are acknowledged at once (R37).
//!
//! The log and its copies are as everywhere else, and commit what all in sync have. But here the
//! primary shows its own writes, and answers them, before that, as long as the tail is within its
//! bounds; beyond them a write waits for the copies as any other. So what is left after a failover
//! is the front part of what was done, and what is missing is no more than the bounds say.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Action, Base, Op, Replica, Role};
use crate::membership::Monotonic;
use crate::mutant::is_planted;

/// How old what the copies lack may be when more is answered, ms.
pub const TAIL_MS: u64 = 1_000;
/// Bytes of the records that may be answered and on no copy, of all segments of a cache that a
/// member serves.
pub const TAIL_BYTES: usize = 8 << 20;
/// What an operation counts beside its record, bytes.
const OP_BYTES: usize = 32;

/// The bytes that the tails of one cache's segments may have together.
#[derive(Debug)]
pub struct Budget {
    max: usize,
    used: AtomicUsize,
}

impl Budget {
    /// So many.
    #[must_use]
    pub fn new(max: usize) -> Arc<Budget> {
        Arc::new(Budget { max, used: AtomicUsize::new(0) })
    }

    /// How many are used.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| {
            let used = used + bytes;
            (used <= self.max || is_planted("tail-unbounded")).then_some(used)
        };
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The tail of one copy.
#[derive(Debug)]
pub(super) struct Tail {
    budget: Arc<Budget>,
    /// Up to where operations are answered, or may have been.
    pub(super) shown: u64,
    /// What of it is not committed: each operation's number, its bytes, and when it was answered.
    open: VecDeque<(u64, usize, Monotonic)>,
}

impl Tail {
    /// Whether one more operation may be answered now; if so it is counted.
    fn take(&mut self, now: Monotonic, seq: u64, bytes: usize) -> bool {
        let is_late = self.open.front().is_some_and(|(.., since)| now >= since + TAIL_MS);
        if (is_late && !is_planted("tail-unbounded")) || !self.budget.take(bytes) {
            return false;
        }
        self.open.push_back((seq, bytes, now));
        self.shown = seq;
        true
    }

    /// Everything up to here is on all copies.
    fn settle(&mut self, committed: u64) {
        while let Some((_, bytes, _)) = self.open.pop_front_if(|(seq, ..)| *seq <= committed) {
            self.budget.give_back(bytes);
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.settle(u64::MAX);
    }
}

impl Replica {
    /// The same copy, which answers writes at once while it serves.
    #[must_use]
    pub fn at_once(mut self, budget: Arc<Budget>) -> Self {
        self.tail = Some(Tail { budget, shown: 0, open: VecDeque::new() });
        self
    }

    /// Up to where operations can be seen here, and are answered: what is committed, and before
    /// that what is answered at once.
    #[must_use]
    pub fn shown(&self) -> u64 {
        self.tail.as_ref().map_or(0, |tail| tail.shown).max(self.log.committed())
    }

    /// Shows what may be answered by now.
    pub(super) fn show(&mut self, now: Monotonic, base: &mut impl Base, out: &mut Vec<Action>) {
        let upto = self.log.ready().min(self.durable());
        let (shown, committed) = (self.shown(), self.log.committed());
        let Some(tail) = &mut self.tail else { return };
        tail.settle(committed);
        let is_active = matches!(&self.role, Role::Primary(followers) if followers.is_active);
        let open = self.log.overlay().filter(|op| op.seq > shown && op.seq <= upto);
        for op in open.take_while(|_| is_active) {
            if !tail.take(now, op.seq, op.record.len() + OP_BYTES) {
                break;
            }
            base.show(op);
        }
        if tail.shown > shown {
            out.push(Action::Shown(tail.shown));
        }
    }

    /// The copy does not serve any more: nothing is answered, and what was may be lost.
    pub(super) fn end_tail(&mut self) {
        self.tail.as_mut().into_iter().for_each(|tail| tail.settle(u64::MAX));
    }

    /// Of this copy only what it has up to `same` is on the others: what was answered beyond is
    /// lost, and is told once: it is in the overlay still.
    pub(super) fn discard(&mut self, same: u64, out: &mut Vec<Action>) {
        let Some(tail) = &mut self.tail else { return };
        let shown = std::mem::take(&mut tail.shown);
        let lost = self.log.overlay().filter(|op| op.seq > same && op.seq <= shown);
        let lost: Vec<Op> = lost.cloned().collect();
        if !lost.is_empty() {
            out.push(Action::Discarded(lost));
        }
    }
}
