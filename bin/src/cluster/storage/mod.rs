//! What a member of a cluster keeps on its disk about the cluster itself: who it is, what it has
//! promised to found, and its Raft log (DATA_PATH R52, R53, R65, R68). The bytes are in
//! `docs/STORAGE.md`.
//!
//! All of it is written by one thread, in the order in which it was asked for. What waits when it
//! gets to it is written with one write and made durable with one sync. How much can wait is
//! bounded by who asks: Raft has so many bytes of entries under way and no more (R66).
//!
//! The disk is believed once (R53): after its first error nothing is written any more, nothing is
//! reported as done, and [`Storage::open`]'s `on_failed` is told why.

mod error;
mod file;
mod identity;
mod kept;
mod log;
mod promise;
mod worker;

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

use isogrid_grid::id::{Boot, NodeId, StorageId};
use isogrid_grid::metadata::Settings;
use isogrid_grid::raft::{Log, Save};

pub use self::error::StorageError;
use self::kept::{Folder, Kept};
use self::worker::{Job, Worker};
use crate::security::random;

/// Where a member keeps what it knows.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// Nowhere: each process is a new storage.
    Memory,
    /// In the folder `cluster` of a data directory.
    Folder {
        /// The data directory. Something else may have locked it.
        data_dir: &'a Path,
        /// The storage id of what it holds beside, if it holds anything: the identity is bound to
        /// it, since others trust the member's copies by it.
        data: Option<[u8; 16]>,
    },
}

/// What was kept.
#[derive(Debug)]
pub struct Opened {
    /// Which disk this is. Random, and not that of the data directory: a disk whose member was
    /// removed gets another one.
    pub storage: StorageId,
    /// Which start of it this is.
    pub boot: Boot,
    /// Which member it is, and of which cluster.
    pub member: Option<(NodeId, Settings)>,
    /// What it has promised to found. A member has no use for that any more.
    pub promise: Option<Vec<u8>>,
    /// The Raft log; empty when it is no member.
    pub log: Log,
}

/// The storage of one process. When it is dropped, its thread does what was asked for, and ends.
#[derive(Debug)]
pub struct Storage {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl Storage {
    /// Opens what is in that place, or begins it, and counts this start: a later one has a higher
    /// [`Boot`], however this one ends. Waits for the disk.
    ///
    /// `on_saved` is told the highest [`Save::number`] that is done, `on_failed` once why nothing
    /// is done any more. Both are called on the storage's thread, as all the others are, and must
    /// not wait for it.
    ///
    /// # Errors
    /// [`StorageError`] names the file and the next step. Nothing was changed if it is a refusal
    /// ([`StorageError::is_refusal`]), but for a torn end of the log that may have been cut off.
    pub fn open(
        place: Place<'_>,
        cluster: &str,
        on_saved: impl Fn(u64) + Send + 'static,
        on_failed: impl FnOnce(StorageError) + Send + 'static,
    ) -> Result<(Storage, Opened), StorageError> {
        let (kept, opened) = match place {
            Place::Memory => (None, Opened::in_memory(new_storage())),
            Place::Folder { data_dir, data } => {
                let (kept, opened) = Kept::open(Folder::open(data_dir)?, data, cluster)?;
                (Some(kept), opened)
            }
        };
        Ok((Storage::start(kept, on_saved, on_failed)?, opened))
    }

    fn start(
        kept: Option<Kept>,
        on_saved: impl Fn(u64) + Send + 'static,
        on_failed: impl FnOnce(StorageError) + Send + 'static,
    ) -> Result<Storage, StorageError> {
        let (jobs, queue) = channel();
        let worker = Worker::new(kept, Box::new(on_saved));
        let named = Builder::new().name("cluster-disk".to_owned());
        let thread = named.spawn(move || {
            if let Err(error) = worker.run(&queue) {
                on_failed(error);
            }
        });
        let place = String::new();
        let failed = |source| StorageError::Io { place, action: "start a thread", source };
        Ok(Storage { jobs, thread: thread.map_err(failed)? })
    }

    /// Saves this after all that was given before. Never waits.
    pub fn save(&self, save: Save) {
        self.ask(Job::Save(save));
    }

    /// Keeps what was promised to be founded, in place of what was before; no bytes: nothing.
    /// `done` is called when that is durable.
    pub fn promise(&self, bytes: Vec<u8>, done: impl FnOnce() + Send + 'static) {
        self.ask(Job::Promise(bytes, Box::new(done)));
    }

    /// Makes the process a member, whose log begins with `first`, if it has founded the cluster.
    /// When `done` is called that is durable, and later starts are that member's; a crash before
    /// leaves a process that is none. Only then it may speak as a member.
    pub fn become_member(
        &self,
        node: NodeId,
        settings: Settings,
        first: Option<Save>,
        done: impl FnOnce() + Send + 'static,
    ) {
        self.ask(Job::Member((node, settings), first.map(Box::new), Box::new(done)));
    }

    /// The cluster has removed the member: the next start is that of a new storage which belongs
    /// to none. What is asked for after this is not done.
    pub fn forget(&self, done: impl FnOnce() + Send + 'static) {
        self.ask(Job::Forget(Box::new(done)));
    }

    /// Waits until everything that was asked for is done and durable, and lets go of the folder.
    pub fn close(self) {
        let Storage { jobs, thread } = self;
        drop(jobs);
        // One that panicked has said so.
        let _ = thread.join();
    }

    fn ask(&self, job: Job) {
        // A thread that has ended has said why.
        let _ = self.jobs.send(job);
    }
}

/// A number that nothing else has.
pub(super) fn new_storage() -> StorageId {
    StorageId(u128::from_be_bytes(random::bytes()))
}

#[cfg(test)]
mod tests;
