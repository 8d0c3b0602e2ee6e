//! Which entries are brought into memory at a start, and which stay where memory has no room for.

use super::PersistError;
use super::overflow::Overflow;
use crate::error::Error;
use crate::load::LoadError;
use crate::snapshot_file::{Record, RestoreTime, SnapshotFile, prepare, restore, saved};
use crate::table::{Leaving, Restored, Saved, Table};

/// Which entries of a snapshot file are in memory when a start is over; the others are read when
/// somebody asks for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Preload {
    /// All.
    #[default]
    All,
    /// None.
    None,
    /// Those that had been read since they were stored, or since they were brought into memory.
    Hot,
    /// Those whose keys begin with one of these.
    Prefixes(Vec<Vec<u8>>),
}

impl Preload {
    /// What users write: `all`, `none`, `hot`, or prefixes with a star behind each, separated by
    /// commas.
    #[must_use]
    pub fn parse(text: &str) -> Option<Preload> {
        match text.trim() {
            "all" => Some(Preload::All),
            "none" => Some(Preload::None),
            "hot" => Some(Preload::Hot),
            list => {
                let prefix =
                    |item: &str| item.trim().strip_suffix('*').map(|p| p.as_bytes().to_vec());
                let prefixes: Option<Vec<_>> = list.split(',').map(prefix).collect();
                prefixes.map(Preload::Prefixes)
            }
        }
    }

    fn takes(&self, record: &Record<'_>) -> bool {
        match self {
            Preload::All => true,
            Preload::None => false,
            Preload::Hot => record.hot,
            Preload::Prefixes(all) => all.iter().any(|prefix| record.key.starts_with(prefix)),
        }
    }
}

/// Gives a table what a snapshot file has of it, as far as it is wanted in memory, and the overflow
/// the rest. How many entries came into memory, and how many did not.
pub(super) fn fill(
    file: &SnapshotFile,
    number: usize,
    (table, overflow): (&Table, Option<&Overflow>),
    preload: &Preload,
    time: RestoreTime,
) -> Result<(u64, u64), PersistError> {
    let Some(overflow) = overflow else {
        let counts = restore(file, number, table, time, &mut |_| ())?;
        return Ok((counts.stored, 0));
    };
    let (header, section) = prepare(file, number, table)?;
    if *preload == Preload::All {
        table.reserve(section.entries);
    }
    let (mut stored, mut aside) = (0, 0);
    for number in file.blocks(number) {
        let block = file.block(number)?;
        for record in block.records() {
            let saved = saved(header, section, &record, time);
            if preload.takes(&record) {
                let restored = overflow.with_room(|| match table.restore(&saved, time.now) {
                    Err(error @ Error::Behind) => Err(error),
                    // Where nothing may be evicted, what does not fit is left out.
                    other => Ok(other == Ok(Restored::Stored)),
                });
                stored += u64::from(restored.map_err(PersistError::Store)?);
            } else {
                aside += u64::from(put_aside(table, overflow, &saved, time)?);
            }
        }
    }
    table.reserve(0);
    Ok((stored, aside))
}

/// Gives an entry to the overflow, unless its time is over.
fn put_aside(
    table: &Table,
    overflow: &Overflow,
    saved: &Saved<'_>,
    time: RestoreTime,
) -> Result<bool, PersistError> {
    if saved.is_expired(time.now) {
        return Ok(false);
    }
    let leaving = Leaving {
        key: saved.key,
        entry: saved.entry,
        epoch: saved.epoch,
        seq: saved.seq,
        accessed: saved.accessed,
    };
    let failed = |_: LoadError| PersistError::Store(overflow.trouble());
    overflow.stash(table.hash(saved.key), &leaving).map_err(failed)?;
    Ok(true)
}
