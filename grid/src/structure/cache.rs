//! The cache: a named map of expiring, versioned entries. A [`Batch`] executes operations on them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use isogrid_engine::{
    ConfigError, Error, Joint, KeyHash, Table, TableConfig, Timestamp, Transaction,
    TransactionError,
};

pub use self::batch::Batch;
pub use self::edit::{Action, Decision, Edit, Edited, Pending, Refusal, Scratch, There};
pub use self::map::{Field, Map, MapEdit};
pub use self::operation::{Counted, Hit, Lifespan, Mode, Put, Read, Removal, Step, Written};
use crate::events::{
    Budget, EventMetrics, Hub, ListenOptions, Listener, PartSeq, Scan, ScanError, ScanOptions,
    TrackOptions, Tracker, WatchError,
};

mod batch;
mod edit;
mod map;
mod operation;

/// The configuration of one cache.
#[derive(Debug, Clone, Default)]
pub struct CacheConfig {
    /// Segments, limits, eviction, regions.
    pub table: TableConfig,
    /// Lifespan of entries that are stored without one, ms.
    pub default_ttl: Option<u64>,
    /// Max-idle of entries that are stored without one, ms.
    pub default_max_idle: Option<u32>,
}

/// A named map.
pub struct Cache {
    name: String,
    table: Arc<Table>,
    config: CacheConfig,
    /// The defaults now; 0 = none.
    default_ttl: AtomicU64,
    default_max_idle: AtomicU32,
    /// When a clear is due; 0 = none.
    clear_at: AtomicU64,
    /// Held while it is cleared; how often it was.
    clearing: Mutex<u64>,
    hub: Arc<Hub>,
}

impl Cache {
    /// An empty cache.
    ///
    /// # Errors
    /// When no table can be made from the configuration.
    pub fn new(name: &str, config: CacheConfig, now: Timestamp) -> Result<Cache, ConfigError> {
        let table = Arc::new(Table::new(&config.table, now)?);
        let (default_ttl, default_max_idle) = (AtomicU64::new(0), AtomicU32::new(0));
        let (clear_at, clearing, hub) = (AtomicU64::new(0), Mutex::new(0), Arc::default());
        let (ttl, max_idle) = (config.default_ttl, config.default_max_idle);
        let name = name.to_owned();
        let cache =
            Cache { name, table, config, default_ttl, default_max_idle, clear_at, clearing, hub };
        cache.set_defaults(ttl, max_idle);
        Ok(cache)
    }

    /// Changes what entries get that are stored without a lifespan (ms) or a max-idle (ms) of
    /// their own. Those that are there keep theirs.
    pub fn set_defaults(&self, ttl: Option<u64>, max_idle: Option<u32>) {
        self.default_ttl.store(ttl.unwrap_or(0), Ordering::Relaxed);
        self.default_max_idle.store(max_idle.unwrap_or(0), Ordering::Relaxed);
    }

    fn default_max_idle(&self) -> Option<u32> {
        Some(self.default_max_idle.load(Ordering::Relaxed)).filter(|idle| *idle > 0)
    }

    /// The cache's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was made from; [`Cache::set_defaults`] may have changed the defaults since.
    #[must_use]
    pub fn config(&self) -> &CacheConfig {
        &self.config
    }

    /// The table behind it, for figures and scans.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The table, to be kept beside the cache.
    #[must_use]
    pub fn shared_table(&self) -> Arc<Table> {
        Arc::clone(&self.table)
    }

    /// Begins a batch of operations at `now`.
    #[inline]
    pub fn batch(&self, now: Timestamp) -> Batch<'_> {
        self.clear_if_due(now);
        Batch { cache: self, pinned: self.table.pin(), now }
    }

    /// The hashes of a key.
    #[must_use]
    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        self.table.hash(key)
    }

    /// Removes everything that is stored at `at` (now, when that is past). A later call replaces
    /// an earlier one that is not due yet.
    ///
    /// # Errors
    /// When it is due now and cannot be recorded; it is tried again until it can.
    pub fn clear(&self, at: Timestamp, now: Timestamp) -> Result<(), Error> {
        self.clear_at.store(at.max(1), Ordering::Release);
        if at <= now { self.clear_now(now) } else { Ok(()) }
    }

    #[inline]
    fn clear_if_due(&self, now: Timestamp) {
        let at = self.clear_at.load(Ordering::Acquire);
        if at != 0 && at <= now {
            // What could not be recorded is tried again with the next batch.
            let _ = self.clear_now(now);
        }
    }

    #[cold]
    fn clear_now(&self, now: Timestamp) -> Result<(), Error> {
        let mut cleared = self.clearing.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.clear_at.load(Ordering::Acquire);
        if at != 0 && at <= now {
            self.table.clear(now)?;
            self.clear_at.store(0, Ordering::Release);
            *cleared += 1;
        }
        Ok(())
    }

    /// How often it was cleared since the start.
    #[must_use]
    pub fn cleared(&self) -> u64 {
        *self.clearing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Background work that is due; whether there is more to do at once.
    pub fn maintain(&self, now: Timestamp, budget: usize) -> bool {
        self.clear_if_due(now);
        self.hub.rest(&self.table, now);
        self.table.maintain(now, budget)
    }

    /// The part of a transaction that is in this cache, which joins if it has not.
    ///
    /// # Errors
    /// What was read of other caches is not as it was ([`Joint::part`]).
    pub fn join<'j>(
        &self,
        joint: &'j mut Joint,
        now: Timestamp,
    ) -> Result<&'j mut Transaction<'static>, TransactionError> {
        self.clear_if_due(now);
        joint.part(&self.table, now)
    }

    /// Begins to listen to what changes.
    ///
    /// # Errors
    /// [`WatchError::TooMany`].
    pub fn listen(&self, options: ListenOptions, now: Timestamp) -> Result<Listener, WatchError> {
        self.hub.listen(&self.table, options, now)
    }

    /// Begins to track changes for a near cache.
    ///
    /// # Errors
    /// [`WatchError`] says what there is too much of.
    pub fn track(&self, options: TrackOptions) -> Result<Tracker, WatchError> {
        self.hub.track(&self.table, options)
    }

    /// Begins a scan; with a cursor it goes on where another one of the same options was.
    ///
    /// # Errors
    /// [`ScanError`] says what is wrong with the cursor or the options.
    pub fn scan(
        &self,
        options: ScanOptions,
        cursor: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Scan, ScanError> {
        Scan::open(&self.hub, &self.table, options, cursor, now)
    }

    /// The states of segments, in the order of `segments`; `None` for one that is not there.
    #[must_use]
    pub fn part_seq(&self, segments: &[u32]) -> Vec<Option<PartSeq>> {
        let (life, count) = (self.table.life(), self.table.segment_count());
        let there = |segment: &u32| (*segment as usize) < count;
        let state = |at: &u32| PartSeq { life, seq: self.table.told(*at as usize) };
        segments.iter().map(|segment| there(segment).then(|| state(segment))).collect()
    }

    /// Lets what waits for this cache's consumers count against a budget that is shared with
    /// others. Only the first call counts, and only before there is a consumer.
    pub fn set_event_budget(&self, budget: Arc<Budget>) {
        self.hub.set_budget(budget);
    }

    /// The counters of listeners, trackers and scans.
    #[must_use]
    pub fn event_metrics(&self) -> EventMetrics {
        self.hub.metrics()
    }

    /// When an entry expires that gets this lifespan now.
    #[must_use]
    pub fn deadline(&self, lifespan: Lifespan, now: Timestamp) -> Option<Timestamp> {
        match lifespan {
            Lifespan::Until(at) => Some(at),
            Lifespan::Default => match self.default_ttl.load(Ordering::Relaxed) {
                0 => None,
                ttl => Some(now.saturating_add(ttl)),
            },
        }
    }
}
