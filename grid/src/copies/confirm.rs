//! What an answer waits for where no clock is trusted (R25).
//!
//! A request that wrote nothing, a read as well as a write that was refused, is answered when a round
//! is over that began when it had been executed. One that wrote needs none: that all copies have the
//! write says the same.

use std::sync::atomic::Ordering;

use super::{Copies, Ticket};

/// How far a segment was before a request was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    tenure: u64,
    last: u64,
}

impl Ticket {
    /// Whether something was written that is not on all copies yet.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.seq > 0
    }

    /// Whether the answer says what was found, and nothing was changed: a request of which it is not
    /// confirmed may simply come again.
    #[must_use]
    pub fn is_to_be_confirmed(&self) -> bool {
        self.round > 0
    }
}

impl Copies {
    /// How far a segment is. To be asked before a request is executed.
    #[must_use]
    pub fn mark(&self, segment: u32) -> Option<Mark> {
        let fragment = self.fragments.get(segment as usize)?;
        let tenure = fragment.tenure.load(Ordering::Acquire);
        Some(Mark { tenure, last: fragment.last.load(Ordering::Acquire) })
    }

    /// What the answer to a request waits for that was executed since; whoever waits for it has the
    /// segment flushed. `None`: no other copy could say anything, and the lease is to be asked.
    #[must_use]
    pub fn confirm(
        &self,
        segment: u32,
        Mark { tenure, last }: Mark,
        reads: bool,
    ) -> Option<Ticket> {
        let seq = if reads { 0 } else { self.ticket(segment).map_or(0, |ticket| ticket.seq) };
        let mut state = self.fragments.get(segment as usize)?.lock();
        // What was written since is on the other copies after the request had come, and it is not
        // less than what the answer depends on.
        if seq > last {
            return Some(Ticket { segment, seq, round: 0, tenure });
        }
        let round = state.replica.confirm();
        let is_open = round.is_some() || seq > 0;
        is_open.then_some(Ticket { segment, seq, round: round.unwrap_or(0), tenure })
    }
}
