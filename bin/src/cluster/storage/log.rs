//! The Raft log as records of a write-ahead log (R52). Each begins with a byte that says what it
//! is to those before it.

use std::io;
use std::sync::Arc;

use isogrid_engine::disk::Disk;
use isogrid_engine::wal::{Lsn, Wal, WalConfig, WalKind};
use isogrid_grid::id::StorageId;
use isogrid_grid::raft::{Log, Save};

use super::StorageError;

/// Goes on where the one before ends.
const GOES_ON: u8 = 0;
/// Needs none of those before it.
const BEGINS_ANEW: u8 = 1;
/// The log begins, and has nothing yet: a member was let in. So no member's log is without a
/// record, and one that is was lost.
const BEGINS_EMPTY: u8 = 2;

/// The longest record: it has the metadata whole, and what was not applied yet. Bytes.
const RECORD_BYTES_MAX: u32 = 1 << 30;

/// The files of one member's Raft log.
#[derive(Debug)]
pub(super) struct RaftLog {
    wal: Wal,
    /// The last record that makes those before it needless, while their files are there.
    anew: Option<Lsn>,
}

impl RaftLog {
    /// Begins a log in a folder where there is none, durably.
    pub fn begin(
        disk: &Arc<dyn Disk>,
        storage: StorageId,
        first: Option<&Save>,
    ) -> Result<Self, StorageError> {
        let config = config(storage);
        let (wal, _) = Wal::open(Arc::clone(disk), &config, &mut |_, _| Err(NOT_EMPTY.into()))?;
        let mut log = RaftLog { wal, anew: None };
        match first {
            Some(save) => log.append(save)?,
            None => drop(log.wal.append(|out| out.push(BEGINS_EMPTY))?),
        }
        log.settle(true)?;
        Ok(log)
    }

    /// Reads the log that is there.
    pub fn open(disk: &Arc<dyn Disk>, storage: StorageId) -> Result<(Self, Log), StorageError> {
        let (mut log, mut is_first) = (Log::default(), true);
        let (wal, _) = Wal::open(Arc::clone(disk), &config(storage), &mut |lsn, record| {
            let begins = lsn == Lsn::FIRST || record.first() == Some(&BEGINS_ANEW);
            if std::mem::take(&mut is_first) && !begins {
                return Err("the files with the records before it are missing".to_owned());
            }
            replay(&mut log, lsn, record)
        })?;
        Ok((RaftLog { wal, anew: None }, log))
    }

    /// The number that the next record gets.
    pub fn next(&self) -> u64 {
        self.wal.next().0
    }

    /// Appends a record, in memory.
    pub fn append(&mut self, save: &Save) -> Result<(), StorageError> {
        if save.is_empty() {
            return Ok(());
        }
        let kind = if save.begins_anew() { BEGINS_ANEW } else { GOES_ON };
        if save.begins_anew() {
            // Files go as a whole, so it is the first of one.
            self.wal.roll()?;
            self.anew = Some(self.wal.next());
        }
        self.wal.append(|out| {
            out.push(kind);
            out.extend(save.encode());
        })?;
        Ok(())
    }

    /// Writes what was appended, and makes it durable if it has to be.
    pub fn settle(&mut self, must_sync: bool) -> Result<(), StorageError> {
        if must_sync {
            self.wal.sync()?;
        } else {
            self.wal.write()?;
        }
        let durable = self.wal.durable();
        if let Some(anew) = self.anew.take_if(|anew| *anew <= durable) {
            self.wal.truncate_below(anew)?;
        }
        Ok(())
    }

    /// Nothing is to be written for now: makes all durable, and provably so.
    pub fn rest(&mut self) -> Result<(), StorageError> {
        self.settle(true)?;
        Ok(self.wal.rest()?)
    }
}

const NOT_EMPTY: &str = "there is a log already";

pub(super) fn config(storage: StorageId) -> WalConfig {
    let config = WalConfig::new(storage.0.to_be_bytes(), WalKind::Raft);
    WalConfig { record_bytes_max: RECORD_BYTES_MAX, ..config }
}

fn replay(log: &mut Log, lsn: Lsn, record: &[u8]) -> Result<(), String> {
    match record.split_first() {
        Some((&(GOES_ON | BEGINS_ANEW), save)) => log.replay(save).map_err(|e| e.to_string()),
        Some((&BEGINS_EMPTY, [])) if lsn == Lsn::FIRST => Ok(()),
        Some((kind, _)) => Err(format!("another release wrote it: its kind is {kind}")),
        None => Err("it is empty".to_owned()),
    }
}

/// Whether there is any file of a log.
pub(super) fn is_there(disk: &dyn Disk) -> Result<bool, StorageError> {
    Ok(!names(disk).map_err(failed(disk, "list the folder"))?.is_empty())
}

/// Removes a log of which nobody was told. What a power cut leaves of it is no log that opens.
pub(super) fn clear(disk: &dyn Disk) -> Result<(), StorageError> {
    let cleared = names(disk).and_then(|names| {
        names.iter().try_for_each(|name| disk.remove(name))?;
        disk.sync_folder()
    });
    cleared.map_err(failed(disk, "remove the log that was begun here"))
}

fn names(disk: &dyn Disk) -> io::Result<Vec<String>> {
    let mut names = disk.list()?;
    names.retain(|name| name.starts_with("wal-"));
    Ok(names)
}

fn failed(disk: &dyn Disk, action: &'static str) -> impl FnOnce(io::Error) -> StorageError {
    let place = disk.place("");
    move |source| StorageError::Io { place, action, source }
}
