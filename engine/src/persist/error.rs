//! Why tables cannot be kept.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::disk::LockError;
use crate::snapshot_file::SnapshotFileError;
use crate::wal::{WalError, WalErrorKind};

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum PersistError {
    /// Another process has the directory, or it cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The directory is not one of this release.
    #[error("{}: {found}; {hint}", .path.display())]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// The directory cannot be read or written.
    #[error("{}: cannot {action} ({source}): check that it is there and who may use it", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the file system said.
        source: io::Error,
    },
    /// The start cannot be recorded.
    #[error("the start cannot be recorded: {0}; free some space and start again")]
    Life(crate::Error),
    /// There is data of caches that nobody asked for and nobody dropped.
    #[error(
        "{}: it holds data of {caches}, of which neither the catalog nor the configuration knows; \
         add a [[cache]] of that name, or restore the file `catalog`", .path.display()
    )]
    Unclaimed {
        /// The folder.
        path: PathBuf,
        /// Their names.
        caches: String,
    },
    /// What has no room in memory cannot be stored.
    #[error("the store of what has no room in memory: {0}")]
    Store(String),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The store of caches that are written behind cannot be used.
    #[error(transparent)]
    Behind(#[from] crate::store::Error),
    /// A snapshot file cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotFileError),
}

impl PersistError {
    /// Whether the directory is not to be used as it is, in contrast to a disk that failed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            PersistError::Lock(LockError::InUse { .. })
            | PersistError::Foreign { .. }
            | PersistError::Unclaimed { .. } => true,
            PersistError::Log(error) => error.kind() == WalErrorKind::Damaged,
            PersistError::Snapshot(error) => {
                matches!(error, SnapshotFileError::Damaged(_) | SnapshotFileError::Foreign { .. })
            }
            PersistError::Lock(LockError::Io { .. })
            | PersistError::Io { .. }
            | PersistError::Life(_)
            | PersistError::Store(_)
            | PersistError::Behind(_) => false,
        }
    }
}
