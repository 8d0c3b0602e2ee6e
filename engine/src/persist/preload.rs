//! Which entries are brought into memory at a start, and which stay where memory has no room for.

use std::iter::Sum;
use std::{fmt, thread};

use super::PersistError;
use super::overflow::Overflow;
use crate::error::Error;
use crate::load::LoadError;
use crate::snapshot_file::{Record, RestoreTime, SnapshotFile, prepare, restore_block, saved};
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
                let blank = |c: char| c.is_whitespace() || c.is_control();
                let prefix = |item: &str| {
                    let prefix = item.trim().strip_suffix('*').filter(|p| !p.contains(blank))?;
                    Some(prefix.as_bytes().to_vec())
                };
                let prefixes: Option<Vec<_>> = list.split(',').map(prefix).collect();
                prefixes.map(Preload::Prefixes)
            }
        }
    }

    pub(super) fn takes(&self, record: &Record<'_>) -> bool {
        match self {
            Preload::All => true,
            Preload::None => false,
            Preload::Hot => record.hot,
            Preload::Prefixes(all) => all.iter().any(|prefix| record.key.starts_with(prefix)),
        }
    }
}

impl fmt::Display for Preload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Preload::All => f.write_str("all"),
            Preload::None => f.write_str("none"),
            Preload::Hot => f.write_str("hot"),
            Preload::Prefixes(all) => all.iter().enumerate().try_for_each(|(at, prefix)| {
                let comma = if at == 0 { "" } else { "," };
                write!(f, "{comma}{}*", String::from_utf8_lossy(prefix))
            }),
        }
    }
}

/// A table that is filled, and where what is not wanted in memory goes.
#[derive(Clone, Copy)]
pub(super) struct Target<'t> {
    pub table: &'t Table,
    /// None: everything is wanted in memory.
    pub overflow: Option<&'t Overflow>,
}

/// How many entries came into memory, and how many were put aside.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Filled {
    pub stored: u64,
    pub aside: u64,
}

impl Target<'_> {
    /// Gives the table what a snapshot file has of it, each thread a part of its blocks: neighbours
    /// are of one segment, so the threads stay out of each other's way.
    pub fn fill(
        self,
        file: &SnapshotFile,
        cache: usize,
        preload: &Preload,
        time: RestoreTime,
        threads: usize,
    ) -> Result<Filled, PersistError> {
        let (header, section) = prepare(file, cache, self.table)?;
        let blocks: Vec<u32> = file.blocks(cache).collect();
        if self.overflow.is_none() || *preload == Preload::All {
            self.table.reserve(section.entries);
        }
        let fill = |number: &u32| {
            let block = file.block(*number)?;
            let Some(overflow) = self.overflow else {
                let counts = restore_block(header, section, &block, self.table, time);
                return Ok(Filled { stored: counts.stored, aside: 0 });
            };
            let mut filled = Filled::default();
            for record in block.records() {
                let saved = saved(header, section, &record, time);
                if preload.takes(&record) {
                    filled.stored += u64::from(self.restore(overflow, &saved, time)?);
                } else {
                    filled.aside += u64::from(self.put_aside(overflow, &saved, time)?);
                }
            }
            Ok(filled)
        };
        let filled = in_parts(&blocks, threads, &|part| part.iter().map(fill).sum());
        self.table.reserve(0);
        Ok(filled?.into_iter().sum())
    }

    fn restore(
        self,
        overflow: &Overflow,
        saved: &Saved<'_>,
        time: RestoreTime,
    ) -> Result<bool, PersistError> {
        let restored = overflow.with_room(|| match self.table.restore(saved, time.now) {
            Err(error @ Error::Behind) => Err(error),
            // Where nothing may be evicted, what does not fit is left out.
            other => Ok(other == Ok(Restored::Stored)),
        });
        restored.map_err(PersistError::Store)
    }

    /// Gives an entry to the overflow, unless its time is over.
    fn put_aside(
        self,
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
        overflow.stash(self.table.hash(saved.key), &leaving).map_err(failed)?;
        Ok(true)
    }
}

impl Sum for Filled {
    fn sum<I: Iterator<Item = Filled>>(all: I) -> Filled {
        all.fold(Filled::default(), |sum, more| Filled {
            stored: sum.stored + more.stored,
            aside: sum.aside + more.aside,
        })
    }
}

/// Does something with blocks in parts, on up to `threads` threads; what it gave, in order.
pub(super) fn in_parts<T: Send>(
    blocks: &[u32],
    threads: usize,
    work: &(dyn Fn(&[u32]) -> Result<T, PersistError> + Sync),
) -> Result<Vec<T>, PersistError> {
    if threads < 2 {
        return Ok(vec![work(blocks)?]);
    }
    thread::scope(|scope| {
        let parts = blocks.chunks(blocks.len().div_ceil(threads).max(1));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let ended = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        running.into_iter().map(ended).collect()
    })
}
