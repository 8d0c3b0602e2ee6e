//! Tables that are there after a restart.
//!
//! Each change is recorded in one write-ahead log ahead of being done, so the log has one order
//! for everything. [`PersistMode::Async`] changes are seen at once and acknowledged when they are
//! written; [`PersistMode::Sync`] ones are seen and acknowledged when they are durable. As there
//! is one order, what survives a crash is always everything up to some moment: nobody finds a
//! change that depends on one that is lost.
//!
//! Now and then a *checkpoint* writes all tables to a snapshot file; the log behind it can go. A
//! restart reads the newest snapshot file and does the changes of the log again. Every restart
//! leaves a gap in the version numbers, so that none is given twice even if the last changes
//! before a crash are lost.
//!
//! | file | what it is |
//! |---|---|
//! | `directory.rs` | the data directory: whose it is, its format, one process at a time |
//! | `change.rs` | the bytes of a recorded change |
//! | `journal.rs` | the way of a change into the log, and back when it is durable |
//! | `tables.rs` | the tables that are kept now; they come and go |
//! | `space.rs` | refuses changes before the disk is full |
//! | `recovery.rs`, `replay.rs` | from snapshot file and log to tables |
//! | `offline.rs` | what is in a directory that no server uses |
//! | `repair.rs` | what is whole of a damaged log, and its repair |
//! | `checkpoint.rs` | when and how a snapshot file is written |
//! | `save.rs` | a backup of tables that are in use |
//! | `overflow/` | entries that memory has no room for |
//! | `preload.rs` | which entries are in memory after a start |
//! | [`behind`] | tables without a log: their changes reach a store later |

pub mod behind;
pub(crate) mod change;
mod checkpoint;
mod directory;
mod error;
mod journal;
mod offline;
mod overflow;
mod preload;
mod recovery;
mod repair;
mod replay;
mod save;
mod space;
mod tables;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};

pub use directory::DataDirectory;
pub use error::PersistError;
pub use offline::{AtRest, cache_names};
pub use overflow::{OpenStore, OverflowStats, StoreConfig};
pub use preload::Preload;
pub use recovery::Recovered;
pub use repair::LogCheck;
pub use tables::discard;

use crate::disk::Disk;
use crate::env::Clock;
use crate::load::{Flight, LoadError, Loader, Loads, Source};
use crate::table::Table;
use crate::wal::{Log, LogConfig, Lsn, Syncs, WalConfig, WalError, WalKind};
use checkpoint::Checkpoints;
use journal::{Hook, TableJournal};
use overflow::{Feeder, Overflow};
use replay::replaying;
use space::Space;
use tables::Tables;

/// When a change counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PersistMode {
    /// Never: the table is empty after a restart.
    #[default]
    None,
    /// When it is written to the log: it survives the end of the process, and a power cut after
    /// 100 ms.
    Async,
    /// When it is durable; readers do not see it before.
    Sync,
    /// At once; it is written to a store a moment later ([`behind`]).
    Behind,
}

impl PersistMode {
    /// The modes and their names.
    pub const NAMES: [(&'static str, PersistMode); 4] = [
        ("none", Self::None),
        ("async", Self::Async),
        ("sync", Self::Sync),
        ("behind", Self::Behind),
    ];

    /// The mode of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<PersistMode> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
    }

    /// Whether entries may be on the disk alone.
    #[must_use]
    pub fn is_kept(self) -> bool {
        self != Self::None
    }

    /// Whether changes are recorded in the log.
    #[must_use]
    pub fn is_logged(self) -> bool {
        matches!(self, Self::Async | Self::Sync)
    }
}

/// A table that is to be kept.
#[derive(Clone)]
pub struct KeptTable {
    /// Its name, by which it is found again; at most 255 bytes.
    pub name: String,
    /// The table, empty.
    pub table: Arc<Table>,
    /// When its changes count as kept: [`PersistMode::Async`] or [`PersistMode::Sync`].
    pub mode: PersistMode,
    /// Which of its entries are in memory after a start.
    pub preload: Preload,
}

/// Where and how tables are kept.
pub struct PersistConfig {
    /// The folder of the log.
    pub log: Arc<dyn Disk>,
    /// The folder of snapshot files.
    pub snapshots: Arc<dyn Disk>,
    /// Whether snapshot files are mapped into memory to be read; only on a real disk.
    pub mapped: bool,
    /// Whose they are.
    pub storage_id: [u8; 16],
    /// Where entries are stored that memory has no room for; `None` = they are lost.
    pub store: Option<StoreConfig>,
    /// Bytes of the log at which a checkpoint is due, unless the tables hold twice as much.
    /// Default: 128 MiB.
    pub log_bytes: u64,
    /// Bytes of one file of the log. Default: 32 MiB.
    pub log_file_bytes: u64,
    /// Names of tables that may be found and that nobody wants any more. Any other one that is
    /// found and not given is refused: data is never dropped for want of a line somewhere.
    pub dropped: Vec<String>,
}

/// The usual size of a log between two checkpoints.
pub const LOG_BYTES_DEFAULT: u64 = 128 << 20;
/// A log's files are the parts of it that go one by one.
pub const LOG_FILES: u64 = 4;

/// A moment before some changes were made. Who waits for them to be kept says since when, and so
/// learns of changes that were refused, or taken back with refused ones, in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(u64);

/// Keeps tables. Dropping it ends its threads without a last checkpoint; the log's ends with the last
/// of the tables, which record in it.
pub struct Persistence {
    log: Log,
    hook: Arc<Hook>,
    tables: Arc<Tables>,
    space: Arc<Space>,
    reads: Option<Reads>,
    checkpoints: Arc<Checkpoints>,
    /// One for checkpoints, and those that read what is unread.
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held while a backup is written.
    saving: Mutex<()>,
}

impl Persistence {
    /// Fills the tables with what was kept of them, and keeps what changes from now on. A table of
    /// one segment has everything when this returns; what the newest snapshot file has of a larger
    /// one may be read later ([`Persistence::unread`]), and is in no scan before
    /// ([`Reader::poll_whole`]).
    ///
    /// # Errors
    /// [`PersistError`] names the file and the next step; the tables may be partly filled.
    pub fn open(
        mut config: PersistConfig,
        tables: Vec<KeptTable>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Persistence, Recovered), PersistError> {
        let reads = config.store.take().map(|store| Reads::start(store, &tables, &clock));
        let reads = reads.transpose()?;
        let feeder = reads.as_ref().map(|reads| Arc::clone(&reads.feeder));
        let (from, mut recovered) =
            recovery::read_snapshot(&config, &tables, feeder.as_deref(), clock.now(), true)?;
        let space = Arc::new(Space::new(Arc::clone(&config.log)));
        let kept_now = Arc::new(Tables::new(&tables));
        let hook = Arc::new(Hook::new(&kept_now, Arc::clone(&clock), Arc::clone(&space)));
        let log_config = log_config(&config, from);
        let (threads, now) = (recovery::threads(&config), clock.now());
        let (log, read) = replaying(&tables, feeder.as_deref(), now, threads, |replay| {
            replay.unclaimed = std::mem::take(&mut recovered.unclaimed);
            let mut visit = |lsn: Lsn, bytes: &[u8]| {
                recovered.changes += 1;
                replay.record(bytes).map_err(|why| format!("{lsn}: {why}"))
            };
            let hook = Arc::clone(&hook);
            let opened = Log::open(Arc::clone(&config.log), &log_config, hook, &mut visit);
            recovered.unclaimed = std::mem::take(&mut replay.unclaimed);
            opened
        })?;
        recovered.torn = read.torn.map(|torn| format!("{}: {} bytes", torn.place, torn.bytes));
        recovery::check_unclaimed(&config, &recovered)?;
        recovery::remove_left_over(&*config.snapshots)?;
        for kept in &tables {
            kept_now.attach(kept, TableJournal::new(kept, log.clone(), Arc::clone(&space)));
            kept.table.begin_life().map_err(PersistError::Life)?;
        }
        // Versions of this life may be lost with it: that they were given out must not be.
        log.wait_durable(Lsn(log.next().0.saturating_sub(1)))?;
        let mut own_threads = Vec::new();
        if let Some(feeder) = &feeder {
            feeder.set_log(log.clone());
            feeder.release();
            own_threads = feeder.read_all((threads / 2).max(1)).map_err(|source| {
                PersistError::Io { path: "preload".into(), action: "start a thread", source }
            })?;
        }
        let (of_checkpoints, of_space) = (Arc::clone(&kept_now), Arc::clone(&space));
        let checkpoints =
            Checkpoints::new(config, of_checkpoints, log.clone(), clock, feeder, of_space);
        let checkpoints = Arc::new(checkpoints);
        own_threads.push(checkpoint::spawn(&checkpoints)?);
        let (tables, threads, saving) = (kept_now, Mutex::new(own_threads), Mutex::new(()));
        let opened = Persistence { log, hook, tables, space, reads, checkpoints, threads, saving };
        Ok((opened, recovered))
    }

    /// The number of the last change so far.
    #[must_use]
    pub fn last(&self) -> Lsn {
        Lsn(self.log.next().0.saturating_sub(1))
    }

    /// Now, to be asked for before changes are made that will be waited for.
    #[must_use]
    #[inline]
    pub fn moment(&self) -> Moment {
        Moment(self.log.refusals() + self.hook.taken_back())
    }

    /// Waits until all changes between `since` and `last` are written: for
    /// [`PersistMode::Async`].
    ///
    /// # Errors
    /// It is unknown what became of the changes.
    pub fn flush(&self, since: Moment, last: Lsn) -> Result<(), WalError> {
        self.log.flush(last)?;
        self.sure(since)
    }

    /// Whether all changes between `since` and `last` are durable, or wakes the task when they
    /// are: for [`PersistMode::Sync`].
    ///
    /// # Errors
    /// It is unknown what became of the changes.
    pub fn poll_durable(
        &self,
        cx: &mut Context<'_>,
        since: Moment,
        last: Lsn,
    ) -> Poll<Result<(), WalError>> {
        let durable = ready!(self.log.poll_durable(cx, last));
        Poll::Ready(durable.and_then(|()| self.sure(since)))
    }

    /// That later numbers are kept says nothing of a change that was refused.
    fn sure(&self, since: Moment) -> Result<(), WalError> {
        if self.moment() == since { Ok(()) } else { Err(WalError::Doubtful) }
    }

    /// Waits until all changes up to `last` are durable, and blocks the thread meanwhile.
    ///
    /// # Errors
    /// It is unknown what became of the changes.
    pub fn wait_durable(&self, last: Lsn) -> Result<(), WalError> {
        self.log.wait_durable(last)
    }

    /// Why the log takes no more changes, if so.
    #[must_use]
    pub fn failure(&self) -> Option<WalError> {
        self.log.failure()
    }

    /// Whether changes are refused for want of room on the disk.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        self.checkpoints.space.is_full()
    }

    /// Bytes of the log's files.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// How often the log was synced since the start.
    #[must_use]
    pub fn syncs(&self) -> Syncs {
        self.log.syncs()
    }

    /// Checkpoints written since the start.
    #[must_use]
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints.written()
    }

    /// Why the last attempt at a checkpoint failed, if it did. It is tried again.
    #[must_use]
    pub fn checkpoint_trouble(&self) -> Option<String> {
        let unread = self.reads.as_ref().and_then(|reads| reads.feeder.unread_trouble());
        unread.or_else(|| self.checkpoints.trouble())
    }

    /// What brings the entries of a table into memory that are not there; `None` when there is no such
    /// table, or evicted entries are lost.
    #[must_use]
    pub fn reader(&self, name: &str) -> Option<Reader> {
        self.reads.as_ref()?.readers.read().get(name).cloned()
    }

    /// What of the tables is not in memory; `None` when evicted entries are lost.
    #[must_use]
    pub fn overflow(&self) -> Option<OverflowStats> {
        Some(self.reads.as_ref()?.feeder.stats())
    }

    /// Keys of a table whose entries are not in memory, as far as is known.
    #[must_use]
    pub fn away(&self, name: &str) -> u64 {
        let overflow = self.reads.as_ref().and_then(|reads| reads.feeder.overflow(name));
        overflow.map_or(0, |overflow| overflow.away())
    }

    /// Keys that are on their way into memory.
    #[must_use]
    pub fn loads_waiting(&self) -> usize {
        let Some(reads) = &self.reads else { return 0 };
        reads.readers.read().values().map(|reader| reader.loads.waiting()).sum()
    }

    /// How many segments' entries of the newest snapshot file are still to be read: who misses one of
    /// them waits until its segment is.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.reads.as_ref().map_or(0, |reads| reads.feeder.unread())
    }

    /// Writes a checkpoint now, once everything of the one before is read.
    ///
    /// # Errors
    /// [`PersistError`]; the one before and the log behind it are still there.
    pub fn checkpoint(&self) -> Result<(), PersistError> {
        self.checkpoints.write()
    }

    /// Writes a last checkpoint, so that the next start need not do changes again, and closes the
    /// log. Where the one before is not all read yet, it stays and the log behind it.
    ///
    /// # Errors
    /// [`PersistError`]; when only the checkpoint failed, the log still has everything.
    pub fn close(&self) -> Result<(), PersistError> {
        self.end_threads();
        let last = self.checkpoints.write_if_changed();
        if let Some(reads) = &self.reads {
            reads.loader.stop();
            reads.feeder.close();
        }
        self.log.close()?;
        last
    }

    fn end_threads(&self) {
        self.reads.iter().for_each(|reads| reads.feeder.stop_reading());
        self.checkpoints.stop();
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Persistence {
    fn drop(&mut self) {
        self.end_threads();
        if let Some(reads) = &self.reads {
            reads.loader.stop();
            reads.feeder.close();
        }
        // Whoever still has a journal writes nothing to a folder that another process may open now.
        // Nobody is left to be told of an error here: each change that waits is answered with it, and
        // who wants to know before the end calls `Persistence::close`.
        let _ = self.log.close();
    }
}

/// The way into the store and back.
struct Reads {
    feeder: Arc<Feeder>,
    loader: Arc<Loader>,
    /// By the name of the table.
    readers: RwLock<BTreeMap<String, Reader>>,
}

impl Reads {
    fn start(
        store: StoreConfig,
        tables: &[KeptTable],
        clock: &Arc<dyn Clock>,
    ) -> Result<Reads, PersistError> {
        let io = |action| move |source| PersistError::Io { path: "store".into(), action, source };
        let of: Vec<_> = tables.iter().map(|kept| (kept.name.as_str(), &kept.table)).collect();
        let feeder = Feeder::start(store, &of, Arc::clone(clock));
        let feeder = Arc::new(feeder.map_err(io("start a thread"))?);
        let loader = Loader::start(LOADERS).map_err(io("start a thread"))?;
        let reads = Reads { feeder, loader, readers: RwLock::default() };
        reads.feeder.overflows().into_iter().for_each(|overflow| reads.add(overflow));
        Ok(reads)
    }

    fn add(&self, overflow: Arc<Overflow>) {
        let source: Arc<dyn Source> = Arc::clone(&overflow) as _;
        let (name, loads) = (overflow.name().to_owned(), self.loader.loads(source));
        self.readers.write().insert(name, Reader { loads, elsewhere: overflow });
    }

    fn remove(&self, name: &str) {
        self.readers.write().remove(name);
        self.feeder.remove(name);
    }
}

/// Threads that read the store.
const LOADERS: usize = 2;

/// Where entries are that are not in memory, and what whoever needs them may have to wait for beside
/// them.
trait Elsewhere: Source {
    /// As [`Reader::is_whole`].
    fn is_whole(&self) -> bool {
        true
    }

    /// As [`Reader::poll_whole`].
    fn poll_whole(&self, _cx: &mut Context<'_>) -> Poll<Result<(), LoadError>> {
        Poll::Ready(Ok(()))
    }

    /// As [`Reader::wait_room`].
    fn wait_room(&self) -> Result<(), LoadError> {
        Ok(())
    }

    /// As [`Reader::poll_room`].
    fn poll_room(&self, _cx: &mut Context<'_>) -> Poll<Result<(), LoadError>> {
        Poll::Ready(Ok(()))
    }
}

impl Elsewhere for Overflow {
    fn is_whole(&self) -> bool {
        self.is_whole()
    }

    fn poll_whole(&self, cx: &mut Context<'_>) -> Poll<Result<(), LoadError>> {
        self.poll_whole(cx)
    }

    fn wait_room(&self) -> Result<(), LoadError> {
        self.wait_room()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), LoadError>> {
        self.poll_room(cx)
    }
}

/// Brings entries of a table into memory that are not there.
#[derive(Clone)]
pub struct Reader {
    loads: Arc<Loads>,
    elsewhere: Arc<dyn Elsewhere>,
}

impl Reader {
    /// Begins to bring the entry of a key into memory: the way on after
    /// [`Error::Away`](crate::Error::Away).
    ///
    /// # Errors
    /// As [`Loads::begin`].
    pub fn begin(&self, key: &[u8]) -> Result<Flight, LoadError> {
        self.loads.begin(key)
    }

    /// Brings the entry of a key into memory, and waits for the disk.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn bring(&self, key: &[u8]) -> Result<(), LoadError> {
        self.elsewhere.load(key)
    }

    /// Whether memory and store have all that the newest snapshot file has of the table: before, who
    /// goes through its entries or counts them finds some of them.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.elsewhere.is_whole()
    }

    /// Whether that is so, or wakes the task when it is worth trying again.
    ///
    /// # Errors
    /// [`LoadError::Failed`]: the file cannot be read for now.
    pub fn poll_whole(&self, cx: &mut Context<'_>) -> Poll<Result<(), LoadError>> {
        self.elsewhere.poll_whole(cx)
    }

    /// Waits until there is room for what is evicted.
    ///
    /// # Errors
    /// [`LoadError::Failed`]: there will be none for now.
    pub fn wait_room(&self) -> Result<(), LoadError> {
        self.elsewhere.wait_room()
    }

    /// Whether there is room for what is evicted, or wakes the task when it is worth trying again:
    /// the way on after [`Error::Behind`](crate::Error::Behind).
    ///
    /// # Errors
    /// [`LoadError::Failed`]: there will be none for now.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), LoadError>> {
        self.elsewhere.poll_room(cx)
    }
}

fn log_config(config: &PersistConfig, from: Lsn) -> LogConfig {
    let wal = wal_config(config.storage_id, from);
    LogConfig::new(WalConfig { file_bytes: config.log_file_bytes, ..wal })
}

/// The log of a data directory, of which the records from `from` on are needed.
fn wal_config(storage_id: [u8; 16], from: Lsn) -> WalConfig {
    WalConfig { from, record_bytes_max: 1 << 30, ..WalConfig::new(storage_id, WalKind::Data) }
}
