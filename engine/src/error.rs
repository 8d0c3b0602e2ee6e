//! The engine's errors. A miss or an existing key is a reply of the caller's, never an error here.

use thiserror::Error;

use crate::table::Unrecorded;

/// Why a write was refused. The table is unchanged after each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// The memory or entry limit is reached and the policy may not evict.
    #[error("the cache is full ({used} of {limit} bytes) and its policy evicts nothing")]
    Full {
        /// Bytes used.
        used: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The key is empty or longer than 64 KiB - 1.
    #[error("a key of {len} bytes: keys have 1 to 65535 bytes")]
    KeyLength {
        /// The key's length in bytes.
        len: usize,
    },
    /// The value is longer than 1 GiB.
    #[error("a value of {len} bytes: values have at most 1 GiB")]
    ValueLength {
        /// The value's length in bytes.
        len: usize,
    },
    /// The operation depends on an entry that is not in memory: load it, then do it again.
    #[error("the entry is not in memory")]
    Away,
    /// The disk is behind with what was evicted for want of memory: when it has caught up, the
    /// operation may be done again.
    #[error("the disk is behind with what does not fit into memory")]
    Behind,
    /// The change could not be kept for a restart.
    #[error(transparent)]
    Unrecorded(#[from] Unrecorded),
}

/// A configuration that no table can be made from.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The number of segments is not a power of two from 1 to 65536.
    #[error("{0} segments: a power of two from 1 to 65536 is needed")]
    Segments(u32),
    /// Two regions have the same prefix.
    #[error("two regions begin with {0:?}")]
    DuplicateRegion(String),
    /// More than 255 regions.
    #[error("{0} regions: at most 255")]
    Regions(usize),
}
