//! From snapshot file and log to tables.

use std::path::Path;
use std::thread;

use super::{KeptTable, PersistConfig, PersistError};
use crate::disk::Disk;
use crate::env::Timestamp;
use crate::snapshot_file::{
    RestoreCounts, RestoreTime, SnapshotFile, SnapshotFileError, prepare, remove_unfinished,
    restore, restore_block,
};
use crate::table::Table;
use crate::wal::Lsn;

/// What a snapshot file's name ends with, behind 16 hexadecimal digits of its log position.
const SUFFIX: &str = ".snapshot";

/// More threads than this find nothing to do: one has to read for all.
const THREADS_MAX: usize = 4;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Entries that came back from the snapshot file.
    pub entries: u64,
    /// Changes of the log that were done again.
    pub changes: u64,
    /// What was cut off the end of the log, if anything: nobody was told that it is durable.
    pub torn: Option<String>,
    /// Caches that were found and that nobody wants any more: the next checkpoint is without.
    pub unclaimed: Vec<String>,
}

/// The name of the snapshot file at a log position.
pub(super) fn snapshot_name(position: Lsn) -> String {
    format!("{:016x}{SUFFIX}", position.0)
}

/// The positions of the snapshot files in a folder, in order.
pub(super) fn snapshots(disk: &dyn Disk) -> std::io::Result<Vec<Lsn>> {
    let position = |name: String| {
        let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok().map(Lsn)
    };
    let mut all: Vec<_> = disk.list()?.into_iter().filter_map(position).collect();
    all.sort_unstable();
    Ok(all)
}

/// The newest snapshot file, if there is one.
pub(super) fn newest(config: &PersistConfig) -> Result<Option<SnapshotFile>, PersistError> {
    let disk = &*config.snapshots;
    let io =
        |action| move |source| PersistError::Io { path: disk.place("").into(), action, source };
    let Some(position) = snapshots(disk).map_err(io("read the folder"))?.last().copied() else {
        return Ok(None);
    };
    let name = snapshot_name(position);
    let file = match config.mapped {
        true => SnapshotFile::open(Path::new(&disk.place(&name)))?,
        false => SnapshotFile::open_on(disk, &name)?,
    };
    file.check_storage(&config.storage_id)?;
    Ok(Some(file))
}

/// Fills the tables from the newest snapshot file; the first record of the log that is not in it.
pub(super) fn read_snapshot(
    config: &PersistConfig,
    tables: &[KeptTable],
    now: Timestamp,
) -> Result<(Lsn, Recovered), PersistError> {
    let mut recovered = Recovered::default();
    let Some(file) = newest(config)? else { return Ok((Lsn::FIRST, recovered)) };
    for cache in file.caches() {
        let wanted = tables.iter().find(|kept| kept.name == cache.name);
        let place = file.cache(&cache.name).map(|(number, _)| number);
        if let Some((kept, number)) = wanted.zip(place) {
            let time = RestoreTime { now, read_until: now };
            let counts = restore_in_parts(&file, number, &kept.table, time, threads(config))?;
            recovered.entries += counts.stored;
        } else if cache.entries > 0 {
            recovered.unclaimed.push(cache.name.clone());
        }
    }
    Ok((Lsn(file.header().log_position + 1), recovered))
}

/// Removes what a checkpoint left that did not come to its end. Only once the directory is known to
/// be whole and ours: nothing is changed in one that is refused.
pub(super) fn remove_left_over(disk: &dyn Disk) -> Result<(), PersistError> {
    remove_unfinished(disk).map(drop).map_err(|source| PersistError::Io {
        path: disk.place("").into(),
        action: "remove unfinished files",
        source,
    })
}

/// Refuses what was found of tables that were neither given nor dropped.
pub(super) fn check_unclaimed(
    config: &PersistConfig,
    found: &Recovered,
) -> Result<(), PersistError> {
    let lost = found.unclaimed.iter().filter(|name| !config.dropped.contains(name));
    let caches: Vec<_> = lost.cloned().collect();
    if caches.is_empty() {
        return Ok(());
    }
    let path = config.snapshots.place("").into();
    Err(PersistError::Unclaimed { path, caches: caches.join(", ") })
}

/// How many threads fill tables beside the one that reads; 0 = it does so itself. Where disks are
/// simulated everything is done in one order.
pub(super) fn threads(config: &PersistConfig) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if config.mapped && cores > 1 { cores.min(THREADS_MAX) } else { 0 }
}

/// Gives a table back what a file holds, each thread a part of its blocks: neighbours are of one
/// segment, so the threads stay out of each other's way.
fn restore_in_parts(
    file: &SnapshotFile,
    cache: usize,
    table: &Table,
    time: RestoreTime,
    threads: usize,
) -> Result<RestoreCounts, SnapshotFileError> {
    if threads < 2 {
        return restore(file, cache, table, time, &mut |_| ());
    }
    let (header, section) = prepare(file, cache, table)?;
    let blocks: Vec<u32> = file.blocks(cache).collect();
    table.reserve(section.entries);
    let part = |blocks: &[u32]| {
        blocks.iter().try_fold(RestoreCounts::default(), |counts, number| {
            let block = file.block(*number)?;
            Ok(counts.plus(restore_block(header, section, &block, table, time)))
        })
    };
    let part = &part;
    let restored = thread::scope(|scope| {
        let parts = blocks.chunks(blocks.len().div_ceil(threads).max(1));
        let running: Vec<_> = parts.map(|blocks| scope.spawn(move || part(blocks))).collect();
        running.into_iter().try_fold(RestoreCounts::default(), |counts, thread| {
            let done = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done.map(|more| counts.plus(more))
        })
    });
    table.reserve(0);
    restored
}
