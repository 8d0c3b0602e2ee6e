//! Write-behind: changes are acknowledged at once and reach the store later, the newest of each
//! key, in batches on a thread of its own.
//!
//! What is promised:
//!
//! * A change begins to be written when it is `delay_ms` old, or sooner when many wait. A batch is
//!   durable with the checkpoint that ends its round. A crash loses what was not: for each key the
//!   store then has an older state than was acknowledged, never a newer one, never one that was
//!   not, and never half of a transaction.
//! * What waits is bounded in bytes. Beyond that changes are refused: nobody waits for the disk.
//! * A store in trouble loses nothing: what it did not take is written again when it is back. A
//!   key that cannot be written is tried by itself, with backoff, and keeps nobody waiting.
//! * No version is given twice: the store knows ahead up to where sequence numbers may be given.
//!
//! | file | what it is |
//! |---|---|
//! | `dirty.rs`, `groups.rs` | what is not durable: for each key its newest change, and what must go together |
//! | `feed.rs` | the journal of one cache; its bound and its lag |
//! | `members.rs`, `asks.rs` | tables come and go |
//! | `on_demand.rs` | the store is opened when the first table comes |
//! | `catalog.rs` | which cache is where in the store |
//! | `writer.rs`, `upkeep.rs` | rounds of batches; trouble and the way back; what is superseded goes |
//! | `reading.rs` | the way back of what was evicted |
//! | `capture.rs` | what a snapshot file takes while the cache is written to |
//! | `recovery.rs` | from the store to the tables |
//! | `at_rest.rs` | from the store to a snapshot file, when no server uses it |
//! | `signal.rs` | wakes the writer |

mod asks;
mod at_rest;
mod capture;
mod catalog;
mod dirty;
mod feed;
mod groups;
mod members;
mod on_demand;
mod reading;
mod recovery;
mod signal;
mod upkeep;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

pub use at_rest::BehindAtRest;
pub use on_demand::{BehindOnDemand, OpenBehind};
pub use recovery::BehindRecovered;

pub(super) use capture::Capture;

use super::{LOADERS, PersistError, Reader};
use crate::env::Clock;
use crate::load::Loader;
use crate::store::{Error, Report, Store, Stored};
use crate::table::Table;
use asks::Asks;
use feed::Feed;
use signal::Signal;
use writer::{Status, Writer};

/// How long a change waits before it is written, ms.
pub const DELAY_MS_DEFAULT: u64 = 1_000;
/// Bytes of changes that may wait, for each cache.
pub const WAITING_BYTES_DEFAULT: u64 = 64 << 20;
/// Keys that are named when they could not be written.
const NAMED_KEYS: usize = 8;
/// How often somebody who waits for the end is asked whether to go on.
const ASK: Duration = Duration::from_millis(50);
/// The longest sleep of the thread.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// A table that is written behind.
pub struct BehindTable {
    /// Its name, by which it is found again.
    pub name: String,
    /// The table, empty.
    pub table: Arc<Table>,
    /// How long a change waits before it is written, ms.
    pub delay_ms: u64,
    /// Bytes of changes that may wait, their keys and about 200 bytes each included.
    pub bytes_max: usize,
    /// Whatever the store has under its name is another one's, which was dropped.
    pub is_new: bool,
}

impl BehindTable {
    /// A table with the usual delay and bound.
    #[must_use]
    pub fn new(name: &str, table: Arc<Table>) -> Self {
        BehindTable {
            name: name.to_owned(),
            table,
            delay_ms: DELAY_MS_DEFAULT,
            bytes_max: usize::try_from(WAITING_BYTES_DEFAULT).unwrap_or(usize::MAX),
            is_new: false,
        }
    }
}

/// An open store.
pub struct BehindConfig {
    /// The store; nobody else writes to it.
    pub store: Arc<dyn Store>,
    /// What it found when it was opened.
    pub report: Report,
    /// The data directory that it belongs to.
    pub storage_id: [u8; 16],
}

/// How far the store is behind one cache, and what was done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Keys whose newest change is not durable.
    pub entries: u64,
    /// Bytes of these changes.
    pub bytes: u64,
    /// How long the oldest of them has waited, ms.
    pub oldest_ms: u64,
    /// Those that failed and wait for another try.
    pub failing: u64,
    /// Changes that took the place of one that was never written.
    pub coalesced: u64,
    /// Batches that the store took.
    pub batches: u64,
    /// Changes that are durable.
    pub written: u64,
    /// Batches that failed.
    pub retries: u64,
    /// Changes that were refused for want of room.
    pub refused: u64,
    /// Keys whose entries were evicted and can be read back.
    pub away: u64,
    /// Entries that were.
    pub loaded: u64,
}

/// What could not be written before the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unwritten {
    /// Changes.
    pub entries: u64,
    /// Some of their keys, each behind the name of its cache.
    pub keys: Vec<(String, Vec<u8>)>,
    /// Why, as far as is known.
    pub reason: Option<String>,
}

/// Writes tables behind. Dropping it ends its thread with whatever it is doing.
pub struct Behind {
    feeds: RwLock<Vec<Arc<Feed>>>,
    readers: RwLock<BTreeMap<String, Reader>>,
    loader: Arc<Loader>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread and its owner tell each other.
struct Shared {
    signal: Arc<Signal>,
    asks: Asks,
    /// Write everything, then end.
    draining: AtomicBool,
    /// End now.
    abandoned: AtomicBool,
    status: Arc<Status>,
}

impl Behind {
    /// Fills the tables from the store, and writes what changes from now on to it.
    ///
    /// # Errors
    /// [`PersistError`] when the store cannot be read or written, or is another directory's; the
    /// tables may be partly filled.
    pub fn open(
        config: BehindConfig,
        tables: Vec<BehindTable>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Behind, BehindRecovered), PersistError> {
        let signal = Arc::new(Signal::default());
        let feed = |table| Arc::new(Feed::new(table, Arc::clone(&clock), Arc::clone(&signal)));
        let feeds: Vec<_> = tables.into_iter().map(feed).collect();
        let (writer, recovered) = Writer::open(config, &feeds, clock.now())?;
        let shared = Arc::new(Shared {
            signal,
            asks: Asks::default(),
            draining: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            status: writer.status(),
        });
        let thread = Mutex::new(Some(spawn(writer, &shared, &clock)?));
        let loader = Loader::start(LOADERS).map_err(no_thread)?;
        let (readers, known) = (RwLock::default(), RwLock::new(feeds.clone()));
        let behind = Behind { feeds: known, readers, loader, clock, shared, thread };
        feeds.iter().for_each(|feed| behind.add_reader(feed));
        Ok((behind, recovered))
    }

    fn feed(&self, cache: &str) -> Option<Arc<Feed>> {
        self.feeds.read().iter().find(|feed| feed.name == cache).cloned()
    }

    /// How far the store is behind a cache; `None` when the cache is not written behind.
    #[must_use]
    pub fn lag(&self, cache: &str) -> Option<Lag> {
        self.feed(cache).map(|feed| feed.lag(self.clock.now()))
    }

    /// The newest state of a key that is not durable yet: `Some(None)` = it has no entry, `None` =
    /// the store knows. For whoever looks for an entry that memory does not have.
    #[must_use]
    pub fn waiting(&self, cache: &str, key: &[u8]) -> Option<Option<Stored>> {
        self.feed(cache)?.lock().dirty.get(key).map(|to| to.cloned())
    }

    /// Why the store takes nothing now, if so. It is tried again until it does.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.shared.status.trouble()
    }

    /// Keys that could not be written, and why the last of them could not.
    #[must_use]
    pub fn failing(&self) -> Option<(u64, String)> {
        let keys: usize = self.feeds.read().iter().map(|feed| feed.lock().dirty.failing()).sum();
        (keys > 0).then(|| (keys as u64, self.shared.status.key_trouble().unwrap_or_default()))
    }

    /// What an operator should know although the store works; each once.
    #[must_use]
    pub fn take_alarms(&self) -> Vec<String> {
        self.shared.status.take_alarms()
    }

    fn remaining(&self) -> u64 {
        let now = self.clock.now();
        self.feeds.read().iter().map(|feed| feed.lag(now).entries).sum()
    }

    /// Writes everything and closes the store. Changes must have ended. Again and again `go_on` is
    /// asked, with the number of changes that wait: when it says no, they are left. What failed by
    /// itself is tried once more.
    ///
    /// What is left in the end is lost; nothing is, when the result says 0 entries.
    pub fn close(&self, go_on: &mut dyn FnMut(u64) -> bool) -> Unwritten {
        self.fail_saves();
        self.shared.draining.store(true, Ordering::Release);
        self.shared.signal.wake();
        let thread = self.thread.lock().take();
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if !go_on(self.remaining()) {
                self.abandon();
                return self.unwritten();
            }
            self.shared.status.ended.wait(ASK);
        }
        // A panic of the thread left everything that it had not written where it was.
        thread.map(JoinHandle::join);
        self.unwritten()
    }

    fn unwritten(&self) -> Unwritten {
        let entries = self.remaining();
        let feeds = self.feeds.read();
        let keys = feeds.iter().flat_map(|feed| {
            let keys = feed.lock().dirty.some_keys(NAMED_KEYS);
            keys.into_iter().map(|key| (feed.name.clone(), key.to_vec()))
        });
        let status = &self.shared.status;
        let reason = status.trouble().or_else(|| status.key_trouble().filter(|_| entries > 0));
        Unwritten { entries, keys: keys.take(NAMED_KEYS).collect(), reason }
    }

    /// A save of a cache; `None` when it is not written behind. It begins when the writer of the
    /// file says so, and has to be ended.
    pub(super) fn capture(&self, cache: &str) -> Option<Arc<Capture>> {
        let capture = Capture::new(&self.feed(cache)?)?;
        self.shared.status.captures.add(&capture);
        Some(capture)
    }

    /// A file that is written now is not waited for.
    fn fail_saves(&self) {
        let all = self.shared.status.captures.all();
        all.iter().for_each(|capture| capture.fail("the server is stopping"));
    }

    fn abandon(&self) {
        self.fail_saves();
        self.shared.abandoned.store(true, Ordering::Release);
        self.shared.signal.wake();
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.abandon();
    }
}

fn spawn(
    writer: Writer,
    shared: &Arc<Shared>,
    clock: &Arc<dyn Clock>,
) -> Result<JoinHandle<()>, PersistError> {
    let (shared, clock) = (Arc::clone(shared), Arc::clone(clock));
    let named = std::thread::Builder::new().name("write-behind".to_owned());
    named.spawn(move || run(writer, &shared, &*clock)).map_err(no_thread)
}

fn no_thread(source: std::io::Error) -> PersistError {
    PersistError::Io { path: "write-behind".into(), action: "start a thread", source }
}

/// Answers nobody any more, however the thread ends.
struct Ending<'a>(&'a Asks);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn run(mut writer: Writer, shared: &Shared, clock: &dyn Clock) {
    let _ending = Ending(&shared.asks);
    let mut drain_began = None;
    while !shared.abandoned.load(Ordering::Acquire) {
        let now = clock.now();
        if drain_began.is_none() && shared.draining.load(Ordering::Acquire) {
            drain_began = Some(now);
            writer.retry_now();
        }
        shared.asks.take().iter().for_each(|ask| writer.answer(ask, now));
        let next = writer.step(now, drain_began.is_some());
        if drain_began.is_some_and(|began| writer.is_drained(began)) {
            writer.finish();
            break;
        }
        let wait = next.map_or(SLEEP_MAX, |at| Duration::from_millis(at.saturating_sub(now)));
        if !wait.is_zero() {
            shared.signal.wait(wait.min(SLEEP_MAX));
        }
    }
    shared.status.ended.wake();
}

/// The store takes nothing, in words.
fn trouble(reason: String) -> PersistError {
    Error::Failed { path: "behind".into(), reason }.into()
}
