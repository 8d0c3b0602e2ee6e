//! A table, its log, its store, and what users do with them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};

use crate::disk::MemoryDisk;
use crate::env::ManualClock;
use crate::persist::{
    KeptTable, PersistConfig, PersistMode, Persistence, Preload, Reader, StoreConfig,
};
use crate::store::fault::{FaultStore, Hook, Tear};
use crate::store::memory::MemoryStore;
use crate::store::{
    Batch, CacheId, Error as StoreError, Page, Position, Report, Scan, Store, Stored,
};
use crate::table::{EntryMut, Table, TransactionError};
use crate::wal::block_on;
use crate::{Error, TableConfig, Timestamp, Transaction};

pub const START: Timestamp = 1_000_000;

/// Value, flags, deadline, max-idle and version of an entry.
pub type Shown = (Vec<u8>, u32, Option<u64>, Option<u32>, u64);
pub type Image = BTreeMap<Vec<u8>, Shown>;

/// What lies on the disks, between two lives too.
pub struct Disks {
    pub log: MemoryDisk,
    pub store: Arc<FaultStore<MemoryStore>>,
    /// Whether there is anything in the store's folder.
    pub begun: Arc<AtomicBool>,
}

impl Disks {
    pub fn new() -> Disks {
        Disks::with_hook(Box::new(|_, _| ()))
    }

    pub fn with_hook(hook: Hook) -> Disks {
        let store = Arc::new(FaultStore::new(MemoryStore::new()).with_hook(hook));
        Disks { log: MemoryDisk::new(), store, begun: Arc::default() }
    }
}

/// The store as one process has it open: what the process does after its end reaches nothing. What
/// it is at ends before: a checkpoint that was half done and went on after the end would make
/// durable what the crash had taken something from, and a real process does not go on.
struct Mortal {
    store: Arc<FaultStore<MemoryStore>>,
    dead: Arc<RwLock<bool>>,
}

/// Held while something is done.
struct Alive<'a> {
    store: &'a FaultStore<MemoryStore>,
    _dies_later: RwLockReadGuard<'a, bool>,
}

impl Mortal {
    fn alive(&self) -> Result<Alive<'_>, StoreError> {
        let dead = self.dead.read();
        let alive = !*dead;
        let now = Alive { store: &self.store, _dies_later: dead };
        alive.then_some(now).ok_or(StoreError::Closed)
    }
}

impl std::ops::Deref for Alive<'_> {
    type Target = FaultStore<MemoryStore>;

    fn deref(&self) -> &Self::Target {
        self.store
    }
}

impl Store for Mortal {
    fn get(&self, cache: CacheId, key: &[u8]) -> Result<Option<Stored>, StoreError> {
        self.alive()?.get(cache, key)
    }
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.alive()?.commit(batch)
    }
    fn applied(&self) -> Result<Position, StoreError> {
        self.alive()?.applied()
    }
    fn reached(&self, cache: CacheId) -> Result<Vec<(u16, u64)>, StoreError> {
        self.alive()?.reached(cache)
    }
    fn scan(&self, scan: &Scan<'_>) -> Result<Page, StoreError> {
        self.alive()?.scan(scan)
    }
    fn clear(&self, cache: CacheId) -> Result<(), StoreError> {
        self.alive()?.clear(cache)
    }
    fn checkpoint(&self) -> Result<Position, StoreError> {
        self.alive()?.checkpoint()
    }
    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.alive()?.size_on_disk()
    }
    fn reopen(&self) -> Result<Report, StoreError> {
        self.alive()?.reopen()
    }
    fn close(&self) -> Result<(), StoreError> {
        self.alive()?.close()
    }
}

/// How a table is made.
#[derive(Debug, Clone)]
pub struct Shape {
    pub mode: PersistMode,
    pub preload: Preload,
    pub segments: u32,
    /// Bytes over those of an empty table.
    pub room: u64,
    pub seed: u64,
}

/// One life of a process.
pub struct Life {
    pub table: Arc<Table>,
    pub persistence: Persistence,
    pub reader: Reader,
    pub clock: Arc<ManualClock>,
    pub mode: PersistMode,
    dead: Arc<RwLock<bool>>,
}

impl Life {
    pub fn begin(disks: &Disks, shape: &Shape, now: Timestamp) -> Life {
        Life::begin_with(disks, vec![kept("default", shape, now)], now)
    }

    /// With these tables, of which the first is the one that is used.
    pub fn begin_with(disks: &Disks, tables: Vec<KeptTable>, now: Timestamp) -> Life {
        let KeptTable { name, table, mode, .. } = tables[0].clone();
        let dead = Arc::new(RwLock::new(false));
        let config = PersistConfig {
            log: Arc::new(disks.log.clone()),
            snapshots: Arc::new(disks.log.clone()),
            mapped: false,
            dropped: Vec::new(),
            storage_id: [3; 16],
            store: Some(store(disks, &dead)),
            log_bytes: 1 << 20,
            log_file_bytes: 16 << 10,
        };
        let clock = Arc::new(ManualClock::at(now));
        let (persistence, _) = Persistence::open(config, tables, clock.clone()).unwrap();
        let reader = persistence.reader(&name).unwrap();
        Life { table, persistence, reader, clock, mode, dead }
    }

    /// From now on another table is used.
    pub fn turn_to(&mut self, kept: &KeptTable) {
        self.table = Arc::clone(&kept.table);
        self.reader = self.persistence.reader(&kept.name).unwrap();
    }

    pub fn now(&self) -> Timestamp {
        use crate::env::Clock;
        self.clock.now()
    }

    /// Does something with an entry as a user would: brings it into memory first where it must be,
    /// and waits where there is no room.
    pub fn on<T>(
        &self,
        key: &[u8],
        blind: bool,
        mut work: impl FnMut(&mut EntryMut<'_, '_>) -> Result<T, Error>,
    ) -> T {
        loop {
            let why = {
                let pinned = self.table.pin();
                let mut entry = pinned.entry(self.table.hash(key), key, self.now()).unwrap();
                if !blind && entry.is_away() { Err(Error::Away) } else { work(&mut entry) }
            };
            match why {
                Ok(done) => return done,
                Err(Error::Away) => self.load(key),
                Err(Error::Behind) => block_on(|cx| self.reader.poll_room(cx)).unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn load(&self, key: &[u8]) {
        let flight = self.reader.begin(key).unwrap();
        block_on(|cx| flight.poll(cx)).unwrap();
    }

    /// What a reader sees.
    pub fn get(&self, key: &[u8]) -> Option<Shown> {
        loop {
            let (hash, now) = (self.table.hash(key), self.now());
            {
                let pinned = self.table.pin();
                if let Some(entry) = pinned.get(hash, key, now) {
                    let value = entry.value().to_vec();
                    let life = (entry.deadline(), entry.max_idle());
                    return Some((value, entry.flags(), life.0, life.1, entry.version()));
                }
                if !pinned.is_away(hash, key, now) {
                    return None;
                }
            }
            self.load(key);
        }
    }

    /// Does a transaction until nothing of it is away; its versions. `None` when its keys are never
    /// in memory together: then nothing was changed.
    pub fn transact(
        &self,
        mut work: impl FnMut(&mut Transaction<'_>) -> Result<(), TransactionError>,
    ) -> Option<Vec<(Vec<u8>, u64)>> {
        for _ in 0..100 {
            let mut all = self.table.transaction(crate::Isolation::Snapshot, self.now());
            let done = work(&mut all).and_then(|()| all.commit(self.now()));
            match done {
                Ok(committed) => return Some(committed.versions),
                Err(TransactionError::Away { keys }) => keys.iter().for_each(|key| self.load(key)),
                Err(TransactionError::Refused(Error::Behind)) => {
                    block_on(|cx| self.reader.poll_room(cx)).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
        None
    }

    /// All that was done is kept: it is acknowledged.
    pub fn acknowledge(&self) {
        self.persistence.log.wait_durable(self.persistence.last()).unwrap();
    }

    /// The process ends as by SIGKILL, or the power goes; what is left. `commits` of those that no
    /// checkpoint made durable are still in the store, the last of them as `tear` says.
    pub fn end(self, disks: Disks, power: Option<u64>, commits: usize, tear: Tear) -> Disks {
        *self.dead.write() = true;
        let _ = disks.store.crash(tear);
        disks.store.inner().crash(commits);
        let log = match power {
            Some(seed) => disks.log.crash(seed),
            None => disks.log.copy(),
        };
        drop(self);
        // What its threads were at reaches nothing either.
        let _ = disks.store.crash(Tear::Lose);
        Disks { log, ..disks }
    }
}

/// An empty table.
pub fn kept(name: &str, shape: &Shape, now: Timestamp) -> KeptTable {
    let empty = TableConfig {
        segments: Some(shape.segments),
        seed: shape.seed,
        max_bytes: u64::MAX >> 1,
        ..TableConfig::default()
    };
    let table = Arc::new(Table::new(&empty, now).unwrap());
    let fixed = table.usage().bytes + 200 * u64::from(shape.segments);
    table.set_max_bytes(fixed + shape.room);
    KeptTable { name: name.to_owned(), table, mode: shape.mode, preload: shape.preload.clone() }
}

fn store(disks: &Disks, dead: &Arc<RwLock<bool>>) -> StoreConfig {
    let (store, begun, dead) = (disks.store.clone(), disks.begun.clone(), dead.clone());
    let exists = begun.load(Ordering::SeqCst);
    let open = move || {
        begun.store(true, Ordering::SeqCst);
        let report = store.reopen()?;
        let mortal = Mortal { store: store.clone(), dead: dead.clone() };
        Ok((Arc::new(mortal) as Arc<dyn Store>, report))
    };
    StoreConfig { open: Box::new(open), exists }
}
