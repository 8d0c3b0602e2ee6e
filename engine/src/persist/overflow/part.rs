//! What of one segment is not in memory: what waits to be written, and which keys are in the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::filter::Filter;
use super::kept::Kept;
use super::unread::Void;
use crate::table::Compared;

/// What a key that waits takes beside its own bytes and those of its value.
const PENDING_BYTES: usize = 160;
/// Said of a part of which it is not known what is in the store.
const UNKNOWN: usize = usize::MAX / 2;

/// What the store is to be told of a key.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Put(Arc<Kept>),
    Delete,
}

impl Op {
    fn value_len(&self) -> usize {
        if let Op::Put(kept) = self { kept.value.len() } else { 0 }
    }
}

/// Something that waits.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub op: Op,
    /// Tells it from what was to be said of the key before.
    pub ticket: u64,
    /// The last record of the log when it was queued: it must not be in the store before that is
    /// durable.
    pub lsn: u64,
}

/// A read of the store that is under way.
struct Loading {
    hash: u64,
    ticket: u64,
    /// The key was changed meanwhile, or its entry left memory.
    stale: bool,
}

/// One segment's part. Its lock is taken under the segment's, and nothing is waited for under it.
pub(super) struct Part {
    /// Keys that wait, are in the store or are read; 0 = nothing to look for.
    used: AtomicUsize,
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub pending: BTreeMap<Box<[u8]>, Pending>,
    pub filter: Filter,
    /// Whether `filter` has all keys that are in the store.
    pub known: bool,
    /// How often everything was forgotten.
    pub generation: u64,
    loading: Vec<Loading>,
    tickets: u64,
    /// The snapshot file's entries of the segment have not been read yet, but for these keys they
    /// are void.
    unread: Option<Void>,
}

/// What is known of a key.
pub(super) enum Where {
    /// It is not away.
    Nowhere,
    /// It waits to be written.
    Waiting(Arc<Kept>, u64),
    /// It may be in the snapshot file that the process began with.
    Unread,
    /// It may be in the store.
    Store,
}

impl Part {
    pub fn new(known: bool) -> Part {
        let inner = Inner {
            pending: BTreeMap::new(),
            filter: Filter::default(),
            known,
            generation: 0,
            loading: Vec::new(),
            tickets: 0,
            unread: None,
        };
        let used = AtomicUsize::new(inner.used());
        Part { used, inner: Mutex::new(inner) }
    }

    /// Whether there is anything. Exact under the segment's lock, since things are added under it.
    #[inline]
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed) != 0
    }

    /// Looks at it, or changes it.
    pub fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock();
        let result = work(&mut inner);
        self.used.store(inner.used(), Ordering::Relaxed);
        result
    }
}

impl Inner {
    fn used(&self) -> usize {
        let unknown = if self.known && self.unread.is_none() { 0 } else { UNKNOWN };
        unknown + self.pending.len() + self.filter.len() + self.loading.len()
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// What is known of a key.
    pub fn find(&self, hash: u64, key: &[u8]) -> Where {
        match self.pending.get(key) {
            Some(Pending { op: Op::Put(kept), ticket, .. }) => {
                Where::Waiting(Arc::clone(kept), *ticket)
            }
            Some(_) => Where::Nowhere,
            None if self.is_unread(hash, key) => Where::Unread,
            None if !self.known || self.filter.contains(hash) => Where::Store,
            None => Where::Nowhere,
        }
    }

    /// Queues something; how many bytes more wait now. What a read that is under way finds may be
    /// from before it, even when it waits no more.
    pub fn queue(&mut self, hash: u64, key: &[u8], op: Op, lsn: u64) -> i64 {
        self.void_reads(hash);
        let (ticket, bytes) = (self.ticket(), bytes(key, &op));
        let old = self.pending.insert(key.into(), Pending { op, ticket, lsn });
        bytes - old.map_or(0, |old| self::bytes(key, &old.op))
    }

    /// What was said of a key is done, unless something else is to be said by now; how many bytes
    /// more wait now.
    pub fn settle(&mut self, key: &[u8], ticket: u64) -> i64 {
        match self.pending.get(key).filter(|pending| pending.ticket == ticket) {
            Some(pending) => {
                let bytes = bytes(key, &pending.op);
                self.pending.remove(key);
                -bytes
            }
            None => 0,
        }
    }

    /// The key was changed: what is away of it is void. How many bytes more wait now.
    pub fn forget(&mut self, hash: u64, key: &[u8], lsn: impl FnOnce() -> u64) -> i64 {
        self.void_reads(hash);
        self.void(hash, key);
        self.forget_copy(hash, key, lsn)
    }

    /// As [`Inner::forget`], before anybody is served, for an entry that will be in memory: what the
    /// snapshot file has of the key need not be void before that leaves memory, if all of the file
    /// comes into memory.
    pub fn forget_replayed(&mut self, hash: u64, key: &[u8]) -> i64 {
        if self.unread.as_ref().is_some_and(|void| !void.only_to_memory) {
            self.void(hash, key);
        }
        self.forget_copy(hash, key, || 0)
    }

    /// What the snapshot file has of a key is void.
    pub fn void(&mut self, hash: u64, key: &[u8]) {
        self.unread.iter_mut().for_each(|void| void.add(hash, key));
    }

    fn forget_copy(&mut self, hash: u64, key: &[u8], lsn: impl FnOnce() -> u64) -> i64 {
        let in_store = !self.known || self.filter.contains(hash);
        match self.pending.get(key) {
            Some(Pending { op: Op::Delete, .. }) => 0,
            None if !in_store => 0,
            // Even what waits to be written may be on its way into the store.
            _ => self.queue(hash, key, Op::Delete, lsn()),
        }
    }

    /// The snapshot file has entries of the segment, which are to be read later.
    pub fn begin_unread(&mut self, void: Void) {
        self.unread = Some(void);
    }

    /// They were read, or are void; whether there were any.
    pub fn end_unread(&mut self) -> bool {
        self.unread.take().is_some()
    }

    /// Bytes of memory, but for what waits.
    pub fn memory(&self) -> usize {
        self.filter.memory() + self.unread.as_ref().map_or(0, Void::memory)
    }

    /// Whether the snapshot file has the last word on a key, if it has one.
    pub fn is_unread(&self, hash: u64, key: &[u8]) -> bool {
        let unread = self.unread.as_ref().is_some_and(|void| !void.has(hash, key));
        unread && !self.pending.contains_key(key)
    }

    pub fn has_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// An entry of the snapshot file goes to the store, unless its key was changed; how many bytes
    /// more wait now.
    pub fn put_aside(&mut self, hash: u64, key: &[u8], kept: Kept, lsn: u64) -> i64 {
        if !self.is_unread(hash, key) {
            return 0;
        }
        self.void(hash, key);
        self.queue(hash, key, Op::Put(Arc::new(kept)), lsn)
    }

    fn void_reads(&mut self, hash: u64) {
        self.loading.iter_mut().filter(|read| read.hash == hash).for_each(|read| read.stale = true);
    }

    /// Everything is void. How many bytes more wait now.
    pub fn forget_all(&mut self, generation: u64) -> i64 {
        let pending = std::mem::take(&mut self.pending);
        self.filter = Filter::default();
        (self.known, self.generation) = (true, generation);
        self.loading.iter_mut().for_each(|read| read.stale = true);
        -pending.iter().map(|(key, pending)| bytes(key, &pending.op)).sum::<i64>()
    }

    /// Whether the entry of a key still waits under this ticket.
    pub fn waits(&self, key: &[u8], ticket: u64) -> bool {
        self.pending.get(key).is_some_and(|pending| pending.ticket == ticket)
    }

    /// Whether nothing waits of a key, and nobody reads it.
    pub fn is_quiet(&self, hash: u64, key: &[u8]) -> bool {
        !self.pending.contains_key(key) && !self.loading.iter().any(|read| read.hash == hash)
    }

    /// What becomes of the store's copy of a key that memory has too, as long as not all that the store
    /// has is known: whether it stays and is the same, and how many bytes more wait now. A key that
    /// waits or is read is left alone. Nothing but the copy may be left of an entry that came from it:
    /// no record of the log, no snapshot file.
    pub fn judge(&mut self, hash: u64, key: &[u8], compared: Compared, lsn: u64) -> (bool, i64) {
        let alone = self.known || !self.is_quiet(hash, key);
        match compared {
            _ if alone => (false, 0),
            Compared::Same | Compared::Alike => (compared == Compared::Same, 0),
            Compared::Other => (false, self.queue(hash, key, Op::Delete, lsn)),
        }
    }

    /// A read of the store begins.
    pub fn begin_read(&mut self, hash: u64) -> u64 {
        let ticket = self.ticket();
        self.loading.push(Loading { hash, ticket, stale: false });
        ticket
    }

    /// Whether what a read found is still what the key holds.
    pub fn is_read_valid(&self, key: &[u8], ticket: u64) -> bool {
        let valid = self.loading.iter().any(|read| read.ticket == ticket && !read.stale);
        valid && !self.pending.contains_key(key)
    }

    pub fn end_read(&mut self, ticket: u64) {
        self.loading.retain(|read| read.ticket != ticket);
    }
}

fn bytes(key: &[u8], op: &Op) -> i64 {
    i64::try_from(PENDING_BYTES + key.len() + op.value_len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewEntry;
    use crate::table::Leaving;

    const KEY: &[u8] = b"key";
    const HASH: u64 = 7;

    fn kept() -> Op {
        let entry = NewEntry::default();
        Op::Put(Arc::new(Kept::new(&Leaving { key: KEY, entry, epoch: 1, seq: 1, accessed: 0 })))
    }

    /// At a start a reader brought an entry back from the store while it was found out which keys the
    /// store has. As its read was not over yet the copy did not count as the same; a moment later it
    /// was over, and the copy was deleted. The entry had the mark that it need not be stored again, so
    /// it was lost when it was evicted.
    #[test]
    fn a_copy_is_left_alone_while_its_key_is_read() {
        for compared in [Compared::Same, Compared::Alike, Compared::Other] {
            let part = Part::new(false);
            let judge = || part.with(|inner| inner.judge(HASH, KEY, compared, 1));
            let ticket = part.with(|inner| inner.begin_read(HASH));
            assert_eq!(judge(), (false, 0));
            part.with(|inner| inner.end_read(ticket));
            let (same, void) = (compared == Compared::Same, compared == Compared::Other);
            let (stays, bytes) = judge();
            assert_eq!((stays, bytes > 0), (same, void));
            assert_eq!(judge(), (same, 0), "once");
        }
    }

    /// Who read that the store has nothing, since the entry was in memory, must not have it deleted
    /// when it has gone there meanwhile.
    #[test]
    fn a_read_is_void_when_the_entry_left_memory_meanwhile() {
        Part::new(false).with(|inner| {
            let read = inner.begin_read(HASH);
            let other = inner.begin_read(HASH + 1);
            assert!(inner.is_read_valid(KEY, read));
            inner.queue(HASH, KEY, kept(), 1);
            let ticket = inner.pending[KEY].ticket;
            inner.settle(KEY, ticket);
            assert!(inner.pending.is_empty());
            assert!(!inner.is_read_valid(KEY, read));
            assert!(inner.is_read_valid(KEY, other));
        });
    }
}
