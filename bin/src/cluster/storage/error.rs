//! Why what a member knows of its cluster cannot be read or kept.

use std::io;

use isogrid_engine::disk::LockError;
use isogrid_engine::wal::{WalError, WalErrorKind};
use thiserror::Error;

/// What to do with a member whose memory is not whole (R65).
const ANEW: &str = "do not repair it: a member that forgets what it voted for may make two \
     leaders. Move the folder `cluster` aside and start again: the node joins as a new member, and \
     the old one can be removed";

/// Why a member's storage cannot be used. After an error of a [`super::Storage`] that was open,
/// nothing is known of what was not reported as durable (R53): the process has to end.
#[derive(Debug, Error)]
pub enum StorageError {
    /// Another process uses it, or it cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The disk failed, or is full.
    #[error("{place}: cannot {action} ({source}): check the disk, and who may use the folder")]
    Io {
        /// The file or folder.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        source: io::Error,
    },
    /// A file is not as it was written.
    #[error("{place}: {found}; {ANEW}")]
    Damaged {
        /// The file.
        place: String,
        /// What is wrong with it.
        found: String,
    },
    /// Something is not there that was (R65).
    #[error("{place}: {found}; put the whole folder back as it was last; if it is lost, {ANEW}")]
    Lost {
        /// The file or folder.
        place: String,
        /// What is missing.
        found: String,
    },
    /// A file is of another release.
    #[error("{place}: it says {found:?}, this release knows {known:?}: use the one that wrote it")]
    Format {
        /// The file.
        place: String,
        /// What it says of itself.
        found: String,
        /// What is known here.
        known: &'static str,
    },
    /// The node belongs to another cluster than the configured one.
    #[error(
        "{place}: this node is of the cluster {kept:?}, not of {configured:?}: put the name in the \
         configuration right, or use another data directory"
    )]
    OtherCluster {
        /// The file.
        place: String,
        /// The cluster that it is of.
        kept: String,
        /// The one that it should be of.
        configured: String,
    },
    /// The data beside it are not those that the member has told the others of.
    #[error(
        "{place}: this node has the data of directory {kept}, but those here are of {found}: put \
         the whole data directory back, or {ANEW}"
    )]
    OtherData {
        /// The file.
        place: String,
        /// The storage id of its data.
        kept: String,
        /// That of the data that are there.
        found: String,
    },
    /// The Raft log cannot be read or written.
    #[error("the Raft log: {0}")]
    Log(WalError),
    /// The caller has no right to ask for that now. Nothing was changed.
    #[error("{0}")]
    Misused(&'static str),
}

impl StorageError {
    /// Whether the folder is not to be used as it is, in contrast to a disk that failed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            StorageError::Lock(LockError::InUse { .. })
            | StorageError::Damaged { .. }
            | StorageError::Lost { .. }
            | StorageError::Format { .. }
            | StorageError::OtherCluster { .. }
            | StorageError::OtherData { .. } => true,
            StorageError::Log(error) => error.kind() == WalErrorKind::Damaged,
            StorageError::Lock(LockError::Io { .. })
            | StorageError::Io { .. }
            | StorageError::Misused(_) => false,
        }
    }
}

/// The engine's hint for damage, to repair the log, is right for data and wrong here.
impl From<WalError> for StorageError {
    fn from(error: WalError) -> Self {
        match error {
            WalError::Damaged(damage) => StorageError::Damaged {
                place: damage.place,
                found: format!(
                    "damaged at byte {}, where record {} should be: {}",
                    damage.offset, damage.lsn, damage.found
                ),
            },
            WalError::Refused { place, offset, lsn, reason } => StorageError::Damaged {
                place,
                found: format!("record {lsn} at byte {offset}: {reason}"),
            },
            other => StorageError::Log(other),
        }
    }
}
