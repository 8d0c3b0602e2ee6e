//! Caches that are written behind, in a store that no server uses: read, and nothing changed.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::catalog::{Catalog, Home};
use super::recovery::{alarms, check_owner, saved};
use super::{BehindConfig, PersistError};
use crate::env::Timestamp;
use crate::persist::offline::roomy;
use crate::snapshot_file::Aside;
use crate::store::{CacheId, Error, Scan, ScanCursor, Store};
use crate::table::{Saved, Table, Watermark};

/// The store of caches that are written behind, and what it holds.
pub struct BehindAtRest {
    store: Arc<dyn Store>,
    catalog: Catalog,
    /// What an operator should know although the store can be read.
    pub alarms: Vec<String>,
}

/// One cache of it: its name, a table without entries that has its numbers, and the entries.
pub(in crate::persist) type BehindCache = (String, Arc<Table>, BehindAside);

impl BehindAtRest {
    /// Looks what the store holds.
    ///
    /// # Errors
    /// [`PersistError`] when it cannot be read, is another directory's, or has lost what was written
    /// to it last.
    pub fn open(config: BehindConfig) -> Result<BehindAtRest, PersistError> {
        if config.report.suspect {
            let reason = "some entries may be older than they should be; a server serves them all \
                          the same, and saves them with --server"
                .to_owned();
            return Err(Error::Failed { path: "behind".into(), reason }.into());
        }
        let catalog = Catalog::read(&*config.store)?;
        check_owner(&catalog, config.storage_id)?;
        Ok(BehindAtRest { alarms: alarms(&config.report), store: config.store, catalog })
    }

    /// The names of its caches.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.catalog.caches.keys().map(String::as_str)
    }

    /// Forgets all but these caches.
    pub fn retain(&mut self, names: &[String]) {
        self.catalog.caches.retain(|name, _| names.contains(name));
    }

    /// Whether the cache is one of it.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.catalog.caches.contains_key(name)
    }

    pub(in crate::persist) fn caches(&self, now: Timestamp) -> Vec<BehindCache> {
        let cache = |(name, home): (&String, &Home)| {
            let table = roomy(now);
            table.raise_all(home.reserved);
            let (store, next) = (Arc::clone(&self.store), Mutex::new(Some(None)));
            (name.clone(), table, BehindAside { store, id: home.id, next, now })
        };
        self.catalog.caches.iter().map(cache).collect()
    }
}

/// The entries of one cache.
pub(in crate::persist) struct BehindAside {
    store: Arc<dyn Store>,
    id: CacheId,
    /// Where the next page begins; `None` = there is none.
    next: Mutex<Option<Option<ScanCursor>>>,
    now: Timestamp,
}

impl Aside for BehindAside {
    fn begin(&self, _marks: &[Watermark]) {}

    fn has_all(&self) -> bool {
        true
    }

    fn rest(&self, visit: &mut dyn FnMut(&Saved<'_>)) -> io::Result<bool> {
        let mut next = self.next.lock();
        let Some(after) = next.take() else { return Ok(false) };
        let page = self.store.scan(&Scan::all(self.id).after(after.as_ref()));
        let page = page.map_err(io::Error::other)?;
        for entry in page.entries {
            let (key, stored) = entry.map_err(|damage| io::Error::other(damage.to_string()))?;
            visit(&saved(&key, &stored, self.now));
        }
        *next = page.next.map(Some);
        Ok(next.is_some())
    }

    fn len(&self) -> u64 {
        0
    }
}

impl Drop for BehindAtRest {
    fn drop(&mut self) {
        let _ = self.store.close();
    }
}
