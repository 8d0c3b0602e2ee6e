//! Where a table tells of its changes, so that they are there after a restart.

use thiserror::Error;

use super::NewEntry;

/// One change: what is left of it when it is done, so that changes can be done again.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// The entry of a key is this one now. With the sequence number that it had, what changed is
    /// not its value but its deadline, its idle time or its marks.
    Put {
        /// The key.
        key: &'a [u8],
        /// The entry.
        entry: NewEntry<'a>,
        /// The epoch of its sequence number.
        epoch: u32,
        /// Its sequence number.
        seq: u64,
    },
    /// A key has no entry any more.
    Remove {
        /// The key.
        key: &'a [u8],
        /// The epoch of the removal's sequence number.
        epoch: u32,
        /// The removal's sequence number.
        seq: u64,
    },
    /// Everything that was recorded before is gone.
    Clear,
    /// Sequence numbers up to this one may have been given out.
    Life {
        /// The highest sequence number.
        seq: u64,
    },
    /// All of these at once or none: each a [`Change::Put`] or a [`Change::Remove`], no two of one
    /// key. Those of one segment stand in the order of their sequence numbers.
    Transaction(&'a [Change<'a>]),
}

/// Keeps the changes of one table in the order in which they are told.
pub trait Journal: Send + Sync {
    /// Keeps a change, and gives its number; numbers rise. Called under the lock of the key's
    /// segment (for a clear, of all; for a transaction, of all that it writes to) before anybody
    /// sees the change: it must not wait for anything.
    ///
    /// # Errors
    /// [`Unrecorded`]: then the change is not done.
    fn record(&self, change: &Change<'_>) -> Result<u64, Unrecorded>;

    /// As [`Journal::record`], of a change of an entry that there is: `before` is the change that would
    /// put it as it is, and everybody who heard of all changes before this one has it so.
    ///
    /// # Errors
    /// As there.
    fn record_over(&self, before: &Change<'_>, change: &Change<'_>) -> Result<u64, Unrecorded> {
        let _ = before;
        self.record(change)
    }

    /// Whether changes are to be seen only when [`Table::publish_upto`](super::Table::publish_upto)
    /// says that they are kept for good.
    fn publishes(&self) -> bool;

    /// Whether an entry that expires or is evicted is recorded, as [`Change::Remove`] with the number
    /// of the entry itself: elsewhere are copies, and they keep it until they hear that. An entry that
    /// cannot be recorded stays.
    fn has_copies(&self) -> bool {
        false
    }

    /// The log that it records in, if changes of several tables can be one record there: what is
    /// equal for two journals of one log.
    fn log(&self) -> Option<usize> {
        None
    }

    /// Adds to `out` what a record of several tables has of this one's: a transaction's changes,
    /// told as to [`Journal::record`].
    ///
    /// # Errors
    /// [`Unrecorded`]: then nothing is done in any of the tables.
    fn join(&self, _changes: &[Change<'_>], _out: &mut Vec<u8>) -> Result<(), Unrecorded> {
        Err(Unrecorded::Failed)
    }

    /// Keeps in one record what several journals of its log have joined, and gives its number.
    ///
    /// # Errors
    /// [`Unrecorded`]: then nothing is done in any of the tables.
    fn record_joined(&self, _joined: &[u8]) -> Result<u64, Unrecorded> {
        Err(Unrecorded::Failed)
    }

    /// Hears that an entry has expired, which is no change. A journal that keeps entries beyond
    /// the table's may let it go. Called under the lock of the key's segment.
    fn expired(&self, _key: &[u8]) {}
}

/// Why a change could not be recorded. It was surely not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unrecorded {
    /// The disk is full, or nearly.
    #[error("the disk has no room for more changes")]
    OutOfSpace,
    /// More changes wait for the disk than there is room for.
    #[error("the disk is behind with the changes before this one")]
    Busy,
    /// The log has failed: nothing can be kept until it is opened again.
    #[error("the log has failed and takes no more changes")]
    Failed,
    /// Another member of the cluster serves the entry, or nobody does now.
    #[error("another member serves it")]
    Elsewhere,
    /// Fewer copies are in sync than a write needs.
    #[error("too few copies are in sync")]
    TooFewCopies,
    /// A transaction holds the entry until it is known how that one ends.
    #[error("a transaction holds it")]
    Held,
    /// The table was dropped: it stays empty.
    #[error("it has been dropped")]
    Dropped,
}
