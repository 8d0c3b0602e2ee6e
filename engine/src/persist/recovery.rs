//! From snapshot file and log to tables.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::overflow::{Feeder, Unread};
use super::preload::Target;
use super::{KeptTable, PersistConfig, PersistError};
use crate::disk::Disk;
use crate::env::Timestamp;
use crate::snapshot_file::{RestoreTime, SnapshotFile, remove_unfinished};
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
    /// Entries of it that were not to come into memory.
    pub aside: u64,
    /// Entries of it that are read while others are served already.
    pub later: u64,
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

/// Fills the tables from the newest snapshot file, or notes what of it is to be read `later` where
/// that can be; the first record of the log that is not in it.
pub(super) fn read_snapshot(
    config: &PersistConfig,
    tables: &[KeptTable],
    feeder: Option<&Feeder>,
    now: Timestamp,
    later: bool,
) -> Result<(Lsn, Recovered), PersistError> {
    let mut recovered = Recovered::default();
    let Some(file) = newest(config)?.map(Arc::new) else { return Ok((Lsn::FIRST, recovered)) };
    for cache in file.caches() {
        let wanted = tables.iter().find(|kept| kept.name == cache.name);
        let place = file.cache(&cache.name).map(|(number, _)| number);
        if let Some((kept, number)) = wanted.zip(place) {
            let time = RestoreTime { now, read_until: now };
            let overflow = feeder.and_then(|feeder| feeder.overflow(&kept.name));
            if let Some(overflow) = overflow.as_ref().filter(|_| later)
                && let Some(unread) =
                    Unread::of(&file, number, &kept.table, &kept.preload, time, threads(config))?
            {
                recovered.later += cache.entries;
                overflow.begin_unread(&kept.table, unread);
                continue;
            }
            let target = Target { table: &kept.table, overflow: overflow.as_deref() };
            let filled = target.fill(&file, number, &kept.preload, time, threads(config))?;
            recovered.entries += filled.stored;
            recovered.aside += filled.aside;
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
