//! What a snapshot file refuses, and why.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::disk::is_out_of_space;

/// Why a snapshot file could not be written or read.
#[derive(Debug, Clone, Error)]
pub enum SnapshotFileError {
    /// The disk is full. What was written is removed again; a file of the same name that was
    /// there before is as it was.
    #[error("{place}: no space left to {action} ({source}): free some and try again")]
    OutOfSpace {
        /// The file.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The disk failed. Of a write: a file of the same name that was there before is as it was,
    /// unless the last step failed, which makes the new name durable; then it is one or the other,
    /// and whole.
    #[error("{place}: cannot {action} ({source}): check the disk and who may use the file")]
    Io {
        /// The file.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The file is not whole.
    #[error("{0}")]
    Damaged(Box<Damage>),
    /// The file is whole, but not one that belongs here.
    #[error("{place}: {found}; {hint}")]
    Foreign {
        /// The file.
        place: String,
        /// What was found.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// The call was wrong: nothing was written or restored.
    #[error("{0}")]
    Caller(String),
}

/// Damage in a snapshot file: what was found where, and the next step.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: damaged at byte {offset}{}: {found}; restore the file from a copy, or read what \
         is whole with a salvage", self.in_block())]
pub struct Damage {
    /// The file.
    pub place: String,
    /// Where the damaged part begins, in bytes.
    pub offset: u64,
    /// The number of the block; `None` = outside of blocks.
    pub block: Option<u32>,
    /// What was found.
    pub found: String,
}

impl Damage {
    fn in_block(&self) -> String {
        self.block.map_or_else(String::new, |block| format!(", in block {block}"))
    }
}

impl SnapshotFileError {
    pub(super) fn disk(place: String, action: &'static str, source: io::Error) -> Self {
        let (full, source) = (is_out_of_space(&source), Arc::new(source));
        if full {
            return SnapshotFileError::OutOfSpace { place, action, source };
        }
        SnapshotFileError::Io { place, action, source }
    }

    /// Of a file that cannot be written since what is to be in it cannot be read.
    pub(crate) fn store(place: String, why: String) -> Self {
        let source = Arc::new(io::Error::other(why));
        SnapshotFileError::Io { place, action: "read the store for it", source }
    }

    pub(super) fn damaged(
        place: &str,
        offset: u64,
        block: Option<u32>,
        found: impl Into<String>,
    ) -> Self {
        let (place, found) = (place.to_owned(), found.into());
        SnapshotFileError::Damaged(Box::new(Damage { place, offset, block, found }))
    }
}
