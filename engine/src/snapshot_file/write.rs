//! Writes tables to a snapshot file while they are written to.

use std::sync::Arc;

use super::aside::{Aside, Cache};
use super::error::SnapshotFileError;
use super::footer::CacheSection;
use super::header::SnapshotHeader;
use super::output::{Output, unfinished};
use super::record::Record;
use crate::disk::Disk;
use crate::table::{Cursor, Entry, Saved, Snapshot, Table};

/// Bytes of a block, unless a single entry is longer.
const BLOCK_BYTES: usize = 64 << 10;

/// How far a snapshot file has been written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Entries so far.
    pub entries: u64,
    /// Entries of all; while a file is written, about so many.
    pub entries_total: u64,
    /// Bytes of the file so far.
    pub bytes: u64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of the file.
    pub bytes: u64,
    /// Blocks, those that are not of entries included.
    pub blocks: u64,
    /// Entries.
    pub entries: u64,
    /// What it holds, cache by cache.
    pub caches: Vec<CacheSection>,
}

/// Writes what `caches` hold to the file `name`, which replaces one of that name once it is whole
/// and durable.
///
/// The watermarks of all tables are taken before anything is written: each cache is in the file as
/// it was at one moment. Every write up to `header.log_position` must have been published before
/// the call. What had expired at `header.created` is left out, what expires or is evicted while
/// the file is written may be.
///
/// Writers and readers go on meanwhile: the lock of a segment is held for about a hundred entries
/// at a time. Versions that are overwritten are kept until their table is written. Memory: one
/// page of a scan and 32 bytes for each block; large values are not copied. The calling thread
/// waits for the disk; `progress` is called after each page and may slow it down.
///
/// # Errors
/// [`SnapshotFileError`]; a file of this name that was there before is as it was.
/// [`SnapshotFileError::Caller`] for two caches of one name, or a name over 64 KiB - 1.
pub fn write(
    disk: &dyn Disk,
    name: &str,
    header: &SnapshotHeader,
    caches: &[(&str, &Table)],
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, SnapshotFileError> {
    write_once(disk, name, header, caches, progress, &mut || Ok(()))
}

/// As [`write()`]; `read` is called when every entry has been read, and the file appears only if
/// that was right. Deadlines and marks are those of when an entry was read, so the file may know
/// changes up to this call and none behind it.
///
/// # Errors
/// As [`write()`], and those of `read`.
pub fn write_once(
    disk: &dyn Disk,
    name: &str,
    header: &SnapshotHeader,
    caches: &[(&str, &Table)],
    progress: &mut dyn FnMut(Progress),
    read: &mut dyn FnMut() -> std::io::Result<()>,
) -> Result<Summary, SnapshotFileError> {
    let caches: Vec<_> =
        caches.iter().map(|(name, table)| Cache { name, table, aside: None }).collect();
    write_caches(disk, name, header, &caches, progress, read)
}

/// As [`write_once`], with entries that are not in the tables. A cache that has such is in the file
/// as it was when its turn came: what it must hand over from its moment on is taken only while it is
/// written.
///
/// # Errors
/// As [`write_once`], and those of reading what is not in the tables.
pub(crate) fn write_caches(
    disk: &dyn Disk,
    name: &str,
    header: &SnapshotHeader,
    caches: &[Cache<'_>],
    progress: &mut dyn FnMut(Progress),
    read: &mut dyn FnMut() -> std::io::Result<()>,
) -> Result<Summary, SnapshotFileError> {
    check_names(caches)?;
    let now = header.created;
    let at_once = caches.iter().map(|cache| cache.aside.is_none().then(|| cache.open(now)));
    let snapshots: Vec<_> = at_once.collect();
    let held = |cache: &Cache<'_>| {
        cache.table.usage().entries + cache.aside.map_or(0, |aside| aside.len())
    };
    let entries_total = caches.iter().map(held).sum();
    let done = Progress { entries: 0, entries_total, bytes: 0 };
    let caches = caches.iter().copied().zip(snapshots);
    let written = write_all(disk, name, header, caches, &mut Tell { done, progress, read });
    written.map_err(|error| {
        // Best effort: the next write of the same name removes it too.
        let _ = disk.remove(&unfinished(name));
        SnapshotFileError::disk(disk.place(name), "write the file", error)
    })
}

fn check_names(caches: &[Cache<'_>]) -> Result<(), SnapshotFileError> {
    for (at, Cache { name, .. }) in caches.iter().enumerate() {
        if name.len() > usize::from(u16::MAX) {
            let text = format!("a cache's name of {} bytes: at most 65535", name.len());
            return Err(SnapshotFileError::Caller(text));
        }
        if caches.iter().skip(at + 1).any(|other| other.name == *name) {
            return Err(SnapshotFileError::Caller(format!("two caches are called {name:?}")));
        }
    }
    Ok(())
}

/// The progress so far, who is told of it, and who is told of the end.
struct Tell<'p> {
    done: Progress,
    progress: &'p mut dyn FnMut(Progress),
    read: &'p mut dyn FnMut() -> std::io::Result<()>,
}

fn write_all<'c>(
    disk: &dyn Disk,
    name: &str,
    header: &SnapshotHeader,
    caches: impl ExactSizeIterator<Item = (Cache<'c>, Option<Snapshot<'c>>)>,
    tell: &mut Tell<'_>,
) -> std::io::Result<Summary> {
    let count = u32::try_from(caches.len()).unwrap_or(u32::MAX);
    let mut output = Output::create(disk, name, header, count)?;
    // Each snapshot is given up as soon as its table is written.
    for (cache, snapshot) in caches {
        let snapshot = snapshot.unwrap_or_else(|| cache.open(header.created));
        output.section(section(cache.name, cache.table, &snapshot))?;
        write_cache(&mut output, cache, &snapshot, header, tell)?;
        cache.aside.into_iter().for_each(Aside::end);
    }
    (tell.read)()?;
    let (bytes, footer) = output.finish()?;
    let entries = footer.caches.iter().map(|cache| cache.entries).sum();
    Ok(Summary { bytes, blocks: footer.blocks.len() as u64 + 1, entries, caches: footer.caches })
}

fn section(name: &str, table: &Table, snapshot: &Snapshot<'_>) -> CacheSection {
    let highest: Vec<u64> = snapshot.watermarks().collect();
    CacheSection {
        name: name.to_owned(),
        segments: u32::try_from(highest.len()).unwrap_or(u32::MAX),
        seed_independent: table.segments_are_stable(),
        epoch: table.epoch(),
        highest,
        entries: 0,
        bytes: 0,
        blocks: 0..0,
    }
}

fn write_cache(
    output: &mut Output<'_>,
    cache: Cache<'_>,
    snapshot: &Snapshot<'_>,
    header: &SnapshotHeader,
    tell: &mut Tell<'_>,
) -> std::io::Result<()> {
    let (created, table) = (header.created, cache.table);
    let of_table = !cache.aside.is_some_and(Aside::has_all);
    let (mut page, mut cursor) = (Page::default(), of_table.then(Cursor::default));
    while let Some(at) = cursor {
        // No more than a page while an epoch is pinned; the disk is waited for without one.
        cursor = match cache.aside {
            None => snapshot.scan(at, 1, created, |entry| page.add(&entry, created)),
            Some(aside) => {
                let pick = &mut |segment, seen: &mut Vec<Entry<'_>>, upto| {
                    aside.pick(segment, seen, upto);
                };
                snapshot.scan_picked(at, created, pick, |entry| page.add(&entry, created))
            }
        };
        if let Some(aside) = cache.aside {
            aside.gathered(&mut |saved| page.add_saved(saved, table, created))?;
        }
        page.tell(output, tell)?;
    }
    if let Some(aside) = cache.aside {
        let mut more = true;
        while more {
            more = aside.rest(&mut |saved| page.add_saved(saved, table, created))?;
            // Behind what came of the store last: what had to go from there on the way.
            aside.gathered(&mut |saved| page.add_saved(saved, table, created))?;
            page.tell(output, tell)?;
        }
    }
    page.seal();
    page.tell(output, tell)
}

/// Entries that wait to be written.
#[derive(Default)]
struct Page {
    /// Entries that have not filled a block yet.
    filling: Filled,
    full: Vec<Filled>,
    /// Large entries: everything but the value, and the value.
    large: Vec<(Filled, Arc<[u8]>)>,
}

/// A block's entries.
#[derive(Default)]
struct Filled {
    payload: Vec<u8>,
    entries: u32,
    /// Of keys and values.
    bytes: u64,
}

impl Filled {
    fn count(&mut self, record: &Record<'_>) {
        self.entries += 1;
        self.bytes += record.key.len() as u64 + record.value.len() as u64;
    }
}

impl Page {
    fn add(&mut self, entry: &Entry<'_>, created: u64) {
        let record = Record::of(entry, created);
        let len = record.key.len() + record.value.len();
        let shared = if len < BLOCK_BYTES { None } else { entry.shared() };
        if let Some(value) = shared {
            let mut head = Filled::default();
            record.encode_head(&mut head.payload);
            head.count(&record);
            self.large.push((head, value));
            return;
        }
        self.add_record(&record);
    }

    /// Adds an entry that is not in the table, unless it had expired.
    fn add_saved(&mut self, saved: &Saved<'_>, table: &Table, created: u64) {
        if !saved.is_expired(created) {
            self.add_record(&Record::of_saved(saved, table, created));
        }
    }

    fn add_record(&mut self, record: &Record<'_>) {
        let len = record.key.len() + record.value.len();
        if self.filling.entries > 0 && self.filling.payload.len() + len > BLOCK_BYTES {
            self.seal();
        }
        record.encode_head(&mut self.filling.payload);
        self.filling.payload.extend_from_slice(record.value);
        self.filling.count(record);
    }

    /// The entries so far are a block, full or not.
    fn seal(&mut self) {
        if self.filling.entries > 0 {
            self.full.push(std::mem::take(&mut self.filling));
        }
    }

    /// Writes what is full, and says so.
    fn tell(&mut self, output: &mut Output<'_>, tell: &mut Tell<'_>) -> std::io::Result<()> {
        tell.done.entries += self.write(output)?;
        tell.done.bytes = output.bytes();
        (tell.progress)(tell.done);
        Ok(())
    }

    /// Writes what is full; gives the number of entries.
    fn write(&mut self, output: &mut Output<'_>) -> std::io::Result<u64> {
        let mut entries = 0;
        for block in self.full.drain(..) {
            output.entries(block.entries, block.bytes, &[&block.payload])?;
            entries += u64::from(block.entries);
        }
        for (head, value) in self.large.drain(..) {
            output.entries(head.entries, head.bytes, &[&head.payload, &value])?;
            entries += u64::from(head.entries);
        }
        Ok(entries)
    }
}
