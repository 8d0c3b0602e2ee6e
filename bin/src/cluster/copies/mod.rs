//! What the copies of a member have on its disk (DATA_PATH R52, R53, R55, R61): a write-ahead log of
//! their changes, and a checkpoint of what they were when the log began. The bytes are in
//! `docs/STORAGE.md`.
//!
//! A change is put into the log under its copy's locks, in memory alone. One thread waits for the
//! disk, once for all that wait, and tells each copy what of it is durable; then the copy says so
//! to others. For copies that are written behind (`persist = async`) nobody waits: it looks after
//! them a few times in 100 ms. The disk is believed once: after its first error nothing is told any more, so
//! nothing is acknowledged, and the process ends.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the log, and the way of a change into it |
//! | `place.rs` | which folder it is, and how one begins or is put aside |
//! | `record.rs` | the bytes of a record |
//! | `recovery.rs` | from checkpoint and log to copies |
//! | `worker.rs` | the thread that waits for the disk |
//! | `checkpoint.rs` | writing down what copies are, so that the log can begin anew |

mod checkpoint;
mod place;
mod record;
mod recovery;
mod worker;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use isogrid_engine::disk::Disk;
use isogrid_engine::table::Unrecorded;
use isogrid_engine::wal::{Log, Syncs, WalError};
use isogrid_grid::copies::{Copies, Keeper};
use isogrid_grid::id::{GroupId, SegmentId, StorageId};
use isogrid_grid::membership::Now;
use isogrid_grid::replica::Kept;
use thiserror::Error;

pub(super) use place::Place;
pub(super) use worker::Durable;
use worker::{Behind, Job, Worker};

/// Bytes of changes that may wait for the disk before writes are refused.
const WAITING_MAX: u64 = 32 << 20;

/// Why copies cannot be kept, or not be read.
#[derive(Debug, Error)]
pub enum CopiesError {
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The disk failed, or is full.
    #[error("{place}: cannot {action} ({source}): check the disk, and who may use the folder")]
    Io {
        /// The file or folder.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        source: std::io::Error,
    },
    /// What is there is not what was written.
    #[error("{place}: {found}")]
    Damaged {
        /// The file or folder.
        place: String,
        /// What is wrong with it.
        found: String,
    },
    /// What was whole when it was written means nothing here, or has no room.
    #[error(
        "{place}: {found}: start with the configuration, and the release, that wrote it; or move \
         this folder aside, then all copies of this node are filled again from other members"
    )]
    Refused {
        /// The folder.
        place: String,
        /// Which copy, and why.
        found: String,
    },
    /// There are copies of a cache that is none here: what others trust them to have would be lost.
    #[error(
        "{place} has copies of a cache ({group}) that the configuration does not keep: declare it as \
         it was, with persist = sync or async; or move this folder aside, then all copies of this node are \
         filled again from other members"
    )]
    Unclaimed {
        /// The folder.
        place: String,
        /// The cache's number.
        group: GroupId,
    },
}

impl CopiesError {
    /// Whether the copies are not there any more as they were, and have to be filled again.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            CopiesError::Damaged { .. } => true,
            CopiesError::Log(error) => !matches!(
                error,
                WalError::Io { .. } | WalError::OutOfSpace { .. } | WalError::Failed { .. }
            ),
            CopiesError::Io { .. }
            | CopiesError::Unclaimed { .. }
            | CopiesError::Refused { .. } => false,
        }
    }
}

/// The caches whose copies are kept, by their numbers.
pub(super) type Caches = Vec<(GroupId, Weak<Copies>)>;

/// The copies' disk.
pub(super) struct CopyDisk {
    id: StorageId,
    disk: Arc<dyn Disk>,
    log_bytes: u64,
    log: OnceLock<Log>,
    jobs: Sender<Job>,
    queue: Mutex<Option<Receiver<Job>>>,
    /// What nobody waits for, until the thread looks after it.
    behind: Behind,
    /// Bytes of changes that wait to be durable.
    waiting: AtomicU64,
    /// Bytes of the checkpoint, once one was written.
    checkpoint: AtomicU64,
    /// The disk has hardly any room left.
    is_short: AtomicBool,
    caches: OnceLock<Caches>,
}

impl CopyDisk {
    /// The disk in this folder. Nothing is read or kept before [`CopyDisk::open`].
    pub fn new(place: &Place, log_bytes: u64) -> Arc<CopyDisk> {
        let (jobs, queue) = channel();
        Arc::new(CopyDisk {
            id: place.id,
            disk: Arc::clone(&place.disk),
            log_bytes,
            log: OnceLock::new(),
            jobs,
            queue: Mutex::new(Some(queue)),
            behind: Behind::default(),
            waiting: AtomicU64::new(0),
            checkpoint: AtomicU64::new(0),
            is_short: AtomicBool::new(false),
            caches: OnceLock::new(),
        })
    }

    /// Gives copies back what they had, and keeps what they get from now on. `tell` hears what is
    /// durable, `failed` once why nothing is any more; both are called on a thread of their own.
    ///
    /// # Errors
    /// [`CopiesError`]: the copies may have part of what they had.
    pub fn open(
        self: &Arc<Self>,
        now: Now,
        copies: &[(GroupId, Arc<Copies>)],
        tell: impl Fn(Durable) + Send + 'static,
        failed: impl FnOnce(String) + Send + 'static,
    ) -> Result<(), CopiesError> {
        let (log, settled) = recovery::recover(self, now, copies)?;
        // From here on the log says so no more.
        log.append(|out| out.extend_from_slice(record::BEGINS))
            .and_then(|at| log.wait_durable(at))?;
        copies.iter().for_each(|(_, copies)| copies.restored(now, settled));
        let weak = copies.iter().map(|(group, copies)| (*group, Arc::downgrade(copies)));
        let _ = self.caches.set(weak.collect());
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(queue) = queue {
            let (of, behind) = (Arc::downgrade(self), Arc::clone(&self.behind));
            let worker = Worker::new(of, log.clone(), behind, Box::new(tell));
            let place = self.disk.place("");
            let action = "start a thread";
            let started = worker.start(queue, failed);
            started.map_err(|source| CopiesError::Io { place, action, source })?;
        }
        let _ = self.log.set(log);
        Ok(())
    }

    /// Waits until everything is durable that copies have, those that are written behind too: the process
    /// is about to end.
    ///
    /// # Errors
    /// The disk's own.
    pub fn settle(&self) -> Result<(), WalError> {
        let Some(log) = self.log.get() else { return Ok(()) };
        let last = log.append(|out| out.extend_from_slice(record::SETTLED))?;
        log.wait_durable(last)
    }

    /// Bytes of changes that are not durable yet.
    pub fn unwritten(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How often its log was synced since the start.
    pub fn syncs(&self) -> Syncs {
        self.log.get().map(Log::syncs).unwrap_or_default()
    }

    fn refused(&self, found: String) -> CopiesError {
        CopiesError::Refused { place: self.disk.place(""), found }
    }
}

impl Drop for CopyDisk {
    fn drop(&mut self) {
        // Its end is marked, so that damage to it is told from a write that was torn.
        if let Some(Err(error)) = self.log.get().map(Log::close) {
            tracing::error!(event = "copies_not_closed", %error);
        }
    }
}

impl Keeper for CopyDisk {
    fn keep(&self, (group, at): (GroupId, SegmentId), (count, kept): (u64, &Kept), waits: bool) {
        let Some(log) = self.log.get() else { return };
        let mut bytes = 0;
        let appended = log.append(|out| {
            let before = out.len();
            record::encode(group, at, kept, out);
            bytes = (out.len() - before) as u64;
        });
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let job = Job { lsn: appended, group, at, count, bytes };
        if waits {
            // When the thread is gone it has said why.
            let _ = self.jobs.send(job);
        } else {
            self.behind.lock().unwrap_or_else(PoisonError::into_inner).push(job);
        }
    }

    fn refuses(&self) -> Option<Unrecorded> {
        if self.is_short.load(Ordering::Relaxed) {
            return Some(Unrecorded::OutOfSpace);
        }
        let is_behind = self.unwritten() > WAITING_MAX;
        is_behind.then_some(Unrecorded::Busy)
    }
}

/// The data directory's folder for what the node knows of its cluster.
pub(super) fn folder(data_dir: &str) -> std::path::PathBuf {
    Path::new(data_dir).join("cluster")
}

#[cfg(test)]
mod tests;
