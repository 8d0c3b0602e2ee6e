//! The queues of a segment at the member that serves it: in memory for as long as it serves without a
//! break, and made anew of the committed entries when it begins to.

use isogrid_engine::{Table, Timestamp};

use super::Queues;
use crate::copies::Copies;
use crate::id::Epoch;
use crate::mutant::is_planted;

/// The queues of a segment, in an `S` together with what else is over when the member ceases to serve
/// it: who waits there asks again.
#[derive(Debug)]
pub struct Hosted<S> {
    /// For how long it has been served when its queues were loaded, in times that it began.
    served: Option<(u64, S)>,
    /// No id below was not given out, in the epoch in which they were loaded last.
    next: u64,
}

impl<S> Default for Hosted<S> {
    fn default() -> Self {
        Hosted { served: None, next: 0 }
    }
}

impl<S> Hosted<S> {
    /// The queues for an operation in this time of serving: those that are in memory, or what `new`
    /// makes of the entries. They are out of memory until [`Hosted::put`] gives them back. `None`:
    /// something is on its way to being committed, and not in the entries yet.
    pub fn take(
        &mut self,
        (epoch, tenure): (Epoch, u64),
        (copies, table, segment): (&Copies, &Table, u32),
        now: Timestamp,
        new: impl FnOnce(Queues) -> S,
    ) -> Option<S> {
        let is_same = |of: u64| of == tenure || is_planted("queue-stays");
        match self.served.take() {
            Some((of, slot)) if is_same(of) => Some(slot),
            _ if copies.ticket(segment).is_some() => None,
            _ => {
                let first = self.next.max(Queues::first_id(epoch));
                Some(new(Queues::load(table, segment, first, now)))
            }
        }
    }

    /// What ids were given out up to `next`. The queues are there for the next operation if they are
    /// `Some`, as they are unless the time of serving is over or not all could be kept.
    pub fn put(&mut self, next: u64, tenure: u64, slot: Option<S>) {
        self.next = next;
        self.served = slot.map(|slot| (tenure, slot));
    }

    /// What is in memory, and in which time of serving it was loaded.
    #[must_use]
    pub fn get(&self) -> Option<(u64, &S)> {
        self.served.as_ref().map(|(tenure, slot)| (*tenure, slot))
    }

    /// What is in memory is to be read anew.
    pub fn forget(&mut self) {
        self.served = None;
    }
}
