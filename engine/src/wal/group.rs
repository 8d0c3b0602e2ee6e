//! One log for many threads: records of all of them share writes and syncs.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::thread::{JoinHandle, ThreadId};

use crossbeam_utils::CachePadded;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::batch::Batch;
use super::commit::{self, CommitHook, Wants};
use super::recovery::{Recovery, Visit, recover};
use super::waiters::{Waiters, block_on};
use super::writer::{Writer, remove};
use super::{LogConfig, Lsn, WalError, frame};
use crate::disk::Disk;

/// A log with group commit. Clones are the same log; the last one to go closes it.
///
/// [`Log::append`] puts a record into memory, under a short lock. It is **written** (in the file:
/// survives the end of the process) after [`Log::flush`], which makes one write of all that
/// waits, on the calling thread unless another one is at it already. It is **durable** when
/// [`Log::poll_durable`] or [`Log::wait_durable`] says so: the commit thread writes and syncs at
/// once, once for all who wait, and the next group gathers meanwhile. What was flushed and nobody
/// waits for is synced within the sync interval. A record that nobody flushes or waits for stays
/// in memory until somebody does so for a later one, or the log is closed.
///
/// # Locks
/// `append` never waits for the disk. Everything that does (`flush`, `make_room`, `wait_durable`,
/// `close`) may wait for the commit thread, and that one calls the [`CommitHook`]: so do
/// not hold a lock that the hook takes.
#[derive(Clone)]
pub struct Log(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    truncating: Mutex<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
    commit_thread: ThreadId,
}

/// What the handles and the commit thread share. `io` is taken ahead of the other locks, and no
/// lock is taken under any of those.
pub(crate) struct Shared {
    batch: Mutex<Waiting>,
    pub io: Mutex<Io>,
    written: CachePadded<AtomicU64>,
    pub durable: CachePadded<AtomicU64>,
    pub refused: Refused,
    pub failed: OnceLock<WalError>,
    pub written_waiters: Waiters,
    pub durable_waiters: Waiters,
    pub wants: Mutex<Wants>,
    pub work: Condvar,
    /// Something was written, and the commit thread knows that it must sync it in time.
    pub armed: AtomicBool,
    /// Something is durable that no mark proves.
    pub unmarked: AtomicBool,
    /// The commit thread came to its end as it should.
    pub ended: AtomicBool,
    pub hook: Arc<dyn CommitHook>,
    pub syncs: SyncCounts,
    buffer_bytes: usize,
}

/// Syncs of the commit thread, failed ones too.
#[derive(Default)]
pub(crate) struct SyncCounts {
    count: AtomicU64,
    micros: AtomicU64,
}

impl SyncCounts {
    /// One was done, and took so long.
    pub fn add(&self, micros: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// How often a log was synced, and how long that took together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Syncs {
    /// Syncs.
    pub count: u64,
    /// Microseconds.
    pub micros: u64,
}

struct Waiting {
    batch: Batch,
    closed: bool,
}

pub(crate) struct Io {
    pub writer: Writer,
    spare: Vec<u8>,
}

/// What came of an attempt to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All that waited is in the file, or refused.
    Done,
    /// The file is full, and only the commit thread may begin a new one.
    Full,
}

/// Records that the disk had no room for.
#[derive(Default)]
pub(crate) struct Refused {
    any: AtomicBool,
    /// Batches that were refused.
    count: AtomicU64,
    ranges: Mutex<Ranges>,
}

#[derive(Default)]
struct Ranges {
    /// The newest ones; the oldest are forgotten when nobody can ask for them any more.
    all: std::collections::VecDeque<(RangeInclusive<Lsn>, WalError)>,
    /// How many of them the hook does not know.
    unreported: usize,
}

/// Refusals that are remembered for those who still ask. A full disk that everybody keeps writing
/// to makes one a batch.
const REFUSALS_MAX: usize = 4096;

impl Refused {
    fn add(&self, records: RangeInclusive<Lsn>, why: WalError) {
        let mut ranges = self.ranges.lock();
        ranges.all.push_back((records, why));
        ranges.unreported += 1;
        if ranges.all.len() > REFUSALS_MAX && ranges.unreported < ranges.all.len() {
            ranges.all.pop_front();
        }
        self.any.store(true, Ordering::Release);
        self.count.fetch_add(1, Ordering::Release);
    }

    fn find(&self, lsn: Lsn) -> Option<WalError> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let ranges = self.ranges.lock();
        let at = ranges.all.partition_point(|(records, _)| *records.end() < lsn);
        let found = ranges.all.get(at).filter(|(records, _)| records.contains(&lsn));
        found.map(|(_, why)| why.clone())
    }

    fn last(&self) -> Option<Lsn> {
        let any = self.any.load(Ordering::Acquire);
        any.then(|| self.ranges.lock().all.back().map(|(records, _)| *records.end())).flatten()
    }

    /// The oldest one that the hook does not know.
    pub fn next_report(&self) -> Option<(RangeInclusive<Lsn>, WalError)> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut ranges = self.ranges.lock();
        let at = ranges.all.len() - ranges.unreported;
        let next = ranges.all.get(at).cloned();
        ranges.unreported = ranges.unreported.saturating_sub(1);
        next
    }
}

impl Shared {
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    fn written(&self) -> Lsn {
        Lsn(self.written.load(Ordering::Acquire))
    }

    /// Up to here every record is written or refused.
    pub fn settled(&self) -> Lsn {
        self.refused.last().map_or(self.written(), |refused| refused.max(self.written()))
    }

    /// What became of a record that should be at or below `reached`.
    fn outcome(&self, lsn: Lsn, reached: Lsn) -> Option<Result<(), WalError>> {
        // In this order: the number of a refused record is passed by later ones.
        if let Some(why) = self.refused.find(lsn) {
            return Some(Err(why));
        }
        if lsn <= reached {
            return Some(Ok(()));
        }
        self.failed.get().map(|error| Err(error.clone()))
    }

    fn written_outcome(&self, lsn: Lsn) -> Option<Result<(), WalError>> {
        let reached = self.written();
        self.outcome(lsn, reached)
    }

    fn durable_outcome(&self, lsn: Lsn) -> Option<Result<(), WalError>> {
        let reached = self.durable();
        self.outcome(lsn, reached)
    }

    /// Writes all that waits, with one write. A file that is full is followed by a new one if
    /// `may_roll`: only the commit thread may, since it alone syncs.
    pub fn write(&self, io: &mut MutexGuard<'_, Io>, may_roll: bool) -> Step {
        let io = &mut **io;
        let (filled, rolled) = {
            let mut waiting = self.batch.lock();
            let full = !io.writer.has_room(waiting.batch.len());
            if full && !may_roll && waiting.batch.len() > 0 {
                return Step::Full;
            }
            (waiting.batch.take(&mut io.spare), full)
        };
        let Some(filled) = filled else { return Step::Done };
        let rolled = if rolled { io.writer.roll() } else { Ok(()) };
        match rolled.and_then(|()| io.writer.write(&filled)) {
            Ok(()) => self.written.store(filled.next.previous().0, Ordering::Release),
            Err(why @ WalError::OutOfSpace { .. }) => {
                self.refused.add(filled.first..=filled.next.previous(), why);
                self.wants.lock().news = true;
                self.work.notify_one();
            }
            Err(error) => self.fail(error),
        }
        io.spare = filled.recycle();
        Step::Done
    }

    /// Closes the log for writing. The commit thread tells everybody.
    pub fn fail(&self, error: WalError) {
        let _ = self.failed.set(error);
        self.wants.lock().news = true;
        self.work.notify_one();
    }

    /// What was written is synced in time.
    fn arm(&self) {
        let armed = self.armed.load(Ordering::SeqCst);
        if !armed && !self.armed.swap(true, Ordering::SeqCst) {
            let _wants = self.wants.lock();
            self.work.notify_one();
        }
    }

    fn want(&self, set: impl FnOnce(&mut Wants)) {
        set(&mut self.wants.lock());
        self.work.notify_one();
    }

    fn flush(&self, lsn: Lsn) -> Result<(), WalError> {
        if let Some(outcome) = self.written_outcome(lsn) {
            return outcome;
        }
        let mut io = self.io.lock();
        // Whoever had the file meanwhile has written this record too.
        if let Some(outcome) = self.written_outcome(lsn) {
            return outcome;
        }
        let step = self.write(&mut io, false);
        drop(io);
        if step == Step::Full {
            return block_on(|cx| self.poll_new_file(cx, lsn));
        }
        self.arm();
        // A number that was never given out is neither written nor refused.
        self.written_outcome(lsn).unwrap_or(Err(WalError::Closed))
    }

    fn poll_new_file(&self, cx: &mut Context<'_>, lsn: Lsn) -> Poll<Result<(), WalError>> {
        self.written_waiters.add(lsn, cx.waker());
        if let Some(outcome) = self.written_outcome(lsn) {
            return Poll::Ready(outcome);
        }
        self.want(|wants| wants.roll = true);
        Poll::Pending
    }

    fn poll_durable(&self, cx: &mut Context<'_>, lsn: Lsn) -> Poll<Result<(), WalError>> {
        if let Some(outcome) = self.durable_outcome(lsn) {
            return Poll::Ready(outcome);
        }
        self.durable_waiters.add(lsn, cx.waker());
        // It may have come between the two.
        if let Some(outcome) = self.durable_outcome(lsn) {
            return Poll::Ready(outcome);
        }
        let mut wants = self.wants.lock();
        if wants.durable < lsn {
            wants.durable = lsn;
            self.work.notify_one();
        }
        Poll::Pending
    }
}

impl Log {
    /// Opens the log in `disk`, or begins one, hands its records from `config.wal.from` on to
    /// `visit`, in order, and starts the commit thread. All records are durable when this
    /// returns; `hook` is told of later ones.
    ///
    /// # Errors
    /// As [`Wal::open`](super::Wal::open); [`WalError::Io`] when no thread can be had.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: &LogConfig,
        hook: Arc<dyn CommitHook>,
        visit: Visit<'_>,
    ) -> Result<(Log, Recovery), WalError> {
        let (writer, recovery) = recover(&disk, &config.wal, visit)?;
        let shared = Arc::new(Shared::new(writer, config, hook));
        let (of_thread, interval) = (shared.clone(), config.sync_interval);
        let named = std::thread::Builder::new().name("wal-commit".to_owned());
        let thread = named.spawn(move || commit::run(&of_thread, interval));
        let thread = thread.map_err(|e| WalError::io(disk.place(""), "start the thread", e))?;
        let handle = Handle {
            shared,
            disk,
            truncating: Mutex::new(()),
            commit_thread: thread.thread().id(),
            thread: Mutex::new(Some(thread)),
        };
        Ok((Log(Arc::new(handle)), recovery))
    }

    /// Appends what `encode` adds to the buffer it is given, in memory only. `encode` runs under
    /// the log's lock: it should copy, and nothing else.
    ///
    /// # Errors
    /// Nothing was appended: [`WalError::TooLong`], [`WalError::Full`], [`WalError::Failed`],
    /// [`WalError::Closed`].
    ///
    /// # Panics
    /// When `encode` takes away what was in the buffer.
    pub fn append(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Lsn, WalError> {
        let shared = &self.0.shared;
        let durable = shared.durable();
        let mut waiting = shared.batch.lock();
        if let Some(error) = shared.failed.get() {
            return Err(error.clone());
        }
        if waiting.closed {
            return Err(WalError::Closed);
        }
        if waiting.batch.len() > shared.buffer_bytes.saturating_mul(2) {
            return Err(WalError::Full { len: waiting.batch.len() });
        }
        waiting.batch.append(durable, encode)
    }

    /// Waits until the buffer has room for more, writing it out if need be. To be called ahead of
    /// taking locks, once per batch of requests: then [`WalError::Full`] is seen only by those
    /// who do not.
    ///
    /// # Errors
    /// [`WalError::Failed`], [`WalError::Closed`].
    pub fn make_room(&self) -> Result<(), WalError> {
        let shared = &self.0.shared;
        let (len, last) = {
            let waiting = shared.batch.lock();
            (waiting.batch.len(), waiting.batch.next().previous())
        };
        if len <= shared.buffer_bytes {
            return shared.failed.get().map_or(Ok(()), |error| Err(error.clone()));
        }
        match shared.flush(last) {
            // Those whose records were refused are told; there is room now.
            Err(WalError::OutOfSpace { .. }) => Ok(()),
            result => result,
        }
    }

    /// Waits until record `lsn` is in the file: it survives the end of the process. Writes all
    /// that waits, once, if nobody else has.
    ///
    /// # Errors
    /// [`WalError::OutOfSpace`]: the record is surely not in the log. [`WalError::Failed`]: it is
    /// unknown whether it is.
    pub fn flush(&self, lsn: Lsn) -> Result<(), WalError> {
        self.0.shared.flush(lsn)
    }

    /// Asks for record `lsn` to be durable, and wakes the task when that has been decided.
    ///
    /// # Errors
    /// As [`Log::flush`].
    pub fn poll_durable(&self, cx: &mut Context<'_>, lsn: Lsn) -> Poll<Result<(), WalError>> {
        self.0.shared.poll_durable(cx, lsn)
    }

    /// Waits until record `lsn` is durable.
    ///
    /// # Errors
    /// As [`Log::flush`].
    pub fn wait_durable(&self, lsn: Lsn) -> Result<(), WalError> {
        block_on(|cx| self.0.shared.poll_durable(cx, lsn))
    }

    /// The last record that is in a file. Records at or below it that were refused are not.
    #[must_use]
    pub fn written(&self) -> Lsn {
        self.0.shared.written()
    }

    /// The last record that is durable. Records below it that were refused are not.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.0.shared.durable()
    }

    /// How many batches were refused for want of room. Counted before anybody can learn that a
    /// later record is written.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.0.shared.refused.count.load(Ordering::Acquire)
    }

    /// How often its commit thread has synced since it was opened.
    #[must_use]
    pub fn syncs(&self) -> Syncs {
        let SyncCounts { count, micros } = &self.0.shared.syncs;
        Syncs { count: count.load(Ordering::Relaxed), micros: micros.load(Ordering::Relaxed) }
    }

    /// The number that the next record gets.
    #[must_use]
    pub fn next(&self) -> Lsn {
        self.0.shared.batch.lock().batch.next()
    }

    /// The oldest record that the files go back to.
    #[must_use]
    pub fn first(&self) -> Lsn {
        self.0.shared.io.lock().writer.first()
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.shared.io.lock().writer.bytes()
    }

    /// The error that closed the log for writing.
    #[must_use]
    pub fn failure(&self) -> Option<WalError> {
        self.0.shared.failed.get().cloned()
    }

    /// Removes the oldest files as far as all their records are below `lsn`. Gives their number.
    /// Nobody else waits meanwhile.
    ///
    /// # Errors
    /// [`WalError::Io`]: some may be gone; may be tried again.
    pub fn truncate_below(&self, lsn: Lsn) -> Result<usize, WalError> {
        let _one_at_a_time = self.0.truncating.lock();
        let parts = self.0.shared.io.lock().writer.parts_below(lsn);
        for part in &parts {
            remove(&*self.0.disk, *part)?;
            self.0.shared.io.lock().writer.forget(*part);
        }
        Ok(parts.len())
    }

    /// Closes the log when everything appended is durable and marked so. Records that others
    /// append from now on are refused. Later calls only say what came of it, and one by the hook
    /// does not wait.
    ///
    /// # Errors
    /// [`WalError::Failed`]: not everything is durable.
    pub fn close(&self) -> Result<(), WalError> {
        self.0.close()
    }
}

impl Shared {
    fn new(writer: Writer, config: &LogConfig, hook: Arc<dyn CommitHook>) -> Self {
        let (next, durable) = (writer.next(), writer.durable());
        let batch = Batch::new(next, frame::seed(&config.wal), config.wal.payload_max());
        Shared {
            batch: Mutex::new(Waiting { batch, closed: false }),
            written: CachePadded::new(AtomicU64::new(durable.0)),
            durable: CachePadded::new(AtomicU64::new(durable.0)),
            refused: Refused::default(),
            failed: OnceLock::new(),
            written_waiters: Waiters::default(),
            durable_waiters: Waiters::default(),
            wants: Mutex::new(Wants::default()),
            work: Condvar::new(),
            armed: AtomicBool::new(false),
            unmarked: AtomicBool::new(writer.wants_mark()),
            ended: AtomicBool::new(false),
            hook,
            syncs: SyncCounts::default(),
            buffer_bytes: config.buffer_bytes,
            io: Mutex::new(Io { writer, spare: Vec::new() }),
        }
    }
}

impl Handle {
    fn close(&self) -> Result<(), WalError> {
        // Under the batch's lock: what is in the batch now is written, and nothing comes after.
        self.shared.batch.lock().closed = true;
        self.shared.want(|wants| wants.close = true);
        if std::thread::current().id() != self.commit_thread {
            // Kept locked, so that whoever closes it too waits for the end as well. A panic of
            // the hook's shows in `failed`.
            let mut thread = self.thread.lock();
            let _ = thread.take().map(JoinHandle::join);
        }
        match self.shared.failed.get() {
            Some(error) if self.shared.ended.load(Ordering::SeqCst) => match error {
                WalError::Closed => Ok(()),
                error => Err(error.clone()),
            },
            error => error.cloned().map_or(Ok(()), Err),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure but the hook, which was.
        let _ = self.close();
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (written, durable) = (self.written(), self.durable());
        f.debug_struct("Log").field("written", &written).field("durable", &durable).finish()
    }
}
