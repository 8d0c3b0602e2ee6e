//! The data directory: whose it is, of which format, and one process at a time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::behind::{BehindAtRest, BehindConfig};
use super::{LOG_BYTES_DEFAULT, LOG_FILES, PersistConfig, PersistError, StoreConfig};
use crate::disk::{Disk, FileDisk, FolderLock};
use crate::env::{Timestamp, os_seed, split_mix};
use crate::store::{self, Report, Store};

/// Says what the directory is; see [`Meta::text`].
const META: &str = "meta";
const FORMAT: &str = "data directory 2";
const LOG: &str = "wal";
const SNAPSHOTS: &str = "snapshots";
const STORE: &str = "store";
const BEHIND: &str = "behind";

/// What to do with a damaged `meta`.
const RESTORE: &str = "restore the file from a copy of the directory";

/// A data directory that this process alone uses.
pub struct DataDirectory {
    path: PathBuf,
    storage_id: [u8; 16],
    seed: u64,
    begun: AtomicBool,
    _lock: FolderLock,
}

/// What the file `meta` says.
#[derive(Debug, Clone, Copy)]
struct Meta {
    storage_id: [u8; 16],
    /// See [`DataDirectory::seed`].
    seed: u64,
    /// Whether something was ever kept here.
    begun: bool,
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
        if known.is_some_and(|meta| meta.begun) {
            check_kept(path)?;
        }
        let meta = match known {
            Some(meta) => meta,
            None => {
                let meta = Meta { storage_id: new_id(), seed: os_seed(), begun: false };
                write_meta(&disk, meta).map_err(io("write the file `meta`"))?;
                meta
            }
        };
        Ok(DataDirectory::new(path, meta, lock))
    }

    /// Opens a directory that is there already, whatever became of what is in it.
    ///
    /// # Errors
    /// As [`DataDirectory::open`], and when there is no directory of ours.
    pub fn existing(path: &Path) -> Result<DataDirectory, PersistError> {
        let Some(meta) = read_meta(path)? else {
            return Err(PersistError::Foreign {
                path: path.to_owned(),
                found: format!("there is no data directory: it has no file `{META}`"),
                hint: "check the path",
            });
        };
        Ok(DataDirectory::new(path, meta, FolderLock::acquire(path)?))
    }

    fn new(path: &Path, meta: Meta, lock: FolderLock) -> DataDirectory {
        let Meta { storage_id, seed, begun } = meta;
        let begun = AtomicBool::new(begun);
        DataDirectory { path: path.to_owned(), storage_id, seed, begun, _lock: lock }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose data it is: random, made with the directory.
    #[must_use]
    pub fn storage_id(&self) -> [u8; 16] {
        self.storage_id
    }

    /// What the seeds of tables that are kept here are made from: where they stay what they were, keys
    /// stay in their segments, and a snapshot file need not be read before somebody is served. It is
    /// told to nobody, or keys could be chosen that collide.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The directory itself, for small files that say what is in it.
    ///
    /// # Errors
    /// [`PersistError::Io`].
    pub fn root(&self) -> Result<Arc<dyn Disk>, PersistError> {
        let (path, action) = (self.path.clone(), "open the directory");
        match FileDisk::open(&path) {
            Ok(disk) => Ok(Arc::new(disk)),
            Err(source) => Err(PersistError::Io { path, action, source }),
        }
    }

    /// Whether something was ever kept here.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Notes that something is kept here now: to be called when log or snapshot are durable, ahead
    /// of acknowledging anything. From then on a directory without either is refused, since it has
    /// lost them.
    ///
    /// # Errors
    /// [`PersistError::Io`].
    pub fn note_begun(&self) -> Result<(), PersistError> {
        if self.has_begun() {
            return Ok(());
        }
        let meta = Meta { storage_id: self.storage_id, seed: self.seed, begun: true };
        let written = FileDisk::open(&self.path).and_then(|disk| write_meta(&disk, meta));
        written.map_err(|source| PersistError::Io {
            path: self.path.join(META),
            action: "write the file",
            source,
        })?;
        self.begun.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Tables are kept here, with logs of the usual size.
    ///
    /// # Errors
    /// [`PersistError::Io`].
    pub fn config(&self) -> Result<PersistConfig, PersistError> {
        Ok(PersistConfig {
            log: self.log()?,
            snapshots: self.snapshots()?,
            mapped: true,
            storage_id: self.storage_id,
            log_bytes: LOG_BYTES_DEFAULT,
            log_file_bytes: LOG_BYTES_DEFAULT / LOG_FILES,
            dropped: Vec::new(),
            store: Some(self.store()),
        })
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

    /// The folder of what has no room in memory; made when there is something to store.
    #[must_use]
    pub fn store(&self) -> StoreConfig {
        let path = self.path.join(STORE);
        let exists = path.exists();
        StoreConfig { open: Box::new(move || store::open(&path)), exists }
    }

    /// The same, for who only reads it: a store that is damaged stays where it is.
    #[must_use]
    pub fn store_to_read(&self) -> StoreConfig {
        let path = self.path.join(STORE);
        let exists = path.exists();
        StoreConfig { open: Box::new(move || store::look(&path)), exists }
    }

    /// The caches that are written behind, for who only reads them, if there ever were any.
    ///
    /// # Errors
    /// [`PersistError`] when their store cannot be read as it is.
    pub fn behind_at_rest(&self) -> Result<Option<BehindAtRest>, PersistError> {
        let path = self.path.join(BEHIND);
        if !path.exists() {
            return Ok(None);
        }
        let (store, report) = store::look(&path)?;
        BehindAtRest::open(BehindConfig { store, report, storage_id: self.storage_id }).map(Some)
    }

    /// The store of caches that are written behind.
    ///
    /// # Errors
    /// [`PersistError::Behind`].
    pub fn behind_store(&self) -> Result<(Arc<dyn Store>, Report), PersistError> {
        Ok(store::open(&self.path.join(BEHIND))?)
    }

    /// Moves a store aside that no cache uses: what it holds grows old, and must not come back when
    /// it is used again. Where it is now, if there is one.
    ///
    /// # Errors
    /// [`PersistError::Io`].
    pub fn put_behind_aside(&self, now: Timestamp) -> Result<Option<PathBuf>, PersistError> {
        let (path, aside) =
            (self.path.join(BEHIND), self.path.join(format!("behind-unused-{now}")));
        match fs::rename(&path, &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PersistError::Io { path, action: "move it aside", source }),
        }
    }

    fn folder(&self, name: &str) -> Result<Arc<dyn Disk>, PersistError> {
        let path = self.path.join(name);
        match FileDisk::open(&path) {
            Ok(disk) => Ok(Arc::new(disk)),
            Err(source) => Err(PersistError::Io { path, action: "make the folder", source }),
        }
    }
}

impl Meta {
    /// Five lines: the format, `storage` and the storage id, `seed` and the seed, `state` and `new` or
    /// `begun`, `check` and the CRC32C of the lines before. The first and the last keep their places in every later
    /// format.
    fn text(self) -> String {
        let id = u128::from_be_bytes(self.storage_id);
        let state = if self.begun { "begun" } else { "new" };
        let seed = self.seed;
        let checked = format!("{FORMAT}\nstorage {id:032x}\nseed {seed:016x}\nstate {state}\n");
        let check = crc32c::crc32c(checked.as_bytes());
        format!("{checked}check {check:08x}\n")
    }

    fn parse(text: &str) -> Option<Meta> {
        let mut lines = text.lines().skip(1);
        let storage_id = parse_id(lines.next()?.strip_prefix("storage ")?)?;
        let seed = u64::from_str_radix(lines.next()?.strip_prefix("seed ")?, 16).ok()?;
        let begun = match lines.next()? {
            "state begun" => true,
            "state new" => false,
            _ => return None,
        };
        let meta = Meta { storage_id, seed, begun };
        (meta.text() == text).then_some(meta)
    }
}

/// What the directory says of itself, when it is one of ours.
fn read_meta(path: &Path) -> Result<Option<Meta>, PersistError> {
    let meta = path.join(META);
    // Damage may leave bytes that are no text; then they are not what was written either.
    let text = match fs::read(&meta) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PersistError::Io { path: meta, action: "read it", source }),
    };
    let format = text.lines().next().unwrap_or_default();
    if format != FORMAT && is_checked(&text) {
        return Err(PersistError::Foreign {
            path: meta,
            found: format!("it says {format:?}, this release knows {FORMAT:?}"),
            hint: "use the release that wrote it, or another directory",
        });
    }
    Meta::parse(&text).map(Some).ok_or_else(|| PersistError::Foreign {
        path: meta,
        found: "it is damaged: its checksum does not fit".to_owned(),
        hint: RESTORE,
    })
}

/// Whether a file of any format ends with the checksum of what stands before it.
fn is_checked(text: &str) -> bool {
    let parts = text.trim_end_matches('\n').rsplit_once("check ");
    parts.is_some_and(|(checked, check)| {
        format!("{:08x}", crc32c::crc32c(checked.as_bytes())) == check
    })
}

/// Refuses a directory that had data and has neither log nor snapshot any more.
fn check_kept(path: &Path) -> Result<(), PersistError> {
    let has = |folder: &str, suffix: &str| {
        let entries = fs::read_dir(path.join(folder)).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(suffix))
    };
    if has(LOG, ".log") || has(SNAPSHOTS, ".snapshot") {
        return Ok(());
    }
    Err(PersistError::Foreign {
        path: path.to_owned(),
        found: format!(
            "data was kept here, but there is nothing left in `{LOG}` and `{SNAPSHOTS}`"
        ),
        hint: "put the files back, copy the whole directory, or use an empty one to begin anew",
    })
}

/// What may lie there before us: the lock, what file systems put there, and the users, backups and
/// cluster of the server, which may be there before its data.
const BESIDE: [&str; 5] = ["lock", "lost+found", "security", "backups", "cluster"];

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

fn new_id() -> [u8; 16] {
    let (mut seed, mut id) = (os_seed(), [0; 16]);
    for half in id.chunks_exact_mut(8) {
        half.copy_from_slice(&split_mix(&mut seed).to_le_bytes());
        seed ^= os_seed();
    }
    id
}

fn write_meta(disk: &FileDisk, meta: Meta) -> io::Result<()> {
    let (unfinished, _) = ("meta.unfinished", disk.remove("meta.unfinished"));
    let file = disk.create(unfinished)?;
    file.write_at(0, meta.text().as_bytes())?;
    file.sync_all()?;
    disk.rename(unfinished, META)?;
    disk.sync_folder()
}

fn parse_id(hex: &str) -> Option<[u8; 16]> {
    (hex.len() == 32).then(|| u128::from_str_radix(hex, 16).ok()).flatten().map(u128::to_be_bytes)
}
