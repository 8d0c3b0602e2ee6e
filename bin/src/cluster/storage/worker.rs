//! The thread that writes.

use std::iter::once;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use isogrid_grid::id::NodeId;
use isogrid_grid::metadata::Settings;
use isogrid_grid::raft::Save;

use super::StorageError;
use super::kept::Kept;

/// What is called when something is durable.
pub(super) type Done = Box<dyn FnOnce() + Send>;

/// What is asked for.
pub(super) enum Job {
    Save(Save),
    Promise(Vec<u8>, Done),
    Member((NodeId, Settings), Option<Box<Save>>, Done),
    Forget(Done),
}

/// So many jobs make a group at most: the first is not kept waiting for ever.
const GROUP_MAX: usize = 1_024;
/// When nothing was asked for so long, the end of the log is marked as durable.
const REST: Duration = Duration::from_millis(100);

/// What it works on.
pub(super) struct Worker {
    /// `None`: in memory everything is done at once.
    kept: Option<Kept>,
    on_saved: Box<dyn Fn(u64) + Send>,
    group: Group,
}

/// Saves that were appended, and are neither written nor reported.
#[derive(Debug, Default)]
struct Group {
    must_sync: bool,
    /// The highest number of them.
    number: u64,
}

impl Worker {
    pub fn new(kept: Option<Kept>, on_saved: Box<dyn Fn(u64) + Send>) -> Self {
        Worker { kept, on_saved, group: Group::default() }
    }

    /// Does everything that is asked for, until nobody can ask any more, or the process is
    /// nobody.
    pub fn run(mut self, queue: &Receiver<Job>) -> Result<(), StorageError> {
        while let Some(first) = self.next(queue)? {
            for job in once(first).chain(queue.try_iter().take(GROUP_MAX)) {
                if let Job::Save(save) = job {
                    self.append(&save)?;
                    continue;
                }
                self.settle()?;
                match job {
                    Job::Save(_) => {}
                    Job::Promise(bytes, done) => {
                        self.keep(|kept| kept.promise(&bytes))?;
                        done();
                    }
                    Job::Member(member, first, done) => {
                        self.keep(|kept| kept.become_member(member, first.as_deref()))?;
                        done();
                    }
                    Job::Forget(done) => {
                        self.keep(Kept::forget)?;
                        done();
                        return Ok(());
                    }
                }
            }
            self.settle()?;
        }
        self.keep(Kept::rest)
    }

    fn next(&mut self, queue: &Receiver<Job>) -> Result<Option<Job>, StorageError> {
        match queue.recv_timeout(REST) {
            Ok(job) => Ok(Some(job)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                self.keep(Kept::rest)?;
                Ok(queue.recv().ok())
            }
        }
    }

    fn append(&mut self, save: &Save) -> Result<(), StorageError> {
        self.group.must_sync |= save.must_sync();
        debug_assert!(save.number() == 0 || save.number() > self.group.number, "in order (R68)");
        self.group.number = self.group.number.max(save.number());
        self.keep(|kept| kept.append(save))
    }

    /// Writes the group, makes it durable if any of it has to be, and then reports it.
    fn settle(&mut self) -> Result<(), StorageError> {
        let Group { must_sync, number } = std::mem::take(&mut self.group);
        self.keep(|kept| kept.settle(must_sync))?;
        if number != 0 {
            (self.on_saved)(number);
        }
        Ok(())
    }

    fn keep(
        &mut self,
        act: impl FnOnce(&mut Kept) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.kept.as_mut().map_or(Ok(()), act)
    }
}
