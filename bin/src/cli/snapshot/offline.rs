//! `isogrid snapshot save|load` on a data directory that no server uses.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use isogrid_engine::persist::behind::BehindAtRest;
use isogrid_engine::persist::{
    AtRest, DataDirectory, KeptTable, PersistConfig, PersistError, PersistMode, Persistence,
    Preload, cache_names,
};
use isogrid_engine::snapshot_file::{ImportMode, SnapshotFile, Summary};
use isogrid_engine::{Clock, PolicyKind, SystemClock, Table, TableConfig};
use isogrid_grid::catalog::{CacheOptions, CatalogError, CatalogFile, Contents};
use isogrid_grid::structures::is_of_structures;
use thiserror::Error;

use super::progress::Show;
use crate::cli::failed;
use crate::cli::output::say;
use crate::cli::table::table;
use crate::server::backup::{
    BackupError, Load, Loaded, NamedTable, Phase, export_header, load_tables, place,
};

const MIB: u64 = 1 << 20;

#[derive(Debug, Error)]
enum Error {
    #[error(transparent)]
    Data(#[from] PersistError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("{0}")]
    Refused(String),
}

/// Saves caches of a data directory.
pub fn save(file: &Path, dir: &Path, caches: &[String], overwrite: bool) -> ExitCode {
    let saved = if file.exists() && !overwrite {
        let why = format!("{} is there already; replace it with --overwrite", file.display());
        Err(Error::Refused(why))
    } else {
        try_save(file, dir, caches)
    };
    end(
        dir,
        saved.map(|summary| {
            let head = ["CACHE", "ENTRIES", "BYTES"].map(str::to_owned);
            let rows = summary.caches.iter().map(|cache| {
                [cache.name.clone(), cache.entries.to_string(), cache.bytes.to_string()]
            });
            table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
        }),
    )
}

fn try_save(file: &Path, dir: &Path, caches: &[String]) -> Result<Summary, Error> {
    let directory = DataDirectory::existing(dir)?;
    let config = PersistConfig { store: Some(directory.store_to_read()), ..directory.config()? };
    let contents = CatalogFile::new(directory.root()?).read()?;
    let behind = behind(&directory, &contents)?;
    let mut names = cache_names(&config)?;
    names.retain(|name| !contents.dropped.contains(name));
    names.extend(behind.iter().flat_map(BehindAtRest::names).map(str::to_owned));
    let mut names: Vec<_> = names.into_iter().collect();
    if let Some(name) = caches.iter().find(|name| !names.contains(name)) {
        return Err(BackupError::UnknownCache { name: name.clone(), known: names }.into());
    }
    names.retain(|name| caches.is_empty() || caches.contains(name));
    let (folder, name) = place(file)?;
    let (clock, mut show) = (Arc::new(SystemClock::new()), Show::default());
    let at_rest = AtRest::read(config, &names, behind, Arc::clone(&clock) as _)?;
    let header = export_header(directory.storage_id(), clock.now());
    let saved =
        at_rest.save(&folder, &name, &header, &mut |progress| show.at(Phase::Save, progress));
    show.end();
    Ok(saved?)
}

/// The caches that are written behind, but for those that the catalog says are kept otherwise, or
/// were dropped: what stands there of them is old.
fn behind(
    directory: &DataDirectory,
    contents: &Contents,
) -> Result<Option<BehindAtRest>, PersistError> {
    let Some(mut behind) = directory.behind_at_rest()? else { return Ok(None) };
    behind.alarms.iter().for_each(|alarm| eprintln!("warning: {alarm}"));
    let other = |name: &str| {
        let mut records = contents.caches.iter();
        contents.dropped_behind.contains(name)
            || records
                .any(|record| record.name == name && record.options.persist != PersistMode::Behind)
    };
    let names: Vec<_> = behind.names().filter(|name| !other(name)).map(str::to_owned).collect();
    behind.retain(&names);
    Ok(Some(behind))
}

/// Loads caches into a data directory.
pub fn load(file: &Path, dir: &Path, caches: &[String], mode: ImportMode) -> ExitCode {
    end(
        dir,
        try_load(file, dir, caches, mode).map(|loaded| {
            let head = ["CACHE", "LOADED", "BYTES", "EXPIRED", "NEWER"].map(str::to_owned);
            let rows = loaded.iter().map(|Loaded { cache, counts }| {
                let [stored, bytes] = [counts.stored, counts.bytes].map(|n| n.to_string());
                let [expired, newer] = [counts.expired, counts.newer].map(|n| n.to_string());
                [cache.clone(), stored, bytes, expired, newer]
            });
            table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
        }),
    )
}

fn try_load(
    file: &Path,
    dir: &Path,
    caches: &[String],
    mode: ImportMode,
) -> Result<Vec<Loaded>, Error> {
    // Nothing is made for a file that cannot be read.
    let opened = SnapshotFile::open(file).map_err(BackupError::File)?;
    let directory = DataDirectory::open(dir)?;
    let config = directory.config()?;
    let catalog = CatalogFile::new(directory.root()?);
    let contents = catalog.read()?;
    let wanted = |name: &String| caches.is_empty() || caches.contains(name);
    let wanted: Vec<_> =
        opened.caches().iter().map(|cache| cache.name.clone()).filter(wanted).collect();
    let mut behind =
        contents.caches.iter().filter(|record| record.options.persist == PersistMode::Behind);
    if let Some(record) = behind.find(|record| wanted.contains(&record.name)) {
        let why = format!(
            "cache {:?} is written behind here: load the others with --cache, or load the file \
             into the running server",
            record.name
        );
        return Err(Error::Refused(why));
    }
    let mut names = cache_names(&config)?;
    names.extend(wanted);
    let clock = Arc::new(SystemClock::new());
    let kept = tables(&names.into_iter().collect::<Vec<_>>(), clock.now())?;
    let (persistence, _) = Persistence::open(config, kept.clone(), clock.clone())?;
    directory.note_begun()?;
    // What is left of those that were dropped is not what comes back.
    let dropped = kept.iter().filter(|kept| contents.dropped.contains(&kept.name));
    for kept in dropped {
        kept.table.clear(clock.now()).map_err(|error| Error::Refused(error.to_string()))?;
    }
    catalog.write(&with(contents, &kept, &opened))?;
    let since = persistence.moment();
    let reader = |cache: &str| persistence.reader(cache);
    let (mut show, mut keep) = (Show::default(), || persistence.flush(since, persistence.last()));
    let load = Load { path: file, mode, clock: &*clock, reader: &reader, keep: &mut keep };
    let sink = &mut |phase, progress| show.at(phase, progress);
    let loaded = load_tables(load, &named(&kept), caches, sink);
    show.end();
    // Whatever was loaded is kept, as of a server that stops.
    let closed = persistence.close();
    let loaded = loaded?;
    closed?;
    Ok(loaded)
}

/// The catalog with a cache for every table, so that a server takes them all.
fn with(mut contents: Contents, kept: &[KeptTable], file: &SnapshotFile) -> Contents {
    contents.dropped.clear();
    for KeptTable { name, .. } in kept.iter().filter(|kept| !is_of_structures(&kept.name)) {
        let bytes = file.cache(name).map_or(0, |(_, section)| section.bytes);
        let memory = (2 * bytes).next_multiple_of(MIB).max(CacheOptions::default().memory);
        let persist = PersistMode::Async;
        contents.ensure(name, &CacheOptions { memory, persist, ..CacheOptions::default() });
    }
    contents
}

/// Tables with room for everything: limits are the server's.
fn tables(names: &[String], now: u64) -> Result<Vec<KeptTable>, Error> {
    let config =
        TableConfig { max_bytes: 1 << 60, eviction: PolicyKind::None, ..TableConfig::default() };
    let kept = |name: &String| {
        let table = Table::new(&config, now).map_err(|error| Error::Refused(error.to_string()))?;
        let (name, table) = (name.clone(), Arc::new(table));
        Ok(KeptTable { name, table, mode: PersistMode::Async, preload: Preload::All })
    };
    names.iter().map(kept).collect()
}

fn named(kept: &[KeptTable]) -> Vec<NamedTable<'_>> {
    kept.iter().map(|kept| (kept.name.as_str(), &*kept.table)).collect()
}

/// Says what was done, or why not.
fn end(dir: &Path, done: Result<String, Error>) -> ExitCode {
    match done {
        Ok(report) => say(&report),
        Err(Error::Data(error)) => failed(dir, &error),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
