//! Does recorded changes again, on several threads.
//!
//! The segment of a key says which thread does its changes, so those of one key keep their order.
//! Those of different keys may change places, which nobody can tell: nobody reads before all are
//! done. What concerns all keys waits for what stands before it.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::{KeptTable, change};
use crate::env::Timestamp;
use crate::hash::KeyHash;
use crate::table::{Change, Saved};

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

/// Takes the records of a log in order.
pub(super) struct Replay<'t> {
    tables: &'t [KeptTable],
    now: Timestamp,
    /// Tables that something is left of and that were not given.
    pub unclaimed: Vec<String>,
    /// None: everything is done where it is read.
    workers: Vec<Worker>,
}

/// Calls `read` with what does the changes of `tables` again on up to `threads` threads, 0 = on
/// this one; all is done when this returns.
pub(super) fn replaying<T>(
    tables: &[KeptTable],
    now: Timestamp,
    threads: usize,
    read: impl FnOnce(&mut Replay<'_>) -> T,
) -> T {
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..threads {
            let (sender, receiver) = sync_channel(BATCHES_MAX);
            let builder = thread::Builder::new().name("replay".to_owned());
            // With fewer threads it only takes longer.
            if builder.spawn_scoped(scope, move || work(tables, now, &receiver)).is_ok() {
                workers.push(Worker { sender, filling: Batch::default() });
            }
        }
        let mut replay = Replay { tables, now, unclaimed: Vec::new(), workers };
        let done = read(&mut replay);
        replay.workers.iter_mut().for_each(Worker::send);
        done
    })
}

impl Replay<'_> {
    /// Does the changes of a record again, or will before [`replaying`] returns.
    pub fn record(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Some(name) = change::cache(bytes) else { return Err(unknown()) };
        let table = self.tables.iter().position(|kept| kept.name == name);
        let done = change::each(bytes, |bytes, change| match table {
            Some(table) => self.change(table, bytes, &change),
            None => self.not_given(name, &change),
        });
        done.ok_or_else(unknown)
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
        let Some(kept) = self.tables.get(at) else { return };
        let (Change::Put { key, .. } | Change::Remove { key, .. }) = change else {
            self.wait();
            return again(kept, change, self.now);
        };
        if self.workers.is_empty() {
            return again(kept, change, self.now);
        }
        let hash = kept.table.hash(key);
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

fn work(tables: &[KeptTable], now: Timestamp, receiver: &Receiver<Message>) {
    for message in receiver {
        match message {
            Message::Do(batch) => batch.apply(tables, now),
            Message::Tell(sender) => drop(sender.send(())),
        }
    }
}

impl Batch {
    fn apply(&self, tables: &[KeptTable], now: Timestamp) {
        let pinned: Vec<_> = tables.iter().map(|kept| kept.table.pin()).collect();
        for (at, place) in self.changes.iter().enumerate() {
            if let Some(next) = self.changes.get(at + AHEAD)
                && let Some(pinned) = pinned.get(next.table)
            {
                pinned.prefetch_line(next.hash);
            }
            let change = self.bytes.get(place.bytes.clone()).and_then(change::single);
            if let Some((change, kept)) = change.zip(tables.get(place.table)) {
                again(kept, &change, now);
            }
        }
    }
}

fn again(kept: &KeptTable, change: &Change<'_>, now: Timestamp) {
    match *change {
        Change::Put { key, entry, epoch, seq } => {
            let saved = Saved { key, entry, epoch, seq, accessed: now };
            // What does not fit any more is evicted or, where nothing may be, left out.
            let _ = kept.table.replay(&saved, now);
        }
        Change::Remove { key, seq, .. } => kept.table.replay_remove(key, seq, now),
        Change::Life { seq } => kept.table.raise_all(seq),
        Change::Clear => kept.table.replay_clear(now),
        Change::Transaction(changes) => changes.iter().for_each(|one| again(kept, one, now)),
    }
}
