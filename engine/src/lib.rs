//! The storage engine of Isogrid: a table of versioned entries that readers never wait for.
//!
//! A [`Table`] is cut into segments. A segment is writer state behind one mutex plus an index
//! that readers use without a lock; every write makes a new immutable *version* of an entry, and
//! readers see the newest one below the segment's watermark. Overwritten versions are freed when
//! no reader can hold them (epochs) and no open [`Snapshot`] can see them.
//!
//! ```
//! use isogrid_engine::{NewEntry, Table, TableConfig};
//! let now = 1_000; // milliseconds; time is always an argument
//! let table = Table::new(&TableConfig::default(), now)?;
//! let pinned = table.pin();
//! let hash = table.hash(b"answer");
//! let new = NewEntry { value: [b"42", b""], deadline: Some(now + 500), ..NewEntry::default() };
//! pinned.entry(hash, b"answer", now).map(|mut entry| entry.put(&new)).transpose()?;
//! assert_eq!(pinned.get(hash, b"answer", now).map(|entry| entry.value()), Some(&b"42"[..]));
//! assert!(pinned.get(hash, b"answer", now + 500).is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`mod@env`] | the seams for time and chance |
//! | [`hash`], [`memory`] | the two hashes of a key; what an allocation costs |
//! | [`config`], [`error`], [`metrics`] | what a table is made from, refuses, and counts |
//! | [`eviction`], [`expiry`] | who goes for want of room, and who goes by time |
//! | [`persist`] | tables that are there after a restart |
//! | [`load`] | how entries come into memory that are elsewhere |
//! | [`store`] | where committed entries rest on disk |
//! | [`table`] | the table itself: versions, index, segments, snapshots |
//! | [`disk`], [`wal`] | a folder and what may happen to it; the log that decides what is durable |
//! | [`snapshot_file`] | what tables held at one moment, in one checksummed file |

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the index keeps 48-bit pointers: 64-bit targets only");

pub mod config;
pub mod disk;
pub mod env;
pub mod error;
pub mod eviction;
pub mod expiry;
pub mod hash;
pub mod load;
pub mod memory;
pub mod metrics;
pub mod persist;
pub mod snapshot_file;
pub mod store;
mod sync;
pub mod table;
pub mod wal;

pub use config::{RegionConfig, TableConfig};
pub use env::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{ConfigError, Error};
pub use eviction::PolicyKind;
pub use hash::KeyHash;
pub use memory::Allocator;
pub use store::Store;
pub use table::{
    Change, Cursor, Entry, EntryMut, Hint, Isolation, Joint, Journal, Marks, NewEntry, Pass,
    Pinned, Prepared, Snapshot, Table, Transaction, TransactionError, Unrecorded,
};
