//! The embedded store on disk: sled 0.34.7, kept at arm's length. Every call of it runs under
//! `catch_unwind`, every byte that it gives back is checked, and what it says of durability is
//! not believed (docs/STORAGE.md tells what was measured).

mod files;
mod open;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::fs::File;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sled::{Db, IVec};

use super::layout::Range;
use super::tree::{self, Changes, Tree, Visit, Writer};
use super::{Batch, CacheId, Error, Page, Position, Report, Scan, Store, Stored};

/// How a store on disk is kept.
#[derive(Debug, Clone)]
pub struct SledConfig {
    /// Its folder, made when it is not there. Nothing else may lie in it.
    pub path: PathBuf,
    /// Bytes of pages kept in memory. Default: 32 MiB. Minimum: 1 MiB.
    pub cache_bytes: u64,
    /// How long opening may take before the folder counts as beyond use, ms; 1 ms is added for
    /// each 10 KiB of the folder. Default: 60,000.
    pub open_timeout_ms: u64,
    /// Whether opening reads everything and compares it with the digest that each commit keeps:
    /// only so is it noticed when sled skips a damaged part of its log and shows older entries.
    /// Default: true.
    pub verify: bool,
}

impl SledConfig {
    /// The defaults for a folder.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (cache_bytes, open_timeout_ms) = (32 << 20, 60_000);
        SledConfig { path: path.into(), cache_bytes, open_timeout_ms, verify: true }
    }
}

/// Room that must be free before a store is reopened: sled writes whole segments when it opens,
/// and closing the old handle to find the disk full would end the reads that still work.
const REOPEN_BYTES_MIN: u64 = 1 << 20;
/// How long closing may take, ms.
const CLOSE_TIMEOUT_MS: u64 = 30_000;
/// Changes for which the collector is called once after a commit.
const CHANGES_A_COLLECTION: usize = 256;

/// A store in a folder.
///
/// After a failed write it is *stopped*: reads are still tried, commits are refused with the
/// error that stopped it, until [`Store::reopen`] succeeds.
pub struct SledStore {
    config: SledConfig,
    /// Held by what changes the tree, and by checkpoint, reopen and close.
    writer: Mutex<Writer>,
    /// Readers hold it shared over all records of an entry, so that they never see the chunks of
    /// one value under the head of another. Taken after `writer`.
    state: RwLock<State>,
}

enum State {
    Open(Handle),
    /// No more writes; the handle still reads unless it panicked.
    Stopped(Option<Handle>, Error),
    Closed,
}

/// The open folder.
#[derive(Clone)]
struct Handle {
    db: Db,
    path: PathBuf,
}

impl SledStore {
    /// Opens the store of a folder, or makes it. A folder that is damaged beyond use is moved
    /// aside and the store starts empty: see [`Report::quarantined`].
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Incompatible`], [`Error::OutOfSpace`] and [`Error::Io`], with
    /// the folder left as it was.
    pub fn open(config: SledConfig) -> Result<(Self, Report), Error> {
        let found = open::open(&config)?;
        Ok(SledStore::of(config, found))
    }

    /// As [`SledStore::open`], of a folder that is there; nothing is moved aside.
    ///
    /// # Errors
    /// As [`SledStore::open`], and [`Error::Damaged`] and [`Error::Failed`].
    pub fn look(config: SledConfig) -> Result<(Self, Report), Error> {
        let found = open::look(&config)?;
        Ok(SledStore::of(config, found))
    }

    fn of(config: SledConfig, (handle, applied, report): open::Found) -> (Self, Report) {
        let writer = Mutex::new(Writer::new(applied));
        (SledStore { config, writer, state: RwLock::new(State::Open(handle)) }, report)
    }

    /// Moves the folder aside and starts empty: for a store that is [suspect](Report::suspect)
    /// and can be filled from elsewhere.
    ///
    /// # Errors
    /// Why no empty store could be opened; this one is then stopped.
    pub fn put_aside(&self, reason: &str) -> Result<Report, Error> {
        self.replace(|config| open::put_aside(config, reason))
    }

    /// Ends the handle and goes on with another.
    fn replace(
        &self,
        open: impl FnOnce(&SledConfig) -> Result<open::Found, Error>,
    ) -> Result<Report, Error> {
        let mut writer = self.writer.lock();
        let old = mem::replace(&mut *self.state.write(), State::Closed);
        if let State::Open(handle) | State::Stopped(Some(handle), _) = old {
            // Why it could not end well no longer matters: the folder tells what is there.
            let _ended = end(handle);
        }
        match open(&self.config) {
            Ok((handle, applied, report)) => {
                *writer = Writer::new(applied);
                *self.state.write() = State::Open(handle);
                Ok(report)
            }
            Err(error) => {
                *self.state.write() = State::Stopped(None, error.clone());
                Err(error)
            }
        }
    }

    /// Runs a read. A panic stops the store.
    fn read<T>(&self, read: impl FnOnce(&Handle) -> Result<T, Error>) -> Result<T, Error> {
        let state = self.state.read();
        let (handle, stopped) = match &*state {
            State::Open(handle) => (handle, None),
            State::Stopped(Some(handle), error) => (handle, Some(error)),
            State::Stopped(None, error) => return Err(error.clone()),
            State::Closed => return Err(Error::Closed),
        };
        let result = guarded(&handle.path, || read(handle));
        // A commit that failed half-way leaves heads without chunks: that is no damage.
        let result = match (result, stopped) {
            (Err(Error::Damaged(_)), Some(error)) => Err(error.clone()),
            (result, _) => result,
        };
        drop(state);
        if let Err(error @ Error::Failed { .. }) = &result {
            self.stop(error);
        }
        result
    }

    /// The handle, if it may be written to.
    fn writable(&self) -> Result<Handle, Error> {
        match &*self.state.read() {
            State::Open(handle) => Ok(handle.clone()),
            State::Stopped(_, error) => Err(error.clone()),
            State::Closed => Err(Error::Closed),
        }
    }

    /// Applies changes. The writer's lock is held by the caller.
    fn apply(&self, changes: Changes) -> Result<(), Error> {
        let count = changes.len();
        let mut batch = sled::Batch::default();
        for (tree_key, record) in changes {
            match record {
                Some(record) => batch.insert(tree_key, record),
                None => batch.remove(tree_key),
            }
        }
        let state = self.state.write();
        let State::Open(handle) = &*state else {
            drop(state);
            return Err(self.writable().err().unwrap_or(Error::Closed));
        };
        let result = guarded(&handle.path, || {
            handle.db.apply_batch(batch).map_err(|error| sort(&handle.path, error))
        });
        drop(state);
        collect(count);
        result.inspect_err(|error| self.stop(error))
    }

    /// Refuses writes from now on. A handle that panicked is not called again.
    fn stop(&self, error: &Error) {
        let mut state = self.state.write();
        let old = mem::replace(&mut *state, State::Closed);
        let (new, dropped) = match old {
            State::Open(handle) if !matches!(error, Error::Failed { .. }) => {
                (State::Stopped(Some(handle), error.clone()), None)
            }
            State::Open(handle) => (State::Stopped(None, error.clone()), Some(handle)),
            State::Stopped(handle, first) if matches!(error, Error::Failed { .. }) => {
                (State::Stopped(None, first), handle)
            }
            other => (other, None),
        };
        *state = new;
        drop(state);
        dropped.into_iter().for_each(|handle| drop(end(handle)));
    }
}

/// Calls sled. A panic in it becomes an error.
fn guarded<T>(path: &Path, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // What a panic left half-done is behind sled's handle, and that is given up.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(path, &*panic)))
}

fn panicked(path: &Path, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let reason = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    Error::Failed { path: path.into(), reason: reason.to_owned() }
}

/// Sorts an error of sled's.
fn sort(path: &Path, error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) => Error::io(path, &error),
        sled::Error::Unsupported(reason) => Error::Incompatible { path: path.into(), reason },
        error @ (sled::Error::Corruption { .. }
        | sled::Error::ReportableBug(_)
        | sled::Error::CollectionNotFound(_)) => Error::file(path.join("db"), error.to_string()),
    }
}

/// Frees what a commit of so many changes has retired. sled retires each page that it rewrites,
/// and the collector takes few steps a pin; a batch pins only once. Left alone, commits of 10,000
/// entries grew to 4.3 GiB where 0.1 GiB are enough.
fn collect(changes: usize) {
    (0..=changes / CHANGES_A_COLLECTION).for_each(|_| crossbeam_epoch::pin().flush());
}

/// Drops a handle on a thread of its own: sled writes and syncs in there, and may panic or hang.
fn end(handle: Handle) -> Result<(), Error> {
    let path = handle.path.clone();
    open::in_time(&path, CLOSE_TIMEOUT_MS, "closing", move || {
        drop(handle);
        Ok(())
    })
}

impl Tree for Handle {
    type Record = IVec;

    fn record(&self, tree_key: &[u8]) -> Result<Option<IVec>, Error> {
        self.db.get(tree_key).map_err(|error| sort(&self.path, error))
    }

    fn range(&self, range: Range<'_>, visit: Visit<'_>) -> Result<(), Error> {
        for record in self.db.range::<&[u8], _>(range) {
            let (tree_key, record) = record.map_err(|error| sort(&self.path, error))?;
            if visit(&tree_key, &record).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Store for SledStore {
    fn get(&self, cache: CacheId, key: &[u8]) -> Result<Option<Stored>, Error> {
        self.read(|handle| tree::get(handle, cache, key))
    }

    fn commit(&self, batch: &Batch) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        let handle = self.writable()?;
        let changes = guarded(&handle.path, || writer.plan(&handle, batch));
        drop(handle);
        self.apply(changes?)
    }

    fn applied(&self) -> Result<Position, Error> {
        self.read(|handle| Ok(Position(tree::applied(handle)?.unwrap_or_default().position)))
    }

    fn reached(&self, cache: CacheId) -> Result<Vec<(u16, u64)>, Error> {
        self.read(|handle| tree::reached(handle, cache))
    }

    fn scan(&self, scan: &Scan<'_>) -> Result<Page, Error> {
        self.read(|handle| tree::scan(handle, scan))
    }

    fn clear(&self, cache: CacheId) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        loop {
            let changes = self.read(|handle| writer.plan_clear(handle, cache))?;
            if changes.is_empty() {
                return Ok(());
            }
            self.apply(changes)?;
        }
    }

    fn checkpoint(&self) -> Result<Position, Error> {
        let writer = self.writer.lock();
        let handle = self.writable()?;
        let position = writer.position();
        let result = guarded(&handle.path, || handle.checkpoint(position));
        drop(handle);
        result.map(|()| position).inspect_err(|error| self.stop(error))
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        files::size(&self.config.path)
    }

    fn reopen(&self) -> Result<Report, Error> {
        files::need_space(&self.config.path, REOPEN_BYTES_MIN)?;
        self.replace(open::open)
    }

    fn close(&self) -> Result<(), Error> {
        let _writer = self.writer.lock();
        let old = mem::replace(&mut *self.state.write(), State::Closed);
        match old {
            State::Open(handle) | State::Stopped(Some(handle), _) => end(handle),
            State::Stopped(None, _) | State::Closed => Ok(()),
        }
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let _closed = self.close();
    }
}

impl Handle {
    /// sled's flush writes but does not sync (`sync_file_range`), so the file system is asked to.
    fn checkpoint(&self, position: Position) -> Result<(), Error> {
        self.db.flush().map_err(|error| sort(&self.path, error))?;
        let io = |error: std::io::Error| Error::io(&self.path, &error);
        let db = File::open(self.path.join("db")).map_err(io)?;
        db.sync_data().map_err(io)?;
        rustix::fs::syncfs(&db).map_err(|error| io(error.into()))?;
        files::write_checkpoint(&self.path, position)
    }
}

/// The settings that sled is opened with.
fn settings(config: &SledConfig) -> sled::Config {
    sled::Config::default()
        .path(&config.path)
        .cache_capacity(config.cache_bytes.max(1 << 20))
        .mode(sled::Mode::HighThroughput)
        .flush_every_ms(None)
}

/// A limit for `bytes` of files.
fn time_limit(config: &SledConfig, bytes: u64) -> Duration {
    Duration::from_millis(config.open_timeout_ms + bytes / (10 << 10))
}
