//! What of a snapshot file is read while others are served already.
//!
//! A segment of which the file has entries is *unread* at first. Whoever misses a key of it has it
//! read, all of it, and a thread reads one after the other. What the log says of a key, and whatever is
//! written meanwhile, voids what the file has of it: so of each key the newest stays, and what was
//! removed does not come back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::kept::Kept;
use super::part::Inner;
use super::{Feeder, Overflow};
use crate::env::os_seed;
use crate::error::Error;
use crate::hash::{Hasher, KeyHash, RandomMap};
use crate::load::LoadError;
use crate::persist::PersistError;
use crate::persist::preload::{Preload, in_parts};
use crate::snapshot_file::{Record, RestoreTime, SnapshotFile, SnapshotFileError, prepare, saved};
use crate::table::{Back, Leaving, Saved, Table};

/// Less than this is read at once: that takes a moment.
const LATER_BYTES_MIN: u64 = if cfg!(test) { 1 } else { 8 << 20 };
/// How long a file that could not be read is left alone.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 2_000 });

/// Keys of a segment that the file has nothing to say of any more: two keyed hashes of each. Of a key
/// that memory has an entry of, the file has nothing to say either.
pub(in crate::persist) struct Void {
    /// Nothing of the file goes elsewhere than into memory.
    pub only_to_memory: bool,
    hasher: Arc<Hasher>,
    keys: RandomMap<[u64; 2], ()>,
}

impl Void {
    /// Whether a key is void; `hash` is its index hash.
    pub fn has(&self, hash: u64, key: &[u8]) -> bool {
        self.keys.contains_key(&[hash, self.hasher.index_hash(key)])
    }

    /// A key is void.
    pub fn add(&mut self, hash: u64, key: &[u8]) {
        self.keys.insert([hash, self.hasher.index_hash(key)], ());
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.keys.allocation_size()
    }
}

/// How much is still to be read, of all tables.
#[derive(Default)]
pub(super) struct Reading {
    segments: AtomicUsize,
    stopped: Mutex<bool>,
    changed: Condvar,
    /// Why the last attempt failed.
    trouble: Mutex<Option<String>>,
    /// Tasks that wait until a table has everything.
    waiting: Mutex<Vec<Waker>>,
}

impl Reading {
    /// How many segments are unread.
    pub fn segments(&self) -> usize {
        self.segments.load(Ordering::Acquire)
    }

    /// So many are unread no more.
    pub fn done(&self, segments: usize) {
        if segments > 0 && self.segments.fetch_sub(segments, Ordering::AcqRel) == segments {
            let _stopped = self.stopped.lock();
            self.changed.notify_all();
        }
    }

    /// Nothing more is read.
    fn stop(&self) {
        *self.stopped.lock() = true;
        self.changed.notify_all();
        self.wake();
    }

    /// Wakes the tasks that wait: a table has everything, or will not for now.
    pub fn wake(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    fn failed(&self, why: String) {
        *self.trouble.lock() = Some(why);
        self.wake();
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.lock()
    }

    /// Waits until everything is read; false when it will not be.
    fn wait(&self) -> bool {
        let mut stopped = self.stopped.lock();
        while self.segments() > 0 && !*stopped {
            self.changed.wait(&mut stopped);
        }
        self.segments() == 0
    }

    /// Waits a while after a failure; whether it is to be tried again.
    fn pause(&self) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.changed.wait_for(&mut stopped, RETRY);
        }
        !*stopped
    }
}

impl Feeder {
    /// How many segments' entries in the snapshot file are still to be read.
    pub fn unread(&self) -> usize {
        self.feed.reading.segments()
    }

    /// Why they cannot be read, if so. It is tried again.
    pub fn unread_trouble(&self) -> Option<String> {
        self.feed.reading.trouble.lock().clone().filter(|_| self.unread() > 0)
    }

    /// Waits until they are read; false when they will not be.
    pub fn wait_read(&self) -> bool {
        self.feed.reading.wait()
    }

    /// Nothing more is read.
    pub fn stop_reading(&self) {
        self.feed.reading.stop();
    }

    /// Reads them, on threads of its own.
    pub fn read_all(&self, threads: usize) -> io::Result<Vec<JoinHandle<()>>> {
        let unread = |overflow: &Arc<Overflow>| overflow.unread.lock().is_some();
        let overflows: Vec<_> = self.overflows().into_iter().filter(unread).collect();
        let segments = |of: &Arc<Overflow>| {
            let of = Arc::clone(of);
            (0..of.parts.len()).map(move |segment| (Arc::clone(&of), segment))
        };
        let jobs: Vec<_> = overflows.iter().flat_map(segments).collect();
        let threads = threads.min(jobs.len());
        let jobs = Arc::new(Mutex::new(jobs));
        let spawn = |_| {
            let jobs = Arc::clone(&jobs);
            let named = thread::Builder::new().name("preload".to_owned());
            named.spawn(move || while read_next(&jobs) {})
        };
        (0..threads).map(spawn).collect()
    }
}

/// Reads one more segment; whether there may be more. One that fails comes again behind the others.
fn read_next(jobs: &Mutex<Vec<(Arc<Overflow>, usize)>>) -> bool {
    let Some((overflow, segment)) = jobs.lock().pop() else { return false };
    let Some(table) = overflow.table.upgrade() else { return true };
    let read = overflow.read_segment(&table, u32::try_from(segment).unwrap_or(u32::MAX));
    if read.is_err() {
        let again = overflow.feed.reading.pause();
        jobs.lock().insert(0, (overflow, segment));
        return again;
    }
    if overflow.unread.lock().is_none() {
        table.reserve(0);
    }
    true
}

/// Entries of one table that stand in a snapshot file.
pub(in crate::persist) struct Unread {
    file: Arc<SnapshotFile>,
    cache: usize,
    preload: Preload,
    time: RestoreTime,
    /// For each segment the blocks that have entries of it; held while they are read.
    blocks: Box<[Mutex<Vec<u32>>]>,
    /// Segments to be read.
    left: AtomicUsize,
}

impl Unread {
    /// The entries of a cache of the file, all of whose blocks are checked now. `None` where they
    /// are to be read at once: keys are not in the segments that they were in, or all in one, or there
    /// are few.
    pub fn of(
        file: &Arc<SnapshotFile>,
        cache: usize,
        table: &Table,
        preload: &Preload,
        time: RestoreTime,
        threads: usize,
    ) -> Result<Option<Unread>, PersistError> {
        let segments = table.segment_count();
        let (_, section) = prepare(file, cache, table)?;
        let same = section.segments as usize == segments && section.epoch == table.epoch();
        if !same || segments < 2 || section.bytes < LATER_BYTES_MIN {
            return Ok(None);
        }
        let all: Vec<u32> = file.blocks(cache).collect();
        let found = in_parts(&all, threads, &|part| {
            let segments = part.iter().map(|number| segments_of(file, *number, table));
            segments.collect::<Result<Vec<_>, _>>()
        })?;
        let mut blocks = vec![Vec::new(); segments];
        for (number, of) in all.iter().zip(found.into_iter().flatten()) {
            let Some(of) = of else { return Ok(None) };
            for segment in of {
                let list = blocks.get_mut(segment as usize);
                list.into_iter().for_each(|list: &mut Vec<u32>| list.push(*number));
            }
        }
        let blocks = blocks.into_iter().map(Mutex::new).collect();
        let (file, preload, left) = (Arc::clone(file), preload.clone(), AtomicUsize::new(segments));
        Ok(Some(Unread { file, cache, preload, time, blocks, left }))
    }
}

/// The segments that a block has entries of; `None` when a key would be in another one now.
fn segments_of(
    file: &SnapshotFile,
    number: u32,
    table: &Table,
) -> Result<Option<Vec<u32>>, PersistError> {
    let block = file.block(number)?;
    let mut segments = Vec::new();
    for record in block.records() {
        let segment = u32::from(record.segment);
        if table.hash(record.key).segment() != segment {
            return Ok(None);
        }
        if segments.last() != Some(&segment) && !segments.contains(&segment) {
            segments.push(segment);
        }
    }
    Ok(Some(segments))
}

impl Overflow {
    /// What the snapshot file has of the table is read from now on, while others are served.
    pub fn begin_unread(&self, table: &Table, unread: Unread) {
        if unread.preload == Preload::All {
            let entries = unread.file.caches().get(unread.cache).map_or(0, |cache| cache.entries);
            table.reserve(entries);
        }
        let hasher = Arc::new(Hasher::new(1, false, os_seed()));
        let only_to_memory = unread.preload == Preload::All;
        for part in &self.parts {
            let (hasher, keys) = (Arc::clone(&hasher), RandomMap::default());
            let void = Void { only_to_memory, hasher, keys };
            part.with(|inner| inner.begin_unread(void));
        }
        self.used.store(true, Ordering::Release);
        self.feed.reading.segments.fetch_add(self.parts.len(), Ordering::AcqRel);
        *self.unread.lock() = Some(Arc::new(unread));
    }

    /// Whether nothing of the table is left to be read.
    pub fn is_whole(&self) -> bool {
        self.unread.lock().is_none()
    }

    /// Whether that is so, or wakes the task when it is worth asking again.
    pub fn poll_whole(&self, cx: &mut Context<'_>) -> Poll<Result<(), LoadError>> {
        let reading = &self.feed.reading;
        let mut waiting = reading.waiting.lock();
        if self.is_whole() {
            return Poll::Ready(Ok(()));
        }
        if reading.is_stopped() || reading.trouble.lock().is_some() {
            return Poll::Ready(Err(LoadError::Failed));
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Reads a segment's entries, unless that has been done.
    pub fn read_segment(&self, table: &Table, segment: u32) -> Result<(), LoadError> {
        let (at, unread) = (segment as usize, self.unread.lock().clone());
        let (Some(unread), Some(part)) = (unread, self.parts.get(at)) else { return Ok(()) };
        let Some(blocks) = unread.blocks.get(at) else { return Ok(()) };
        // One reads, the others wait for him.
        let blocks = blocks.lock();
        for number in &*blocks {
            if !part.with(|inner| inner.has_unread()) {
                return Ok(());
            }
            self.read_block(table, &unread, *number, segment)?;
        }
        if part.with(Inner::end_unread) {
            self.charge_filters();
            // Nobody needs the file any more.
            if unread.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                *self.unread.lock() = None;
                self.feed.reading.wake();
            }
            self.feed.reading.done(1);
        }
        Ok(())
    }

    fn read_block(
        &self,
        table: &Table,
        unread: &Unread,
        number: u32,
        segment: u32,
    ) -> Result<(), LoadError> {
        if self.feed.reading.is_stopped() {
            return Err(LoadError::Failed);
        }
        let block = unread.file.block(number).map_err(|error| {
            self.feed.reading.failed(error.to_string());
            match error {
                SnapshotFileError::Damaged(_) => LoadError::Damaged,
                _ => LoadError::Failed,
            }
        })?;
        let Some(section) = unread.file.caches().get(unread.cache) else { return Ok(()) };
        for record in block.records().filter(|record| u32::from(record.segment) == segment) {
            let saved = saved(unread.file.header(), section, &record, unread.time);
            self.read_record(table, unread, &record, &saved)?;
        }
        Ok(())
    }

    fn read_record(
        &self,
        table: &Table,
        unread: &Unread,
        record: &Record<'_>,
        saved: &Saved<'_>,
    ) -> Result<(), LoadError> {
        let hash = table.hash(saved.key);
        let Some(part) = self.part(hash) else { return Ok(()) };
        if !unread.preload.takes(record) {
            return self.put_aside(hash, saved);
        }
        let valid = &mut || part.with(|inner| inner.is_unread(hash.index, saved.key));
        loop {
            match table.bring_back(saved, self.feed.now(), false, valid) {
                // Who knows whether what is there will stay, knows whether this is void.
                Ok(Back::Unpublished) => drop(self.feed.wait_durable(self.feed.position())),
                Err(Error::Behind) => {
                    self.feed.release();
                    self.wait_room()?;
                }
                // Where nothing may be evicted, what does not fit is left out.
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }

    /// Gives an entry that is not wanted in memory to the store, unless its time is over.
    fn put_aside(&self, hash: KeyHash, saved: &Saved<'_>) -> Result<(), LoadError> {
        let Some(part) = self.part(hash).filter(|_| !saved.is_expired(self.feed.now())) else {
            return Ok(());
        };
        if !super::Backing::has_room(self) {
            self.feed.release();
            self.wait_room()?;
        }
        let Saved { key, entry, epoch, seq, accessed } = *saved;
        let kept = Kept::new(&Leaving { key, entry, epoch, seq, accessed });
        // Of what follows from the file alone the log knows nothing.
        self.charge(part.with(|inner| inner.put_aside(hash.index, key, kept, 0)));
        Ok(())
    }
}
