//! The log for one thread.

use std::sync::Arc;

use super::batch::{Batch, Filled};
use super::recovery::{Recovery, Visit, recover};
use super::writer::{Writer, remove};
use super::{Lsn, WalConfig, WalError, frame};
use crate::disk::Disk;

/// A log that one owner appends to, writes and syncs, each when it says so.
#[derive(Debug)]
pub struct Wal {
    batch: Batch,
    writer: Writer,
    spare: Vec<u8>,
    disk: Arc<dyn Disk>,
}

impl Wal {
    /// Opens the log in `disk`, or begins one, and hands its records from `config.from` on to
    /// `visit`, in order. All of them are durable when this returns.
    ///
    /// # Errors
    /// [`WalErrorKind::Damaged`](super::WalErrorKind::Damaged): nothing was changed.
    /// [`WalError::Io`], or [`WalError::OutOfSpace`] for a new log: may be tried again.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: &WalConfig,
        visit: Visit<'_>,
    ) -> Result<(Wal, Recovery), WalError> {
        let (writer, recovery) = recover(&disk, config, visit)?;
        let batch = Batch::new(writer.next(), frame::seed(config), config.payload_max());
        Ok((Wal { batch, writer, spare: Vec::new(), disk }, recovery))
    }

    /// Appends what `encode` adds to the buffer it is given, in memory only.
    ///
    /// # Errors
    /// [`WalError::TooLong`]; [`WalError::Failed`].
    ///
    /// # Panics
    /// When `encode` takes away what was in the buffer.
    pub fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Lsn, WalError> {
        self.writer.check()?;
        self.batch.append(self.writer.durable(), encode)
    }

    /// Writes all that was appended, with one write to the file unless a new one must be begun:
    /// it then survives the end of the process. Gives the number of the last record written.
    ///
    /// # Errors
    /// [`WalError::OutOfSpace`]: what was appended since the last write is not in the log, and
    /// its numbers stay empty. [`WalError::Failed`].
    pub fn write(&mut self) -> Result<Lsn, WalError> {
        self.writer.check()?;
        let Some(filled) = self.batch.take(&mut self.spare) else { return Ok(self.written()) };
        let result = self.put(&filled);
        self.spare = filled.recycle();
        result.map(|()| self.written())
    }

    fn put(&mut self, filled: &Filled) -> Result<(), WalError> {
        if !self.writer.has_room(filled.bytes.len()) {
            self.writer.roll()?;
        }
        self.writer.write(filled)
    }

    /// Writes all that was appended and makes it durable. Gives the number of the last durable
    /// record.
    ///
    /// # Errors
    /// As [`Wal::write`]; what was written before is then still made durable if it can be.
    pub fn sync(&mut self) -> Result<Lsn, WalError> {
        let written = self.write();
        self.writer.sync()?;
        written.map(|_| self.durable())
    }

    /// Removes the oldest files as far as all their records are below `lsn`. Gives their number.
    ///
    /// # Errors
    /// [`WalError::Io`]: some may be gone; may be tried again.
    pub fn truncate_below(&mut self, lsn: Lsn) -> Result<usize, WalError> {
        let parts = self.writer.parts_below(lsn);
        for part in &parts {
            remove(&*self.disk, *part)?;
            self.writer.forget(*part);
        }
        Ok(parts.len())
    }

    /// Makes everything durable and begins a new file, so that the one before can be removed.
    ///
    /// # Errors
    /// As [`Wal::sync`].
    pub fn roll(&mut self) -> Result<(), WalError> {
        self.sync()?;
        self.writer.roll()
    }

    /// The oldest record that the files go back to.
    #[must_use]
    pub fn first(&self) -> Lsn {
        self.writer.first()
    }

    /// The number that the next record gets.
    #[must_use]
    pub fn next(&self) -> Lsn {
        self.batch.next()
    }

    /// The last record that is in a file.
    #[must_use]
    pub fn written(&self) -> Lsn {
        self.writer.written()
    }

    /// The last record that is durable.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.writer.durable()
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Makes everything durable and marks it so: damage to the last records does not look like a
    /// torn end from then on. For when nothing is to be appended for a while.
    ///
    /// # Errors
    /// As [`Wal::sync`].
    pub fn rest(&mut self) -> Result<(), WalError> {
        self.sync()?;
        self.writer.mark()?;
        self.writer.sync()
    }

    /// [`Wal::rest`], for good.
    ///
    /// # Errors
    /// As [`Wal::sync`].
    pub fn close(mut self) -> Result<(), WalError> {
        self.rest()
    }
}
