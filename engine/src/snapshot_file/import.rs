//! Gives entries of a snapshot file to a table that is in use: through its journal, and with
//! readers and writers beside.

use thiserror::Error as ThisError;

use super::error::SnapshotFileError;
use super::reader::SnapshotFile;
use super::record::{Idle, Record};
use super::restore::RestoreCounts;
use super::write::Progress;
use crate::env::{Clock, Timestamp};
use crate::error::Error;
use crate::load::LoadError;
use crate::persist::Reader;
use crate::table::{NewEntry, Table, Unrecorded};
use crate::wal::WalError;

/// How often a write is tried while the log has no room for it and is waited for each time.
const BUSY_TRIES: u32 = 1_000;

/// What happens to what the table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImportMode {
    /// It stays where the file has nothing newer: of each key the higher version wins. What was
    /// deleted since comes back.
    #[default]
    Merge,
    /// It goes, and the table holds what the file does and what is written from now on.
    Replace,
}

/// Why an import ended early.
#[derive(Debug, ThisError)]
pub enum ImportError {
    /// The file cannot be read, or does not fit.
    #[error(transparent)]
    File(#[from] SnapshotFileError),
    /// The table takes no more.
    #[error("the cache takes no more entries: {0}")]
    Table(#[from] Error),
    /// The log takes no more.
    #[error(transparent)]
    Log(#[from] WalError),
    /// What is not in memory cannot be read or written.
    #[error("what is not in memory: {0}")]
    Away(#[from] LoadError),
}

/// Where entries of a file go, and how.
#[derive(Clone, Copy)]
pub struct Import<'a> {
    /// The table.
    pub table: &'a Table,
    /// What happens to what it has.
    pub mode: ImportMode,
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Where the table's entries are that are not in memory; `None` where evicted ones are lost.
    pub reader: Option<&'a Reader>,
}

/// Puts the entries of one cache of a file into a table. Each keeps its version, flags, deadline
/// and marks; idle times begin anew. The table gives out no version of the file's any more.
///
/// `keep` is called after each block of entries and waits for the log, if there is one, so that
/// its buffer never holds much more than a block. Every entry is a write like any other: it is
/// recorded, may evict, and is seen at once or when it is kept. Entries that are not in memory are
/// read to compare versions; the calling thread waits for that. The file's takes the place of one
/// that is damaged there.
///
/// # Errors
/// [`ImportError`]: what came before is in the table. [`ImportError::File`] of the kind
/// [`SnapshotFileError::Caller`] ahead of everything: the file has no such cache, or was written in
/// a later epoch than the table writes in.
pub fn import(
    file: &SnapshotFile,
    cache: usize,
    import: Import<'_>,
    keep: &mut dyn FnMut() -> Result<(), WalError>,
    progress: &mut dyn FnMut(Progress),
) -> Result<RestoreCounts, ImportError> {
    let Import { table, mode, clock, .. } = import;
    let section = file.section_for(cache, table)?;
    if section.epoch == table.epoch() {
        table.skip_to(section.highest.iter().copied().max().unwrap_or(0))?;
    }
    if mode == ImportMode::Replace {
        table.clear(clock.now())?;
    }
    let mut done = Progress { entries: 0, entries_total: section.entries, bytes: 0 };
    let mut counts = RestoreCounts::default();
    for number in file.blocks(cache) {
        let block = file.block(number)?;
        for record in block.records() {
            let version = record.version(section.epoch);
            put(import, &record, version, keep, &mut counts)?;
        }
        keep()?;
        done.entries += block.records().len() as u64;
        done.bytes += block.bytes();
        progress(done);
    }
    Ok(counts)
}

/// Puts one entry unless the table has a newer one or it has expired.
fn put(
    import: Import<'_>,
    record: &Record<'_>,
    version: u64,
    keep: &mut dyn FnMut() -> Result<(), WalError>,
    counts: &mut RestoreCounts,
) -> Result<(), ImportError> {
    let now = import.clock.now();
    if record.deadline.is_some_and(|at| at <= now) {
        counts.expired += 1;
        return Ok(());
    }
    let new = NewEntry {
        value: [record.value, b""],
        flags: record.flags,
        deadline: record.deadline,
        max_idle: record.idle.map(|Idle { max, .. }| max),
        version: Some(version),
        marks: record.marks,
    };
    let (mut tries, mut blind) = (0, import.reader.is_none());
    loop {
        match try_put(import.table, record.key, &new, blind, now) {
            Ok(true) => {
                counts.stored += 1;
                counts.bytes += record.key.len() as u64 + record.value.len() as u64;
            }
            Ok(false) => counts.newer += 1,
            Err(Error::Unrecorded(Unrecorded::Busy)) if tries < BUSY_TRIES => {
                tries += 1;
                keep()?;
                continue;
            }
            Err(Error::Away) => {
                match import.reader.map_or(Ok(()), |reader| reader.bring(record.key)) {
                    // There is no version to compare with, and nothing to lose.
                    Err(LoadError::Damaged) => blind = true,
                    brought => brought?,
                }
                continue;
            }
            Err(Error::Behind) => {
                import.reader.map_or(Ok(()), Reader::wait_room)?;
                continue;
            }
            Err(Error::Full { .. }) => counts.refused += 1,
            Err(error) => return Err(error.into()),
        }
        return Ok(());
    }
}

/// Whether the entry was put; not where the table has that version or a newer one.
///
/// # Errors
/// [`Error::Away`] unless `blind`: it is to be seen first which version there is.
fn try_put(
    table: &Table,
    key: &[u8],
    new: &NewEntry<'_>,
    blind: bool,
    now: Timestamp,
) -> Result<bool, Error> {
    let pinned = table.pin();
    let Some(mut entry) = pinned.entry(table.hash(key), key, now) else { return Ok(false) };
    if !blind && entry.is_away() {
        return Err(Error::Away);
    }
    if entry.get().is_some_and(|there| Some(there.version()) >= new.version) {
        return Ok(false);
    }
    entry.put(new).map(|_| true)
}
