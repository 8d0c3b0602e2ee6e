//! The log of a data directory that no server uses: what is whole of it, and the repair.

use std::path::Path;

use super::recovery::snapshots;
use super::{DataDirectory, PersistError, change, wal_config};
use crate::disk::Disk;
use crate::wal::{self, Lsn, Report};

/// What the log of a data directory is like, and what a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogCheck {
    /// The log's files, and what is lost of them.
    pub log: Report,
    /// The first record that is not in the snapshot file: what is lost before it is not gone.
    pub from: Lsn,
    /// What can be read of the records that are lost: number, cache and key, in the order of the
    /// files. Their bytes are damaged, so any of it may be wrong.
    pub keys: Vec<(Lsn, String, Vec<u8>)>,
}

impl DataDirectory {
    /// Says what of the log is whole and what a repair would lose. Nothing is changed.
    ///
    /// # Errors
    /// [`PersistError`]: it is another node's or of another release, or cannot be read.
    pub fn verify_log(&self) -> Result<LogCheck, PersistError> {
        self.look(wal::survey)
    }

    /// Makes a damaged log fit to be opened again: keeps every whole record, and a copy of each
    /// file that it replaces beside it. A log that is whole is left alone.
    ///
    /// # Errors
    /// As [`DataDirectory::verify_log`]; a repair that ended early may be started again.
    pub fn repair_log(&self) -> Result<LogCheck, PersistError> {
        self.look(wal::repair)
    }

    fn look(&self, how: How) -> Result<LogCheck, PersistError> {
        let (log, folder) = (self.log()?, self.snapshots()?);
        let newest = snapshots(&*folder).map_err(|source| PersistError::Io {
            path: Path::new(&folder.place("")).to_owned(),
            action: "read the folder",
            source,
        })?;
        // A directory in which nothing was ever kept needs no log.
        let needed = if self.has_begun() { Lsn::FIRST } else { Lsn::NONE };
        let from = newest.last().map_or(needed, |position| position.next());
        let config = wal_config(self.storage_id(), from);
        let mut keys = Vec::new();
        let report = how(&*log, &config, &mut |lsn, payload| {
            let named = change::names(payload).into_iter();
            keys.extend(named.map(|(cache, key)| (lsn, cache, key)));
        })?;
        Ok(LogCheck { log: report, from, keys })
    }
}

/// One of the two ways to look at a log.
type How = fn(&dyn Disk, &wal::WalConfig, wal::Suspect<'_>) -> Result<Report, crate::wal::WalError>;
