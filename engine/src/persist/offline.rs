//! What is in a data directory that no server uses: read, and nothing changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::behind::BehindAtRest;
use super::overflow::Feeder;
use super::recovery::{self, newest};
use super::replay::replaying;
use super::save::Saves;
use super::{
    KeptTable, PersistConfig, PersistError, PersistMode, Preload, StoreConfig, change, wal_config,
};
use crate::config::TableConfig;
use crate::disk::Disk;
use crate::env::{Clock, Timestamp};
use crate::eviction::PolicyKind;
use crate::snapshot_file::{Cache, Progress, SnapshotHeader, Summary, write_caches};
use crate::table::Table;
use crate::wal::{self, Lsn};

/// The names of the caches that something is kept of: those of the newest snapshot file and of the
/// log behind it.
///
/// # Errors
/// [`PersistError`] where [`Persistence::open`](super::Persistence::open) would be refused.
pub fn cache_names(config: &PersistConfig) -> Result<BTreeSet<String>, PersistError> {
    let (mut names, mut from) = (BTreeSet::new(), Lsn::FIRST);
    if let Some(file) = newest(config)? {
        from = Lsn(file.header().log_position + 1);
        names.extend(file.caches().iter().map(|cache| cache.name.clone()));
    }
    let wal = wal_config(config.storage_id, from);
    wal::read(&*config.log, &wal, &mut |_, bytes| {
        let _ = change::each_cache(bytes, |name, _| {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
            Some(())
        });
        Ok(())
    })?;
    Ok(names)
}

/// Kept caches that no server uses: what is in memory when one does is read into memory, what is in
/// stores is read when it is written to a file.
pub struct AtRest {
    tables: Vec<KeptTable>,
    feeder: Option<Feeder>,
    behind: Option<BehindAtRest>,
}

impl AtRest {
    /// Reads the caches of these names out of snapshot file, log and stores.
    ///
    /// # Errors
    /// As [`cache_names`], and when the store cannot be read as it is.
    pub fn read(
        mut config: PersistConfig,
        names: &[String],
        mut behind: Option<BehindAtRest>,
        clock: Arc<dyn Clock>,
    ) -> Result<AtRest, PersistError> {
        let now = clock.now();
        behind.iter_mut().for_each(|behind| behind.retain(names));
        let of_log = |name: &&String| !behind.as_ref().is_some_and(|behind| behind.has(name));
        let tables: Vec<_> = names.iter().filter(of_log).map(|name| kept(name, now)).collect();
        let store = config.store.take().filter(|store| store.exists);
        let feeder = store.map(|store| look(store, &tables, clock)).transpose()?;
        let (from, _) = recovery::read_snapshot(&config, &tables, feeder.as_ref(), now, false)?;
        let wal = wal_config(config.storage_id, from);
        let threads = recovery::threads(&config);
        let read = replaying(&tables, feeder.as_ref(), now, threads, |replay| {
            let mut visit = |lsn: Lsn, bytes: &[u8]| {
                replay.record(bytes).map_err(|why| format!("{lsn}: {why}"))
            };
            wal::read(&*config.log, &wal, &mut visit)
        });
        read.map(|_| AtRest { tables, feeder, behind })
    }

    /// What of the caches is in memory; of those with a log.
    #[must_use]
    pub fn tables(&self) -> &[KeptTable] {
        &self.tables
    }

    /// Writes the caches to the file `name`, with everything that stores hold of them.
    ///
    /// # Errors
    /// As [`Persistence::save`](super::Persistence::save).
    pub fn save(
        &self,
        disk: &dyn Disk,
        name: &str,
        header: &SnapshotHeader,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Summary, PersistError> {
        let named: Vec<_> = self.tables.iter().map(|k| (k.name.as_str(), &*k.table)).collect();
        let saves = Saves::begin(self.feeder.as_ref(), None, named.iter().map(|(name, _)| *name));
        let behind = self.behind.as_ref().map(|behind| behind.caches(header.created));
        let mut caches = saves.caches(&named);
        caches.extend(behind.iter().flatten().map(|(name, table, aside)| Cache {
            name,
            table,
            aside: Some(aside),
        }));
        Ok(write_caches(disk, name, header, &caches, progress, &mut || Ok(()))?)
    }
}

/// The store of what has no room in memory, to be read alone.
fn look(
    mut store: StoreConfig,
    tables: &[KeptTable],
    clock: Arc<dyn Clock>,
) -> Result<Feeder, PersistError> {
    let io = |source| PersistError::Io { path: "store".into(), action: "start a thread", source };
    // The thread is never told that it may use the store.
    let never = Box::new(|| Err(crate::store::Error::Closed));
    let open = std::mem::replace(&mut store.open, never);
    let of: Vec<_> = tables.iter().map(|k| (k.name.as_str(), &k.table)).collect();
    let feeder = Feeder::start(store, &of, clock).map_err(io)?;
    feeder.look(&open)?;
    Ok(feeder)
}

/// A table with room for everything: limits are the server's.
pub(super) fn roomy(now: Timestamp) -> Arc<Table> {
    let config =
        TableConfig { max_bytes: 1 << 60, eviction: PolicyKind::None, ..TableConfig::default() };
    match Table::new(&config, now) {
        Ok(table) => Arc::new(table),
        Err(error) => unreachable!("the default configuration is one: {error}"),
    }
}

fn kept(name: &str, now: Timestamp) -> KeptTable {
    let (name, table) = (name.to_owned(), roomy(now));
    KeptTable { name, table, mode: PersistMode::Async, preload: Preload::All }
}
