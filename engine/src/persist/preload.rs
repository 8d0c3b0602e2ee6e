//! Which entries are brought into memory at a start, and which stay where memory has no room for.

use super::PersistError;
use super::overflow::Overflow;
use crate::load::LoadError;
use crate::snapshot_file::{
    Block, Record, RestoreTime, SnapshotFile, prepare, restore, restore_block, saved,
};
use crate::table::{Leaving, Table};

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
    let whole = *preload == Preload::All;
    if whole {
        table.reserve(section.entries);
    }
    let (mut stored, mut aside) = (0, 0);
    for number in file.blocks(number) {
        let block = file.block(number)?;
        if whole {
            stored += restore_block(header, section, &block, table, time).stored;
        } else {
            let parts = split(&block, preload);
            for record in parts.0 {
                let restored = table.restore(&saved(header, section, &record, time), time.now);
                stored += u64::from(restored == Ok(crate::table::Restored::Stored));
            }
            for record in parts.1 {
                let saved = saved(header, section, &record, time);
                aside += u64::from(put_aside(table, overflow, &saved, time)?);
            }
        }
        overflow.catch_up();
    }
    table.reserve(0);
    Ok((stored, aside))
}

/// The records that are wanted in memory, and the others.
fn split<'b>(block: &'b Block<'_>, preload: &Preload) -> (Vec<Record<'b>>, Vec<Record<'b>>) {
    block.records().partition(|record| preload.takes(record))
}

/// Gives an entry to the overflow, unless its time is over.
fn put_aside(
    table: &Table,
    overflow: &Overflow,
    saved: &crate::table::Saved<'_>,
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
