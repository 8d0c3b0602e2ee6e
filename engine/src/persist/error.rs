//! Why tables cannot be kept.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::disk::LockError;
use crate::snapshot_file::SnapshotFileError;
use crate::wal::WalError;

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
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The store of caches that are written behind cannot be used.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// A snapshot file cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotFileError),
}
