//! The disk seam: one folder of files, as logs need it. Everything that a log does to a disk goes
//! through [`Disk`], so that the same code runs on the real one ([`FileDisk`]), on one that loses
//! power, fills up and fails ([`MemoryDisk`]), and in the simulator.

mod file;
mod lock;
mod memory;
mod reserve;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

pub use file::FileDisk;
pub use lock::{FolderLock, LockError};
pub use memory::{Access, Fault, MemoryDisk};
pub use reserve::Reserve;

/// One folder. Names have no path in them.
///
/// What a folder holds (which name means which file) survives a power cut only after
/// [`Disk::sync_folder`]; what a file holds, only after a sync of the file.
pub trait Disk: Send + Sync + Debug {
    /// The names of all files, in no order.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a new, empty file.
    ///
    /// # Errors
    /// `AlreadyExists`, or the disk's own.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file to read and write.
    ///
    /// # Errors
    /// `NotFound`, or the disk's own.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, in one step; a file of that name is replaced.
    ///
    /// # Errors
    /// `NotFound`, or the disk's own.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Who has it open can still use it.
    ///
    /// # Errors
    /// `NotFound`, or the disk's own.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every name durable: files made, renamed and removed.
    ///
    /// # Errors
    /// The disk's own; what is durable is then unknown.
    fn sync_folder(&self) -> io::Result<()>;

    /// Bytes that can still be written, roughly.
    ///
    /// # Errors
    /// The disk's own.
    fn free_bytes(&self) -> io::Result<u64>;

    /// The name as an operator finds it: with the folder's path.
    fn place(&self, name: &str) -> String;
}

/// One open file. Every method may run beside any other.
pub trait DiskFile: Send + Sync + Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// The disk's own.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// The disk's own.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Fills `bytes` from `offset` on as far as the file goes, and says how far that was.
    ///
    /// # Errors
    /// The disk's own.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`, with one system call unless the disk takes less.
    ///
    /// # Errors
    /// The disk's own; any part of `bytes` may then be in the file.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros.
    ///
    /// # Errors
    /// The disk's own.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes durable what was written, and the length as far as it takes to read it
    /// (`fdatasync`).
    ///
    /// # Errors
    /// The disk's own. What was written since the last sync may be lost for good, even if the
    /// next sync succeeds: never try again and believe it.
    fn sync_data(&self) -> io::Result<()>;

    /// [`DiskFile::sync_data`] and everything that is known about the file (`fsync`).
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&self) -> io::Result<()>;
}

/// Whether an error means that there is no room, which can change.
#[must_use]
pub fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
