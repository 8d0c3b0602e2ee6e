//! Which epochs the operations of a log were decided in (R43).
//!
//! Who serves in an epoch goes on with one log, so two logs that have one operation in common, of
//! one number and one epoch, are the same up to there. With where each epoch begins it is known how
//! far a log that ends with any operation is this one, also when its end was lost in a failover.

use std::collections::VecDeque;

use crate::id::Epoch;

/// Epochs of which a log knows where they begin; one that ends before them is filled from nothing.
const EPOCHS_MAX: usize = 256;

/// The epochs of a log, each with its first operation here; oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<(Epoch, u64)>);

impl History {
    /// Of a log that begins behind `after`, an operation of this epoch.
    pub(super) fn begin(after: u64, of: Epoch) -> History {
        History((after > 0).then_some((of, after)).into_iter().collect())
    }

    /// The log gets this operation.
    pub(super) fn note(&mut self, epoch: Epoch, seq: u64) {
        if self.0.back().is_none_or(|(last, _)| *last != epoch) {
            self.0.push_back((epoch, seq));
        }
        if self.0.len() > EPOCHS_MAX {
            self.0.pop_front();
        }
    }

    /// The epoch of an operation of the log; 0 where that is not known any more.
    pub(super) fn epoch_of(&self, seq: u64) -> Epoch {
        let mut before = self.0.iter().rev().filter(|(_, first)| *first <= seq);
        before.next().map_or(Epoch(0), |(epoch, _)| *epoch)
    }

    /// Up to where a log that ends with the operation `end` of the epoch `of` is this one at most,
    /// which ends with `last`; 0 where that is not known. It is this one up to its end if that has
    /// the same epoch here: a stale copy that was made to serve (R63) went on from elsewhere, and has
    /// other operations of the same numbers.
    pub(super) fn same(&self, (of, end): (Epoch, u64), last: u64) -> u64 {
        let is_known = self.0.front().is_some_and(|(first, _)| *first <= of);
        let later = self.0.iter().find(|(epoch, _)| *epoch > of);
        let upto = later.map_or(last, |(_, first)| first - 1);
        if is_known { upto.min(end) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_two_logs_are_one_is_told_by_their_epochs() {
        // Operations 1 and 2 of epoch 3, 3 to 5 of epoch 4, 6 and 7 of epoch 6.
        let mut whole = History::default();
        let ops = [(3, 1), (3, 2), (4, 3), (4, 4), (4, 5), (6, 6), (6, 7)];
        ops.iter().for_each(|(epoch, seq)| whole.note(Epoch(*epoch), *seq));
        let mut filled = History::begin(4, Epoch(4));
        ops.iter().skip(4).for_each(|(epoch, seq)| filled.note(Epoch(*epoch), *seq));
        for (of, end, of_whole, of_filled) in [
            (0, 0, 0, 0),
            (3, 2, 2, 0),
            // Two more of epoch 3, which are lost.
            (3, 4, 2, 0),
            (4, 4, 4, 4),
            (4, 5, 5, 5),
            (4, 9, 5, 5),
            // Of an epoch of which nothing is left.
            (5, 8, 5, 5),
            (6, 7, 7, 7),
            (6, 9, 7, 7),
            // Of a stale copy that served when the last of epoch 4 were lost.
            (5, 4, 4, 4),
        ] {
            let (of, known) = ((Epoch(of), end), [of_whole, of_filled]);
            assert_eq!([whole.same(of, 7), filled.same(of, 7)], known, "{of:?}");
        }
        assert_eq!([0, 1, 3, 5, 7].map(|seq| whole.epoch_of(seq).0), [0, 3, 4, 4, 6]);
        assert_eq!([3, 4, 6].map(|seq| filled.epoch_of(seq).0), [0, 4, 6]);
    }
}
