//! What the tables, the feeder's thread and those who wait share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Overflow;
use super::unread::Reading;
use crate::env::{Clock, Timestamp};
use crate::load::LoadError;
use crate::store::Store;
use crate::wal::{Log, Lsn};

/// How long something waits at the most before it is written, unless the store is behind.
const TICK: Duration = Duration::from_millis(50);

/// The store, as far as it is open.
#[derive(Clone)]
pub(super) enum State {
    /// There is none, since nothing had to be stored yet.
    Absent,
    /// There is one, which is not open yet.
    Closed,
    Open(Arc<dyn Store>),
    /// It cannot be used, for this reason.
    Failed(Arc<str>),
}

pub(super) struct Feed {
    log: OnceLock<Log>,
    clock: Arc<dyn Clock>,
    /// When this life began, ms.
    pub opened: Timestamp,
    state: Mutex<State>,
    opened_or_failed: Condvar,
    wants: Mutex<Wants>,
    asked: Condvar,
    answered: Condvar,
    held: AtomicBool,
    /// Tables that came and went, which the feeder does not know of yet.
    changes: Mutex<Vec<Came>>,
    /// Why nothing can be written to the store now.
    trouble: Mutex<Option<String>>,
    waiting: Mutex<Vec<Waker>>,
    room: Condvar,
    /// Saves that are under way, one for each cache.
    pub captures: AtomicUsize,
    /// Segments whose entries in the snapshot file are still to be read.
    pub reading: Reading,
    pub counts: Counts,
}

/// What is counted, since the start.
#[derive(Default)]
pub(super) struct Counts {
    pub passivated: AtomicU64,
    pub loaded: AtomicU64,
    pub damaged: AtomicU64,
    pub failures: AtomicU64,
    pub expired: AtomicU64,
    pub store_bytes: AtomicU64,
}

impl Counts {
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Wants {
    work: bool,
    stopping: bool,
    /// How often somebody asked for everything to be durable, how often that was answered, and how
    /// the last time.
    settle: u64,
    settled: u64,
    /// Why it did not work.
    outcome: Option<String>,
}

/// A table came, or went.
pub(super) enum Came {
    Added(Arc<Overflow>),
    Removed(Arc<Overflow>),
}

/// What the feeder is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// What has gathered.
    Work,
    /// Everything up to now, durably; the number of the one who asks.
    Settle(u64),
    Stop,
}

impl Feed {
    pub fn new(exists: bool, clock: Arc<dyn Clock>) -> Feed {
        Feed {
            log: OnceLock::new(),
            opened: clock.now(),
            clock,
            state: Mutex::new(if exists { State::Closed } else { State::Absent }),
            opened_or_failed: Condvar::new(),
            wants: Mutex::default(),
            asked: Condvar::new(),
            answered: Condvar::new(),
            held: AtomicBool::new(true),
            changes: Mutex::default(),
            trouble: Mutex::default(),
            waiting: Mutex::default(),
            room: Condvar::new(),
            captures: AtomicUsize::new(0),
            reading: Reading::default(),
            counts: Counts::default(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn set_log(&self, log: Log) {
        let _ = self.log.set(log);
    }

    pub fn log(&self) -> Option<&Log> {
        self.log.get()
    }

    /// The last record of the log, 0 while it is read.
    pub fn position(&self) -> u64 {
        self.log.get().map_or(0, |log| log.next().0.saturating_sub(1))
    }

    /// Waits until the log is durable up to a record; false when it will not be.
    pub fn wait_durable(&self, lsn: u64) -> bool {
        self.log.get().is_none_or(|log| log.wait_durable(Lsn(lsn)).is_ok())
    }

    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    pub fn set_state(&self, state: State) {
        *self.state.lock() = state;
        self.opened_or_failed.notify_all();
        self.wake_room();
    }

    /// The store, to be read; waits until it is open. `None` when there is none.
    pub fn store(&self) -> Result<Option<Arc<dyn Store>>, LoadError> {
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Absent => return Ok(None),
                State::Open(store) => return Ok(Some(Arc::clone(store))),
                State::Failed(_) => return Err(LoadError::Failed),
                State::Closed if self.trouble.lock().is_some() => return Err(LoadError::Failed),
                State::Closed => self.opened_or_failed.wait(&mut state),
            }
        }
    }

    /// Why the store cannot be written or read, if so.
    pub fn trouble(&self) -> Option<String> {
        match &*self.state.lock() {
            State::Failed(why) => Some(why.to_string()),
            _ => self.trouble.lock().clone(),
        }
    }

    pub fn set_trouble(&self, trouble: Option<String>) {
        let failed = trouble.is_some();
        if failed {
            Counts::add(&self.counts.failures);
        }
        *self.trouble.lock() = trouble;
        if failed {
            self.opened_or_failed.notify_all();
            self.wake_room();
        }
    }

    /// Whether the store is to be left alone, since it is not known yet whether the rest of the
    /// directory is whole.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    pub fn release(&self) {
        self.held.store(false, Ordering::Release);
        self.wake();
    }

    /// Tells the feeder of a table that came or went.
    pub fn change(&self, came: Came) {
        self.changes.lock().push(came);
        self.wake();
    }

    pub fn take_changes(&self) -> Vec<Came> {
        std::mem::take(&mut *self.changes.lock())
    }

    /// There is something to do before the next tick.
    pub fn wake(&self) {
        self.wants.lock().work = true;
        self.asked.notify_one();
    }

    /// What to do next, at the latest after a tick.
    pub fn next_task(&self) -> Task {
        let mut wants = self.wants.lock();
        if !wants.work && !wants.stopping && wants.settle == wants.settled {
            self.asked.wait_for(&mut wants, TICK);
        }
        wants.work = false;
        match (wants.settle != wants.settled, wants.stopping) {
            (true, _) => Task::Settle(wants.settle),
            (false, true) => Task::Stop,
            (false, false) => Task::Work,
        }
    }

    pub fn stop(&self) {
        self.wants.lock().stopping = true;
        self.asked.notify_one();
    }

    /// Answers those who asked until then.
    pub fn settled(&self, number: u64, outcome: Result<(), String>) {
        let mut wants = self.wants.lock();
        (wants.settled, wants.outcome) = (number, outcome.err());
        drop(wants);
        self.answered.notify_all();
    }

    /// Waits until everything that is queued now is durable in the store.
    pub fn settle(&self) -> Result<(), String> {
        let mut wants = self.wants.lock();
        if wants.stopping {
            return Err("it is closing".to_owned());
        }
        wants.settle += 1;
        let number = wants.settle;
        self.asked.notify_one();
        while wants.settled < number {
            self.answered.wait(&mut wants);
        }
        wants.outcome.clone().map_or(Ok(()), Err)
    }

    /// Something was written, or nothing can be any more.
    pub fn wake_room(&self) {
        let mut waiting = self.waiting.lock();
        let woken = std::mem::take(&mut *waiting);
        self.room.notify_all();
        drop(waiting);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Whether `has_room`, or wakes the task when it is worth asking again.
    pub fn poll_room(
        &self,
        cx: &mut Context<'_>,
        has_room: impl FnOnce() -> bool,
    ) -> Poll<Result<(), LoadError>> {
        let mut waiting = self.waiting.lock();
        if has_room() {
            return Poll::Ready(Ok(()));
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        drop(waiting);
        if self.trouble().is_some() { Poll::Ready(Err(LoadError::Failed)) } else { Poll::Pending }
    }

    /// Waits until `has_room`, or nothing can be written.
    pub fn wait_room(&self, has_room: impl Fn() -> bool) -> Result<(), LoadError> {
        let mut waiting = self.waiting.lock();
        while !has_room() {
            if self.trouble().is_some() {
                return Err(LoadError::Failed);
            }
            self.room.wait_for(&mut waiting, TICK);
        }
        Ok(())
    }
}
