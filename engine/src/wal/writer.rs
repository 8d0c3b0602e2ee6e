//! The files of one log, from the writer's side: where the end is, what is durable, and what
//! happens when the disk does not do as it should.

use std::io;
use std::sync::Arc;

use super::batch::Filled;
use super::file::{self, RECORDS_AT, name_of};
use super::frame::{self, FRAME_BYTES};
use super::{Lsn, WalConfig, WalError};
use crate::disk::{Disk, DiskFile, is_out_of_space};

/// One log file of those that are there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub first: Lsn,
    pub bytes: u64,
}

/// Writes whole batches at the end of the last file.
#[derive(Debug)]
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    config: WalConfig,
    seed: u32,
    file: Arc<dyn DiskFile>,
    /// All files but the last.
    older: Vec<Part>,
    /// The last one; `bytes` is where the next frame goes.
    last: Part,
    /// The number that the chain of frames has come to.
    next: Lsn,
    written: Lsn,
    durable: Lsn,
    /// Something was written since the last sync began.
    dirty: bool,
    /// The last frame is a mark that everything before it is durable.
    at_rest: bool,
    failed: Option<WalError>,
}

/// A sync that is under way: it needs no lock, so that the next records are written meanwhile.
#[derive(Debug)]
pub(crate) struct Sync {
    file: Arc<dyn DiskFile>,
    upto: Lsn,
}

impl Sync {
    pub fn run(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Where recovery found the end of the log.
#[derive(Debug)]
pub(crate) struct End {
    pub file: Arc<dyn DiskFile>,
    pub older: Vec<Part>,
    pub last: Part,
    pub next: Lsn,
    pub at_rest: bool,
}

impl Writer {
    /// A writer that goes on at `end`, up to which everything is durable.
    pub fn new(disk: Arc<dyn Disk>, config: WalConfig, end: End) -> Self {
        Writer {
            disk,
            seed: frame::seed(&config),
            config,
            file: end.file,
            older: end.older,
            last: end.last,
            next: end.next,
            written: end.next.previous(),
            durable: end.next.previous(),
            dirty: false,
            at_rest: end.at_rest,
            failed: None,
        }
    }

    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// The last record that is in the file.
    pub fn written(&self) -> Lsn {
        self.written
    }

    pub fn next(&self) -> Lsn {
        self.next
    }

    pub fn first(&self) -> Lsn {
        self.older.first().unwrap_or(&self.last).first
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.older.iter().chain([&self.last]).map(|part| part.bytes).sum()
    }

    /// Whether so many more bytes belong in the last file.
    pub fn has_room(&self, bytes: usize) -> bool {
        let end = self.last.bytes + (FRAME_BYTES + bytes) as u64;
        end <= self.config.file_bytes || self.next == self.last.first
    }

    /// Puts a batch at the end of the last file, with one write.
    ///
    /// After [`WalError::OutOfSpace`] nothing of the batch is in the log, and its numbers stay
    /// empty: the next batch is preceded by a mark that says so.
    pub fn write(&mut self, batch: &Filled) -> Result<(), WalError> {
        self.check()?;
        if batch.first != self.next {
            let mark = frame::mark(self.seed, batch.first, self.durable);
            self.put(&mark)?;
            self.next = batch.first;
        }
        self.put(&batch.bytes)?;
        self.next = batch.next;
        self.written = batch.next.previous();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WalError> {
        self.dirty = true;
        self.at_rest = false;
        match self.file.write_at(self.last.bytes, bytes) {
            Ok(()) => {
                self.last.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) if is_out_of_space(&error) => Err(self.cut_back(error)),
            Err(error) => Err(self.fail("write", error)),
        }
    }

    /// Takes half-written frames back. The cut is synced before anything else is written there:
    /// otherwise a power cut could leave old frames behind new ones, and they would pass for
    /// records.
    fn cut_back(&mut self, full: io::Error) -> WalError {
        let cut = self.file.set_len(self.last.bytes).and_then(|()| self.file.sync_all());
        match cut {
            Ok(()) => WalError::out_of_space(self.place(), "write", full),
            Err(error) => self.fail("take a half-written record back", error),
        }
    }

    /// Syncs the last file to its end and begins a new one.
    pub fn roll(&mut self) -> Result<(), WalError> {
        self.sync()?;
        if self.next == self.last.first {
            return Ok(());
        }
        let made = file::create(&*self.disk, &self.config, self.next);
        self.file = match made {
            Err(error @ WalError::Failed { .. }) => {
                self.failed = Some(error.clone());
                return Err(error);
            }
            made => made?,
        };
        self.older.push(self.last);
        self.last = Part { first: self.next, bytes: RECORDS_AT };
        self.at_rest = true;
        Ok(())
    }

    /// Syncs everything that was written.
    pub fn sync(&mut self) -> Result<(), WalError> {
        let Some(sync) = self.begin_sync()? else { return Ok(()) };
        let result = sync.run();
        self.end_sync(&sync, result)
    }

    /// The sync that is to be run, `None` when there is nothing to sync. At most one may be under
    /// way: the kernel reports an error once per file, so of two at the same time one would
    /// believe that all is well.
    pub fn begin_sync(&mut self) -> Result<Option<Sync>, WalError> {
        self.check()?;
        let dirty = std::mem::take(&mut self.dirty);
        let sync = || Sync { file: self.file.clone(), upto: self.written };
        Ok(dirty.then(sync))
    }

    /// What became of it.
    pub fn end_sync(&mut self, sync: &Sync, result: io::Result<()>) -> Result<(), WalError> {
        // A write that failed meanwhile may have taken this sync's error with it.
        self.check()?;
        result.map_err(|error| self.fail("sync", error))?;
        self.durable = self.durable.max(sync.upto);
        Ok(())
    }

    /// Whether the last records are not yet known to be durable by what stands behind them.
    pub fn wants_mark(&self) -> bool {
        self.failed.is_none() && !self.at_rest && self.durable == self.written
    }

    /// Writes that everything so far is durable, if it is. On a full disk it does not.
    pub fn mark(&mut self) -> Result<(), WalError> {
        if !self.wants_mark() {
            return self.check();
        }
        let mark = frame::mark(self.seed, self.next, self.durable);
        match self.put(&mark) {
            Ok(()) | Err(WalError::OutOfSpace { .. }) => {}
            Err(error) => return Err(error),
        }
        self.at_rest = true;
        Ok(())
    }

    /// The oldest files, as far as all their records are below `lsn`.
    pub fn parts_below(&self, lsn: Lsn) -> Vec<Part> {
        let ends = self.older.iter().skip(1).chain([&self.last]).map(|part| part.first);
        let old = self.older.iter().zip(ends).take_while(|(_, end)| *end <= lsn);
        old.map(|(part, _)| *part).collect()
    }

    /// A file is gone.
    pub fn forget(&mut self, part: Part) {
        self.older.retain(|other| other.first != part.first);
    }

    /// The error that closed the log for writing.
    pub fn check(&self) -> Result<(), WalError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, action: &'static str, error: io::Error) -> WalError {
        let error = WalError::failed(self.place(), action, error);
        self.failed.get_or_insert(error).clone()
    }

    fn place(&self) -> String {
        self.disk.place(&name_of(self.last.first))
    }
}

/// Removes one file, for good when this returns: files go one by one, oldest first, so that a
/// power cut never leaves a hole.
pub(crate) fn remove(disk: &dyn Disk, part: Part) -> Result<(), WalError> {
    let name = name_of(part.first);
    let failed = |action, error| WalError::io(disk.place(&name), action, error);
    match disk.remove(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove the file", error));
        }
        _ => {}
    }
    disk.sync_folder().map_err(|error| failed("sync the folder", error))
}
