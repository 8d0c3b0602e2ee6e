//! What an answer waits for, of a cache whose reads are confirmed by the other copies (R25) and of one
//! whose reads go by the lease (R23).

use isogrid_grid::copies::{Mark, Ticket};

use super::Shared;

impl Shared {
    /// How far a segment is before a request is executed; `None` where reads go by the lease.
    #[must_use]
    #[inline]
    pub fn mark(&self, segment: u32) -> Option<Mark> {
        if !self.confirms {
            return None;
        }
        self.copies()?.mark(segment)
    }

    /// What the answer to a request waits for that was executed since then; `None`: it is true if this
    /// member serves the segment still. Where there is something the segment is to be flushed.
    #[must_use]
    #[inline]
    pub fn ticket(&self, segment: u32, since: Option<Mark>, reads: bool) -> Option<Ticket> {
        match since {
            Some(mark) => self.copies()?.confirm(segment, mark, reads),
            None if reads => None,
            None => self.copies()?.ticket(segment),
        }
    }
}
