//! Numbers that never come twice and never go back, over restarts too: fencing tokens, leases.
//!
//! They are reserved in blocks: a mark is made durable above all that may be given out, and only
//! then are those below it given out. A restart begins above the mark, so it never gives one again,
//! whatever the crash took.

/// How many are reserved at once.
pub const BLOCK: u64 = 1 << 20;

/// Gives numbers out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    next: u64,
    /// All below it may be given out.
    mark: u64,
}

impl Numbers {
    /// Begins above what may have been given out before: the kept mark. None is given out until
    /// [`Numbers::reserve`].
    #[must_use]
    pub fn above(mark: u64) -> Self {
        let next = mark.max(1);
        Numbers { next, mark: next }
    }

    /// The next number; `None` until more are reserved.
    pub fn take(&mut self) -> Option<u64> {
        let number = Some(self.next).filter(|next| *next < self.mark)?;
        self.next += 1;
        Some(number)
    }

    /// All below `mark` may be given out: it is durable.
    pub fn reserve(&mut self, mark: u64) {
        self.mark = self.mark.max(mark);
    }

    /// The mark that should be made durable now, if fewer than half a block are left.
    #[must_use]
    pub fn wanted(&self) -> Option<u64> {
        let left = self.mark - self.next;
        (left < BLOCK / 2).then(|| self.next.saturating_add(BLOCK))
    }

    /// The next number and the mark.
    #[must_use]
    pub(super) fn parts(&self) -> (u64, u64) {
        (self.next, self.mark)
    }

    pub(super) fn of_parts(next: u64, mark: u64) -> Option<Self> {
        (next >= 1 && next <= mark).then_some(Numbers { next, mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_comes_twice_over_restarts() {
        let (mut kept, mut last) = (0, 0);
        for life in 0..20 {
            let mut numbers = Numbers::above(kept);
            assert_eq!(numbers.take(), None, "nothing is durable yet");
            for round in 0..3 {
                if let Some(mark) = numbers.wanted() {
                    kept = mark;
                    // A crash here loses what was reserved, not what was kept.
                    if (life + round) % 5 == 4 {
                        break;
                    }
                    numbers.reserve(mark);
                }
                for _ in 0..1_000 {
                    let number = numbers.take().unwrap();
                    assert!(number > last && number < kept, "{number} after {last}");
                    last = number;
                }
            }
        }
    }

    #[test]
    fn more_are_wanted_ahead_of_need() {
        let mut numbers = Numbers::above(0);
        numbers.reserve(numbers.wanted().unwrap());
        assert_eq!(numbers.wanted(), None);
        let mut taken = 0;
        while numbers.wanted().is_none() {
            taken += u64::from(numbers.take().is_some());
        }
        assert_eq!(taken, BLOCK / 2 + 1);
        assert!(numbers.take().is_some(), "those that are left are given out meanwhile");
    }
}
