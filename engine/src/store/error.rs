//! Why a store refuses. A key that is not there is an answer, never an error here.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Position;

/// What went wrong with a store. Unless said otherwise, what was committed before is still there
/// and the refused call has changed nothing that survives a restart in part.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// Bytes on disk are not what was written. Other keys can still be read.
    #[error("{0}")]
    Damaged(Damage),
    /// The disk is full. The store takes no more writes until [`Store::reopen`](super::Store::reopen)
    /// succeeds; reads are still tried.
    #[error("no space left for the store in {}: free some space, the store reopens by itself", .0.display())]
    OutOfSpace(PathBuf),
    /// Reading or writing failed. As [`Error::OutOfSpace`]: no more writes before a reopen.
    #[error("the store in {}: {reason}", .path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The kind of the operating system's error.
        kind: io::ErrorKind,
        /// Its text.
        reason: String,
    },
    /// The code behind the store panicked or did not come back in time: nothing is known of its
    /// state in memory, and it must be reopened.
    #[error("the store in {} stopped: {reason}", .path.display())]
    Failed {
        /// The folder.
        path: PathBuf,
        /// The panic's message, or what took too long.
        reason: String,
    },
    /// Another process has the folder open.
    #[error("the store in {} is in use by another process: stop that one or choose another data directory", .0.display())]
    InUse(PathBuf),
    /// The folder was written by another version or with other settings; nothing was touched.
    #[error("the store in {} cannot be read by this version: {reason}", .path.display())]
    Incompatible {
        /// The folder.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A batch whose position lies before what is already applied. Nothing was changed.
    #[error("a batch at {given}, but the store is already at {applied}")]
    Backwards {
        /// The position of the batch.
        given: Position,
        /// The position of the store.
        applied: Position,
    },
    /// The key is empty or longer than 64 KiB - 1, or the value longer than 1 GiB.
    #[error(
        "a key of {key} and a value of {value} bytes: keys have 1 to 65535, values at most 2^30"
    )]
    Size {
        /// Bytes of the key.
        key: usize,
        /// Bytes of the value.
        value: usize,
    },
}

/// What is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    /// One entry: its bytes or a part of its value fail their checksum or are missing.
    #[error("an entry of cache {cache} is damaged ({reason}): {}", key.escape_ascii())]
    Entry {
        /// The cache.
        cache: u32,
        /// The entry's key, or the part of a long key that is known.
        key: Vec<u8>,
        /// What was found.
        reason: &'static str,
    },
    /// A file, or the folder of a store.
    #[error("{} is damaged: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
}

impl Error {
    /// Sorts an error of the operating system.
    pub(crate) fn io(path: impl Into<PathBuf>, error: &io::Error) -> Self {
        let (path, kind) = (path.into(), error.kind());
        match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::OutOfSpace(path),
            kind => Error::Io { path, kind, reason: error.to_string() },
        }
    }

    /// A damaged file or folder.
    pub(crate) fn file(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Error::Damaged(Damage::File { path: path.into(), reason: reason.into() })
    }
}
