//! Caches to a snapshot file and back: for a running server, and for a data directory that none
//! uses.
//!
//! All of it blocks: on a server, call it where blocking is allowed (`spawn_blocking`).

use std::path::{Path, PathBuf};
use std::sync::TryLockError;

use isogrid_engine::disk::FileDisk;
use isogrid_engine::persist::{PersistMode, Persistence, Reader};
use isogrid_engine::snapshot_file::{
    Damage, Import, ImportError, ImportMode, Progress, RestoreCounts, SnapshotFile,
    SnapshotFileError, SnapshotHeader, SnapshotKind, Summary, import, write,
};
use isogrid_engine::wal::WalError;
use isogrid_engine::{Clock, Table};
use isogrid_grid::structures::is_of_structures;
use thiserror::Error;

use super::node::Node;

/// Why caches could not be saved or loaded.
#[derive(Debug, Error)]
pub enum BackupError {
    /// There is no cache of this name.
    #[error("there is no cache {name:?}; there are: {}", known.join(", "))]
    UnknownCache {
        /// The name.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// The file of this name cannot be written.
    #[error("{}: {why}", .path.display())]
    Path {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Caches are being saved already; nothing was done.
    #[error("another save is under way")]
    Busy,
    /// The file is damaged; no cache was changed.
    #[error("{first} ({blocks} blocks are damaged; no cache was changed)")]
    Damaged {
        /// The first damage.
        first: Box<Damage>,
        /// How many blocks there are like that.
        blocks: usize,
    },
    /// The file cannot be written or read.
    #[error(transparent)]
    File(#[from] SnapshotFileError),
    /// A cache took no more.
    #[error("cache {name:?}: {source}")]
    Import {
        /// The cache.
        name: String,
        /// Why.
        source: ImportError,
    },
    /// The log failed at the end.
    #[error(transparent)]
    Log(#[from] WalError),
}

/// What is being done, for who shows the progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Entries are written to the file.
    Save,
    /// The file is checked, before anything is changed.
    Check,
    /// Entries of one cache are put into it.
    Load,
}

impl Phase {
    /// A word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Phase::Save => "saving",
            Phase::Check => "checking",
            Phase::Load => "loading",
        }
    }

    /// The phase of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Phase> {
        [Phase::Save, Phase::Check, Phase::Load].into_iter().find(|phase| phase.name() == word)
    }
}

/// Is told how far the work has got, some thousand times a second at the most.
pub type Sink<'a> = &'a mut dyn FnMut(Phase, Progress);

/// A cache and its table.
pub type NamedTable<'t> = (&'t str, &'t Table);

/// What was loaded into one cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The cache.
    pub cache: String,
    /// What became of its entries.
    pub counts: RestoreCounts,
}

/// A load: from where, how, and how to wait for the log.
pub struct Load<'a> {
    /// The snapshot file.
    pub path: &'a Path,
    /// What happens to what the caches have.
    pub mode: ImportMode,
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Where entries are that are not in memory.
    pub reader: &'a dyn Fn(&str) -> Option<Reader>,
    /// Waits until what was put is written to the log, if there is one.
    pub keep: &'a mut dyn FnMut() -> Result<(), WalError>,
}

/// Saves caches of a running server (none named: all) to the file at `path`, which replaces one of
/// that name, if it may `overwrite` that, once it is whole and durable. Each cache is saved as it was at one moment, while it is
/// written to, with its entries that are not in memory.
///
/// # Errors
/// [`BackupError`]; a file that was there before is as it was.
pub fn save(
    node: &Node,
    caches: &[String],
    path: &Path,
    overwrite: bool,
    sink: Sink<'_>,
) -> Result<Summary, BackupError> {
    // A second one would remove the file that the first one is writing.
    let _one = match node.saving.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(BackupError::Busy),
        // What a save that panicked left behind is removed by this one.
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Ok(one) => one,
    };
    if path.exists() && !overwrite {
        let why = "it is there already; `overwrite` = yes replaces it";
        return Err(refused(path, why.to_owned()));
    }
    let all = node.catalog.caches();
    let structures = node.structures.kept_table(PersistMode::default());
    let mut tables: Vec<_> = all.iter().map(|cache| (cache.name(), cache.table())).collect();
    tables.push((&structures.name, &structures.table));
    let queues = node.queues.kept_table(PersistMode::default());
    tables.push((&queues.name, &queues.table));
    let sessions = node.sessions.kept_table(PersistMode::default());
    tables.push((&sessions.name, &sessions.table));
    let tables = chosen(&tables, caches)?;
    let data = node.data.get();
    let header = export_header(data.map_or([0; 16], |data| data.storage_id()), node.now());
    let (disk, name) = place(path)?;
    let mut progress = |progress| sink(Phase::Save, progress);
    let saved = match data {
        Some(data) => {
            let behind = data.behind.get();
            data.persistence.save(&disk, &name, &header, &tables, behind, &mut progress)
        }
        None => write(&disk, &name, &header, &tables, &mut progress),
    };
    Ok(saved?)
}

/// Loads caches of a file (none named: all that are in it) into those of the same names of a
/// running server. What is loaded is kept as any write is.
///
/// The file is checked from end to end first. Clients go on meanwhile: with
/// [`ImportMode::Replace`] they find the caches empty and filling, and what they write stays.
///
/// # Errors
/// [`BackupError`]; of [`BackupError::Import`] and [`BackupError::Log`], a part may be loaded.
pub fn load(
    node: &Node,
    caches: &[String],
    path: &Path,
    mode: ImportMode,
    sink: Sink<'_>,
) -> Result<Vec<Loaded>, BackupError> {
    let mut all = node.catalog.caches();
    all.retain(|cache| !node.is_clustered(cache.name()));
    let tables: Vec<_> = all.iter().map(|cache| (cache.name(), cache.table())).collect();
    let data = node.data.get();
    let persistence = data.map(|data| &*data.persistence);
    let since = persistence.map(Persistence::moment);
    let mut keep = || {
        let kept = persistence.zip(since);
        kept.map_or(Ok(()), |(persistence, since)| persistence.flush(since, persistence.last()))
    };
    let reader = |cache: &str| data?.reader(cache);
    let load = Load { path, mode, clock: &node.clock, reader: &reader, keep: &mut keep };
    let loaded = load_tables(load, &tables, caches, sink)?;
    if let Some(data) = data {
        data.persistence.wait_durable(data.persistence.last())?;
    }
    Ok(loaded)
}

/// What a backup of a data directory says of itself.
pub fn export_header(storage_id: [u8; 16], now: u64) -> SnapshotHeader {
    SnapshotHeader { kind: SnapshotKind::Export, storage_id, created: now, log_position: 0 }
}

/// As [`load`], into any tables; whoever keeps them waits for the end of the log himself.
///
/// # Errors
/// As [`load`].
pub fn load_tables(
    load: Load<'_>,
    tables: &[NamedTable<'_>],
    caches: &[String],
    sink: Sink<'_>,
) -> Result<Vec<Loaded>, BackupError> {
    let file = SnapshotFile::open(load.path)?;
    let known: Vec<_> = file.caches().iter().map(|cache| cache.name.as_str()).collect();
    let has = |name: &str| tables.iter().any(|(known, _)| *known == name);
    let names = if caches.is_empty() {
        // What is no cache comes back into a directory only.
        let cache = |name: &&&str| !is_of_structures(name) || has(name);
        known.iter().filter(cache).map(|name| (*name).to_owned()).collect()
    } else {
        caches.to_vec()
    };
    let mut jobs = Vec::new();
    for name in names {
        let Some((number, _)) = file.cache(&name) else { return Err(unknown(&name, &known)) };
        let Some((_, table)) = tables.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = tables.iter().map(|(name, _)| *name).collect();
            return Err(unknown(&name, &known));
        };
        jobs.push((name, number, *table));
    }
    let damage = file.verify(&mut |progress| sink(Phase::Check, progress))?;
    let blocks = damage.len();
    if let Some(first) = damage.into_iter().next() {
        return Err(BackupError::Damaged { first: Box::new(first), blocks });
    }
    let Load { mode, clock, reader, keep, .. } = load;
    let mut loaded = Vec::new();
    for (cache, number, table) in jobs {
        let mut progress = |progress| sink(Phase::Load, progress);
        let reader = reader(&cache);
        let into = Import { table, mode, clock, reader: reader.as_ref() };
        let counts = import(&file, number, into, keep, &mut progress);
        let counts =
            counts.map_err(|source| BackupError::Import { name: cache.clone(), source })?;
        loaded.push(Loaded { cache, counts });
    }
    Ok(loaded)
}

/// The tables of these names, or all.
fn chosen<'t>(
    tables: &[NamedTable<'t>],
    caches: &[String],
) -> Result<Vec<NamedTable<'t>>, BackupError> {
    if caches.is_empty() {
        return Ok(tables.to_vec());
    }
    let one = |name: &String| {
        let found = tables.iter().find(|(known, _)| known == name).copied();
        let known: Vec<_> = tables.iter().map(|(name, _)| *name).collect();
        found.ok_or_else(|| unknown(name, &known))
    };
    caches.iter().map(one).collect()
}

fn unknown(name: &str, known: &[&str]) -> BackupError {
    let known = known.iter().map(|name| (*name).to_owned()).collect();
    BackupError::UnknownCache { name: name.to_owned(), known }
}

/// The folder of a file, which must be there, and its name in it.
///
/// # Errors
/// [`BackupError::Path`].
pub fn place(path: &Path) -> Result<(FileDisk, String), BackupError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(refused(path, format!("there is no folder {}", folder.display())));
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name.filter(|_| !path.is_dir()) else {
        return Err(refused(path, "that is no name of a file".to_owned()));
    };
    let disk = FileDisk::open(folder).map_err(|error| refused(path, error.to_string()))?;
    Ok((disk, name.to_owned()))
}

fn refused(path: &Path, why: String) -> BackupError {
    BackupError::Path { path: path.to_owned(), why }
}
