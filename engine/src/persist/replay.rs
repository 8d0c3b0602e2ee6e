//! Does recorded changes again, on several threads.
//!
//! The segment of a key says which thread does its changes, so those of one key keep their order.
//! Those of different keys may change places, which nobody can tell: nobody reads before all are
//! done. What concerns all keys waits for what stands before it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use parking_lot::Mutex;

use super::overflow::{Feeder, Overflow};
use super::{KeptTable, PersistError, change};
use crate::env::Timestamp;
use crate::error::Error;
use crate::hash::KeyHash;
use crate::table::{Change, Pinned, Saved};

/// Bytes of changes that are handed over at once.
const BATCH_BYTES: usize = if cfg!(test) { 256 } else { 64 << 10 };
/// Batches that may wait for a thread.
const BATCHES_MAX: usize = 8;
/// Changes ahead whose places in the index are on their way.
const AHEAD: usize = 8;

/// Changes for one thread.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    changes: Vec<Place>,
}

/// Where a change stands in a batch, and where it belongs.
struct Place {
    table: usize,
    hash: KeyHash,
    bytes: Range<usize>,
}

enum Message {
    Do(Batch),
    /// Everything before this is done: say so.
    Tell(SyncSender<()>),
}

struct Worker {
    sender: SyncSender<Message>,
    filling: Batch,
}

/// A table, and where what it has no room for goes.
struct Target<'t> {
    kept: &'t KeptTable,
    overflow: Option<Arc<Overflow>>,
}

/// Takes the records of a log in order.
pub(super) struct Replay<'t> {
    targets: &'t [Target<'t>],
    now: Timestamp,
    /// Tables that something is left of and that were not given.
    pub unclaimed: Vec<String>,
    /// None: everything is done where it is read.
    workers: Vec<Worker>,
    /// Why a change could not be done.
    failure: &'t Mutex<Option<String>>,
}

/// Calls `read` with what does the changes of `tables` again on up to `threads` threads, 0 = on
/// this one; all is done when this returns.
///
/// # Errors
/// Those of `read`, and [`PersistError::Store`] when there is no room for what comes back.
pub(super) fn replaying<T, E: Into<PersistError>>(
    tables: &[KeptTable],
    feeder: Option<&Feeder>,
    now: Timestamp,
    threads: usize,
    read: impl FnOnce(&mut Replay<'_>) -> Result<T, E>,
) -> Result<T, PersistError> {
    let overflow = |kept: &KeptTable| feeder.and_then(|feeder| feeder.overflow(&kept.name));
    let targets: Vec<_> =
        tables.iter().map(|kept| Target { kept, overflow: overflow(kept) }).collect();
    let (targets, failure) = (&*targets, &Mutex::new(None));
    let done = thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..threads {
            let (sender, receiver) = sync_channel(BATCHES_MAX);
            let builder = thread::Builder::new().name("replay".to_owned());
            // With fewer threads it only takes longer.
            let work = move || work(targets, now, &receiver, failure);
            if builder.spawn_scoped(scope, work).is_ok() {
                workers.push(Worker { sender, filling: Batch::default() });
            }
        }
        let mut replay = Replay { targets, now, unclaimed: Vec::new(), workers, failure };
        let done = read(&mut replay);
        replay.workers.iter_mut().for_each(Worker::send);
        done
    });
    match failure.lock().take() {
        Some(why) => Err(PersistError::Store(why)),
        None => done.map_err(Into::into),
    }
}

impl Replay<'_> {
    /// Does the changes of a record again, or will before [`replaying`] returns.
    pub fn record(&mut self, bytes: &[u8]) -> Result<(), String> {
        change::each_cache(bytes, |name, record| self.of_cache(name, record)).ok_or_else(unknown)
    }

    fn of_cache(&mut self, name: &str, record: &[u8]) -> Option<()> {
        let table = self.targets.iter().position(|target| target.kept.name == name);
        change::each(record, |bytes, change| match table {
            Some(table) => self.change(table, bytes, &change),
            None => self.not_given(name, &change),
        })
    }

    /// A table that was not given is unclaimed until nothing is left of it.
    fn not_given(&mut self, name: &str, change: &Change<'_>) {
        let known = self.unclaimed.iter().position(|unclaimed| unclaimed == name);
        match (change, known) {
            (Change::Clear, Some(at)) => drop(self.unclaimed.swap_remove(at)),
            (Change::Put { .. }, None) => self.unclaimed.push(name.to_owned()),
            _ => {}
        }
    }

    fn change(&mut self, at: usize, bytes: &[u8], change: &Change<'_>) {
        let Some(target) = self.targets.get(at) else { return };
        let (Change::Put { key, .. } | Change::Remove { key, .. }) = change else {
            self.wait();
            return target.again(change, self.now, self.failure);
        };
        if self.workers.is_empty() {
            return target.again(change, self.now, self.failure);
        }
        let hash = target.kept.table.hash(key);
        let worker = hash.segment as usize % self.workers.len();
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.add(Place { table: at, hash, bytes: 0..0 }, bytes);
        }
    }

    /// Waits until everything so far is done.
    fn wait(&mut self) {
        let (sender, receiver) = sync_channel(self.workers.len());
        for worker in &mut self.workers {
            worker.send();
            let _ = worker.sender.send(Message::Tell(sender.clone()));
        }
        drop(sender);
        // Until all have told, or a thread has panicked and its end is gone.
        while receiver.recv().is_ok() {}
    }
}

fn unknown() -> String {
    "the record is of a kind that this release does not know".to_owned()
}

impl Worker {
    fn add(&mut self, place: Place, bytes: &[u8]) {
        let start = self.filling.bytes.len();
        self.filling.bytes.extend_from_slice(bytes);
        self.filling.changes.push(Place { bytes: start..self.filling.bytes.len(), ..place });
        if self.filling.bytes.len() >= BATCH_BYTES {
            self.send();
        }
    }

    fn send(&mut self) {
        let batch = std::mem::take(&mut self.filling);
        if !batch.changes.is_empty() {
            // A thread that is gone has panicked, which the scope passes on.
            let _ = self.sender.send(Message::Do(batch));
        }
    }
}

fn work(
    targets: &[Target<'_>],
    now: Timestamp,
    receiver: &Receiver<Message>,
    failure: &Mutex<Option<String>>,
) {
    for message in receiver {
        match message {
            Message::Do(batch) => batch.apply(targets, now, failure),
            Message::Tell(sender) => drop(sender.send(())),
        }
    }
}

impl Batch {
    fn apply(&self, targets: &[Target<'_>], now: Timestamp, failure: &Mutex<Option<String>>) {
        let pin = || targets.iter().map(|target| target.kept.table.pin()).collect();
        let mut pinned: Vec<Pinned<'_>> = pin();
        for (at, place) in self.changes.iter().enumerate() {
            if let Some(next) = self.changes.get(at + AHEAD)
                && let Some(pinned) = pinned.get(next.table)
            {
                pinned.prefetch_line(next.hash);
            }
            if let Some(next) = self.changes.get(at + AHEAD / 2)
                && let Some(pinned) = pinned.get(next.table)
            {
                pinned.hint(next.hash);
            }
            let change = self.bytes.get(place.bytes.clone()).and_then(change::single);
            let Some((change, target)) = change.zip(targets.get(place.table)) else { continue };
            if target.try_again(&change, now).is_err() {
                // Nothing that is evicted goes while somebody may still look at it.
                pinned.clear();
                target.again(&change, now, failure);
                pinned = pin();
            }
        }
    }
}

impl Target<'_> {
    /// Does a change again, waiting for room where there is none.
    fn again(&self, change: &Change<'_>, now: Timestamp, failure: &Mutex<Option<String>>) {
        let work = || self.try_again(change, now);
        let done = match &self.overflow {
            Some(overflow) => overflow.with_room(work),
            None => work().map_err(|error| error.to_string()),
        };
        if let Err(why) = done {
            failure.lock().get_or_insert(why);
        }
    }

    /// Does a change again; it may be done twice.
    ///
    /// # Errors
    /// [`Error::Behind`]: there is no room now.
    fn try_again(&self, change: &Change<'_>, now: Timestamp) -> Result<(), Error> {
        let table = &self.kept.table;
        match *change {
            Change::Put { key, entry, epoch, seq } => {
                let saved = Saved { key, entry, epoch, seq, accessed: now };
                // What does not fit any more is evicted or, where nothing may be, left out.
                return match table.replay(&saved, now) {
                    Err(Error::Behind) => Err(Error::Behind),
                    _ => Ok(()),
                };
            }
            Change::Remove { key, seq, .. } => table.replay_remove(key, seq, now),
            Change::Life { seq } => table.raise_all(seq),
            Change::Clear => table.replay_clear(now),
            Change::Transaction(changes) => {
                return changes.iter().try_for_each(|one| self.try_again(one, now));
            }
        }
        Ok(())
    }
}
