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
    /// The commit thread wants to be told when so many wait, not before.
    pub enough: usize,
    /// The file is full: somebody waits for a new one.
    pub roll: bool,
    /// Something was refused or failed, and the hook does not know yet.
    pub news: bool,
    pub close: bool,
    /// The hook knows that the log has failed: nothing is left to do but to close.
    pub idle: bool,
}

/// Who may be expected to wait in the next group, and how long it is worth waiting for them: as
/// `commit_delay` of PostgreSQL, set by what was measured. Clients whose answers have just gone
/// out ask again in a moment; without the delay they would find a sync under way and make the
/// second of two half groups that take turns, each as slow as a whole one.
#[derive(Default)]
struct Group {
    expected: usize,
    patience: Duration,
}

/// The part of a sync's time that others are waited for.
const PATIENCE_PART: u32 = 4;
/// Whatever the disk.
const PATIENCE_MAX: Duration = Duration::from_millis(1);

enum Task {
    Commit,
    Mark,
    Close,
}

/// The commit thread's life.
pub(crate) fn run(shared: &Shared, sync_interval: Duration) {
    let _guard = Guard(shared);
    let mut group = Group::default();
    loop {
        match next_task(shared, sync_interval, &group) {
            Task::Commit => group = commit(shared),
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
fn next_task(shared: &Shared, sync_interval: Duration, group: &Group) -> Task {
    let mut wants = shared.wants.lock();
    let mut may_gather = !group.patience.is_zero();
    loop {
        if wants.close {
            return Task::Close;
        }
        let asked = wants.durable > shared.durable();
        if asked && !wants.idle && may_gather && shared.durable_waiters.count() < group.expected {
            wants.enough = group.expected;
            shared.work.wait_for(&mut wants, group.patience);
            wants.enough = 0;
            may_gather = false;
            continue;
        }
        wants.durable = Lsn::default();
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

/// One group: everything that waits now. The next one gathers while this one is synced: both
/// together are who may be expected after it.
fn commit(shared: &Shared) -> Group {
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
    let time = Stopwatch::start();
    let result = sync.and_then(|sync| {
        let Some(sync) = sync else { return Ok(()) };
        let result = sync.run();
        shared.io.lock().writer.end_sync(&sync, result)
    });
    let patience = (time.elapsed() / PATIENCE_PART).min(PATIENCE_MAX);
    let expected = shared.durable_waiters.count();
    match result {
        Ok(()) => publish(shared),
        Err(error) => shared.fail(error),
    }
    report(shared);
    Group { expected, patience }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;
    use crate::disk::{Disk, MemoryDisk};
    use crate::wal::recovery::recover;
    use crate::wal::{LogConfig, WalConfig, WalKind};

    const LONG: Duration = Duration::from_secs(3_600);

    fn shared() -> Shared {
        let config = LogConfig::new(WalConfig::new([1; 16], WalKind::Data));
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let (writer, _) = recover(&disk, &config.wal, &mut |_, _| Ok(())).unwrap();
        Shared::new(writer, &config, Arc::new(()))
    }

    /// As one more that waits, each for a record of its own.
    fn ask(shared: &Shared, lsn: u64) {
        let waiting = shared.durable_waiters.add(Lsn(lsn), Waker::noop());
        let mut wants = shared.wants.lock();
        wants.durable = Lsn(lsn);
        if waiting >= wants.enough {
            shared.work.notify_one();
        }
    }

    #[test]
    fn a_group_waits_until_as_many_are_there_as_before() {
        let (shared, group) = (shared(), Group { expected: 3, patience: LONG });
        ask(&shared, 1);
        std::thread::scope(|scope| {
            let begun = scope.spawn(|| next_task(&shared, LONG, &group));
            while shared.wants.lock().enough != 3 {
                std::thread::yield_now();
            }
            ask(&shared, 2);
            assert!(!begun.is_finished());
            ask(&shared, 3);
            assert!(matches!(begun.join().unwrap(), Task::Commit));
        });
        assert_eq!(shared.wants.lock().enough, 0);
    }

    #[test]
    fn a_group_waits_for_nobody() {
        for (why, expected, patience) in [
            ("who does not come", 3, Duration::from_micros(1)),
            ("after a quiet time", 0, LONG),
            ("when all are there", 1, LONG),
            ("on a disk that takes no time", 3, Duration::ZERO),
        ] {
            let shared = shared();
            ask(&shared, 1);
            let task = next_task(&shared, LONG, &Group { expected, patience });
            assert!(matches!(task, Task::Commit), "{why}");
        }
        let shared = shared();
        ask(&shared, 1);
        shared.wants.lock().close = true;
        let task = next_task(&shared, LONG, &Group { expected: 3, patience: LONG });
        assert!(matches!(task, Task::Close));
    }
}
