//! The thread that writes what is queued to the store, in batches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};

use super::feed::{Came, Counts, Feed, State, Task};
use super::meta::Meta;
use super::part::{Inner, Op, Pending};
use super::rebuild::{Rebuild, Sweep};
use super::{OpenStore, Overflow, StoreConfig};
use crate::env::Timestamp;
use crate::store::{Batch, CacheId, Error, Position, Report, Store};
use crate::table::Table;
use crate::wal::Log;

/// How long a store that failed is left alone, ms.
const RETRY_MS: u64 = 2_000;

/// The overflows of all tables, and their thread.
pub(in crate::persist) struct Feeder {
    pub(super) feed: Arc<Feed>,
    overflows: RwLock<Vec<Arc<Overflow>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What of the caches is not in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverflowStats {
    /// Entries that left memory, since the start.
    pub passivated: u64,
    /// Entries that came back, since the start.
    pub loaded: u64,
    /// Keys in the store.
    pub keys: u64,
    /// Keys that wait to be written.
    pub waiting: u64,
    /// Bytes of the store on disk, at the last look.
    pub store_bytes: u64,
    /// Values that were found damaged.
    pub damaged: u64,
    /// Calls of the store that failed.
    pub failures: u64,
    /// Entries that were removed from the store since their time was over.
    pub expired: u64,
    /// Why the store cannot be used now, if so.
    pub trouble: Option<String>,
}

impl Feeder {
    /// Starts the thread for these tables, which are not served yet.
    pub fn start(
        config: StoreConfig,
        tables: &[(&str, &Arc<Table>)],
        clock: Arc<dyn crate::env::Clock>,
    ) -> std::io::Result<Feeder> {
        let feed = Arc::new(Feed::new(config.exists, clock));
        let overflow = |(name, table): &(&str, &Arc<Table>)| {
            let overflow = Arc::new(Overflow::new(name, table, config.exists, &feed));
            table.set_backing(overflow.clone());
            overflow
        };
        let overflows: Vec<_> = tables.iter().map(overflow).collect();
        let caches = overflows.iter().map(|overflow| Cache::new(overflow.clone(), false)).collect();
        let worker = Worker::new(feed.clone(), caches, config.open);
        let named = std::thread::Builder::new().name("overflow".to_owned());
        let thread = named.spawn(move || worker.run())?;
        Ok(Feeder { feed, overflows: RwLock::new(overflows), thread: Mutex::new(Some(thread)) })
    }

    /// The log that must be durable before anything that follows from it is stored.
    pub fn set_log(&self, log: Log) {
        self.feed.set_log(log);
    }

    pub fn overflow(&self, name: &str) -> Option<Arc<Overflow>> {
        self.overflows.read().iter().find(|overflow| overflow.name == name).cloned()
    }

    pub fn overflows(&self) -> Vec<Arc<Overflow>> {
        self.overflows.read().clone()
    }

    /// From now on what a new table has no room for is stored; what the store has under its name is
    /// another one's.
    pub fn add(&self, name: &str, table: &Arc<Table>) -> Arc<Overflow> {
        let overflow = Arc::new(Overflow::new(name, table, false, &self.feed));
        table.set_backing(overflow.clone());
        self.overflows.write().push(Arc::clone(&overflow));
        self.feed.change(Came::Added(Arc::clone(&overflow)));
        overflow
    }

    /// What the store has of a table is nobody's.
    pub fn remove(&self, name: &str) {
        let mut overflows = self.overflows.write();
        if let Some(at) = overflows.iter().position(|overflow| overflow.name == name) {
            self.feed.change(Came::Removed(overflows.swap_remove(at)));
        }
    }

    /// Makes everything durable that has left memory up to now, and all that is void in the store.
    pub fn settle(&self, now: Timestamp) -> Result<(), String> {
        // Whoever has told the log of a change has told the queues of it when he lets the lock go.
        let overflows = self.overflows();
        let tables = overflows.iter().filter_map(|overflow| overflow.table.upgrade());
        tables.for_each(|table| table.pass_all_locks(now));
        self.feed.settle()
    }

    pub fn stats(&self) -> OverflowStats {
        let counts = &self.feed.counts;
        let overflows = self.overflows();
        let keys = overflows.iter().map(|overflow| overflow.keys());
        let (keys, waiting) = keys.fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
        OverflowStats {
            passivated: counts.passivated.load(Ordering::Relaxed),
            loaded: counts.loaded.load(Ordering::Relaxed),
            keys,
            waiting,
            store_bytes: counts.store_bytes.load(Ordering::Relaxed),
            damaged: counts.damaged.load(Ordering::Relaxed),
            failures: counts.failures.load(Ordering::Relaxed),
            expired: counts.expired.load(Ordering::Relaxed),
            trouble: self.feed.trouble(),
        }
    }

    /// Opens the store to be read alone, where the thread has not been told that it may use it.
    ///
    /// # Errors
    /// Why it cannot be read as it is.
    pub fn look(&self, open: &OpenStore) -> Result<(), Error> {
        let (store, report) = open()?;
        if let Some(why) = refusal(&report) {
            return Err(failed(&why));
        }
        let meta = Meta::read(&*store)?;
        for overflow in self.overflows() {
            *overflow.id.lock() = meta.id(&overflow.name).map(|id| (0, id));
        }
        self.feed.set_state(State::Open(store));
        Ok(())
    }

    /// Ends the thread and closes the store.
    pub fn close(&self) {
        self.feed.stop();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }

    /// From now on the store may be written to.
    pub fn release(&self) {
        self.feed.release();
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.close();
    }
}

/// A cache as the thread sees it.
pub(super) struct Cache {
    pub overflow: Arc<Overflow>,
    /// Whether what the store has under its name at the start is another one's.
    new: bool,
    /// The generation that `id` belongs to.
    pub generation: u64,
    pub id: Option<CacheId>,
}

impl Cache {
    fn new(overflow: Arc<Overflow>, new: bool) -> Cache {
        Cache { overflow, new, generation: 0, id: None }
    }
}

/// Something that is about to be told the store.
struct Taken {
    part: usize,
    key: Box<[u8]>,
    hash: u64,
    pending: Pending,
    /// Whether the store has the key.
    stored: bool,
}

/// The thread's own.
pub(super) struct Worker {
    pub feed: Arc<Feed>,
    pub caches: Vec<Cache>,
    open: OpenStore,
    pub meta: Meta,
    position: u64,
    retry_at: Timestamp,
    pub rebuilds: VecDeque<Rebuild>,
    sweep: Sweep,
}

impl Worker {
    fn new(feed: Arc<Feed>, caches: Vec<Cache>, open: OpenStore) -> Worker {
        Worker {
            feed,
            caches,
            open,
            meta: Meta::default(),
            position: 0,
            retry_at: 0,
            rebuilds: VecDeque::new(),
            sweep: Sweep::default(),
        }
    }

    fn run(mut self) {
        loop {
            match self.feed.next_task() {
                Task::Work => {
                    let worked = self.work(false);
                    self.tell(worked);
                }
                Task::Settle(number) => {
                    let settled = self.settle();
                    let outcome = settled.as_ref().map_err(ToString::to_string).map(|_| ());
                    self.tell(settled);
                    self.feed.settled(number, outcome);
                }
                Task::Stop => break,
            }
        }
        if let State::Open(store) = self.feed.state() {
            let _ = store.close();
        }
        self.feed.set_state(State::Failed("it is closed".into()));
    }

    /// Says why something did not work, or that it works again.
    fn tell(&mut self, worked: Result<bool, Error>) {
        match worked {
            Ok(true) => self.feed.set_trouble(None),
            // Nothing was tried.
            Ok(false) => {}
            Err(error) => {
                self.retry_at = self.feed.now() + RETRY_MS;
                self.feed.set_trouble(Some(error.to_string()));
            }
        }
    }

    /// Takes over which tables there are.
    fn follow(&mut self) {
        for came in self.feed.take_changes() {
            match came {
                Came::Added(overflow) => {
                    Rebuild::nothing(&overflow);
                    self.caches.push(Cache::new(overflow, true));
                }
                Came::Removed(overflow) => {
                    self.caches.retain(|cache| !Arc::ptr_eq(&cache.overflow, &overflow));
                    self.rebuilds.retain(|rebuild| !rebuild.is_of(&overflow));
                }
            }
        }
    }

    /// Does what is due; whether the store was asked. `forced`: even what follows from records that
    /// the log had no room for.
    fn work(&mut self, forced: bool) -> Result<bool, Error> {
        self.follow();
        if !forced && (self.feed.is_held() || self.feed.now() < self.retry_at) {
            return Ok(false);
        }
        let Some(store) = self.store()? else { return Ok(false) };
        if self.feed.trouble().is_some() {
            self.reopen(&*store)?;
        }
        while let Some(rebuild) = self.rebuilds.front_mut() {
            if rebuild.page(&*store, &self.feed)? {
                self.rebuilds.pop_front();
            } else if !forced {
                // Whoever asks for more comes in between.
                self.feed.wake();
                return Ok(true);
            }
        }
        self.renew(&*store, forced)?;
        self.pass(&*store, forced)?;
        if !forced {
            self.sweep(&*store)?;
        }
        Ok(true)
    }

    /// Makes everything durable.
    fn settle(&mut self) -> Result<bool, Error> {
        if !self.work(true)? {
            return match self.feed.state() {
                State::Failed(why) => Err(failed(&why)),
                _ => Ok(false),
            };
        }
        if let State::Open(store) = self.feed.state() {
            self.position = self.position.max(self.feed.position());
            let mut batch = Batch::default();
            self.commit(&*store, &mut batch, 0, true)?;
            store.checkpoint()?;
            let bytes = store.size_on_disk().unwrap_or(0);
            self.feed.counts.store_bytes.store(bytes, Ordering::Relaxed);
        }
        Ok(true)
    }

    /// The store, opened if need be; `None` when there is none and none is needed, or none to be had.
    fn store(&mut self) -> Result<Option<Arc<dyn Store>>, Error> {
        match self.feed.state() {
            State::Open(store) => Ok(Some(store)),
            State::Absent if !self.caches.iter().any(|c| c.overflow.keys().1 > 0) => Ok(None),
            State::Absent | State::Closed => self.open_store(),
            State::Failed(_) => Ok(None),
        }
    }

    fn open_store(&mut self) -> Result<Option<Arc<dyn Store>>, Error> {
        let (store, report) = match (self.open)() {
            Ok(opened) => opened,
            // Free space or another process's end may help; damage does not go away.
            Err(error @ (Error::OutOfSpace(_) | Error::InUse(_) | Error::Io { .. })) => {
                return Err(error);
            }
            Err(error) => return Ok(self.give_up(&error.to_string())),
        };
        if let Some(why) = refusal(&report) {
            return Ok(self.give_up(&why));
        }
        self.meta = Meta::read(&*store)?;
        self.position = report.applied.0.max(self.feed.position());
        self.adopt();
        self.feed.set_state(State::Open(Arc::clone(&store)));
        Ok(Some(store))
    }

    fn give_up(&mut self, why: &str) -> Option<Arc<dyn Store>> {
        Counts::add(&self.feed.counts.failures);
        self.feed.set_state(State::Failed(why.into()));
        None
    }

    /// Takes over what the store says of the caches.
    fn adopt(&mut self) {
        for cache in &mut self.caches {
            let overflow = &cache.overflow;
            cache.id = self.meta.id(&overflow.name).filter(|_| !cache.new);
            *overflow.id.lock() = cache.id.map(|id| (0, id));
            match cache.id {
                Some(id) if overflow.generation() == 0 => {
                    self.rebuilds.push_back(Rebuild::new(overflow, id));
                }
                _ => Rebuild::nothing(overflow),
            }
        }
    }

    /// The way on after an error.
    fn reopen(&mut self, store: &dyn Store) -> Result<(), Error> {
        let report = store.reopen()?;
        if report.suspect || report.quarantined.is_some() || !self.meta.is_all_there(store)? {
            self.give_up(
                "it has lost what was written to it last; a restart brings that back from the log",
            );
            return Err(failed("it was opened again"));
        }
        Ok(())
    }

    /// Gives caches new numbers that were cleared, or are new, and buries those that nobody keeps any
    /// more.
    fn renew(&mut self, store: &dyn Store, forced: bool) -> Result<(), Error> {
        let known = |name: &[u8]| self.caches.iter().any(|c| c.overflow.name.as_bytes() == name);
        let strangers: Vec<_> =
            self.meta.names().filter(|name| !known(name)).map(<[u8]>::to_vec).collect();
        let mut batch = Batch::default();
        for name in strangers {
            self.meta.bury(&name, &mut batch)?;
        }
        let mut renewed = Vec::new();
        for (at, cache) in self.caches.iter().enumerate() {
            let generation = cache.overflow.generation();
            if generation != cache.generation || cache.id.is_none() {
                let id = self.meta.renew(cache.overflow.name.as_bytes(), &mut batch)?;
                renewed.push((at, generation, id));
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        let lsn = self.feed.position();
        if !self.commit(store, &mut batch, lsn, forced)? {
            // The names are in memory already: they are read anew.
            self.meta = Meta::read(store)?;
            return Ok(());
        }
        for (at, generation, id) in renewed {
            let Some(cache) = self.caches.get_mut(at) else { continue };
            (cache.generation, cache.id) = (generation, Some(id));
            *cache.overflow.id.lock() = Some((generation, id));
        }
        Ok(())
    }

    /// Tells the store everything that waits now.
    fn pass(&mut self, store: &dyn Store, forced: bool) -> Result<(), Error> {
        for at in 0..self.caches.len() {
            let Some(cache) = self.caches.get(at) else { continue };
            let (overflow, generation) = (Arc::clone(&cache.overflow), cache.generation);
            let Some(id) = cache.id.filter(|_| overflow.keys().1 > 0) else { continue };
            let (mut batch, mut taken) = (Batch::default(), Vec::new());
            for part in 0..overflow.parts.len() {
                for next in take(&overflow, part, generation) {
                    let len =
                        if let Op::Put(kept) = &next.pending.op { kept.value.len() } else { 0 };
                    if !batch.has_room(next.key.len(), len) {
                        let done = std::mem::take(&mut taken);
                        if !self.write(store, &overflow, generation, &mut batch, done, forced)? {
                            return Ok(());
                        }
                    }
                    let stored = is_stored(store, (id, generation), &overflow, &next)?;
                    let next = Taken { stored, ..next };
                    add(&mut batch, id, &next)?;
                    taken.push(next);
                }
            }
            if !taken.is_empty() {
                self.write(store, &overflow, generation, &mut batch, taken, forced)?;
            }
            overflow.charge_filters();
        }
        Ok(())
    }

    /// Commits a batch and notes what is done; false when it has to wait for the log.
    fn write(
        &mut self,
        store: &dyn Store,
        overflow: &Overflow,
        generation: u64,
        batch: &mut Batch,
        taken: Vec<Taken>,
        forced: bool,
    ) -> Result<bool, Error> {
        let lsn = taken.iter().map(|taken| taken.pending.lsn).max().unwrap_or(0);
        if !self.commit(store, batch, lsn, forced)? {
            return Ok(false);
        }
        batch.clear();
        taken.into_iter().for_each(|taken| done(overflow, generation, &taken));
        self.feed.wake_room();
        Ok(true)
    }

    /// Commits a batch when the log is durable up to `lsn`; false when it will not be so soon.
    pub fn commit(
        &mut self,
        store: &dyn Store,
        batch: &mut Batch,
        lsn: u64,
        forced: bool,
    ) -> Result<bool, Error> {
        if !self.feed.wait_durable(lsn) {
            // Records that the disk had no room for: what came after them may be durable all the same.
            let last = self.feed.position();
            let later = last > lsn && self.feed.wait_durable(last);
            let failed = self.feed.log().is_some_and(|log| log.failure().is_some());
            if failed || !later && !forced {
                return Ok(false);
            }
        }
        self.position = self.position.max(lsn);
        batch.advance(Position(self.position));
        self.meta.number(batch)?;
        store.commit(batch)?;
        self.meta.count();
        Ok(true)
    }

    fn sweep(&mut self, store: &dyn Store) -> Result<(), Error> {
        let mut sweep = std::mem::take(&mut self.sweep);
        let swept = sweep.step(self, store);
        self.sweep = sweep;
        swept
    }
}

/// Why a store that was opened must not be read, if so.
fn refusal(report: &Report) -> Option<String> {
    if let Some(gone) = &report.quarantined {
        let (reason, path) = (&gone.reason, gone.path.display());
        return Some(format!(
            "it is damaged ({reason}) and lies in {path} now; a restart goes on without the entries \
             that were only there"
        ));
    }
    report.suspect.then(|| {
        "some of it is older than it should be; restore a copy of the data directory, or move the \
         folder `store` away and restart to go on without the entries in it"
            .to_owned()
    })
}

fn failed(why: &str) -> Error {
    Error::Failed { path: "store".into(), reason: why.to_owned() }
}

/// What waits in a part.
fn take(overflow: &Overflow, part: usize, generation: u64) -> Vec<Taken> {
    let Some(of) = overflow.parts.get(part).filter(|part| part.is_used()) else {
        return Vec::new();
    };
    let Some(table) = overflow.table.upgrade() else { return Vec::new() };
    of.with(|inner| {
        if inner.generation != generation {
            return Vec::new();
        }
        let all = inner.pending.iter().map(|(key, pending)| Taken {
            part,
            key: key.clone(),
            hash: table.hash(key).index,
            pending: pending.clone(),
            stored: false,
        });
        all.collect()
    })
}

/// Whether the store has a key; it is asked only where that may be. A save that is under way gets
/// what is there, one at a time.
fn is_stored(
    store: &dyn Store,
    (id, generation): (CacheId, u64),
    overflow: &Overflow,
    taken: &Taken,
) -> Result<bool, Error> {
    // A clear forgets which keys there are; a save may still have to read them under the old number.
    let may_be =
        |inner: &mut Inner| inner.generation != generation || inner.filter.contains(taken.hash);
    if !overflow.parts.get(taken.part).is_some_and(|part| part.with(may_be)) {
        return Ok(false);
    }
    let found = match store.get(id, &taken.key) {
        Ok(None) => return Ok(false),
        Ok(Some(stored)) => Ok(stored),
        Err(Error::Damaged(damage)) => Err(damage),
        Err(error) => return Err(error),
    };
    if let Some(capture) = overflow.captured() {
        capture.wait_room();
        capture.loses(id, &taken.key, found);
    }
    Ok(true)
}

fn add(batch: &mut Batch, id: CacheId, taken: &Taken) -> Result<(), Error> {
    match &taken.pending.op {
        Op::Put(kept) => batch.put(id, &taken.key, kept.stored()),
        Op::Delete if taken.stored => batch.delete(id, &taken.key),
        Op::Delete => Ok(()),
    }
}

/// Notes what the store has now.
fn done(overflow: &Overflow, generation: u64, taken: &Taken) {
    let Some(part) = overflow.parts.get(taken.part) else { return };
    let bytes = part.with(|inner| {
        if inner.generation != generation {
            return 0;
        }
        match (&taken.pending.op, taken.stored) {
            (Op::Put(_), false) => inner.filter.insert(taken.hash),
            (Op::Delete, true) => inner.filter.remove(taken.hash),
            _ => {}
        }
        inner.settle(&taken.key, taken.pending.ticket)
    });
    overflow.charge(bytes);
}
