//! From snapshot file and log to tables.

use std::path::Path;

use super::overflow::{Feeder, Overflow};
use super::{KeptTable, PersistConfig, PersistError, change, preload};
use crate::disk::Disk;
use crate::env::Timestamp;
use crate::error::Error;
use crate::snapshot_file::{RestoreTime, SnapshotFile, remove_unfinished};
use crate::table::{Change, Saved};
use crate::wal::Lsn;

/// What a snapshot file's name ends with, behind 16 hexadecimal digits of its log position.
const SUFFIX: &str = ".snapshot";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Entries that came back from the snapshot file.
    pub entries: u64,
    /// Entries of it that were not to come into memory.
    pub aside: u64,
    /// Changes of the log that were done again.
    pub changes: u64,
    /// What was cut off the end of the log, if anything: nobody was told that it is durable.
    pub torn: Option<String>,
    /// Caches in the snapshot file that nobody wants any more: the next checkpoint is without.
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

/// Fills the tables from the newest snapshot file; the first record of the log that is not in it.
pub(super) fn read_snapshot(
    config: &PersistConfig,
    tables: &[KeptTable],
    feeder: Option<&Feeder>,
    now: Timestamp,
) -> Result<(Lsn, Recovered), PersistError> {
    let disk = &*config.snapshots;
    let io =
        |action| move |source| PersistError::Io { path: disk.place("").into(), action, source };
    let mut recovered = Recovered::default();
    let Some(position) = snapshots(disk).map_err(io("read the folder"))?.last().copied() else {
        return Ok((Lsn(1), recovered));
    };
    let name = snapshot_name(position);
    let file = match config.mapped {
        true => SnapshotFile::open(Path::new(&disk.place(&name)))?,
        false => SnapshotFile::open_on(disk, &name)?,
    };
    file.check_storage(&config.storage_id)?;
    for cache in file.caches() {
        let wanted = tables.iter().find(|kept| kept.name == cache.name);
        let place = file.cache(&cache.name).map(|(number, _)| number);
        if let Some((kept, number)) = wanted.zip(place) {
            let time = RestoreTime { now, read_until: now };
            let overflow = feeder.and_then(|feeder| feeder.overflow(&kept.name));
            let target = (&*kept.table, overflow.map(|overflow| &**overflow));
            let (stored, aside) = preload::fill(&file, number, target, &kept.preload, time)?;
            recovered.entries += stored;
            recovered.aside += aside;
        } else {
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

/// Does recorded changes again.
///
/// # Errors
/// Why not, in words.
pub(super) fn replay(
    tables: &[KeptTable],
    feeder: Option<&Feeder>,
    bytes: &[u8],
    now: Timestamp,
) -> Result<(), String> {
    let (name, changes) =
        change::decode(bytes).ok_or("the record is of a kind that this release does not know")?;
    if let Some(kept) = tables.iter().find(|kept| kept.name == name) {
        let overflow = feeder.and_then(|feeder| feeder.overflow(name)).map(|overflow| &**overflow);
        return changes.iter().try_for_each(|change| replay_change(kept, overflow, change, now));
    }
    Ok(())
}

fn replay_change(
    kept: &KeptTable,
    overflow: Option<&Overflow>,
    change: &Change<'_>,
    now: Timestamp,
) -> Result<(), String> {
    match *change {
        Change::Put { key, entry, epoch, seq } => {
            let saved = Saved { key, entry, epoch, seq, accessed: now };
            let replayed = || match kept.table.replay(&saved, now) {
                Err(error @ Error::Behind) => Err(error),
                // What does not fit any more is evicted or, where nothing may be, left out.
                _ => Ok(()),
            };
            match overflow {
                Some(overflow) => overflow.with_room(replayed)?,
                None => replayed().map_err(|error| error.to_string())?,
            }
        }
        Change::Remove { key, seq, .. } => kept.table.replay_remove(key, seq, now),
        Change::Life { seq } => kept.table.raise_all(seq),
        Change::Clear => kept.table.replay_clear(now),
        Change::Transaction(changes) => {
            changes.iter().try_for_each(|c| replay_change(kept, overflow, c, now))?;
        }
    }
    Ok(())
}
