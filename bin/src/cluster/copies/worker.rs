//! The thread that waits for the disk, and tells copies what is durable.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::Builder;
use std::time::Duration;

use isogrid_engine::wal::{Log, Lsn, WalError};
use isogrid_engine::{Clock, SystemClock, env};
use isogrid_grid::id::{GroupId, SegmentId};
use isogrid_grid::membership::Now;

use super::{CopiesError, CopyDisk, checkpoint};

/// A change that is in the log, or could not be put there.
pub(super) struct Job {
    pub lsn: Result<Lsn, WalError>,
    pub group: GroupId,
    pub at: SegmentId,
    pub count: u64,
    pub bytes: u64,
}

/// How often what nobody waits for is made durable: with the sync itself within 100 ms.
const TURN: Duration = Duration::from_millis(50);
/// How often it is looked whether there is room, and whether the log is long.
const UPKEEP: Duration = Duration::from_secs(1);
/// With less room than this writes are refused: what copies get from elsewhere cannot be. Bytes.
const SHORT_BYTES: u64 = 64 << 20;

/// How many changes of each copy are durable.
pub(in crate::cluster) type Durable = BTreeMap<(GroupId, SegmentId), u64>;
type Tell = Box<dyn Fn(Durable) + Send>;
/// Changes that nobody waits for.
pub(super) type Behind = Arc<Mutex<Vec<Job>>>;

pub(super) struct Worker {
    of: Weak<CopyDisk>,
    log: Log,
    behind: Behind,
    tell: Tell,
    /// A thread writes a checkpoint.
    is_writing: Arc<AtomicBool>,
}

impl Worker {
    pub fn new(of: Weak<CopyDisk>, log: Log, behind: Behind, tell: Tell) -> Worker {
        Worker { of, log, behind, tell, is_writing: Arc::default() }
    }

    /// Runs until nobody keeps anything any more, or the disk fails.
    pub fn start(
        self,
        queue: Receiver<Job>,
        failed: impl FnOnce(String) + Send + 'static,
    ) -> std::io::Result<()> {
        Builder::new()
            .name("copies-disk".to_owned())
            .spawn(move || {
                if let Err(error) = self.run(&queue) {
                    failed(error.to_string());
                }
            })
            .map(drop)
    }

    fn run(&self, queue: &Receiver<Job>) -> Result<(), WalError> {
        let mut looked_at = 0;
        loop {
            let first = match queue.recv_timeout(TURN) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let behind =
                std::mem::take(&mut *self.behind.lock().unwrap_or_else(PoisonError::into_inner));
            self.settle(behind.into_iter().chain(first).chain(queue.try_iter()))?;
            if env::boot_millis() >= looked_at + u64::try_from(UPKEEP.as_millis()).unwrap_or(1) {
                looked_at = env::boot_millis();
                self.look();
            }
        }
    }

    /// Waits until all of these are durable, with one sync, and tells their copies.
    fn settle(&self, jobs: impl Iterator<Item = Job>) -> Result<(), WalError> {
        let (mut last, mut bytes, mut durable) = (Lsn::NONE, 0, Durable::new());
        for job in jobs {
            last = last.max(job.lsn?);
            bytes += job.bytes;
            let count = durable.entry((job.group, job.at)).or_default();
            *count = job.count.max(*count);
        }
        if durable.is_empty() {
            return Ok(());
        }
        self.log.wait_durable(last)?;
        if self.log.refusals() > 0 {
            // A record that is missing makes those behind it worthless.
            let place = self.of.upgrade().map_or_else(String::new, |of| of.disk.place(""));
            let source = Arc::new(std::io::ErrorKind::StorageFull.into());
            return Err(WalError::Failed { place, action: "write the log", source });
        }
        if let Some(of) = self.of.upgrade() {
            of.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        (self.tell)(durable);
        Ok(())
    }

    fn look(&self) {
        let Some(of) = self.of.upgrade() else { return };
        let is_short = of.disk.free_bytes().is_ok_and(|free| free < SHORT_BYTES);
        if of.is_short.swap(is_short, Ordering::Relaxed) != is_short {
            tracing::warn!(event = "copies_short_of_storage", is_short, "writes of kept caches");
        }
        let is_long =
            self.log.bytes() > of.log_bytes.max(2 * of.checkpoint.load(Ordering::Relaxed));
        if is_long && !self.is_writing.swap(true, Ordering::AcqRel) {
            let (log, is_writing) = (self.log.clone(), Arc::clone(&self.is_writing));
            let spawned = Builder::new().name("copies-checkpoint".to_owned()).spawn(move || {
                write_checkpoint(&of, &log);
                is_writing.store(false, Ordering::Release);
            });
            if spawned.is_err() {
                self.is_writing.store(false, Ordering::Release);
            }
        }
    }
}

fn write_checkpoint(of: &CopyDisk, log: &Log) {
    let Some(caches) = of.caches.get() else { return };
    let now = Now { monotonic: env::boot_millis(), wall: SystemClock::new().now() };
    let written: Result<Option<u64>, CopiesError> = checkpoint::write(of, log, caches, now);
    match written {
        Ok(Some(bytes)) => {
            of.checkpoint.store(bytes, Ordering::Relaxed);
            tracing::info!(event = "copies_checkpoint", bytes, "the log begins anew");
        }
        Ok(None) => {}
        Err(error) => tracing::error!(event = "copies_checkpoint_failed", %error, "tried again"),
    }
}
