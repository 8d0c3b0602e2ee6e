//! Tables and what of them is not in memory, to a snapshot file, while they are in use.

use std::sync::Arc;

use super::Persistence;
use super::behind::Behind;
use super::overflow::{Capture, Feeder};
use crate::disk::Disk;
use crate::snapshot_file::{
    Aside, Cache, Progress, SnapshotFileError, SnapshotHeader, Summary, write_caches,
};
use crate::table::Table;

impl Persistence {
    /// Writes tables, kept ones and others, to the file `name`, with all their entries that are not
    /// in memory; those that are written behind with what `behind` knows of them. Each is in the file as it was at one moment, whatever is written, evicted and read
    /// back meanwhile: that of the call, or when its turn comes where entries are stored that memory
    /// has no room for. One call at a time.
    ///
    /// Waits for the disk, and makes everything durable first that has left memory. Memory:
    /// 4 MiB, what waits for the store, and about 32 bytes for each key that leaves memory, comes
    /// back or is changed in the store meanwhile.
    ///
    /// # Errors
    /// As [`write`](crate::snapshot_file::write()), and when the store cannot be read; a file of
    /// this name that was there before is as it was. [`SnapshotFileError::Caller`] while another
    /// one is written.
    pub fn save(
        &self,
        disk: &dyn Disk,
        name: &str,
        header: &SnapshotHeader,
        tables: &[(&str, &Table)],
        behind: Option<&Behind>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Summary, SnapshotFileError> {
        let Some(_one) = self.saving.try_lock() else {
            return Err(SnapshotFileError::Caller("another save is under way".to_owned()));
        };
        let feeder = self.reads.as_ref().map(|reads| &*reads.feeder);
        if let Some(feeder) = feeder {
            if !feeder.wait_read() {
                return Err(SnapshotFileError::Caller("the server is stopping".to_owned()));
            }
            // Then little waits, and it is known which keys the store has.
            let store = |why| SnapshotFileError::store(disk.place(name), why);
            feeder.settle(header.created).map_err(store)?;
        }
        let saves = Saves::begin(feeder, behind, tables.iter().map(|(name, _)| *name));
        write_caches(disk, name, header, &saves.caches(tables), progress, &mut || Ok(()))
    }
}

/// Saves that are under way, in the order of their tables; `None` where a table has all.
pub(super) struct Saves(Vec<Option<Arc<dyn Aside>>>);

impl Saves {
    pub fn begin<'n>(
        feeder: Option<&Feeder>,
        behind: Option<&Behind>,
        names: impl Iterator<Item = &'n str>,
    ) -> Saves {
        let evicted = |name| feeder?.overflow(name).and_then(Capture::new);
        let capture = |name| match behind.and_then(|behind| behind.capture(name)) {
            Some(capture) => Some(capture as Arc<dyn Aside>),
            None => evicted(name).map(|capture| capture as Arc<dyn Aside>),
        };
        Saves(names.map(capture).collect())
    }

    pub fn caches<'c>(&'c self, tables: &[(&'c str, &'c Table)]) -> Vec<Cache<'c>> {
        let cache =
            |((name, table), aside): (&(&'c str, &'c Table), &'c Option<Arc<dyn Aside>>)| {
                let aside = aside.as_deref();
                Cache { name, table, aside }
            };
        tables.iter().zip(&self.0).map(cache).collect()
    }
}

impl Drop for Saves {
    fn drop(&mut self) {
        self.0.iter().flatten().for_each(|capture| capture.end());
    }
}
