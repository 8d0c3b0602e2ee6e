//! What of one segment is not in memory: what waits to be written, and which keys are in the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::filter::Filter;
use super::kept::Kept;

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
    /// The key was changed meanwhile.
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
}

/// What is known of a key.
pub(super) enum Where {
    /// It is not away.
    Nowhere,
    /// It waits to be written.
    Waiting(Arc<Kept>, u64),
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
        let unknown = if self.known { 0 } else { UNKNOWN };
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
            None if !self.known || self.filter.contains(hash) => Where::Store,
            None => Where::Nowhere,
        }
    }

    /// Queues something; how many bytes more wait now.
    pub fn queue(&mut self, key: &[u8], op: Op, lsn: u64) -> i64 {
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
        self.loading.iter_mut().filter(|read| read.hash == hash).for_each(|read| read.stale = true);
        match self.pending.get(key) {
            Some(Pending { op: Op::Delete, .. }) => 0,
            // Even what waits to be written may be on its way into the store.
            Some(_) => self.queue(key, Op::Delete, lsn()),
            None if !self.known || self.filter.contains(hash) => self.queue(key, Op::Delete, lsn()),
            None => 0,
        }
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
