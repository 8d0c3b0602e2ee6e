//! Gives a table back what a snapshot file holds.

use super::error::SnapshotFileError;
use super::footer::CacheSection;
use super::header::SnapshotHeader;
use super::reader::{Block, SnapshotFile};
use super::record::{Idle, Record};
use super::write::Progress;
use crate::env::Timestamp;
use crate::table::{NewEntry, Restored, Saved, Table};

/// When entries come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreTime {
    /// The time now, ms: what has expired meanwhile stays away.
    pub now: Timestamp,
    /// Up to here, ms, entries may have been read without the file knowing it: an entry with a
    /// max-idle time counts as read then, and may live longer than it would have, never shorter.
    /// `now` when nobody knows when the process that had them ended; the file's creation when
    /// nobody was served after that: then the age of the last access counts.
    pub read_until: Timestamp,
}

/// What became of the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoreCounts {
    /// In the table.
    pub stored: u64,
    /// Keys and values of these, bytes.
    pub bytes: u64,
    /// Expired since the file was written.
    pub expired: u64,
    /// The table has a newer version of the key, or was cleared since.
    pub newer: u64,
    /// There is no room and nothing may be evicted.
    pub refused: u64,
}

impl RestoreCounts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: RestoreCounts) -> RestoreCounts {
        RestoreCounts {
            stored: self.stored + other.stored,
            bytes: self.bytes + other.bytes,
            expired: self.expired + other.expired,
            newer: self.newer + other.newer,
            refused: self.refused + other.refused,
        }
    }
}

/// Gives a table back all entries of one cache of a file: versions, flags, deadlines, idle times
/// and marks are as they were. The table may have other segments and another seed. It must have
/// been given nothing yet, or nothing older than the file: of each key the newer version stays.
///
/// The table may be written to meanwhile, but what is deleted before it was restored comes back:
/// whoever serves meanwhile keeps such deletions himself. A [`Table::snapshot`] that is held until
/// the end makes deletions of what *was* restored stay.
///
/// # Errors
/// [`SnapshotFileError::Damaged`]: what came before the damage is in the table.
/// [`SnapshotFileError::Caller`]: there is no such cache, or the table writes in an epoch below
/// the file's, so that versions could be given twice; nothing was restored.
pub fn restore(
    file: &SnapshotFile,
    cache: usize,
    table: &Table,
    time: RestoreTime,
    progress: &mut dyn FnMut(Progress),
) -> Result<RestoreCounts, SnapshotFileError> {
    let (header, section) = prepare(file, cache, table)?;
    let mut done = Progress { entries: 0, entries_total: section.entries, bytes: 0 };
    let mut counts = RestoreCounts::default();
    table.reserve(section.entries);
    let restored = file.blocks(cache).try_for_each(|number| {
        let block = file.block(number)?;
        counts = counts.plus(restore_block(header, section, &block, table, time));
        done.entries += block.records().len() as u64;
        done.bytes += block.bytes();
        progress(done);
        Ok(())
    });
    table.reserve(0);
    restored.map(|()| counts)
}

/// The first half of [`restore`]: raises the table's sequence numbers above all of the file's.
/// Then several threads may each [`restore_block`] some of the blocks, best between two calls of
/// [`Table::reserve`].
///
/// # Errors
/// [`SnapshotFileError::Caller`] as [`restore`].
pub fn prepare<'f>(
    file: &'f SnapshotFile,
    cache: usize,
    table: &Table,
) -> Result<(&'f SnapshotHeader, &'f CacheSection), SnapshotFileError> {
    let section = file.section_for(cache, table)?;
    if section.epoch == table.epoch() {
        raise(section, table);
    }
    Ok((file.header(), section))
}

impl SnapshotFile {
    /// What a cache of the file is whose entries are to come into `table`.
    pub(super) fn section_for(
        &self,
        cache: usize,
        table: &Table,
    ) -> Result<&CacheSection, SnapshotFileError> {
        let refused = |text| Err(SnapshotFileError::Caller(format!("{}: {text}", self.place())));
        let Some(section) = self.caches().get(cache) else {
            return refused(format!("there is no cache number {cache} in it"));
        };
        let (theirs, ours) = (section.epoch, table.epoch());
        if theirs > ours {
            return refused(format!("written in epoch {theirs}, the table writes in epoch {ours}"));
        }
        Ok(section)
    }
}

/// Makes the table's next versions higher than any that the file knows of.
fn raise(section: &CacheSection, table: &Table) {
    let same = section.seed_independent
        && table.segments_are_stable()
        && section.highest.len() == table.segment_count();
    if same {
        section.highest.iter().enumerate().for_each(|(at, seq)| table.raise_seq(at, *seq));
        return;
    }
    // A key may have come from any segment.
    let highest = section.highest.iter().copied().max().unwrap_or(0);
    (0..table.segment_count()).for_each(|at| table.raise_seq(at, highest));
}

/// Gives a table back the entries of one block, after [`prepare`].
#[must_use]
pub fn restore_block(
    header: &SnapshotHeader,
    section: &CacheSection,
    block: &Block<'_>,
    table: &Table,
    time: RestoreTime,
) -> RestoreCounts {
    let mut counts = RestoreCounts::default();
    for record in block.records() {
        match table.restore(&saved(header, section, &record, time), time.now) {
            Ok(Restored::Stored) => {
                counts.stored += 1;
                counts.bytes += record.key.len() as u64 + record.value.len() as u64;
            }
            Ok(Restored::Expired) => counts.expired += 1,
            Ok(Restored::Newer) => counts.newer += 1,
            Err(_) => counts.refused += 1,
        }
    }
    counts
}

/// A record as a table takes it back.
#[must_use]
pub fn saved<'r>(
    header: &SnapshotHeader,
    section: &CacheSection,
    record: &Record<'r>,
    time: RestoreTime,
) -> Saved<'r> {
    Saved {
        key: record.key,
        entry: NewEntry {
            value: [record.value, b""],
            flags: record.flags,
            deadline: record.deadline,
            max_idle: record.idle.map(|idle| idle.max),
            version: record.chosen_version,
            marks: record.marks,
        },
        epoch: section.epoch,
        seq: record.seq,
        accessed: accessed(record, header.created, time),
    }
}

/// When the entry was read last, as far as it is known.
fn accessed(record: &Record<'_>, created: Timestamp, time: RestoreTime) -> Timestamp {
    let age = record.idle.map_or(0, |Idle { age, .. }| u64::from(age));
    // Of reads before the file was begun it knows.
    let unseen = Some(time.read_until).filter(|until| *until > created);
    unseen.unwrap_or(created.saturating_sub(age)).min(time.now)
}
