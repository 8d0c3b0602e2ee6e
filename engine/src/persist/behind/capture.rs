//! What a snapshot file takes of a cache that is written behind, while it is written to.
//!
//! At any moment the cache is what waits to be written, and below that what the store has: memory
//! adds nothing. So a save remembers what waits at its moment and then reads the store, and what the
//! store is about to lose or to replace below the page that is read next is handed over ahead of that,
//! by the thread that writes to it. Neither evicting nor reading back changes what there is.
//!
//! `known` has the keys that a page is not to show any more: those that were handed over, and those
//! that came into the store later. A number in the store that a save reads is not swept.
//!
//! Only memory knows when an entry was read last. So it is asked about those that have a max-idle time,
//! and tells of those that it evicts.

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::dirty::Key;
use super::feed::Feed;
use super::reading::Print;
use super::recovery::saved;
use crate::env::Timestamp;
use crate::hash::{KeyHash, RandomMap};
use crate::snapshot_file::Aside;
use crate::store::{CacheId, Scan, ScanCursor, Store, Stored};
use crate::table::{Leaving, Saved, Table, Watermark};

/// Bytes of entries that may wait for the file; beyond that nothing more is written to the store.
pub(super) const HANDED_BYTES_MAX: usize = 4 << 20;
/// What an entry takes that waits, beside its key and value.
const HANDED_BYTES: usize = 160;
/// Entries that are given at a time.
const PAGE_ENTRIES: usize = if cfg!(test) { 10 } else { 1_000 };
/// How often somebody who waits looks again.
const TICK: Duration = Duration::from_millis(50);

const REFILLING: &str = "the store has lost entries and gets them back from memory: save again when \
                         that is done, in a moment";

/// One save of one cache.
pub(in crate::persist) struct Capture {
    feed: Arc<Feed>,
    table: Arc<Table>,
    begun: OnceLock<Begun>,
    /// Taken ahead of `memory`, and held while a page is read.
    store: Mutex<Read>,
    memory: Mutex<Memory>,
    room: Condvar,
}

/// The moment that the file is of.
struct Begun {
    marks: Vec<Watermark>,
    /// Under which number the store has the cache; `None` = it has nothing of it that counts.
    id: Option<CacheId>,
    /// The keys that waited to be written: whatever the store has of them is not looked at.
    waiting: RandomMap<Key, ()>,
    /// The store had lost entries, and memory had not given all of them back.
    refilling: bool,
}

#[derive(Default)]
struct Memory {
    /// What waited and is not given yet.
    waited: Vec<(Key, Arc<Stored>)>,
    known: RandomMap<Print, ()>,
    /// When entries with a max-idle time were read last that left memory.
    accessed: RandomMap<Print, Timestamp>,
    handed: VecDeque<(Key, Stored)>,
    bytes: usize,
    /// Nobody takes what is handed over any more.
    ended: bool,
}

/// How far the store has been read.
pub(super) enum Read {
    Upto(Option<ScanCursor>),
    All,
    /// The file would lack something, for this reason.
    Failed(String),
}

impl Capture {
    /// A save of the cache; it begins when the writer of the file says so. One at a time.
    pub(super) fn new(feed: &Arc<Feed>) -> Option<Arc<Capture>> {
        let capture = Arc::new(Capture {
            table: feed.table.upgrade()?,
            feed: Arc::clone(feed),
            begun: OnceLock::new(),
            store: Mutex::new(Read::Upto(None)),
            memory: Mutex::default(),
            room: Condvar::new(),
        });
        *feed.capture.write() = Some(Arc::clone(&capture));
        Some(capture)
    }

    /// The numbers of a segment that the file sees.
    pub(super) fn sees(&self, segment: u32) -> Option<RangeInclusive<u64>> {
        let mark = self.begun.get()?.marks.get(segment as usize)?;
        Some(mark.cleared + 1..=mark.committed)
    }

    /// Notes when the entry of the file's moment was read last: it is about to leave memory.
    pub(super) fn leaves(&self, hash: KeyHash, entry: &Leaving<'_>) {
        if entry.entry.max_idle.is_some() {
            let print = self.feed.print(hash, entry.key);
            self.memory.lock().accessed.insert(print, entry.accessed);
        }
    }

    /// Takes over what the store has of a key that is about to be another there. Waits while too much
    /// waits for the file.
    pub(super) fn replaces(&self, id: CacheId, key: &[u8], store: &dyn Store) {
        let Some(begun) = self.begun.get().filter(|begun| begun.id == Some(id)) else { return };
        self.wait_room();
        let mut read = self.store.lock();
        if read.is_behind(id, key) || begun.waiting.contains_key(key) {
            return;
        }
        let print = self.feed.print(self.table.hash(key), key);
        if self.memory.lock().known.contains_key(&print) {
            return;
        }
        match store.get(id, key) {
            Ok(stored) => self.hand(print, key, stored),
            Err(error) => *read = Read::Failed(error.to_string()),
        }
    }

    fn hand(&self, print: Print, key: &[u8], stored: Option<Stored>) {
        let mut memory = self.memory.lock();
        memory.known.insert(print, ());
        if let Some(stored) = stored.filter(|_| !memory.ended) {
            memory.bytes += HANDED_BYTES + key.len() + stored.value.len();
            memory.handed.push_back((key.into(), stored));
        }
    }

    /// Waits until what was handed over has been taken, or nobody will.
    fn wait_room(&self) {
        let mut memory = self.memory.lock();
        while memory.bytes >= HANDED_BYTES_MAX && !memory.ended {
            self.room.wait_for(&mut memory, TICK);
        }
    }

    #[cfg(test)]
    pub(super) fn handed_bytes(&self) -> usize {
        self.memory.lock().bytes
    }

    /// Nothing is read of the store while it is held.
    pub(super) fn hold(&self) -> MutexGuard<'_, Read> {
        self.store.lock()
    }

    /// The save cannot come to its end, and holds nobody up any more.
    pub(super) fn fail(&self, why: &str) {
        self.store.lock().fail(why);
        self.release();
    }

    fn release(&self) {
        self.memory.lock().ended = true;
        self.room.notify_all();
    }

    /// The next page of the store without what comes another way, and what is not of the moment.
    fn page(&self, begun: &Begun) -> io::Result<Vec<(Vec<u8>, Stored)>> {
        let mut read = self.store.lock();
        let after = match &*read {
            Read::Upto(cursor) => cursor.as_ref(),
            Read::All => return Ok(Vec::new()),
            Read::Failed(why) => return Err(io::Error::other(why.clone())),
        };
        let Some((store, id)) = self.feed.store.get().zip(begun.id) else {
            *read = Read::All;
            return Ok(Vec::new());
        };
        let scan = Scan { entries_max: PAGE_ENTRIES, ..Scan::all(id) };
        let page = store.scan(&scan.after(after)).map_err(io::Error::other)?;
        let (mut picked, memory) = (Vec::new(), self.memory.lock());
        for entry in page.entries {
            let key = match &entry {
                Ok((key, _)) | Err(crate::store::Damage::Entry { key, .. }) => &key[..],
                Err(_) => b"",
            };
            let print = self.feed.print(self.table.hash(key), key);
            if !begun.waiting.contains_key(key) && !memory.known.contains_key(&print) {
                picked.push(entry.map_err(|damage| io::Error::other(damage.to_string()))?);
            }
        }
        *read = page.next.map_or(Read::All, |cursor| Read::Upto(Some(cursor)));
        Ok(picked)
    }

    /// What waited and is not given yet: some of it.
    fn next_waited(&self) -> Vec<(Key, Arc<Stored>)> {
        let waited = &mut self.memory.lock().waited;
        let from = waited.len().saturating_sub(PAGE_ENTRIES);
        waited.split_off(from)
    }

    fn give(&self, key: &[u8], stored: &Stored, visit: &mut dyn FnMut(&Saved<'_>)) {
        visit(&saved(key, stored, self.accessed(key, stored)));
    }

    /// When the entry was read last, as far as memory knows.
    fn accessed(&self, key: &[u8], stored: &Stored) -> Timestamp {
        let (hash, opened) = (self.table.hash(key), self.feed.opened);
        if stored.max_idle.is_none() {
            return opened;
        }
        // In this order: what leaves memory between the two is told of ahead of that.
        let in_memory = || {
            let (now, pinned) = (self.feed.clock.now(), self.table.pin());
            let mark = *self.begun.get()?.marks.get(hash.segment as usize)?;
            let age = pinned.get_at(hash, key, now, mark)?.idle_age(now)?;
            Some(now.saturating_sub(u64::from(age)))
        };
        let left = || self.memory.lock().accessed.get(&self.feed.print(hash, key)).copied();
        in_memory().or_else(left).unwrap_or(0).max(opened)
    }
}

impl Aside for Capture {
    fn begin(&self, marks: &[Watermark]) {
        let state = self.feed.lock();
        let (mut waiting, memory) = (RandomMap::default(), &mut self.memory.lock());
        for (key, to) in state.dirty.iter() {
            waiting.insert(Arc::clone(key), ());
            memory.waited.extend(to.map(|stored| (Arc::clone(key), Arc::clone(stored))));
        }
        let (id, refilling) = (state.home, state.refilling);
        let _ = self.begun.set(Begun { marks: marks.to_vec(), id, waiting, refilling });
    }

    /// What waits and the store have all of it.
    fn has_all(&self) -> bool {
        true
    }

    fn gathered(&self, visit: &mut dyn FnMut(&Saved<'_>)) -> io::Result<()> {
        let handed = {
            let mut memory = self.memory.lock();
            memory.bytes = 0;
            std::mem::take(&mut memory.handed)
        };
        if !handed.is_empty() {
            self.room.notify_all();
        }
        handed.iter().for_each(|(key, stored)| self.give(key, stored, visit));
        Ok(())
    }

    fn rest(&self, visit: &mut dyn FnMut(&Saved<'_>)) -> io::Result<bool> {
        let Some(begun) = self.begun.get() else { return Ok(false) };
        if begun.refilling {
            return Err(io::Error::other(REFILLING));
        }
        let waited = self.next_waited();
        if !waited.is_empty() {
            waited.iter().for_each(|(key, stored)| self.give(key, stored, visit));
            return Ok(true);
        }
        let page = self.page(begun)?;
        page.iter().for_each(|(key, stored)| self.give(key, stored, visit));
        Ok(!matches!(*self.store.lock(), Read::All))
    }

    fn end(&self) {
        self.release();
        let mut current = self.feed.capture.write();
        if current.as_ref().is_some_and(|capture| std::ptr::eq(&**capture, self)) {
            *current = None;
        }
    }

    fn len(&self) -> u64 {
        self.feed.lock().away.len() as u64
    }
}

/// The saves that are under way.
#[derive(Default)]
pub(super) struct Captures(Mutex<Vec<Weak<Capture>>>);

impl Captures {
    pub fn add(&self, capture: &Arc<Capture>) {
        let mut all = self.0.lock();
        all.retain(|capture| capture.strong_count() > 0);
        all.push(Arc::downgrade(capture));
    }

    pub fn all(&self) -> Vec<Arc<Capture>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether one of them reads a number of the store.
    pub fn read(&self, id: CacheId) -> bool {
        let reads = |capture: &Arc<Capture>| {
            let begun = capture.begun.get();
            begun.is_some_and(|begun| begun.id == Some(id)) && !capture.memory.lock().ended
        };
        self.all().iter().any(reads)
    }
}

impl Read {
    /// Whether a key has been read, or need not be.
    fn is_behind(&self, id: CacheId, key: &[u8]) -> bool {
        match self {
            Read::Upto(cursor) => cursor.as_ref().is_some_and(|cursor| cursor.has_passed(id, key)),
            Read::All | Read::Failed(_) => true,
        }
    }

    /// What is still to be read cannot be. Where nothing is, the file has all.
    pub fn fail(&mut self, why: &str) {
        if !matches!(self, Read::All) {
            *self = Read::Failed(why.to_owned());
        }
    }
}
