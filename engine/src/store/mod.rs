//! Where entries rest on disk that memory has no room for (`persist/overflow`), fed in batches off
//! the request path. The write-ahead log judges what is durable, and a checkpoint is a snapshot file
//! (docs/STORAGE.md).
//!
//! A store promises, whichever it is (the conformance suite in `suite.rs` holds all to it):
//!
//! * a [`Batch`] is there whole or not at all, together with its [`Position`], for readers and
//!   after a crash;
//! * after a crash some prefix of the batches is there, and all up to the last [`Store::checkpoint`];
//! * what it answers was once committed under that key: damage is an [`Error::Damaged`], never a
//!   wrong value.
//!
//! | module | what it is |
//! |---|---|
//! | `error`, `batch` | what is refused; what is committed |
//! | `record`, `layout` | the bytes of an entry; the keys that they stand under |
//! | `tree` | reading and writing entries over any ordered map of bytes |
//! | [`sled`], [`memory`], [`fault`] | the stores: embedded on disk, a twin in memory, one that fails |

mod batch;
mod error;
pub mod fault;
mod layout;
pub mod memory;
mod record;
pub mod sled;
#[cfg(any(test, feature = "testing"))]
pub mod suite;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use batch::{BATCH_BYTES_DEFAULT, Batch, KEY_LEN_MAX, VALUE_LEN_MAX};
pub use error::{Damage, Error};
pub use sled::{SledConfig, SledStore};

use crate::env::Timestamp;

/// Opens the embedded store of a folder, or makes it.
///
/// # Errors
/// As [`SledStore::open`](sled::SledStore::open).
pub fn open(folder: &Path) -> Result<(Arc<dyn Store>, Report), Error> {
    let (store, report) = sled::SledStore::open(sled::SledConfig::new(folder))?;
    Ok((Arc::new(store), report))
}

/// As [`open`], for a folder that is to be as it was: one that is damaged is not put aside.
///
/// # Errors
/// As [`open`], and [`Error::Damaged`] or [`Error::Failed`] where that would put it aside.
pub fn look(folder: &Path) -> Result<(Arc<dyn Store>, Report), Error> {
    let (store, report) = sled::SledStore::look(sled::SledConfig::new(folder))?;
    Ok((Arc::new(store), report))
}

/// The number of a cache in a store. Given out once and never reused for another cache, since
/// [`Store::clear`] is not atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheId(pub u32);

/// How far the log is applied: everything up to here is in the store. 0 = nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stored entry: what is left of a write when it is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// The value.
    pub value: Vec<u8>,
    /// `epoch << 40 | seq`.
    pub version: u64,
    /// The client's 32 bits.
    pub flags: u32,
    /// When it expires; `None` = never.
    pub deadline: Option<Timestamp>,
    /// How long it lives without being read, ms.
    pub max_idle: Option<u32>,
    /// Bits that the table keeps with an entry; the store gives them back as they were.
    pub marks: u8,
}

/// What a scan asks for.
#[derive(Debug, Clone)]
pub struct Scan<'a> {
    /// The cache.
    pub cache: CacheId,
    /// Only keys that begin with this.
    pub prefix: &'a [u8],
    /// Where the last page ended; `None` = from the start.
    pub after: Option<&'a ScanCursor>,
    /// Most entries of a page; at least 1 is taken.
    pub entries_max: usize,
    /// The page ends with the entry that brings keys and values over so many bytes.
    pub bytes_max: usize,
}

impl<'a> Scan<'a> {
    /// All entries of a cache, in pages of at most 1000 and about 1 MiB.
    #[must_use]
    pub fn all(cache: CacheId) -> Self {
        Scan { cache, prefix: b"", after: None, entries_max: 1000, bytes_max: 1 << 20 }
    }

    /// The page after `cursor`.
    #[must_use]
    pub fn after(self, cursor: Option<&'a ScanCursor>) -> Self {
        Scan { after: cursor, ..self }
    }
}

/// Where a page of a scan ended. Valid for the same cache and prefix as long as the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanCursor(Vec<u8>);

impl ScanCursor {
    /// Whether the pages so far cover the place of a key.
    #[must_use]
    pub fn has_passed(&self, cache: CacheId, key: &[u8]) -> bool {
        layout::entry(cache, key) <= self.0
    }
}

/// A part of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Entries with their keys; a damaged one stands as what is known of it, and the scan goes on.
    pub entries: Vec<Result<(Vec<u8>, Stored), Damage>>,
    /// Where to go on; `None` = this was the last page.
    pub next: Option<ScanCursor>,
}

/// What a store found when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How far the log is applied. The caller replays what comes after.
    pub applied: Position,
    /// The entries are not those that the digest was made of: some are older than they should be.
    /// `applied` is set back to the last checkpoint. When the log reaches back far enough or
    /// another owner has all entries, put the folder aside and fill an empty store; else replay
    /// the log: that heals what a power cut took, but not what the disk damaged.
    pub suspect: bool,
    /// The old folder was beyond use and lies here now; the store is empty and must be filled
    /// again from the log or from other owners.
    pub quarantined: Option<Quarantined>,
    /// What an operator should know although the store works.
    pub alarms: Vec<String>,
}

/// A store that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Where it lies now.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
    /// How far the log was applied at its last checkpoint, if that is known. A log that does not
    /// reach back before this cannot fill the new store alone.
    pub checkpoint: Option<Position>,
}

/// A place for committed entries. All methods may be called from any thread; a commit holds up
/// readers while it lasts.
pub trait Store: Send + Sync {
    /// The entry of a key.
    ///
    /// # Errors
    /// [`Error::Damaged`] when what is on disk is not what was written; other keys are not
    /// affected. [`Error::Io`], [`Error::Failed`], [`Error::Closed`].
    fn get(&self, cache: CacheId, key: &[u8]) -> Result<Option<Stored>, Error>;

    /// Applies a batch and its position, whole or not at all. Durable with the next checkpoint.
    ///
    /// # Errors
    /// [`Error::Backwards`], with nothing changed. After [`Error::OutOfSpace`], [`Error::Io`] and
    /// [`Error::Failed`] no commit is taken until [`Store::reopen`] succeeds, and readers may see
    /// a part of the batch until then.
    fn commit(&self, batch: &Batch) -> Result<(), Error>;

    /// How far the log is applied.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn applied(&self) -> Result<Position, Error>;

    /// The highest version that batches noted for each segment of a cache ([`Batch::reached`]),
    /// in the order of segments; segments without one are left out.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn reached(&self, cache: CacheId) -> Result<Vec<(u16, u64)>, Error>;

    /// A page of a cache's entries, in an order of the store's own. An entry that is there all the
    /// time comes exactly once in the pages of a scan, whatever is committed meanwhile; one that
    /// is put or deleted meanwhile may come or not.
    ///
    /// # Errors
    /// As [`Store::get`], except that damaged entries are part of the page.
    fn scan(&self, scan: &Scan<'_>) -> Result<Page, Error>;

    /// Deletes all entries and marks of a cache. Not atomic: it goes on in pieces, and after a
    /// crash a part may be left, so the caller repeats it (its log says so).
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn clear(&self, cache: CacheId) -> Result<(), Error>;

    /// Makes everything that is committed durable, and says how far that is. Only then may the
    /// log be cut before this position.
    ///
    /// # Errors
    /// As [`Store::commit`]: nothing is durable that was not so before.
    fn checkpoint(&self) -> Result<Position, Error>;

    /// Bytes on disk.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be read.
    fn size_on_disk(&self) -> Result<u64, Error>;

    /// Opens again after an error: the way on when space has come back. What was committed after
    /// the last checkpoint may be gone: go on from [`Report::applied`].
    ///
    /// # Errors
    /// Why it still does not work. Call again later.
    fn reopen(&self) -> Result<Report, Error>;

    /// Ends it; later calls are refused with [`Error::Closed`]. Durable is only what a checkpoint
    /// made so.
    ///
    /// # Errors
    /// What ending met with; it is closed all the same.
    fn close(&self) -> Result<(), Error>;
}
