//! What a snapshot file takes of the entries that are not in memory, while they come and go.
//!
//! The file is of one moment. What a key holds then is, as far as it is away, what waits to be
//! written, else what the store has; memory has the same or nothing. An entry that is only in
//! memory may be away by the time its place is read, one in the store may be void there by then:
//!
//! * What is about to leave memory and has not been read is handed over on its way out.
//! * What the store is about to lose or to replace and has not been read is handed over by the
//!   thread that writes to it, ahead of that.
//! * What waited at that moment is remembered, and whatever the store has of these keys is not looked
//!   at.
//!
//! So nothing is missing. Nothing is there twice either, since `written` has the keys that were given
//! to the file and may be met again: those that were read from memory while the store may have had
//! them too, those that were handed over, and those that were read from memory and left it later:
//! the store gets them then, but had nothing at that moment. Not among the last are those that came
//! back into memory when their place had been read: they are in the store alone, as far as the file
//! goes.
//!
//! Memory: what waited, an entry or two that are handed over beyond [`HANDED_BYTES_MAX`], and about
//! 32 bytes for each key that leaves memory, comes back into it or is changed in the store meanwhile.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Overflow;
use super::kept::Kept;
use super::part::{Inner, Op};
use crate::env::os_seed;
use crate::hash::{Hasher, KeyHash, RandomMap};
use crate::snapshot_file::Aside;
use crate::store::{CacheId, Damage, Scan, ScanCursor, Stored};
use crate::table::{Entry, Leaving, Saved, Table, Watermark};

/// Bytes of entries that may wait for the file; beyond that nothing leaves memory.
pub(super) const HANDED_BYTES_MAX: usize = 4 << 20;
/// What an entry takes that waits, beside its key and value.
const HANDED_BYTES: usize = 160;
/// How often somebody who waits looks again.
const TICK: Duration = Duration::from_millis(50);

/// Tells keys apart in few bytes: two hashes of 64 bits with seeds of their own. Among n keys two
/// share both with a chance of n^2 in 2^129: of a billion, one in 2^69.
struct Prints([Hasher; 2]);

/// The print of a key.
type Print = [u64; 2];

/// A set of keys.
type Keys = RandomMap<Print, ()>;

/// One save of one cache.
pub(in crate::persist) struct Capture {
    overflow: Arc<Overflow>,
    table: Arc<Table>,
    prints: Prints,
    begun: OnceLock<Begun>,
    memory: Mutex<Memory>,
    /// Taken ahead of `memory`, and held while a page is read.
    store: Mutex<Read>,
    room: Condvar,
}

/// The moment that the file is of.
struct Begun {
    marks: Vec<Watermark>,
    generation: u64,
    /// Under which number the store has the cache.
    id: Option<CacheId>,
    /// What waited to be written.
    waiting: RandomMap<Box<[u8]>, Option<Arc<Kept>>>,
    /// For each segment the place below which it has been read.
    read: Box<[AtomicU64]>,
}

#[derive(Default)]
struct Memory {
    /// Keys that are in the file and may be met again.
    written: Keys,
    /// Keys that came back into memory when their place had been read.
    back: Keys,
    handed: VecDeque<(Box<[u8]>, Kept)>,
    bytes: usize,
    /// Nobody takes what is handed over any more.
    ended: bool,
}

/// How far the store has been read.
enum Read {
    Nothing,
    Upto(ScanCursor),
    All,
    /// What was to be read is damaged.
    Damaged(Box<Damage>),
}

impl Capture {
    /// A save of the cache; it begins when the writer of the file says so. One at a time.
    pub fn new(overflow: Arc<Overflow>) -> Option<Arc<Capture>> {
        let capture = Capture {
            table: overflow.table.upgrade()?,
            overflow,
            prints: Prints([(); 2].map(|()| Hasher::new(1, false, os_seed()))),
            begun: OnceLock::new(),
            memory: Mutex::default(),
            store: Mutex::new(Read::Nothing),
            room: Condvar::new(),
        };
        let capture = Arc::new(capture);
        capture.overflow.feed.captures.fetch_add(1, Ordering::AcqRel);
        *capture.overflow.capture.write() = Some(Arc::clone(&capture));
        Some(capture)
    }

    /// The numbers of a segment that the file sees.
    pub fn mark(&self, segment: u32) -> Option<Watermark> {
        self.begun.get()?.marks.get(segment as usize).copied()
    }

    /// Takes over what is about to leave memory.
    pub fn leaves(&self, hash: KeyHash, entry: &Leaving<'_>) {
        let Some(begun) = self.begun.get() else { return };
        let print = self.prints.of(entry.key);
        let mut memory = self.memory.lock();
        if begun.has_read(hash) {
            if !memory.back.contains_key(&print) {
                memory.written.insert(print, ());
            }
        } else if memory.written.insert(print, ()).is_none() {
            self.hand(&mut memory, entry.key, Kept::new(entry));
        }
    }

    /// Notes what came back into memory.
    pub fn came_back(&self, hash: KeyHash, key: &[u8]) {
        if self.begun.get().is_some_and(|begun| begun.has_read(hash)) {
            self.memory.lock().back.insert(self.prints.of(key), ());
        }
    }

    /// Takes over what the store is about to lose or to replace.
    pub fn loses(&self, id: CacheId, key: &[u8], stored: Result<Stored, Damage>) {
        let Some(begun) = self.begun.get().filter(|begun| begun.id == Some(id)) else { return };
        let mut read = self.store.lock();
        if read.is_behind(id, key) || begun.waiting.contains_key(key) {
            return;
        }
        let (damage, print) = (damage(id, key), self.prints.of(key));
        let kept = stored.and_then(|stored| Kept::from_stored(stored).ok_or(damage));
        let mut memory = self.memory.lock();
        match kept {
            Ok(kept) if !begun.sees(self.table.hash(key), &kept, self.table.epoch()) => {}
            _ if memory.written.contains_key(&print) => {}
            Ok(kept) => {
                memory.written.insert(print, ());
                self.hand(&mut memory, key, kept);
            }
            Err(damage) => *read = Read::Damaged(Box::new(damage)),
        }
    }

    /// Waits until what was handed over has been taken, or nobody will.
    pub fn wait_room(&self) {
        let mut memory = self.memory.lock();
        while memory.bytes >= HANDED_BYTES_MAX && !memory.ended {
            self.room.wait_for(&mut memory, TICK);
        }
    }

    /// Who had hold of it when it ended may still come; nobody would ever undo his crowding.
    fn hand(&self, memory: &mut Memory, key: &[u8], kept: Kept) {
        if memory.ended {
            return;
        }
        memory.bytes += HANDED_BYTES + key.len() + kept.value.len();
        memory.handed.push_back((key.into(), kept));
        self.overflow.crowd(memory.bytes >= HANDED_BYTES_MAX);
    }

    #[cfg(test)]
    pub fn handed_bytes(&self) -> usize {
        self.memory.lock().bytes
    }

    /// Whether the store may have had the key at the moment of the file, and has it still unless it
    /// was handed over.
    fn may_be_away(&self, begun: &Begun, hash: KeyHash, key: &[u8]) -> bool {
        // A clear forgets which keys there are; what stood under the number then stays meanwhile.
        let stored = |inner: &mut Inner| {
            inner.generation != begun.generation
                || !inner.known
                || inner.filter.contains(hash.index)
        };
        begun.waiting.contains_key(key)
            || self.overflow.part(hash).is_some_and(|part| part.with(stored))
    }

    /// What waited, unless it was met elsewhere.
    fn give_waiting(&self, begun: &Begun, visit: &mut dyn FnMut(&Saved<'_>)) {
        for (key, kept) in &begun.waiting {
            let Some(kept) = kept else { continue };
            if self.memory.lock().written.insert(self.prints.of(key), ()).is_none() {
                visit(&kept.saved(key, self.overflow.feed.opened));
            }
        }
    }

    /// The next page of the store without what is in the file, and what is not of its moment.
    fn page(&self, begun: &Begun) -> io::Result<Vec<(Vec<u8>, Kept)>> {
        let mut read = self.store.lock();
        let after = match &*read {
            Read::Nothing => None,
            Read::Upto(cursor) => Some(cursor),
            Read::All => return Ok(Vec::new()),
            Read::Damaged(damage) => return Err(io::Error::other(damage.to_string())),
        };
        let store = self.overflow.feed.store().map_err(|_| self.failed())?;
        let Some((store, id)) = store.zip(begun.id) else {
            *read = Read::All;
            return Ok(Vec::new());
        };
        let page = store.scan(&Scan::all(id).after(after)).map_err(io::Error::other)?;
        let (mut picked, memory) = (Vec::new(), self.memory.lock());
        for entry in page.entries {
            picked.extend(self.pick_stored(begun, &memory, id, entry)?);
        }
        *read = page.next.map_or(Read::All, Read::Upto);
        Ok(picked)
    }

    /// An entry of the store, unless it is in the file or not of its moment.
    fn pick_stored(
        &self,
        begun: &Begun,
        memory: &Memory,
        id: CacheId,
        entry: Result<(Vec<u8>, Stored), Damage>,
    ) -> io::Result<Option<(Vec<u8>, Kept)>> {
        let (key, kept) = match entry {
            Ok((key, stored)) => {
                let kept = Kept::from_stored(stored).ok_or_else(|| damage(id, &key));
                (key, kept)
            }
            Err(Damage::Entry { cache, key, reason }) => {
                (key.clone(), Err(Damage::Entry { cache, key, reason }))
            }
            Err(damage) => return Err(io::Error::other(damage.to_string())),
        };
        let known = begun.waiting.contains_key(&key[..])
            || memory.written.contains_key(&self.prints.of(&key));
        if known {
            return Ok(None);
        }
        let kept = kept.map_err(|damage| io::Error::other(damage.to_string()))?;
        let seen = begun.sees(self.table.hash(&key), &kept, self.table.epoch());
        Ok(seen.then_some((key, kept)))
    }

    fn failed(&self) -> io::Error {
        io::Error::other(format!("the store: {}", self.overflow.trouble()))
    }
}

impl Aside for Capture {
    fn begin(&self, marks: &[Watermark]) {
        let mut waiting = RandomMap::default();
        for part in &self.overflow.parts {
            part.with(|inner| {
                let kept =
                    |op: &Op| if let Op::Put(kept) = op { Some(Arc::clone(kept)) } else { None };
                let all = inner.pending.iter();
                waiting.extend(all.map(|(key, pending)| (key.clone(), kept(&pending.op))));
            });
        }
        let read = marks.iter().map(|_| AtomicU64::new(0)).collect();
        let generation = self.overflow.generation();
        let (marks, id) = (marks.to_vec(), self.overflow.id(generation));
        let _ = self.begun.set(Begun { marks, generation, id, waiting, read });
    }

    fn pick(&self, segment: usize, page: &mut Vec<Entry<'_>>, upto: u64) {
        let Some(begun) = self.begun.get() else { return };
        page.retain(|entry| {
            let (key, print) = (entry.key(), self.prints.of(entry.key()));
            let away = self.may_be_away(begun, self.table.hash(key), key);
            let written = &mut self.memory.lock().written;
            let known = written.contains_key(&print);
            if away && !known {
                written.insert(print, ());
            }
            !known
        });
        if let Some(read) = begun.read.get(segment) {
            read.store(upto, Ordering::Release);
        }
    }

    fn gathered(&self, visit: &mut dyn FnMut(&Saved<'_>)) -> io::Result<()> {
        let handed = {
            let mut memory = self.memory.lock();
            memory.bytes = 0;
            self.overflow.crowd(false);
            std::mem::take(&mut memory.handed)
        };
        if !handed.is_empty() {
            self.room.notify_all();
            self.overflow.feed.wake_room();
        }
        handed.iter().for_each(|(key, kept)| visit(&kept.saved(key, self.overflow.feed.opened)));
        Ok(())
    }

    fn rest(&self, visit: &mut dyn FnMut(&Saved<'_>)) -> io::Result<bool> {
        let Some(begun) = self.begun.get() else { return Ok(false) };
        if matches!(*self.store.lock(), Read::Nothing) {
            self.give_waiting(begun, visit);
        }
        let page = self.page(begun)?;
        page.iter().for_each(|(key, kept)| visit(&kept.saved(key, self.overflow.feed.opened)));
        Ok(!matches!(*self.store.lock(), Read::All))
    }

    fn end(&self) {
        {
            let mut memory = self.memory.lock();
            if std::mem::replace(&mut memory.ended, true) {
                return;
            }
            self.overflow.crowd(false);
        }
        *self.overflow.capture.write() = None;
        self.overflow.feed.captures.fetch_sub(1, Ordering::AcqRel);
        self.room.notify_all();
        self.overflow.feed.wake_room();
    }

    fn len(&self) -> u64 {
        self.overflow.away()
    }
}

impl Begun {
    /// Whether the place of a key in memory has been read.
    fn has_read(&self, hash: KeyHash) -> bool {
        let read = self.read.get(hash.segment as usize);
        read.is_some_and(|read| hash.index >> 32 < read.load(Ordering::Acquire))
    }

    /// Whether an entry of the store was there at the moment of the file. One of an earlier epoch
    /// was: nothing is written in it any more.
    fn sees(&self, hash: KeyHash, kept: &Kept, epoch: u32) -> bool {
        let mark = self.marks.get(hash.segment as usize).copied().unwrap_or_default();
        kept.epoch != epoch || kept.seq <= mark.committed
    }
}

impl Read {
    /// Whether a key has been read, or need not be.
    fn is_behind(&self, id: CacheId, key: &[u8]) -> bool {
        match self {
            Read::Nothing => false,
            Read::Upto(cursor) => cursor.has_passed(id, key),
            Read::All | Read::Damaged(_) => true,
        }
    }
}

impl Prints {
    fn of(&self, key: &[u8]) -> Print {
        [0, 1].map(|n: usize| self.0.get(n).map_or(0, |hasher| hasher.index_hash(key)))
    }
}

fn damage(id: CacheId, key: &[u8]) -> Damage {
    Damage::Entry { cache: id.0, key: key.to_vec(), reason: "it is nothing that was stored" }
}
