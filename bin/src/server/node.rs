//! What all connections of a running server share.

use std::collections::BTreeMap;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use isogrid_engine::env::os_seed;
use isogrid_engine::persist::{DataDirectory, KeptTable, PersistMode, Preload};
use isogrid_engine::{Allocator, Clock, ConfigError, SystemClock, Table};
use isogrid_grid::catalog::CacheMode as Placement;
use isogrid_grid::catalog::{
    CacheOptions, CatalogLimits, Kind, Object, RegionOptions, persist_name,
};
use isogrid_grid::structures::new_table;
use isogrid_grid::structures::queues::Queues;
use isogrid_grid::structures::sessions::{self, Sessions};
use isogrid_grid::{Catalog, Structures};
use tokio::sync::Notify;

use super::accept_rate::AcceptRate;
use super::connections::Connections;
use super::counters::AllCounters;
use super::data::Data;
use super::detail::Detail;
use super::health::Health;
use super::keeper::Keeper;
use super::loading::Loading;
use super::locks::{Hosting, Waiting};
use super::log_limit::LogLimit;
use super::native::once::Answers;
use super::native::open_tx::Transactions;
use super::native::queue::named;
use super::native::waits::Waits;
use super::newcomers::Newcomers;
use super::queues::{self, LocalQueues};
use super::secure::HANDSHAKES_MAX;
use super::telemetry::LogLevel;
use super::tls::Tls;
use crate::cluster;
use crate::config::{self, CacheMode, Loaded, Origin, ServerConfig, TlsMode};
use crate::security::{Security, Settings, Source};

/// A running server.
pub struct Node {
    /// What it was started with.
    pub config: ServerConfig,
    /// Where that was said, by key.
    pub origins: BTreeMap<String, Origin>,
    /// Its caches.
    pub catalog: Catalog,
    /// Its counters, leases, locks and semaphores.
    pub structures: Structures,
    /// Who waits for a lock or a semaphore.
    pub waiting: Waiting,
    /// How long that took for those who did.
    pub waits: Waits,
    /// Leases, locks and semaphores of the cluster, while this member serves them.
    pub hosting: Hosting,
    /// Its queues, if it stands alone.
    pub queues: LocalQueues,
    /// Those of the cluster that this member serves.
    pub hosted_queues: queues::Hosting,
    /// Its web sessions, if it stands alone.
    pub sessions: Sessions,
    /// Those of the cluster; set before it takes part in one.
    pub shared_sessions: OnceLock<Sessions>,
    /// Answers to requests that may come twice.
    pub answers: Answers,
    /// How transactions stand.
    pub transactions: Transactions,
    /// What it counts.
    pub counters: AllCounters,
    /// How fast connections are accepted.
    pub accept_rate: AcceptRate,
    /// Who is connected.
    pub connections: Connections,
    /// Connections whose TLS handshake is not done.
    pub handshakes: Arc<Newcomers>,
    /// Connections that have to log in and have not.
    pub unauthenticated: Arc<Newcomers>,
    /// Users, logins and the audit log.
    pub security: Security,
    /// The certificate in force, where a listener speaks TLS.
    pub tls: Option<Tls>,
    /// Lines of the log that clients can cause.
    pub log_limits: LogLimits,
    /// Reads by key prefix, when switched on.
    pub detail: Detail,
    /// Its clock.
    pub clock: SystemClock,
    /// When it started, ms.
    pub started: u64,
    /// Another number after each start.
    pub life: u64,
    /// The level that `verbosity` set.
    pub verbosity: AtomicU32,
    /// `cache_memlimit` and the configuration, bytes.
    pub memory_limit: AtomicU64,
    /// The data directory until it is opened.
    directory: Mutex<Option<DataDirectory>>,
    /// What is kept on disk; set before the node listens.
    pub data: OnceLock<Data>,
    /// Held while caches are saved to a file: one save at a time.
    pub saving: Mutex<()>,
    /// Its part in a cluster, if it has one; set before it listens.
    pub cluster: OnceLock<Arc<cluster::Cluster>>,
    /// What health checks hear.
    pub health: Health,
    /// Changes the level of the log.
    pub log: LogLevel,
    stopping: AtomicBool,
    hurried: AtomicBool,
    stop: Notify,
}

/// Lines of the log that clients can cause, each written once in a while.
#[derive(Default)]
pub struct LogLimits {
    /// A connection was refused because all places were taken.
    pub full: LogLimit,
    /// A connection was refused because its address had all it may have.
    pub address: LogLimit,
    /// A connection could not be accepted.
    pub accept: LogLimit,
    /// A connection said nothing that its listener serves.
    pub unserved: LogLimit,
}

impl Node {
    /// A node with its caches, not listening yet.
    ///
    /// # Errors
    /// When a cache cannot be made from its configuration, or users or certificates cannot be
    /// read.
    pub fn new(loaded: impl Into<Loaded>) -> Result<Arc<Node>, super::Error> {
        let Loaded { config, origins, .. } = loaded.into();
        let clock = SystemClock::new();
        let started = clock.now();
        let directory = Data::directory(&config)?;
        let seed = directory.as_ref().map_or_else(os_seed, DataDirectory::seed);
        let catalog = new_catalog(&config, seed, started)?;
        let refused = |source| super::Error::Cache { name: Structures::TABLE.to_owned(), source };
        let structures = Structures::new(allocator(), started).map_err(refused)?;
        let refused = |source| super::Error::Cache { name: Queues::TABLE.to_owned(), source };
        let queues = new_table(1, allocator(), started).map_err(refused)?;
        let refused = |source| super::Error::Cache { name: Sessions::TABLE.to_owned(), source };
        let sessions = new_table(1, allocator(), started).map_err(refused)?;
        sessions.set_max_bytes(sessions::BYTES_MAX);
        let limit = config.caches.first().map_or(0, |cache| cache.limits.max_bytes);
        Ok(Arc::new(Node {
            detail: Detail::new(config.protocol.detail, config.protocol.prefix_delimiter),
            verbosity: AtomicU32::new(config.protocol.verbosity),
            memory_limit: AtomicU64::new(limit),
            accept_rate: AcceptRate::new(config.limits.accept_rate, started),
            connections: Connections::new(&config.limits),
            handshakes: Newcomers::new(
                HANDSHAKES_MAX,
                "too many handshakes at once",
                "the handshake took too long",
            ),
            unauthenticated: Newcomers::new(
                config.limits.unauthenticated,
                "too many connections that have not logged in",
                "not logged in for login_timeout",
            ),
            security: Security::open(security_settings(&config)).map_err(super::Error::Users)?,
            tls: open_tls(&config, started)?,
            log_limits: LogLimits::default(),
            config,
            origins,
            catalog,
            structures,
            waiting: Waiting::default(),
            waits: Waits::default(),
            hosting: Hosting::default(),
            queues: LocalQueues::new(queues),
            hosted_queues: queues::Hosting::default(),
            sessions: Sessions::new(Arc::new(sessions)),
            shared_sessions: OnceLock::new(),
            answers: Answers::default(),
            transactions: Transactions::default(),
            counters: AllCounters::default(),
            clock,
            started,
            life: os_seed(),
            directory: Mutex::new(directory),
            data: OnceLock::new(),
            saving: Mutex::default(),
            cluster: OnceLock::new(),
            health: Health::default(),
            log: LogLevel::default(),
            stopping: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            stop: Notify::new(),
        }))
    }

    /// Fills the caches with what was kept of them, and keeps them from now on.
    ///
    /// # Errors
    /// When the data directory cannot be used as it is.
    pub fn open_data(&self) -> Result<(), super::Error> {
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner).take();
        let data = directory.map(|directory| Data::open(self, directory)).transpose()?;
        let kept = data.as_ref().filter(|_| self.config.structures_alone().is_some());
        let persistence = kept.map(|data| Arc::clone(&data.persistence));
        self.structures.begin(persistence, self.now()).map_err(super::Error::Structures)?;
        for name in self.queues.load(self.now()) {
            let _ = named::noted(self, &name);
        }
        if let Some(data) = data {
            let _ = self.data.set(data);
        }
        Ok(())
    }

    /// The tables of the structures that it has alone, each kept in this mode.
    pub(super) fn kept_structures(&self, mode: PersistMode) -> [KeptTable; 3] {
        [
            self.structures.kept_table(mode),
            self.queues.kept_table(mode),
            self.sessions.kept_table(mode),
        ]
    }

    /// Whether a cache is one of the cluster: what this node has is not all of it, or not its own.
    pub fn is_clustered(&self, cache: &str) -> bool {
        self.cluster.get().is_some_and(|cluster| {
            cluster.cache(cache).is_some() || cluster.invalidated(cache).is_some()
        })
    }

    /// The data directory, when something is kept there.
    pub fn kept_in(&self) -> &str {
        let is_kept = self.data.get().is_some() || self.config.keeps();
        self.config.node.data_dir.as_deref().filter(|_| is_kept).unwrap_or("off")
    }

    /// What is kept, in words.
    pub fn keeping(&self) -> String {
        let index = self.catalog.index();
        let local = index.caches().filter(|cache| cache.options.persist != PersistMode::None);
        let mode = |cache: &Arc<Object>| persist_name(cache.options.persist);
        let local = local.map(|cache| format!("{} ({})", cache.name, mode(cache)));
        let of_cluster = self.config.caches.iter().filter(|cache| cache.is_kept_by_members());
        let of_cluster =
            of_cluster.map(|cache| format!("{} ({}, by members)", cache.name, cache.persist));
        let structures = match self.config.structures_alone() {
            _ if self.config.cluster.is_on() => {
                Some("structures (as the cluster has it)".to_owned())
            }
            mode => mode.map(|mode| format!("structures ({})", persist_name(mode))),
        };
        let local = local.filter(|_| self.data.get().is_some());
        let all: Vec<_> = local.chain(of_cluster).chain(structures).collect();
        match &self.config.node.data_dir {
            Some(path) if !all.is_empty() => format!("kept in {path}: {}", all.join(", ")),
            _ => "everything is kept in memory only".to_owned(),
        }
    }

    /// What a connection to a cache has to wait for.
    pub fn keeper(&self, cache: &str) -> Option<Keeper> {
        let mode = self.catalog.find(Kind::Cache, cache).ok()?.options.persist;
        Keeper::new(self.data.get().map(|data| &data.persistence), mode)
    }

    /// What brings entries of a cache into memory that are not there.
    pub fn loading(&self, cache: &str) -> Option<Loading> {
        self.data.get()?.reader(cache).map(Loading::new)
    }

    /// When a change of structures counts as kept: the mode in which the data directory keeps them.
    pub fn structures_mode(&self) -> PersistMode {
        self.data.get().and_then(|_| self.config.structures_alone()).unwrap_or_default()
    }

    /// The time now, ms.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Begins to stop: no new connections, the present ones finish what they have read.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.notify_waiters();
        self.connections.wake_all();
    }

    /// Whether the node is stopping.
    #[inline]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Ends the writing of what is behind: somebody asked twice.
    pub fn hurry(&self) {
        self.hurried.store(true, Ordering::Release);
    }

    /// Whether somebody asked twice to stop.
    pub fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Acquire)
    }

    /// Waits until the node is told to stop.
    pub async fn stopped(&self) {
        let stop = self.stop.notified();
        if !self.is_stopping() {
            stop.await;
        }
    }
}

fn security_settings(config: &ServerConfig) -> Settings {
    let source = match &config.auth.passwords {
        Some(path) => Some(Source::Passwords(path.clone())),
        None => config.users_file().map(Source::Users),
    };
    Settings { mode: config.auth.mode, source, audit: config.audit_file() }
}

fn open_tls(config: &ServerConfig, now: u64) -> Result<Option<Tls>, super::Error> {
    let speaks = |listener: &config::ListenerConfig| config.tls_of(listener) != TlsMode::Off;
    let wanted = config.listeners().iter().any(speaks);
    wanted.then(|| Tls::open(&config.tls, now)).transpose().map_err(super::Error::Tls)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What the catalog is told of a cache of the configuration.
fn cache_options(cache: &config::CacheConfig) -> CacheOptions {
    let regions = cache.regions.iter().map(|region| RegionOptions {
        prefix: region.prefix.clone(),
        max_bytes: region.max_bytes,
        max_entries: region.max_entries,
        eviction: region.eviction.as_ref().and_then(|name| name.parse().ok()),
    });
    let idle = cache.default_max_idle.map(|idle| u32::try_from(millis(idle)).unwrap_or(u32::MAX));
    CacheOptions {
        mode: match cache.mode {
            CacheMode::Invalidated => Placement::Invalidated,
            CacheMode::Local | CacheMode::Distributed | CacheMode::Replicated => Placement::Local,
        },
        memory: cache.limits.max_bytes,
        max_entries: cache.limits.max_entries,
        eviction: cache.eviction.parse().unwrap_or_default(),
        ttl: cache.default_ttl.map(millis),
        max_idle: idle,
        segments: match cache.mode {
            CacheMode::Local | CacheMode::Invalidated => cache.segments,
            CacheMode::Distributed | CacheMode::Replicated => {
                Some(cache.segments.unwrap_or(cluster::SEGMENTS))
            }
        },
        persist: match cache.mode {
            CacheMode::Local => PersistMode::parse(&cache.persist).unwrap_or_default(),
            CacheMode::Distributed | CacheMode::Replicated | CacheMode::Invalidated => {
                PersistMode::None
            }
        },
        preload: Preload::parse(&cache.preload).unwrap_or_default(),
        behind_delay: millis(cache.behind_delay),
        behind_queue: cache.behind_queue,
        regions: regions.collect(),
    }
}

fn new_catalog(config: &ServerConfig, seed: u64, now: u64) -> Result<Catalog, super::Error> {
    let item = u64::try_from(config.limits.max_item_size).unwrap_or(u64::MAX);
    let limits = CatalogLimits {
        bytes: config.node.memory.unwrap_or_else(machine_memory),
        cache_bytes_min: item.max(CatalogLimits::default().cache_bytes_min),
        ..CatalogLimits::default()
    };
    let catalog = Catalog::new(limits, allocator(), seed);
    for cache in &config.caches {
        let refused = |source| super::Error::Cache { name: cache.name.clone(), source };
        let is_shared = config.cluster.is_on() && cache.mode != CacheMode::Local;
        let number = is_shared.then(|| cluster::object_number(&cache.name));
        catalog.declare(&cache.name, cache_options(cache), number, now).map_err(refused)?;
    }
    Ok(catalog)
}

/// A table of the structures of a cluster.
///
/// # Errors
/// When no table can be made.
pub fn new_structures(now: u64) -> Result<Table, ConfigError> {
    new_table(cluster::SEGMENTS, allocator(), now)
}

fn allocator() -> Allocator {
    if cfg!(feature = "jemalloc") { Allocator::Jemalloc } else { Allocator::Glibc }
}

/// Bytes of memory that the machine has; no bound where it does not say.
fn machine_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib.saturating_mul(1_024))
}
