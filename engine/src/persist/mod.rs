//! Tables that are there after a restart.
//!
//! Each change is recorded in one write-ahead log ahead of being done, so the log has one order
//! for everything. [`PersistMode::Async`] changes are seen at once and acknowledged when they are
//! written; [`PersistMode::Sync`] ones are seen and acknowledged when they are durable. As there
//! is one order, what survives a crash is always everything up to some moment: nobody finds a
//! change that depends on one that is lost.
//!
//! Now and then a *checkpoint* writes all tables to a snapshot file; the log behind it can go. A
//! restart reads the newest snapshot file and does the changes of the log again. Every restart
//! leaves a gap in the version numbers, so that none is given twice even if the last changes
//! before a crash are lost.
//!
//! | file | what it is |
//! |---|---|
//! | `directory.rs` | the data directory: whose it is, its format, one process at a time |
//! | `change.rs` | the bytes of a recorded change |
//! | `journal.rs` | the way of a change into the log, and back when it is durable |
//! | `space.rs` | refuses changes before the disk is full |
//! | `recovery.rs` | from snapshot file and log to tables |
//! | `checkpoint.rs` | when and how a snapshot file is written |
//! | [`behind`] | tables without a log: their changes reach a store later |

pub mod behind;
mod change;
mod checkpoint;
mod directory;
mod error;
mod journal;
mod recovery;
mod space;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;

pub use directory::DataDirectory;
pub use error::PersistError;
pub use recovery::Recovered;

use crate::disk::Disk;
use crate::env::Clock;
use crate::table::Table;
use crate::wal::{Log, LogConfig, Lsn, WalConfig, WalError, WalKind};
use checkpoint::Checkpoints;
use journal::{Hook, TableJournal};
use space::Space;

/// When a change counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PersistMode {
    /// Never: the table is empty after a restart.
    #[default]
    None,
    /// When it is written to the log: it survives the end of the process, and a power cut after
    /// 100 ms.
    Async,
    /// When it is durable; readers do not see it before.
    Sync,
    /// At once; it is written to a store a moment later ([`behind`]).
    Behind,
}

impl PersistMode {
    /// The modes and their names.
    pub const NAMES: [(&'static str, PersistMode); 4] = [
        ("none", Self::None),
        ("async", Self::Async),
        ("sync", Self::Sync),
        ("behind", Self::Behind),
    ];

    /// The mode of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<PersistMode> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
    }
}

/// A table that is to be kept.
#[derive(Clone)]
pub struct KeptTable {
    /// Its name, by which it is found again; at most 255 bytes.
    pub name: String,
    /// The table, empty.
    pub table: Arc<Table>,
    /// When its changes count as kept: [`PersistMode::Async`] or [`PersistMode::Sync`].
    pub mode: PersistMode,
}

/// Where and how tables are kept.
pub struct PersistConfig {
    /// The folder of the log.
    pub log: Arc<dyn Disk>,
    /// The folder of snapshot files.
    pub snapshots: Arc<dyn Disk>,
    /// Whether snapshot files are mapped into memory to be read; only on a real disk.
    pub mapped: bool,
    /// Whose they are.
    pub storage_id: [u8; 16],
    /// Bytes of the log at which a checkpoint is due, unless the tables hold twice as much.
    /// Default: 64 MiB.
    pub log_bytes: u64,
    /// Bytes of one file of the log. Default: 64 MiB.
    pub log_file_bytes: u64,
}

/// The usual size of a log between two checkpoints, and of its files.
pub const LOG_BYTES_DEFAULT: u64 = 64 << 20;

/// Keeps tables. Dropping it ends its threads without a last checkpoint.
pub struct Persistence {
    log: Log,
    checkpoints: Arc<Checkpoints>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Persistence {
    /// Fills the tables with what was kept of them, and keeps what changes from now on.
    ///
    /// # Errors
    /// [`PersistError`] names the file and the next step; the tables may be partly filled.
    pub fn open(
        config: PersistConfig,
        tables: Vec<KeptTable>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Persistence, Recovered), PersistError> {
        let (from, mut recovered) = recovery::read_snapshot(&config, &tables, clock.now())?;
        let space = Arc::new(Space::new(Arc::clone(&config.log)));
        let hook = Arc::new(Hook::new(&tables, Arc::clone(&clock), Arc::clone(&space)));
        let log_config = log_config(&config, from);
        let log = {
            let now = clock.now();
            let mut visit = |lsn: Lsn, bytes: &[u8]| {
                recovered.changes += 1;
                recovery::replay(&tables, bytes, now).map_err(|why| format!("{lsn}: {why}"))
            };
            let (log, read) = Log::open(Arc::clone(&config.log), &log_config, hook, &mut visit)?;
            recovered.torn = read.torn.map(|torn| format!("{}: {} bytes", torn.place, torn.bytes));
            log
        };
        recovery::remove_left_over(&*config.snapshots)?;
        for kept in &tables {
            let journal = TableJournal::new(kept, log.clone(), Arc::clone(&space));
            kept.table.set_journal(Arc::new(journal));
            kept.table.begin_life().map_err(PersistError::Life)?;
        }
        // Versions of this life may be lost with it: that they were given out must not be.
        log.wait_durable(Lsn(log.next().0.saturating_sub(1)))?;
        let checkpoints = Arc::new(Checkpoints::new(config, tables, log.clone(), clock, space));
        let thread = checkpoint::spawn(&checkpoints)?;
        Ok((Persistence { log, checkpoints, thread: Mutex::new(Some(thread)) }, recovered))
    }

    /// The number of the last change so far.
    #[must_use]
    pub fn last(&self) -> Lsn {
        Lsn(self.log.next().0.saturating_sub(1))
    }

    /// Waits until all changes up to `last` are written: for [`PersistMode::Async`].
    ///
    /// # Errors
    /// It is unknown what became of the changes.
    pub fn flush(&self, last: Lsn) -> Result<(), WalError> {
        self.log.flush(last)
    }

    /// Whether all changes up to `last` are durable, or wakes the task when they are: for
    /// [`PersistMode::Sync`].
    ///
    /// # Errors
    /// It is unknown what became of the changes.
    pub fn poll_durable(&self, cx: &mut Context<'_>, last: Lsn) -> Poll<Result<(), WalError>> {
        self.log.poll_durable(cx, last)
    }

    /// Why the log takes no more changes, if so.
    #[must_use]
    pub fn failure(&self) -> Option<WalError> {
        self.log.failure()
    }

    /// Whether changes are refused for want of room on the disk.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        self.checkpoints.space.is_full()
    }

    /// Bytes of the log's files.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Checkpoints written since the start.
    #[must_use]
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints.written()
    }

    /// Why the last attempt at a checkpoint failed, if it did. It is tried again.
    #[must_use]
    pub fn checkpoint_trouble(&self) -> Option<String> {
        self.checkpoints.trouble()
    }

    /// Writes a checkpoint now.
    ///
    /// # Errors
    /// [`PersistError`]; the one before and the log behind it are still there.
    pub fn checkpoint(&self) -> Result<(), PersistError> {
        self.checkpoints.write()
    }

    /// Writes a last checkpoint, so that the next start need not do changes again, and closes the
    /// log.
    ///
    /// # Errors
    /// [`PersistError`]; when only the checkpoint failed, the log still has everything.
    pub fn close(&self) -> Result<(), PersistError> {
        self.checkpoints.stop();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
        let last = self.checkpoints.write_if_changed();
        self.log.close()?;
        last
    }
}

impl Drop for Persistence {
    fn drop(&mut self) {
        self.checkpoints.stop();
    }
}

fn log_config(config: &PersistConfig, from: Lsn) -> LogConfig {
    let wal = WalConfig {
        from,
        file_bytes: config.log_file_bytes,
        record_bytes_max: 1 << 30,
        ..WalConfig::new(config.storage_id, WalKind::Data)
    };
    LogConfig::new(wal)
}
