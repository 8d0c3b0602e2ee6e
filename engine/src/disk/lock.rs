//! One process per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The file that is locked, and that names who holds it.
const NAME: &str = "lock";
/// Enough for a process id.
const NOTE_BYTES_MAX: u64 = 32;

/// Why a directory could not be had.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by process {holder}: stop it, or use another directory", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process id of who holds it; `unknown` when it has not written it yet.
        holder: String,
    },
    /// The directory cannot be read or written.
    #[error("{} cannot be locked ({source}): check that it is there and who may write it", .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// A directory that this process alone uses, until this is dropped or the process ends, however
/// it ends. The lock is the kernel's; the file that is left over means nothing.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Locks the directory, which must be there.
    ///
    /// # Errors
    /// [`LockError::InUse`] names the other process; it may be this one.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false);
        let mut file = opened.open(path.join(NAME)).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::InUse { path: path.to_owned(), holder: holder(&file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // A full disk must not keep a node from starting: the note is only for the error above.
        let note = file.set_len(0).and_then(|()| file.rewind());
        let _ = note.and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(FolderLock { _file: file })
    }
}

fn holder(file: &File) -> String {
    let mut note = String::new();
    let read = file.take(NOTE_BYTES_MAX).read_to_string(&mut note);
    let pid = read.ok().and_then(|_| note.trim().parse::<u32>().ok());
    pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())
}
