//! The operations of one copy: some that are committed and kept for copies that lack a few, then
//! the overlay of those that are not.

use std::collections::VecDeque;
use std::sync::Arc;

use super::history::History;
use super::{Action, Base, Op, Patch, Record};
use crate::id::Epoch;
use crate::mutant::is_planted;

/// Committed operations that are kept for copies that are missing.
const KEEP_MAX: usize = 2_048;
/// Committed operations that are kept when none is: copies in sync lack none of them, and memory
/// that is used again at once stays in the processor's cache.
const KEEP_IDLE: usize = 16;
/// What their records come to at most: of 256 segments 64 MiB (R43).
const KEEP_BYTES: usize = 256 << 10;
/// Operations that are sent at a time.
const BATCH_MAX: usize = 128;
/// What the records of a batch come to at most, unless one alone is larger.
const BATCH_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct OpLog {
    /// Without a gap, oldest first.
    ops: VecDeque<Op>,
    /// The epochs of these, and of those before them that are known.
    history: History,
    /// The number of the last operation, in the log or before it.
    last: u64,
    committed: u64,
    /// Bytes of the records that are committed.
    kept: usize,
    /// Bytes of the others.
    open: usize,
    /// A copy is missing, and will ask for what was committed meanwhile.
    keeps: bool,
    /// Numbers of operations whose records are not whole yet.
    withheld: VecDeque<u64>,
}

impl OpLog {
    /// Bytes of what is not committed.
    pub(super) fn open_bytes(&self) -> usize {
        self.open
    }

    /// How many of the operations that are here have a number up to `seq`.
    fn count_upto(&self, seq: u64) -> usize {
        if is_planted("gap") {
            return self.ops.partition_point(|op| op.seq <= seq);
        }
        let before = self.last - self.ops.len() as u64;
        usize::try_from(seq.saturating_sub(before)).unwrap_or(usize::MAX).min(self.ops.len())
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn committed(&self) -> u64 {
        self.committed
    }

    /// Whether copies are missing that will be filled from here.
    pub(super) fn keep(&mut self, keeps: bool) {
        self.keeps = keeps;
    }

    /// Nothing is here, and what follows `after` comes, an operation of this epoch.
    pub(super) fn begin(&mut self, (after, of): (u64, Epoch)) {
        let (history, keeps) = (History::begin(after, of), self.keeps);
        *self = OpLog { last: after, committed: after, history, keeps, ..OpLog::default() };
    }

    /// The epoch of an operation.
    pub(super) fn epoch_of(&self, seq: u64) -> Epoch {
        self.history.epoch_of(seq)
    }

    /// Up to where a log that ends with this operation of this epoch is this one at most.
    pub(super) fn same(&self, end: (Epoch, u64)) -> u64 {
        self.history.same(end, self.last)
    }

    /// Whether a log that ends with this operation of this epoch is the front of this one.
    pub(super) fn begins_with(&self, end: (Epoch, u64)) -> bool {
        let is_here = (1..=self.last).contains(&end.1);
        is_here && end.0 > Epoch(0) && self.epoch_of(end.1) == end.0
    }

    /// Puts an operation at the end.
    pub(super) fn push(&mut self, op: Op) {
        debug_assert!(op.seq == self.last + 1 || is_planted("gap"), "the log has no gap");
        self.last = op.seq;
        self.history.note(op.epoch, op.seq);
        self.open += op.record.len();
        self.ops.push_back(op);
    }

    /// The last operation added gets its answer when it is known: until then neither it nor what
    /// follows it may leave.
    pub(super) fn withhold(&mut self) {
        self.withheld.push_back(self.last);
    }

    /// The last operation that may leave.
    pub(super) fn ready(&self) -> u64 {
        self.withheld.front().map_or(self.last, |first| first - 1)
    }

    /// The record of an operation that is withheld.
    pub(super) fn withheld(&self, seq: u64) -> Option<&Record> {
        let at = self.withheld.contains(&seq).then(|| self.count_upto(seq - 1))?;
        self.ops.get(at).map(|op| &op.record)
    }

    /// An operation that was withheld is whole, with this record.
    pub(super) fn seal(&mut self, seq: u64, record: Record) {
        let at = self.count_upto(seq - 1);
        if let Some(op) = self.ops.get_mut(at).filter(|op| op.record != record) {
            self.open = self.open + record.len() - op.record.len();
            op.patch = op.patch.take().and_then(|patch| patch.behind(&record)).map(Arc::new);
            op.record = record;
        }
        self.withheld.retain(|other| *other != seq);
    }

    /// Forgets what is withheld and all behind it: nobody has got any of it.
    pub(super) fn drop_withheld(&mut self) {
        let ready = self.ready();
        while let Some(op) = self.ops.pop_back_if(|op| op.seq > ready) {
            self.open -= op.record.len();
        }
        self.last = ready;
        self.withheld.clear();
    }

    /// Whether an operation follows what is here. Others are here already, or lie behind a gap.
    pub(super) fn is_next(&self, op: &Op) -> bool {
        op.seq == self.last + 1 || (is_planted("gap") && op.seq > self.last)
    }

    /// Takes those that follow what is here.
    pub(super) fn extend(&mut self, ops: Vec<Op>) {
        for op in ops {
            if self.is_next(&op) {
                self.push(op);
            }
        }
    }

    /// As [`OpLog::extend`], of operations that may have come as patches; whether all that follow
    /// could be made of what is here.
    pub(super) fn extend_made(&mut self, ops: Vec<Op>, base: &impl Base) -> bool {
        for mut op in ops {
            if !self.is_next(&op) {
                continue;
            }
            if let Some(patch) = op.patch.take().filter(|_| op.record.is_empty()) {
                let Some(record) = self.make(&patch, base) else { return false };
                op.record = record;
            }
            self.push(op);
        }
        true
    }

    /// The record that a patch stands for, made of what its entry is behind all that is here.
    fn make(&self, patch: &Patch, base: &impl Base) -> Option<Record> {
        let is_blind = is_planted("patch-on-any-base");
        let open = self.overlay().rev().filter(|_| !is_blind);
        let (number, old) = base.newest(patch.key(), open)?;
        patch.apply(number, &old).map(Record::from)
    }

    /// Commits up to `seq`, and not beyond what is there.
    pub(super) fn commit(&mut self, seq: u64, base: &mut impl Base, out: &mut Vec<Action>) {
        let seq = seq.min(self.ready());
        if seq <= self.committed {
            return;
        }
        let mut bytes = 0;
        for op in self.ops.range(self.count_upto(self.committed)..self.count_upto(seq)) {
            base.apply(op);
            bytes += op.record.len();
        }
        self.committed = seq;
        self.open -= bytes;
        self.kept += bytes;
        out.push(Action::Committed(seq));
        self.forget(self.count_upto(seq));
    }

    /// Lets go of the oldest of the `done` operations that are committed, as far as they are too
    /// many or too large. Copies in sync lack none of them.
    fn forget(&mut self, done: usize) {
        let mut left = done;
        let keep_max = if self.keeps { KEEP_MAX } else { KEEP_IDLE };
        while left > keep_max || self.kept > KEEP_BYTES {
            let Some(op) = self.ops.pop_front() else { return };
            self.kept -= op.record.len();
            left -= 1;
        }
    }

    /// What is not committed, oldest first.
    pub(super) fn overlay(&self) -> impl DoubleEndedIterator<Item = &Op> {
        self.ops.range(self.count_upto(self.committed)..)
    }

    /// The first operations behind `after` that may leave; `None` when they are not kept any more.
    pub(super) fn batch(&self, after: u64) -> Option<Vec<Op>> {
        let first = self.ops.front().map_or(self.last + 1, |op| op.seq);
        if after > self.last || after + 1 < first {
            return None;
        }
        let mut bytes = 0;
        let fits = |op: &&Op| {
            let is_first = bytes == 0;
            bytes += op.record.len();
            is_first || bytes <= BATCH_BYTES
        };
        let (from, upto) = (self.count_upto(after), self.count_upto(self.ready()));
        let ready = self.ops.range(from.min(upto)..upto);
        Some(ready.take(BATCH_MAX).take_while(fits).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_the_front_of_another_by_its_last_operation() {
        let mut log = OpLog::default();
        log.begin((5, Epoch(3)));
        let op = |seq, epoch| Op::whole(seq, Epoch(epoch), Record::default());
        log.push(op(6, 4));
        for (epoch, seq, is_front) in [
            (3, 5, true),
            (4, 6, true),
            // An operation of another branch has the same number.
            (3, 6, false),
            (4, 5, false),
            // More than there is, or nothing.
            (4, 7, false),
            (0, 0, false),
            // The epochs of what was before the log are not known: that is no epoch.
            (0, 3, false),
        ] {
            assert_eq!(log.begins_with((Epoch(epoch), seq)), is_front, "{epoch} {seq}");
        }
    }
}
