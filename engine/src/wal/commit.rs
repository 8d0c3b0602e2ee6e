//! The commit thread: writes what waits, syncs it once for all, and tells those who wait.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::group::{Shared, Step};
use super::{Lsn, WalError};
use crate::env::Stopwatch;

/// What the owner of a log is told, always on the commit thread and in the order of the records.
///
/// It may take locks under which others append, but not ones under which somebody waits for the
/// log: see [`Log`](super::Log).
pub trait CommitHook: Send + Sync {
    /// Every record up to `upto` is durable, except refused ones. Called before those who wait
    /// for them are woken, so that what they acknowledge can be seen.
    fn durable(&self, upto: Lsn);

    /// These records are surely not in the log, for want of room. Called before any later record
    /// becomes durable.
    fn refused(&self, records: RangeInclusive<Lsn>, why: &WalError);

    /// The log is closed for writing; which records above the last durable one are in it is
    /// unknown. Called once.
    fn failed(&self, why: &WalError);
}

/// Nobody needs to be told.
impl CommitHook for () {
    fn durable(&self, _: Lsn) {}
    fn refused(&self, _: RangeInclusive<Lsn>, _: &WalError) {}
    fn failed(&self, _: &WalError) {}
}

/// What the commit thread was asked to do.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    /// Somebody waits for this record to be durable.
    pub durable: Lsn,
    /// The file is full: somebody waits for a new one.
    pub roll: bool,
    /// Something was refused or failed, and the hook does not know yet.
    pub news: bool,
    pub close: bool,
    /// The hook knows that the log has failed: nothing is left to do but to close.
    pub idle: bool,
}

enum Task {
    Commit,
    Mark,
    Close,
}

/// The commit thread's life.
pub(crate) fn run(shared: &Shared, sync_interval: Duration) {
    let _guard = Guard(shared);
    loop {
        match next_task(shared, sync_interval) {
            Task::Commit => commit(shared),
            Task::Mark => mark(shared),
            Task::Close => {
                commit(shared);
                mark(shared);
                shared.ended.store(true, Ordering::SeqCst);
                return;
            }
        }
    }
}

/// Waits for something to do, without a system call while there is nothing.
fn next_task(shared: &Shared, sync_interval: Duration) -> Task {
    let mut wants = shared.wants.lock();
    loop {
        if wants.close {
            return Task::Close;
        }
        let asked = std::mem::take(&mut wants.durable) > shared.durable();
        let (roll, news) = (std::mem::take(&mut wants.roll), std::mem::take(&mut wants.news));
        if (asked || roll || news) && !wants.idle {
            return Task::Commit;
        }
        let armed = shared.armed.load(Ordering::SeqCst);
        if wants.idle || !armed && !shared.unmarked.load(Ordering::SeqCst) {
            shared.work.wait(&mut wants);
        } else if shared.work.wait_for(&mut wants, sync_interval).timed_out() {
            return if armed { Task::Commit } else { Task::Mark };
        }
    }
}

/// One group: everything that waits now. The next one gathers while this one is synced.
fn commit(shared: &Shared) {
    // Before the batch is taken: what is written after this is of the next round.
    shared.armed.store(false, Ordering::SeqCst);
    let sync = {
        let mut io = shared.io.lock();
        if matches!(shared.write(&mut io, true), Step::Full) {
            unreachable!("the commit thread begins new files itself");
        }
        io.writer.begin_sync()
    };
    shared.written_waiters.wake(shared.settled());
    let result = sync.and_then(|sync| {
        let Some(sync) = sync else { return Ok(()) };
        let watch = Stopwatch::start();
        let result = sync.run();
        shared.syncs.add(watch.micros());
        shared.io.lock().writer.end_sync(&sync, result)
    });
    match result {
        Ok(()) => publish(shared),
        Err(error) => shared.fail(error),
    }
    report(shared);
}

/// The log has come to rest: what was synced last is marked as durable.
fn mark(shared: &Shared) {
    let result = {
        let mut io = shared.io.lock();
        // What is made durable after this sets it again.
        shared.unmarked.store(false, Ordering::SeqCst);
        io.writer.mark()
    };
    if let Err(error) = result {
        shared.fail(error);
    }
    commit(shared);
}

/// Tells the hook, then those who wait.
fn publish(shared: &Shared) {
    report_refused(shared);
    let durable = shared.io.lock().writer.durable();
    if durable > shared.durable() {
        shared.hook.durable(durable);
        shared.durable.store(durable.0, Ordering::Release);
        shared.unmarked.store(true, Ordering::SeqCst);
    }
    shared.durable_waiters.wake(shared.durable());
}

fn report_refused(shared: &Shared) {
    while let Some((records, why)) = shared.refused.next_report() {
        let last = *records.end();
        shared.hook.refused(records, &why);
        // They wait for numbers above the last durable one, too.
        shared.durable_waiters.wake(last);
    }
}

/// Tells what went wrong.
fn report(shared: &Shared) {
    report_refused(shared);
    if let Some(error) = shared.failed.get() {
        let told = std::mem::replace(&mut shared.wants.lock().idle, true);
        if !told {
            shared.hook.failed(error);
        }
        shared.written_waiters.wake_all();
        shared.durable_waiters.wake_all();
    }
}

/// A commit thread that ends, even by a panic of the hook, leaves nobody waiting.
struct Guard<'a>(&'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let _ = self.0.failed.set(WalError::Closed);
        self.0.written_waiters.wake_all();
        self.0.durable_waiters.wake_all();
    }
}
