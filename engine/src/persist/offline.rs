//! What is in a data directory that no server uses: read, and nothing changed.

use std::collections::BTreeSet;

use super::recovery::{self, newest};
use super::replay::replaying;
use super::{KeptTable, PersistConfig, PersistError, change, wal_config};
use crate::env::Timestamp;
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
        if let Some(name) = change::cache(bytes).filter(|name| !names.contains(*name)) {
            names.insert(name.to_owned());
        }
        Ok(())
    })?;
    Ok(names)
}

/// Fills empty tables with what is kept of them.
///
/// # Errors
/// As [`cache_names`].
pub fn read(
    config: &PersistConfig,
    tables: &[KeptTable],
    now: Timestamp,
) -> Result<(), PersistError> {
    let (from, _) = recovery::read_snapshot(config, tables, None, now)?;
    let wal = wal_config(config.storage_id, from);
    let read = replaying(tables, None, now, recovery::threads(config), |replay| {
        let mut visit =
            |lsn: Lsn, bytes: &[u8]| replay.record(bytes).map_err(|why| format!("{lsn}: {why}"));
        wal::read(&*config.log, &wal, &mut visit)
    });
    read.map(drop)
}
