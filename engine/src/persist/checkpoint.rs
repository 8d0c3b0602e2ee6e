//! When and how all tables are written to a snapshot file, so that the log behind it can go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::overflow::Feeder;
use super::recovery::{snapshot_name, snapshots};
use super::space::Space;
use super::tables::Tables;
use super::{PersistConfig, PersistError};
use crate::env::Clock;
use crate::snapshot_file::{SnapshotHeader, SnapshotKind, write_once};
use crate::wal::{Log, Lsn};

/// How often the thread looks around.
const TICK: Duration = Duration::from_millis(100);
/// Ticks until a checkpoint that failed is tried again.
const RETRY_TICKS: u32 = 20;

/// Writes checkpoints.
pub(super) struct Checkpoints {
    config: PersistConfig,
    tables: Arc<Tables>,
    log: Log,
    clock: Arc<dyn Clock>,
    feeder: Option<Arc<Feeder>>,
    pub space: Arc<Space>,
    /// The position of the last one; the lock is held while one is written.
    last: Mutex<Option<Lsn>>,
    written: AtomicU64,
    /// Bytes of the log when the last one was written.
    behind: AtomicU64,
    /// Why the last attempt failed.
    trouble: Mutex<Option<String>>,
    stopping: AtomicBool,
    sleep: (Mutex<()>, Condvar),
}

impl Checkpoints {
    pub fn new(
        config: PersistConfig,
        tables: Arc<Tables>,
        log: Log,
        clock: Arc<dyn Clock>,
        feeder: Option<Arc<Feeder>>,
        space: Arc<Space>,
    ) -> Self {
        let last = snapshots(&*config.snapshots).ok().and_then(|all| all.last().copied());
        Checkpoints {
            config,
            tables,
            log,
            clock,
            feeder,
            space,
            last: Mutex::new(last),
            written: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            trouble: Mutex::new(None),
            stopping: AtomicBool::new(false),
            sleep: (Mutex::new(()), Condvar::new()),
        }
    }

    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let _sleeping = self.sleep.0.lock();
        self.sleep.1.notify_all();
    }

    /// Writes one unless nothing has changed since the last.
    pub fn write_if_changed(&self) -> Result<(), PersistError> {
        if self.is_reading() {
            return Ok(());
        }
        let written = self.last.lock().unwrap_or(Lsn::NONE);
        if written == self.position() { Ok(()) } else { self.write() }
    }

    fn position(&self) -> Lsn {
        Lsn(self.log.next().0.saturating_sub(1))
    }

    /// Writes one.
    pub fn write(&self) -> Result<(), PersistError> {
        let written = self.try_write();
        *self.trouble.lock() = written.as_ref().err().map(ToString::to_string);
        written
    }

    /// Whether something of the one before is in its file alone.
    fn is_reading(&self) -> bool {
        self.feeder.as_ref().is_some_and(|feeder| feeder.unread() > 0)
    }

    fn try_write(&self) -> Result<(), PersistError> {
        if !self.feeder.as_ref().is_none_or(|feeder| feeder.wait_read()) {
            return Err(PersistError::Store("not all of the last checkpoint was read".to_owned()));
        }
        let mut last = self.last.lock();
        let position = self.position();
        // Whatever is up to here is seen then, so it will be in the file.
        self.log.wait_durable(position).or_else(|error| self.excuse(error))?;
        let header = SnapshotHeader {
            kind: SnapshotKind::Checkpoint,
            storage_id: self.config.storage_id,
            created: self.clock.now(),
            log_position: position.0,
        };
        let tables = self.tables.now();
        let caches: Vec<_> = tables.iter().map(|k| (k.name.as_str(), &*k.table)).collect();
        let name = snapshot_name(position);
        // The file is not to know what a power cut could take from the log.
        let mut behind = Ok(());
        // And what left memory while it was written is in it, or in the store before it counts;
        // what is void in the store is gone from there before the log forgets why.
        let mut read = || {
            behind = self.log.wait_durable(self.position()).or_else(|error| self.excuse(error));
            behind.clone().map_err(std::io::Error::other)?;
            self.settle()
        };
        let written =
            write_once(&*self.config.snapshots, &name, &header, &caches, &mut |_| (), &mut read);
        behind?;
        written?;
        self.written.fetch_add(1, Ordering::Relaxed);
        *last = Some(position);
        self.space.set_gap(false);
        self.forget_before(position)
    }

    fn settle(&self) -> std::io::Result<()> {
        let feeder = self.feeder.as_ref();
        feeder.map_or(Ok(()), |f| f.settle(self.clock.now()).map_err(std::io::Error::other))
    }

    /// Records that were refused for want of room are what a checkpoint makes up for.
    fn excuse(&self, error: crate::wal::WalError) -> Result<(), crate::wal::WalError> {
        if self.space.has_gap() { Ok(()) } else { Err(error) }
    }

    /// Removes what the snapshot file at `position` makes superfluous.
    fn forget_before(&self, position: Lsn) -> Result<(), PersistError> {
        let disk = &*self.config.snapshots;
        let io = |source| PersistError::Io {
            path: disk.place("").into(),
            action: "remove old snapshot files",
            source,
        };
        for old in snapshots(disk).map_err(io)?.into_iter().filter(|old| *old < position) {
            disk.remove(&snapshot_name(old)).map_err(io)?;
        }
        self.log.truncate_below(Lsn(position.0 + 1))?;
        self.behind.store(self.log.bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether the log is long enough, or has a gap.
    fn is_due(&self) -> bool {
        let held: u64 = self.tables.now().iter().map(|kept| kept.table.usage().bytes).sum();
        let limit = self.config.log_bytes.max(held / 2);
        if self.is_reading() {
            return false;
        }
        let grown = self.log.bytes().saturating_sub(self.behind.load(Ordering::Relaxed));
        self.space.has_gap() || grown > limit
    }

    fn run(&self) {
        let mut wait = 0u32;
        while !self.stopping.load(Ordering::Acquire) {
            {
                let mut sleeping = self.sleep.0.lock();
                self.sleep.1.wait_for(&mut sleeping, TICK);
            }
            if self.space.is_stale() {
                self.space.measure();
            }
            wait = wait.saturating_sub(1);
            if wait == 0 && self.is_due() && self.log.failure().is_none() && self.write().is_err() {
                wait = RETRY_TICKS;
            }
        }
    }
}

/// Starts the thread.
pub(super) fn spawn(checkpoints: &Arc<Checkpoints>) -> Result<JoinHandle<()>, PersistError> {
    let checkpoints = Arc::clone(checkpoints);
    let named = std::thread::Builder::new().name("checkpoint".to_owned());
    named.spawn(move || checkpoints.run()).map_err(|source| PersistError::Io {
        path: "checkpoint".into(),
        action: "start the thread",
        source,
    })
}
