//! The data directory: whose it is, of which format, and one process at a time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::PersistError;
use crate::disk::{Disk, FileDisk, FolderLock};
use crate::env::{os_seed, split_mix};

/// Says what the directory is: `data directory 1` and the storage id, a line each.
const META: &str = "meta";
const FORMAT: &str = "data directory 1";
const LOG: &str = "wal";
const SNAPSHOTS: &str = "snapshots";

/// A data directory that this process alone uses.
pub struct DataDirectory {
    path: PathBuf,
    storage_id: [u8; 16],
    _lock: FolderLock,
}

impl DataDirectory {
    /// Opens the directory, or makes one where there is nothing.
    ///
    /// # Errors
    /// [`PersistError`] when it is in use, of another format, not whole, or cannot be written.
    pub fn open(path: &Path) -> Result<DataDirectory, PersistError> {
        let io = |action| move |source| PersistError::Io { path: path.to_owned(), action, source };
        let disk = FileDisk::open(path).map_err(io("make the directory"))?;
        let known = read_meta(path)?;
        if known.is_none() {
            check_empty(path)?;
        }
        let lock = FolderLock::acquire(path)?;
        let storage_id = match known {
            Some(id) => id,
            None => write_meta(&disk).map_err(io("write the file `meta`"))?,
        };
        Ok(DataDirectory { path: path.to_owned(), storage_id, _lock: lock })
    }

    /// Whose data it is: random, made with the directory.
    #[must_use]
    pub fn storage_id(&self) -> [u8; 16] {
        self.storage_id
    }

    /// The folder of the log.
    ///
    /// # Errors
    /// [`PersistError::Io`].
    pub fn log(&self) -> Result<Arc<dyn Disk>, PersistError> {
        self.folder(LOG)
    }

    /// The folder of snapshot files.
    ///
    /// # Errors
    /// [`PersistError::Io`].
    pub fn snapshots(&self) -> Result<Arc<dyn Disk>, PersistError> {
        self.folder(SNAPSHOTS)
    }

    fn folder(&self, name: &str) -> Result<Arc<dyn Disk>, PersistError> {
        let path = self.path.join(name);
        match FileDisk::open(&path) {
            Ok(disk) => Ok(Arc::new(disk)),
            Err(source) => Err(PersistError::Io { path, action: "make the folder", source }),
        }
    }
}

/// The storage id, when there is a directory of ours.
fn read_meta(path: &Path) -> Result<Option<[u8; 16]>, PersistError> {
    let meta = path.join(META);
    // Damage may leave bytes that are no text; then one of the lines is not what it should be.
    let text = match fs::read(&meta) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PersistError::Io { path: meta, action: "read it", source }),
    };
    let mut lines = text.lines();
    let format = lines.next().unwrap_or_default();
    if format != FORMAT {
        return Err(PersistError::Foreign {
            path: meta,
            found: format!("it says {format:?}, this release knows {FORMAT:?}"),
            hint: "use the release that wrote it, or another directory",
        });
    }
    let id = lines.next().and_then(|line| line.strip_prefix("storage ")).and_then(parse_id);
    id.map(Some).ok_or_else(|| PersistError::Foreign {
        path: meta,
        found: "its second line is no storage id".to_owned(),
        hint: "restore the file from a copy of the directory",
    })
}

/// What may lie there before us: the lock, what file systems put there, and the users of the
/// server, who may be there before its data.
const BESIDE: [&str; 3] = ["lock", "lost+found", "security"];

/// Refuses to begin where something lies already: it may be half of a directory of ours.
fn check_empty(path: &Path) -> Result<(), PersistError> {
    let io =
        |source| PersistError::Io { path: path.to_owned(), action: "read the directory", source };
    for entry in fs::read_dir(path).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.to_string_lossy();
        // What a start leaves that did not come to its end.
        if !name.starts_with(META) && !BESIDE.contains(&&*name) {
            return Err(PersistError::Foreign {
                path: path.to_owned(),
                found: format!("there is no file `{META}`, but there is {name:?}"),
                hint: "copy the whole directory, or use an empty one",
            });
        }
    }
    Ok(())
}

fn write_meta(disk: &FileDisk) -> io::Result<[u8; 16]> {
    let (mut seed, mut id) = (os_seed(), [0; 16]);
    for half in id.chunks_exact_mut(8) {
        half.copy_from_slice(&split_mix(&mut seed).to_le_bytes());
        seed ^= os_seed();
    }
    let text = format!("{FORMAT}\nstorage {:032x}\n", u128::from_be_bytes(id));
    let (unfinished, _) = ("meta.unfinished", disk.remove("meta.unfinished"));
    let file = disk.create(unfinished)?;
    file.write_at(0, text.as_bytes())?;
    file.sync_all()?;
    disk.rename(unfinished, META)?;
    disk.sync_folder()?;
    Ok(id)
}

fn parse_id(hex: &str) -> Option<[u8; 16]> {
    (hex.len() == 32).then(|| u128::from_str_radix(hex, 16).ok()).flatten().map(u128::to_be_bytes)
}
