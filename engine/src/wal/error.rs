//! What a log refuses, and why.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::Lsn;

/// Why the log did not do as it was told. Clones share their cause: one failure is told to all
/// who wait.
#[derive(Debug, Clone, Error)]
pub enum WalError {
    /// The disk is full. What the call wrote was taken back: those records are surely not in the
    /// log, which goes on as soon as there is room.
    #[error("{place}: no space left to {action} ({source}): free some, nothing was logged")]
    OutOfSpace {
        /// The file.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The disk failed while the log was open. The log refuses everything from now on, with this
    /// same error; what was not durable before is unknown until it is opened again.
    #[error(
        "{place}: cannot {action} ({source}): the log is closed for writing; check the disk, then open it again"
    )]
    Failed {
        /// The file.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The disk failed while the log was being read, or while old files were removed. Nothing
    /// has changed.
    #[error("{place}: cannot {action} ({source})")]
    Io {
        /// The file.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The log is not whole. Nothing was changed on the disk.
    #[error("{0}")]
    Damaged(Box<Damage>),
    /// The file is a log, but not this one.
    #[error("{place}: {found}; {hint}")]
    Foreign {
        /// The file.
        place: String,
        /// What its header says.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// Whoever was given the records could not take this one.
    #[error("{place}: record {lsn} at byte {offset} was refused: {reason}")]
    Refused {
        /// The file.
        place: String,
        /// Where the record begins.
        offset: u64,
        /// Its number.
        lsn: Lsn,
        /// What the reader said.
        reason: String,
    },
    /// The payload is longer than the configuration allows. Nothing was appended.
    #[error("a record of {len} bytes: at most {max}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// More waits to be written than the buffer may hold. Nothing was appended: let go of your
    /// locks, make room, try again.
    #[error("{len} bytes wait to be written: the log's buffer is full")]
    Full {
        /// Bytes that wait.
        len: usize,
    },
    /// The disk was full meanwhile, and changes that others depend on were taken back.
    #[error("the disk was full meanwhile: it is unknown whether this change is kept")]
    Doubtful,
    /// The log was closed, or its commit thread has died.
    #[error("the log is closed")]
    Closed,
}

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalErrorKind {
    /// The call was wrong; the log is as it was.
    Caller,
    /// Not now: the same call can succeed later.
    Later,
    /// The disk is full: read only until there is room.
    OutOfSpace,
    /// No more writes until the log is opened again.
    Failed,
    /// The log cannot be opened as it is.
    Damaged,
}

/// Damage in a log: what was found where, and the next step.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{place}: damaged at byte {offset}, where record {lsn} should be: {found}; nothing was changed. \
     Restore the file from a copy, or repair the log, which keeps what is whole"
)]
pub struct Damage {
    /// The file.
    pub place: String,
    /// Where the damage begins.
    pub offset: u64,
    /// The first record that cannot be read.
    pub lsn: Lsn,
    /// What was found.
    pub found: String,
}

impl WalError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> WalErrorKind {
        match self {
            WalError::OutOfSpace { .. } | WalError::Doubtful => WalErrorKind::OutOfSpace,
            WalError::Failed { .. } | WalError::Closed => WalErrorKind::Failed,
            WalError::Io { .. } | WalError::Full { .. } => WalErrorKind::Later,
            WalError::Damaged(_) | WalError::Foreign { .. } | WalError::Refused { .. } => {
                WalErrorKind::Damaged
            }
            WalError::TooLong { .. } => WalErrorKind::Caller,
        }
    }

    pub(crate) fn out_of_space(place: String, action: &'static str, source: io::Error) -> Self {
        WalError::OutOfSpace { place, action, source: Arc::new(source) }
    }

    pub(crate) fn failed(place: String, action: &'static str, source: io::Error) -> Self {
        WalError::Failed { place, action, source: Arc::new(source) }
    }

    pub(crate) fn io(place: String, action: &'static str, source: io::Error) -> Self {
        WalError::Io { place, action, source: Arc::new(source) }
    }

    pub(crate) fn damaged(place: String, offset: u64, lsn: Lsn, found: impl Into<String>) -> Self {
        WalError::Damaged(Box::new(Damage { place, offset, lsn, found: found.into() }))
    }
}
