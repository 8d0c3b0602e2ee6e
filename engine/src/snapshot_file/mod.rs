//! Snapshot files: what tables held at one moment, in one sequential, checksummed file.
//!
//! They are checkpoints (the newest whole file and the log behind it are the state after a
//! restart), backups, and what is sent to a node that has nothing. The bytes are in
//! `docs/STORAGE.md`.
//!
//! [`write()`] writes tables while they are written to. A file is made under another name and
//! renamed once it is whole and durable, so a name never means half a file. [`SnapshotFile`] is
//! one that is open to be read, mapped into memory or through a [`Disk`](crate::disk::Disk);
//! [`restore()`] gives a table back what it holds, [`import()`] gives it to one that is in use;
//! [`salvage()`] reads what is whole of a file that is damaged.
//!
//! ```
//! use isogrid_engine::disk::MemoryDisk;
//! use isogrid_engine::snapshot_file::{
//!     RestoreTime, SnapshotFile, SnapshotHeader, SnapshotKind, restore, write,
//! };
//! use isogrid_engine::{NewEntry, Table, TableConfig};
//! let (disk, now) = (MemoryDisk::new(), 1_000);
//! let table = Table::new(&TableConfig::default(), now)?;
//! let new = NewEntry { value: [b"42", b""], ..NewEntry::default() };
//! let version = table.pin().entry(table.hash(b"answer"), b"answer", now).map(|mut e| e.put(&new));
//! let kind = SnapshotKind::Export;
//! let header = SnapshotHeader { kind, storage_id: [7; 16], created: now, log_position: 0 };
//! write(&disk, "all.snapshot", &header, &[("default", &table)], &mut |_| ())?;
//!
//! let file = SnapshotFile::open_on(&disk, "all.snapshot")?;
//! let again = Table::new(&TableConfig::default(), now)?;
//! let time = RestoreTime { now, read_until: now };
//! assert_eq!(restore(&file, 0, &again, time, &mut |_| ())?.stored, 1);
//! let pinned = again.pin();
//! let entry = pinned.peek(again.hash(b"answer"), b"answer", now);
//! assert_eq!(entry.map(|entry| entry.version()), version.transpose()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod aside;
mod block;
mod error;
mod fields;
mod footer;
mod header;
mod import;
mod map;
mod output;
mod reader;
mod record;
mod restore;
mod salvage;
mod source;
mod write;

pub(crate) use aside::{Aside, Cache};
pub use error::{Damage, SnapshotFileError};
pub use footer::CacheSection;
pub use header::{SnapshotHeader, SnapshotKind};
pub use import::{Import, ImportError, ImportMode, import};
pub use output::remove_unfinished;
pub use reader::{Block, SnapshotFile};
pub use record::{Idle, Record, Records};
pub use restore::{RestoreCounts, RestoreTime, prepare, restore, restore_block, saved};
pub use salvage::{Lost, Salvage, salvage};
pub use source::Source;
pub(crate) use write::write_caches;
pub use write::{Progress, Summary, write, write_once};
