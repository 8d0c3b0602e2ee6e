//! Log sequence numbers.

use std::fmt;

/// The number of a record: 1 for the first one of a log, one more for each that follows, over all
/// files and restarts.
///
/// A number is given to one record at most while a process lives. Numbers whose records the disk
/// refused for want of room stay empty; after a crash the numbers of records that were lost
/// before they were durable are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before every record.
    pub const NONE: Lsn = Lsn(0);
    /// The first record of a log.
    pub const FIRST: Lsn = Lsn(1);

    /// The one after this.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.0.saturating_add(1))
    }

    /// The one before this.
    #[must_use]
    pub fn previous(self) -> Lsn {
        Lsn(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
