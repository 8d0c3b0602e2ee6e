//! A cache to which random things happen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use isogrid_engine::env::split_mix;
use isogrid_engine::{
    Change, Cursor, Isolation, Journal, Marks, NewEntry, PolicyKind, Table, TableConfig, Timestamp,
    Unrecorded,
};

use crate::structure::cache::{Cache, CacheConfig, Lifespan, Mode, Put, Removal};

/// What a consumer makes of a cache: keys and versions.
pub type Content = BTreeMap<Vec<u8>, u64>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// Has room for a few entries only.
    Evicting,
    /// Writes are seen when their records are kept, and taken back when they are not.
    Synced,
}

pub struct World {
    pub cache: Arc<Cache>,
    pub now: Timestamp,
    pub keys: u64,
    kind: Kind,
    journal: Arc<Numbers>,
    published: u64,
    rng: u64,
}

/// Gives numbers and keeps nothing.
#[derive(Default)]
struct Numbers(AtomicU64);

impl Journal for Numbers {
    fn record(&self, _: &Change<'_>) -> Result<u64, Unrecorded> {
        Ok(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn publishes(&self) -> bool {
        true
    }
}

pub fn put(value: &[u8], deadline: Option<Timestamp>) -> Put<'_> {
    Put {
        mode: Mode::Set,
        value,
        flags: 0,
        lifespan: deadline.map_or(Lifespan::Default, Lifespan::Until),
        max_idle: None,
        expected: None,
        stale_if_older: false,
        version: None,
        or_create: None,
        marks: Marks::default(),
        len_max: 1 << 20,
    }
}

impl World {
    pub fn new(kind: Kind, seed: u64) -> World {
        let max_bytes = if kind == Kind::Evicting { 16 << 10 } else { 64 << 20 };
        let eviction = PolicyKind::Lru;
        let config =
            TableConfig { segments: Some(4), max_bytes, eviction, ..TableConfig::default() };
        let config =
            CacheConfig { table: TableConfig { seed, ..config }, ..CacheConfig::default() };
        let cache = Arc::new(Cache::new("test", config, 0).unwrap());
        let journal = Arc::new(Numbers::default());
        if kind == Kind::Synced {
            cache.table().set_journal(Arc::clone(&journal) as Arc<dyn Journal>);
        }
        World { cache, now: 1, keys: 24, kind, journal, published: 0, rng: seed }
    }

    pub fn draw(&mut self, below: u64) -> u64 {
        split_mix(&mut self.rng) % below
    }

    pub fn size(&mut self, below: u64) -> usize {
        usize::try_from(self.draw(below)).unwrap()
    }

    pub fn key(&mut self) -> Vec<u8> {
        let key = self.draw(self.keys);
        format!("{}{key}", if key.is_multiple_of(2) { "even" } else { "odd" }).into_bytes()
    }

    /// One random thing.
    pub fn step(&mut self) {
        match self.draw(16) {
            0..=6 => drop(self.write(0)),
            7 | 8 => drop(self.remove(0)),
            9 | 10 => self.transact(),
            11 | 12 => self.journal_moves(),
            13 => self.touch(),
            14 => self.time_passes(20),
            _ if self.draw(6) == 0 => self.cache.clear(self.now, self.now).unwrap(),
            _ => {}
        }
    }

    fn value(&mut self) -> (Vec<u8>, Option<Timestamp>) {
        let value = vec![7; self.size(600)];
        let deadline = (self.draw(3) == 0).then(|| self.now + 1 + self.draw(30));
        (value, deadline)
    }

    /// Writes a key.
    pub fn write(&mut self, origin: u64) -> Vec<u8> {
        let key = self.key();
        let (value, deadline) = self.value();
        let batch = self.cache.batch(self.now).by(origin);
        let _ = batch.put(self.cache.hash(&key), &key, &put(&value, deadline));
        key
    }

    pub fn remove(&mut self, origin: u64) -> Vec<u8> {
        let key = self.key();
        let batch = self.cache.batch(self.now).by(origin);
        batch.remove(self.cache.hash(&key), &key, &Removal::default()).unwrap();
        key
    }

    fn touch(&mut self) {
        let (key, at) = (self.key(), self.now + 1 + self.draw(30));
        let batch = self.cache.batch(self.now);
        let _ = batch.touch(self.cache.hash(&key), &key, Lifespan::Until(at)).unwrap();
    }

    fn transact(&mut self) {
        let cache = Arc::clone(&self.cache);
        let mut transaction = cache.table().transaction(Isolation::Snapshot, self.now);
        for _ in 0..1 + self.draw(4) {
            let key = self.key();
            let (value, deadline) = self.value();
            let new = NewEntry { value: [&value, b""], deadline, ..NewEntry::default() };
            match self.draw(3) {
                0 => transaction.remove(&key).unwrap(),
                _ => transaction.put(&key, &new).unwrap(),
            }
        }
        let _ = transaction.commit(self.now);
    }

    /// Some records are kept, or those that wait are lost.
    fn journal_moves(&mut self) {
        let last = self.journal.0.load(Ordering::Relaxed);
        let waiting = last - self.published;
        if self.kind != Kind::Synced || waiting == 0 {
            return;
        }
        if self.draw(4) == 0 {
            self.cache.table().abort_from(self.published + 1, self.now);
            self.published = last;
        } else {
            self.published += 1 + self.draw(waiting);
            self.cache.table().publish_upto(self.published, self.now);
        }
    }

    fn time_passes(&mut self, most: u64) {
        self.now += 1 + self.draw(most);
        self.cache.maintain(self.now, 1_000);
    }

    /// Everything is published, and what has a deadline is gone.
    pub fn settle(&mut self) {
        self.cache.table().publish_upto(self.journal.0.load(Ordering::Relaxed), self.now);
        self.now += 10_000;
        while self.cache.maintain(self.now, 1_000) {}
    }

    /// What readers see.
    pub fn content(&self) -> Content {
        content(self.cache.table(), self.now)
    }
}

pub fn content(table: &Table, now: Timestamp) -> Content {
    let mut all = Content::new();
    let visit = |entry: isogrid_engine::Entry<'_>| {
        all.insert(entry.key().to_vec(), entry.version());
    };
    assert_eq!(table.scan(Cursor::default(), usize::MAX, now, visit), None);
    all
}
