//! What the store holds of which cache: a small cache of the store's own, number 0.
//!
//! | key | value |
//! |---|---|
//! | `storage` | storage id of the data directory, 16 bytes |
//! | `next` | the next number of a cache, u32: none is given twice |
//! | `cache/<name>` | its number u32, and the sequence number that may have been given out at the most u64 |
//! | `old/<number, 8 hex digits>` | nothing: entries of this number are superseded and to be removed |
//!
//! A cache that is cleared gets a new number in the batch that begins with what came after.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{Batch, CacheId, Damage, Error, Scan, Store, Stored};

const OWN: CacheId = CacheId(0);
const STORAGE: &str = "storage";
const NEXT: &str = "next";
const CACHE: &str = "cache/";
const OLD: &str = "old/";

/// Where a cache is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    pub id: CacheId,
    /// Sequence numbers up to this one may have been given out.
    pub reserved: u64,
}

/// The store's caches, as it holds them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Catalog {
    pub storage_id: Option<[u8; 16]>,
    pub caches: BTreeMap<String, Home>,
    /// Caches whose entries are to be removed.
    pub old: BTreeSet<CacheId>,
    next: u32,
}

impl Catalog {
    /// Reads it.
    pub fn read(store: &dyn Store) -> Result<Catalog, Error> {
        let mut catalog = Catalog { next: 1, ..Catalog::default() };
        let mut cursor = None;
        loop {
            let page = store.scan(&Scan::all(OWN).after(cursor.as_ref()))?;
            for entry in page.entries {
                let (key, stored) = entry.map_err(Error::Damaged)?;
                catalog.take(&key, &stored.value).ok_or_else(|| unknown(&key))?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(catalog);
            }
        }
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let key = std::str::from_utf8(key).ok()?;
        if key == STORAGE {
            self.storage_id = Some(value.try_into().ok()?);
        } else if key == NEXT {
            self.next = u32::from_le_bytes(value.try_into().ok()?);
        } else if let Some(name) = key.strip_prefix(CACHE) {
            let (id, reserved) = value.split_first_chunk()?;
            let id = CacheId(u32::from_le_bytes(*id));
            let reserved = u64::from_le_bytes(reserved.try_into().ok()?);
            self.caches.insert(name.to_owned(), Home { id, reserved });
        } else {
            let id = u32::from_str_radix(key.strip_prefix(OLD)?, 16).ok()?;
            self.old.insert(CacheId(id));
        }
        Some(())
    }

    /// Numbers below this one are never given again, whatever the store says.
    pub fn skip_below(&mut self, next: u32) {
        self.next = self.next.max(next);
    }

    pub fn next(&self) -> u32 {
        self.next
    }

    /// Claims the store for a data directory.
    pub fn claim(&mut self, storage_id: [u8; 16], batch: &mut Batch) -> Result<(), Error> {
        self.storage_id = Some(storage_id);
        put(batch, STORAGE, &storage_id)
    }

    /// Notes how far the sequence numbers of a cache may be given out.
    pub fn reserve(&mut self, name: &str, seq: u64, batch: &mut Batch) -> Result<Home, Error> {
        match self.caches.get(name) {
            Some(home) => self.settle(name, Home { reserved: seq, ..*home }, batch),
            None => self.renew(name, seq, batch),
        }
    }

    /// Gives a cache a new number; what stood under the old one is to be removed.
    pub fn renew(&mut self, name: &str, seq: u64, batch: &mut Batch) -> Result<Home, Error> {
        self.forget(name, batch)?;
        let id = CacheId(self.next);
        self.next += 1;
        put(batch, NEXT, &self.next.to_le_bytes())?;
        self.settle(name, Home { id, reserved: seq }, batch)
    }

    fn settle(&mut self, name: &str, home: Home, batch: &mut Batch) -> Result<Home, Error> {
        self.caches.insert(name.to_owned(), home);
        let value = [&home.id.0.to_le_bytes()[..], &home.reserved.to_le_bytes()].concat();
        put(batch, &format!("{CACHE}{name}"), &value)?;
        Ok(home)
    }

    /// Gives a cache up: its entries are to be removed.
    pub fn forget(&mut self, name: &str, batch: &mut Batch) -> Result<(), Error> {
        let Some(home) = self.caches.remove(name) else { return Ok(()) };
        self.old.insert(home.id);
        batch.delete(OWN, format!("{CACHE}{name}").as_bytes())?;
        put(batch, &old_key(home.id), &[])
    }

    /// Nothing is left of an old cache.
    pub fn removed(&mut self, id: CacheId, batch: &mut Batch) -> Result<(), Error> {
        self.old.remove(&id);
        batch.delete(OWN, old_key(id).as_bytes())
    }
}

fn old_key(id: CacheId) -> String {
    format!("{OLD}{:08x}", id.0)
}

fn put(batch: &mut Batch, key: &str, value: &[u8]) -> Result<(), Error> {
    batch.put(OWN, key.as_bytes(), Stored { value: value.to_vec(), ..Stored::default() })
}

fn unknown(key: &[u8]) -> Error {
    let reason = "not a record of this release";
    Error::Damaged(Damage::Entry { cache: OWN.0, key: key.to_vec(), reason })
}
