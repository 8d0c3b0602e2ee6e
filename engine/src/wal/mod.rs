//! The write-ahead log: what was acknowledged as durable is in here.
//!
//! A log is a folder of append-only files (`wal-<first record, 16 hex digits>.log`). Each holds a
//! header and records; a record never spans files, and a file is begun only when the one before
//! it is durable to its end. The bytes are in `docs/STORAGE.md`.
//!
//! [`Wal`] is the log for one thread: append to memory, write, sync. [`Log`] is the same files
//! shared by many threads, with group commit.
//!
//! # What may be missing after a crash, and what is damage
//!
//! When the process is killed, everything that was written is there, up to a last write that did
//! not come to its end. When the power goes, everything since the last sync is in doubt, and the
//! disk may have written any part of it: a record may be torn with whole ones behind it. Nobody
//! was told that any of these are durable, so the log ends before the first of them. But a record
//! that *was* durable and cannot be read now is damage, and a log that drops it has lied.
//!
//! To tell one from the other, each record carries the number up to which everything was durable
//! when it was appended. A bad record is **damage** if any whole frame behind it says that it had
//! been durable, or if a later file exists; else it is the **torn end** and is cut off. When the
//! log has come to rest (and when it is closed) a mark is written that proves the last records
//! too. What remains undecidable is damage to the records of the very last sync before a crash,
//! while nothing had been written after it: that looks like a torn end.
//!
//! A log with damage does not open: nothing is dropped silently, and nothing is changed.
//! [`repair()`] keeps what is whole and lists what is lost; [`survey()`] only lists.
//!
//! # What the disk may do
//!
//! * A failed write or sync closes the log for writing for good ([`WalError::Failed`]): the kernel
//!   may have dropped what it could not write, so trying again proves nothing. Opening it again
//!   reads what is there and writes the doubtful end once more.
//! * A full disk is no failure: the batch is taken back and refused ([`WalError::OutOfSpace`]),
//!   and the next one is tried afresh.

mod batch;
mod commit;
mod config;
mod error;
mod file;
mod frame;
mod group;
mod header;
mod lsn;
mod recovery;
mod repair;
mod scan;
mod single;
mod waiters;
mod window;
mod writer;

pub use commit::CommitHook;
pub use config::{LogConfig, WalConfig, WalKind};
pub use error::{Damage, WalError, WalErrorKind};
pub use group::{Log, Syncs};
pub use lsn::Lsn;
pub use recovery::{Recovery, Torn, Visit, read};
pub use repair::{FileReport, FileState, Lost, Report, Suspect, repair, survey};
pub use single::Wal;
#[cfg(test)]
pub(crate) use waiters::block_on;
