//! Which epoch a sequence number of a segment belongs to.
//!
//! A table of its own has one epoch in a life. In a cluster the epoch of a segment rises when
//! another copy becomes its primary, and its sequence numbers run on (DATA_PATH R30): so the number
//! alone says in which epoch an entry was written, and entries need not keep it.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use super::version::SEQ_BITS;
use crate::sync::{AtomicU64, Ordering};

const SEQ_MASK: u64 = (1 << SEQ_BITS) - 1;

/// The epochs of one segment, each as the version of its first number: `epoch << 40 | seq`.
#[derive(Debug)]
pub(crate) struct Epochs {
    current: AtomicU64,
    /// Those before, oldest first.
    past: RwLock<Vec<u64>>,
}

impl Epochs {
    /// All numbers are of this epoch.
    pub fn new(epoch: u64) -> Self {
        Epochs { current: AtomicU64::new(epoch << SEQ_BITS), past: RwLock::new(Vec::new()) }
    }

    /// The version that a number stands for. To be asked after the entry was found: whoever wrote
    /// it had begun its epoch before.
    #[inline]
    pub fn version(&self, seq: u64) -> u64 {
        let first = self.current.load(Ordering::Acquire);
        if seq >= first & SEQ_MASK { first & !SEQ_MASK | seq } else { self.past_version(seq) }
    }

    #[cold]
    fn past_version(&self, seq: u64) -> u64 {
        let past = self.past.read();
        let at = past.partition_point(|first| first & SEQ_MASK <= seq);
        let first = at.checked_sub(1).and_then(|at| past.get(at)).copied().unwrap_or(0);
        first & !SEQ_MASK | seq
    }

    /// Numbers from `seq` on are of this epoch, if it is a later one. With the segment's lock held.
    pub fn begin(&self, epoch: u64, seq: u64) {
        let before = self.current.load(Ordering::Relaxed);
        if epoch <= before >> SEQ_BITS {
            return;
        }
        let mut past = self.past.write();
        // An epoch in which nothing was written leaves no trace.
        if before & SEQ_MASK < seq {
            past.push(before);
        }
        self.current.store(epoch << SEQ_BITS | seq, Ordering::Release);
    }

    /// All numbers are of this epoch again. With the segment's lock held, and no entries there.
    pub fn forget(&self, epoch: u64) {
        self.past.write().clear();
        self.current.store(epoch << SEQ_BITS, Ordering::Release);
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<u64> {
        let mut all = self.past.read().clone();
        all.push(self.current.load(Ordering::Acquire));
        all
    }

    /// Takes in what another copy knows of the same numbers: each of us may have missed where an
    /// epoch began. With the segment's lock held.
    pub fn learn(&self, others: &[u64]) {
        let mut firsts = BTreeMap::new();
        for first in self.all().iter().chain(others) {
            let seq = firsts.entry(first >> SEQ_BITS).or_insert(u64::MAX);
            *seq = (*seq).min(first & SEQ_MASK);
        }
        let mut all: Vec<u64> = firsts.iter().map(|(epoch, seq)| epoch << SEQ_BITS | seq).collect();
        // Of two that begin with one number the later one holds.
        all.dedup_by(|later, earlier| {
            let same = *later & SEQ_MASK <= *earlier & SEQ_MASK;
            if same {
                *earlier = *later;
            }
            same
        });
        let Some(current) = all.pop() else { return };
        *self.past.write() = all;
        self.current.store(current, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_its_epoch() {
        let epochs = Epochs::new(5);
        for (epoch, seq) in [(7, 101), (8, 101), (6, 400), (9, 300)] {
            epochs.begin(epoch, seq);
        }
        for (seq, epoch) in [(1, 5), (100, 5), (101, 8), (299, 8), (300, 9), (1 << 39, 9)] {
            assert_eq!(epochs.version(seq), epoch << SEQ_BITS | seq, "{seq}");
        }
        let copy = Epochs::new(5);
        copy.begin(8, 120);
        copy.begin(9, 350);
        copy.learn(&epochs.all());
        assert_eq!(copy.all(), epochs.all());
        assert_eq!(copy.version(150), 8 << SEQ_BITS | 150);
    }
}
