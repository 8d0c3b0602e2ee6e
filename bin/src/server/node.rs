//! What all connections of a running server share.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use isogrid_engine::persist::PersistMode;
use isogrid_engine::{Allocator, Clock, RegionConfig, SystemClock, TableConfig};
use isogrid_grid::{CacheConfig, Catalog};
use tokio::sync::Notify;

use super::connections::Connections;
use super::counters::Counters;
use super::data::Data;
use super::detail::Detail;
use super::keeper::Keeper;
use super::log_limit::LogLimit;
use super::newcomers::Newcomers;
use super::secure::HANDSHAKES_MAX;
use super::tls::Tls;
use crate::config::{self, ServerConfig, TlsMode};
use crate::security::{Security, Settings, Source};

/// A running server.
pub struct Node {
    /// What it was started with.
    pub config: ServerConfig,
    /// Its caches.
    pub catalog: Catalog,
    /// What it counts.
    pub counters: Counters,
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
    /// The level that `verbosity` set.
    pub verbosity: AtomicU32,
    /// `cache_memlimit` and the configuration, bytes.
    pub memory_limit: AtomicU64,
    /// What is kept on disk; set before the node listens.
    pub data: OnceLock<Data>,
    stopping: AtomicBool,
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
}

impl Node {
    /// A node with its caches, not listening yet.
    ///
    /// # Errors
    /// When a cache cannot be made from its configuration, or users or certificates cannot be
    /// read.
    pub fn new(config: ServerConfig) -> Result<Arc<Node>, super::Error> {
        let clock = SystemClock::new();
        let started = clock.now();
        let mut catalog = Catalog::new();
        for cache in &config.caches {
            let refused = |source| super::Error::Cache { name: cache.name.clone(), source };
            catalog.create(&cache.name, cache_config(cache), started).map_err(refused)?;
        }
        let limit = config.caches.first().map_or(0, |cache| cache.limits.max_bytes);
        Ok(Arc::new(Node {
            detail: Detail::new(config.protocol.detail, config.protocol.prefix_delimiter),
            verbosity: AtomicU32::new(config.protocol.verbosity),
            memory_limit: AtomicU64::new(limit),
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
            catalog,
            counters: Counters::default(),
            clock,
            started,
            data: OnceLock::new(),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
        }))
    }

    /// Fills the caches with what was kept of them, and keeps them from now on.
    ///
    /// # Errors
    /// When the data directory cannot be used as it is.
    pub fn open_data(&self) -> Result<(), super::Error> {
        if let Some(data) = Data::open(self).map_err(super::Error::Data)? {
            let _ = self.data.set(data);
        }
        Ok(())
    }

    /// The data directory, when something is kept there.
    pub fn kept_in(&self) -> &str {
        let kept = self.data.get().and(self.config.node.data_dir.as_deref());
        kept.unwrap_or("off")
    }

    /// What is kept, in words.
    pub fn keeping(&self) -> String {
        if self.data.get().is_none() {
            return "everything is kept in memory only".to_owned();
        }
        let caches = self.config.caches.iter().filter(|cache| cache.persist != "none");
        let modes: Vec<_> = caches.map(|c| format!("{} ({})", c.name, c.persist)).collect();
        format!("kept in {}: {}", self.kept_in(), modes.join(", "))
    }

    /// What a connection to a cache has to wait for.
    pub fn keeper(&self, cache: &str) -> Option<Keeper> {
        let config = self.config.caches.iter().find(|config| config.name == cache)?;
        let mode = PersistMode::parse(&config.persist).unwrap_or_default();
        Keeper::new(self.data.get().map(|data| &data.persistence), mode)
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
    let speaks = |listener| config.tls_of(listener) != TlsMode::Off;
    let wanted = config.memcached.iter().any(speaks);
    wanted.then(|| Tls::open(&config.tls, now)).transpose().map_err(super::Error::Tls)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn cache_config(cache: &config::CacheConfig) -> CacheConfig {
    let regions = cache.regions.iter().map(|region| RegionConfig {
        prefix: region.prefix.clone().into_bytes(),
        max_bytes: region.max_bytes,
        max_entries: region.max_entries,
        eviction: region.eviction.as_ref().and_then(|name| name.parse().ok()),
    });
    let allocator = if cfg!(feature = "jemalloc") { Allocator::Jemalloc } else { Allocator::Glibc };
    let idle = cache.default_max_idle.map(|idle| u32::try_from(millis(idle)).unwrap_or(u32::MAX));
    CacheConfig {
        table: TableConfig {
            segments: cache.segments,
            max_bytes: cache.limits.max_bytes,
            max_entries: cache.limits.max_entries,
            eviction: cache.eviction.parse().unwrap_or_default(),
            regions: regions.collect(),
            allocator,
            ..TableConfig::default()
        },
        default_ttl: cache.default_ttl.map(millis),
        default_max_idle: idle,
    }
}
