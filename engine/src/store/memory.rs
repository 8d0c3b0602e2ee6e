//! The twin in memory: it encodes, decodes and refuses like the store on disk, and it can crash.

use std::collections::BTreeMap;
use std::mem;

use parking_lot::Mutex;

use super::layout::Range;
use super::tree::{self, Changes, Tree, Visit, Writer};
use super::{Batch, CacheId, Error, Page, Position, Report, Scan, Store, Stored};

type Image = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store in memory with two images: what is written, and what a checkpoint made durable.
#[derive(Debug)]
pub struct MemoryStore(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    written: Image,
    synced: Image,
    /// Committed since the last checkpoint, in order.
    unsynced: Vec<Changes>,
    writer: Writer,
    closed: bool,
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new()
    }
}

impl MemoryStore {
    /// An empty store, as durable as it ever is.
    #[must_use]
    pub fn new() -> Self {
        let mut inner = Inner {
            written: Image::new(),
            synced: Image::new(),
            unsynced: Vec::new(),
            writer: Writer::default(),
            closed: false,
        };
        apply(&mut inner.synced, tree::birth());
        inner.written.clone_from(&inner.synced);
        MemoryStore(Mutex::new(inner))
    }

    /// Commits that the last checkpoint has not made durable.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.0.lock().unsynced.len()
    }

    /// The power goes: only what was durable is left, and the first `kept` commits after it. The
    /// store must be reopened.
    pub fn crash(&self, kept: usize) {
        let inner = &mut *self.0.lock();
        for changes in mem::take(&mut inner.unsynced).into_iter().take(kept) {
            apply(&mut inner.synced, changes);
        }
        inner.written.clone_from(&inner.synced);
        inner.closed = true;
    }

    /// Flips a bit of the `n`th record (modulo their number), as a bad disk would.
    pub fn damage(&self, n: usize, bit: usize) {
        let inner = &mut *self.0.lock();
        let count = inner.written.len().max(1);
        for image in [&mut inner.written, &mut inner.synced] {
            let record = image.values_mut().nth(n % count);
            let Some(record) = record.filter(|record| !record.is_empty()) else { continue };
            let at = bit / 8 % record.len();
            record.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (bit % 8));
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Image) -> Result<T, Error>) -> Result<T, Error> {
        let inner = self.0.lock();
        if inner.closed { Err(Error::Closed) } else { read(&inner.written) }
    }
}

fn apply(image: &mut Image, changes: Changes) {
    for (tree_key, record) in changes {
        match record {
            Some(record) => image.insert(tree_key, record),
            None => image.remove(&tree_key),
        };
    }
}

impl Inner {
    fn write(&mut self, changes: Changes) {
        apply(&mut self.written, changes.clone());
        self.unsynced.push(changes);
    }
}

impl Tree for Image {
    type Record = Vec<u8>;

    fn record(&self, tree_key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.get(tree_key).cloned())
    }

    fn range(&self, range: Range<'_>, visit: Visit<'_>) -> Result<(), Error> {
        let mut records = BTreeMap::range::<[u8], _>(self, range);
        let _stopped = records.try_for_each(|(tree_key, record)| visit(tree_key, record));
        Ok(())
    }
}

impl Store for MemoryStore {
    fn get(&self, cache: CacheId, key: &[u8]) -> Result<Option<Stored>, Error> {
        self.read(|image| tree::get(image, cache, key))
    }

    fn commit(&self, batch: &Batch) -> Result<(), Error> {
        let inner = &mut *self.0.lock();
        if inner.closed {
            return Err(Error::Closed);
        }
        let changes = inner.writer.plan(&inner.written, batch)?;
        inner.write(changes);
        Ok(())
    }

    fn applied(&self) -> Result<Position, Error> {
        self.read(|image| Ok(Position(tree::applied(image)?.unwrap_or_default().position)))
    }

    fn reached(&self, cache: CacheId) -> Result<Vec<(u16, u64)>, Error> {
        self.read(|image| tree::reached(image, cache))
    }

    fn scan(&self, scan: &Scan<'_>) -> Result<Page, Error> {
        self.read(|image| tree::scan(image, scan))
    }

    fn clear(&self, cache: CacheId) -> Result<(), Error> {
        let inner = &mut *self.0.lock();
        if inner.closed {
            return Err(Error::Closed);
        }
        loop {
            let changes = inner.writer.plan_clear(&inner.written, cache)?;
            if changes.is_empty() {
                return Ok(());
            }
            inner.write(changes);
        }
    }

    fn checkpoint(&self) -> Result<Position, Error> {
        let inner = &mut *self.0.lock();
        if inner.closed {
            return Err(Error::Closed);
        }
        mem::take(&mut inner.unsynced)
            .into_iter()
            .for_each(|changes| apply(&mut inner.synced, changes));
        Ok(inner.writer.position())
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        let inner = self.0.lock();
        let bytes = inner.written.iter().map(|(tree_key, record)| tree_key.len() + record.len());
        Ok(bytes.sum::<usize>() as u64)
    }

    fn reopen(&self) -> Result<Report, Error> {
        let inner = &mut *self.0.lock();
        let applied = tree::applied(&inner.written)?.unwrap_or_default();
        inner.writer = Writer::new(applied);
        inner.closed = false;
        Ok(Report { applied: Position(applied.position), ..Report::default() })
    }

    fn close(&self) -> Result<(), Error> {
        self.0.lock().closed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::suite;
    use super::*;

    #[test]
    fn conforms() {
        suite::run(&suite::Bed {
            open: Box::new(|| Box::new(MemoryStore::new())),
            restart: Box::new(|store| store.reopen().map(|report| report.applied)),
        });
    }

    fn commit(store: &MemoryStore, n: u64) {
        let mut batch = Batch::default();
        let stored = Stored { version: n, ..Stored::default() };
        batch.put(CacheId(1), b"key", stored).expect("fits");
        batch.advance(Position(n));
        store.commit(&batch).expect("commits");
    }

    #[test]
    fn a_crash_keeps_what_a_checkpoint_made_durable_and_a_prefix_of_the_rest() {
        for (kept, expect) in [(0, 2), (1, 3), (9, 4)] {
            let store = MemoryStore::new();
            (1..=2).for_each(|n| commit(&store, n));
            assert_eq!(store.checkpoint(), Ok(Position(2)));
            (3..=4).for_each(|n| commit(&store, n));
            assert_eq!(store.unsynced(), 2);
            store.crash(kept);
            assert_eq!(store.get(CacheId(1), b"key"), Err(Error::Closed));
            assert_eq!(store.reopen().expect("reopens").applied, Position(expect));
            let found = store.get(CacheId(1), b"key").expect("reads").expect("is there");
            assert_eq!(found.version, expect, "the entry and the position belong together");
        }
    }

    #[test]
    fn a_flipped_bit_in_any_record_is_found() {
        let store = MemoryStore::new();
        let mut model = BTreeMap::new();
        for n in 0..20 {
            let key = vec![b'k'; 20 + 15 * n];
            let stored =
                Stored { value: vec![7; 700 * n], version: 5, flags: 1, ..Stored::default() };
            let mut batch = Batch::default();
            batch.put(CacheId(1), &key, stored.clone()).expect("fits");
            store.commit(&batch).expect("commits");
            model.insert(key, stored);
        }
        let records = store.0.lock().written.len();
        // The first record is the position.
        for (n, bit) in (1..records).flat_map(|n| (0..500).map(move |bit| (n, bit * 37))) {
            store.damage(n, bit);
            let found = suite::audit(&store, CacheId(1), &model);
            assert_eq!(found, (1, 0), "bit {bit} of record {n}");
            store.damage(n, bit);
        }
        store.damage(0, 9);
        assert!(matches!(store.applied(), Err(Error::Damaged(_))));
    }
}
