//! What the store says of itself, under the cache number 0: `name/<cache>` = the number that the
//! cache's entries stand under, `dead/<number>` = what stands under it is to be removed, `next` = the
//! next number to be given out, `batch` = how many batches were committed. Each a `u64` as the
//! version of an entry without a value.

use std::collections::BTreeMap;

use crate::store::{Batch, CacheId, Error, Scan, Store, Stored};

const META: CacheId = CacheId(0);
const NAME: &[u8] = b"name/";
const DEAD: &[u8] = b"dead/";
const NEXT: &[u8] = b"next";
const BATCH: &[u8] = b"batch";

/// What the store says of itself.
#[derive(Debug, Default)]
pub(super) struct Meta {
    names: BTreeMap<Vec<u8>, CacheId>,
    /// Numbers whose entries are to be removed.
    pub dead: Vec<CacheId>,
    next: u32,
    batches: u64,
}

impl Meta {
    /// Reads it.
    pub fn read(store: &dyn Store) -> Result<Meta, Error> {
        let mut meta = Meta { next: 1, ..Meta::default() };
        let mut cursor = None;
        loop {
            let page = store.scan(&Scan::all(META).after(cursor.as_ref()))?;
            for entry in page.entries {
                let (key, stored) = entry.map_err(Error::Damaged)?;
                meta.note(&key, stored.version);
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(meta);
            }
        }
    }

    fn note(&mut self, key: &[u8], number: u64) {
        let id = CacheId(u32::try_from(number).unwrap_or(u32::MAX));
        if let Some(name) = key.strip_prefix(NAME) {
            self.names.insert(name.to_vec(), id);
        } else if key.starts_with(DEAD) {
            self.dead.push(id);
        } else if key == NEXT {
            self.next = id.0;
        } else if key == BATCH {
            self.batches = number;
        }
    }

    /// The number of a cache.
    pub fn id(&self, name: &str) -> Option<CacheId> {
        self.names.get(name.as_bytes()).copied()
    }

    /// The caches that have numbers.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names.keys().map(Vec::as_slice)
    }

    /// Gives a cache a new number, which no other ever had; what it had is dead.
    pub fn renew(&mut self, name: &[u8], batch: &mut Batch) -> Result<CacheId, Error> {
        self.bury(name, batch)?;
        let id = CacheId(self.next);
        self.next += 1;
        put(batch, NEXT, u64::from(self.next))?;
        put(batch, &[NAME, name].concat(), u64::from(id.0))?;
        self.names.insert(name.to_vec(), id);
        Ok(id)
    }

    /// What a cache has in the store is dead.
    pub fn bury(&mut self, name: &[u8], batch: &mut Batch) -> Result<(), Error> {
        let Some(id) = self.names.remove(name) else { return Ok(()) };
        self.dead.push(id);
        put(batch, &[DEAD, &id.0.to_be_bytes()].concat(), u64::from(id.0))?;
        batch.delete(META, &[NAME, name].concat())
    }

    /// Nothing is left under a dead number.
    pub fn gone(&mut self, id: CacheId, batch: &mut Batch) -> Result<(), Error> {
        self.dead.retain(|dead| *dead != id);
        batch.delete(META, &[DEAD, &id.0.to_be_bytes()].concat())
    }

    /// Numbers a batch that is about to be committed.
    pub fn number(&self, batch: &mut Batch) -> Result<(), Error> {
        put(batch, BATCH, self.batches + 1)
    }

    /// The batch was committed.
    pub fn count(&mut self) {
        self.batches += 1;
    }

    /// Whether the store has all batches that were committed.
    pub fn is_all_there(&self, store: &dyn Store) -> Result<bool, Error> {
        let batches = store.get(META, BATCH)?.map_or(0, |stored| stored.version);
        Ok(batches >= self.batches)
    }
}

fn put(batch: &mut Batch, key: &[u8], number: u64) -> Result<(), Error> {
    batch.put(META, key, Stored { version: number, ..Stored::default() })
}
