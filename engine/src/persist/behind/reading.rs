//! The way back into memory: an entry that was evicted is in what waits to be written, or in the
//! store.
//!
//! Evicting writes nothing, since the store has the entry or is about to. Which keys are *away*, in
//! no memory but not gone, is known exactly, so a miss of another key asks no disk. Two things an
//! evicted entry would lose are written first: when it was read last, where it has a max-idle time,
//! and what a store that has lost entries is still to get back.
//!
//! A load takes what waits, else what the store has. A change of the key meanwhile voids it: it is
//! asked under the lock of the segment that the entry comes back to, and every change is noted under
//! that lock.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::feed::{Feed, State, kept_entry};
use super::recovery::saved;
use crate::error::Error as Refused;
use crate::hash::{Hasher, KeyHash, RandomMap};
use crate::load::{LoadError, Source};
use crate::persist::Elsewhere;
use crate::store::{CacheId, Error, Stored};
use crate::table::{Back, Backing, Leaving, Table};

/// How often a key that is changed while it is read is looked at again before others have their
/// turn; who waits asks once more.
const TRIES: usize = 4;
/// Bytes that a key takes that is away: its print and its place in the set.
const AWAY_BYTES: usize = 19;

/// Tells keys apart: two hashes of 64 bits. Among n keys two share both with a chance of n^2 in 2^129.
pub(super) type Print = [u64; 2];

/// The keys that are away, and the loads that are under way.
#[derive(Debug, Default)]
pub(super) struct Away {
    keys: RandomMap<Print, ()>,
    /// For each key that is read how many read it, and whether it was changed meanwhile.
    reads: RandomMap<Box<[u8]>, (usize, bool)>,
}

/// What a load finds.
enum Held {
    /// The key is not away.
    Nowhere,
    /// What waits to be written.
    Waiting(Option<Stored>),
    /// The store has it under this number.
    Store(CacheId),
}

impl Away {
    /// The key was changed.
    pub fn changed(&mut self, key: &[u8]) {
        if let Some((_, void)) = self.reads.get_mut(key) {
            *void = true;
        }
    }

    /// All keys were.
    pub fn cleared(&mut self) {
        self.keys = RandomMap::default();
        self.reads.values_mut().for_each(|(_, void)| *void = true);
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    fn memory(&self) -> usize {
        self.keys.capacity() * AWAY_BYTES
    }

    fn is_void(&self, key: &[u8]) -> bool {
        self.reads.get(key).is_none_or(|(_, void)| *void)
    }

    fn begin(&mut self, key: &[u8]) {
        self.reads.entry(key.into()).or_default().0 += 1;
    }

    fn end(&mut self, key: &[u8]) {
        let left = self.reads.get_mut(key).map_or(0, |(readers, _)| {
            *readers -= 1;
            *readers
        });
        if left == 0 {
            self.reads.remove(key);
        }
    }
}

impl Feed {
    pub(super) fn print(&self, hash: KeyHash, key: &[u8]) -> Print {
        [hash.index, self.prints.index_hash(key)]
    }

    /// A hash that nobody else knows.
    pub fn new_prints() -> Hasher {
        Hasher::new(1, false, crate::env::os_seed())
    }

    /// Changes the set of keys that are away, and tells the account what it takes.
    fn change_away<T>(&self, state: &mut State, change: impl FnOnce(&mut Away) -> T) -> T {
        let before = state.away.memory();
        let done = change(&mut state.away);
        let bytes = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let growth = bytes(state.away.memory()) - bytes(before);
        if growth != 0 {
            self.account.charge_structures(growth);
        }
        done
    }

    /// An entry of the store is not in memory.
    pub fn note_away(&self, hash: KeyHash, key: &[u8]) {
        let print = self.print(hash, key);
        self.change_away(&mut self.lock(), |away| away.keys.insert(print, ()));
        self.used.store(true, Ordering::Release);
    }

    fn note_back(&self, hash: KeyHash, key: &[u8]) {
        if self.used.load(Ordering::Acquire) {
            let print = self.print(hash, key);
            self.lock().away.keys.remove(&print);
        }
    }

    fn begin_load(&self, hash: KeyHash, key: &[u8]) -> Held {
        let mut state = self.lock();
        if !state.away.keys.contains_key(&self.print(hash, key)) {
            return Held::Nowhere;
        }
        state.away.begin(key);
        match (state.dirty.get(key), state.home) {
            (Some(waiting), _) => Held::Waiting(waiting.cloned()),
            (None, Some(id)) => Held::Store(id),
            (None, None) => Held::Waiting(None),
        }
    }

    /// Whether the key has found its place.
    fn try_load(&self, table: &Table, key: &[u8]) -> Result<bool, LoadError> {
        let hash = table.hash(key);
        let stored = match self.begin_load(hash, key) {
            Held::Nowhere => return Ok(true),
            Held::Waiting(stored) => Ok(stored),
            Held::Store(id) => self.read(id, key),
        };
        let tried = stored.and_then(|stored| match stored {
            Some(stored) => self.bring(table, hash, key, &stored),
            None => Ok(self.is_gone(hash, key, false)),
        });
        self.lock().away.end(key);
        tried
    }

    fn read(&self, id: CacheId, key: &[u8]) -> Result<Option<Stored>, LoadError> {
        let store = self.store.get().ok_or(LoadError::Failed)?;
        store.get(id, key).map_err(|error| match error {
            Error::Damaged(_) => LoadError::Damaged,
            _ => LoadError::Failed,
        })
    }

    fn bring(
        &self,
        table: &Table,
        hash: KeyHash,
        key: &[u8],
        stored: &Stored,
    ) -> Result<bool, LoadError> {
        let saved = saved(key, stored, self.opened);
        let is_valid = &mut || !self.lock().away.is_void(key);
        match table.bring_back(&saved, self.clock.now(), false, is_valid) {
            Ok(Back::Stored) => {
                self.counts.loaded.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Ok(Back::There) => Ok(true),
            Ok(Back::Void | Back::Unpublished) => Ok(false),
            Ok(Back::Expired) => Ok(self.is_gone(hash, key, true)),
            Err(Refused::Behind) => Err(LoadError::Busy),
            Err(_) => Err(LoadError::NoRoom),
        }
    }

    /// Nothing was found of a key, or what has expired: it is away no more, unless it was changed
    /// meanwhile.
    fn is_gone(&self, hash: KeyHash, key: &[u8], expired: bool) -> bool {
        let print = self.print(hash, key);
        let mut state = self.lock();
        let valid = !state.away.is_void(key);
        if valid {
            state.away.keys.remove(&print);
        }
        if valid && expired && state.dirty.bytes() < self.bytes_max() / 2 {
            state.note(key, None, self.clock.now());
        }
        valid
    }
}

impl Source for Feed {
    fn load(&self, key: &[u8]) -> Result<(), LoadError> {
        let Some(table) = self.table.upgrade() else { return Err(LoadError::Failed) };
        for _ in 0..TRIES {
            if self.try_load(&table, key)? {
                break;
            }
        }
        Ok(())
    }
}

/// All that is away is known from the start on, and what is evicted needs no room.
impl Elsewhere for Feed {}

impl Backing for Feed {
    fn take(&self, hash: KeyHash, entry: &Leaving<'_>) -> bool {
        if !self.keep_leaving(entry) {
            return false;
        }
        self.note_away(hash, entry.key);
        true
    }

    /// The store has what is evicted. Where it must be written again and there is no room, the
    /// changes that would need more are refused.
    fn has_room(&self) -> bool {
        true
    }

    fn may_hold(&self, hash: KeyHash, key: &[u8], in_memory: &mut dyn FnMut() -> bool) -> bool {
        if !self.used.load(Ordering::Acquire) {
            return false;
        }
        let print = self.print(hash, key);
        let state = self.lock();
        state.away.keys.contains_key(&print) || in_memory()
    }

    fn forget(&self, hash: KeyHash, key: &[u8]) {
        self.note_back(hash, key);
    }

    fn forget_all(&self) {
        self.change_away(&mut self.lock(), Away::cleared);
    }

    fn is_back(&self, hash: KeyHash, key: &[u8]) {
        self.note_back(hash, key);
    }

    fn saves(&self, segment: u32) -> Option<RangeInclusive<u64>> {
        self.capture.read().as_ref()?.sees(segment)
    }

    fn save(&self, hash: KeyHash, entry: &Leaving<'_>) {
        self.captured().into_iter().for_each(|capture| capture.leaves(hash, entry));
    }
}

impl Feed {
    /// Writes an entry again that is about to be evicted, if the store would not have all of it.
    fn keep_leaving(&self, leaving: &Leaving<'_>) -> bool {
        let mut state = self.lock();
        let idles = leaving.entry.max_idle.is_some() && state.filled;
        if !idles && !state.refilling {
            return true;
        }
        let (key, stored) = (leaving.key, kept_entry(leaving));
        let growth = state.dirty.growth(key, stored.value.len());
        if growth > 0 && state.dirty.bytes().saturating_add(growth) > self.bytes_max() {
            return false;
        }
        if state.note(key, Some(stored), self.clock.now()) {
            drop(state);
            self.signal.wake();
        }
        true
    }
}

impl super::Behind {
    /// What brings the entries of a cache into memory that were evicted; `None` when it is not
    /// written behind.
    #[must_use]
    pub fn reader(&self, cache: &str) -> Option<crate::persist::Reader> {
        self.readers.read().get(cache).cloned()
    }

    pub(super) fn add_reader(&self, feed: &Arc<Feed>) {
        let loads = self.loader.loads(Arc::clone(feed) as _);
        let reader = crate::persist::Reader { loads, elsewhere: Arc::clone(feed) as _ };
        self.readers.write().insert(feed.name.clone(), reader);
    }
}
