//! Caches: where their entries are, how much room they have, how they are kept.

use std::time::Duration;

use isogrid_engine::eviction::PolicyKind;
use isogrid_engine::persist::PersistMode;
use isogrid_engine::persist::behind::{DELAY_MS_DEFAULT, WAITING_BYTES_DEFAULT};
use isogrid_grid::metadata::Persist;

/// Where the entries of a cache are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// On this node alone.
    #[default]
    Local,
    /// Spread over the members, each entry on `owners` of them.
    Distributed,
    /// On every member.
    Replicated,
    /// Each member has entries of its own; what is written on one is dropped on the others.
    Invalidated,
}

impl CacheMode {
    /// Whether members have copies of what others have.
    #[must_use]
    pub fn has_copies(self) -> bool {
        matches!(self, CacheMode::Distributed | CacheMode::Replicated)
    }
}

/// How much a cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes, everything counted. Default: 256 MiB. Minimum: 1 MiB.
    pub max_bytes: u64,
    /// Entries; `None` = as many as fit. Default: none.
    pub max_entries: Option<u64>,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { max_bytes: 256 << 20, max_entries: None }
    }
}

/// One named cache.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheConfig {
    /// Its name: 1..=64 of `[A-Za-z0-9_.-]`. Default: `default`.
    pub name: String,
    /// Where its entries are. Default: local.
    pub mode: CacheMode,
    /// With `mode` = distributed: on how many members each entry is. Default: 2. Minimum: 1.
    pub owners: u64,
    /// Of a cache with copies: whether a write is acknowledged when all copies in sync have it, `sync`,
    /// or at once, `async`. Default: sync.
    pub ack: String,
    /// Of a cache with copies: whether reads are answered by the lease of the member that serves the key,
    /// `lease`, or when the other copies have said that it still does, `confirm`. Default: lease.
    pub read_mode: String,
    /// Its limits.
    pub limits: CacheLimits,
    /// The policy's name, as [`PolicyKind`] has it. Default: the engine's.
    pub eviction: String,
    /// Expiry of entries that are stored without one; `None` = never.
    pub default_ttl: Option<Duration>,
    /// Max-idle of entries that are stored without one; `None` = none.
    pub default_max_idle: Option<Duration>,
    /// Segments (power of two); `None` = chosen by `max_bytes`.
    pub segments: Option<u32>,
    /// When a write counts as kept: a name of [`PersistMode`]. Default: async; where a file is read, none
    /// for those of a cluster.
    ///
    /// [`PersistMode`]: isogrid_engine::persist::PersistMode
    pub persist: String,
    /// Which entries are in memory after a start, as [`Preload`] reads it. Default: all.
    ///
    /// [`Preload`]: isogrid_engine::persist::Preload
    pub preload: String,
    /// How long a change waits before it is written behind. Default: 1 s.
    pub behind_delay: Duration,
    /// Bytes of changes that may wait to be written behind. Default: 64 MiB. Minimum: 64 KiB.
    pub behind_queue: u64,
    /// Key-prefix regions with limits of their own.
    pub regions: Vec<RegionConfig>,
}

impl CacheConfig {
    /// The name of the cache that is there unless configured otherwise.
    pub const DEFAULT: &str = "default";

    /// Whether writes are acknowledged before the copies have them (R37).
    #[must_use]
    pub fn answers_at_once(&self) -> bool {
        self.mode.has_copies() && self.ack == "async"
    }

    /// Whether its reads are confirmed by the other copies (R25).
    #[must_use]
    pub fn confirms_reads(&self) -> bool {
        self.mode.has_copies() && self.read_mode == "confirm"
    }

    /// Whether the members of a cluster keep their copies of it on their disks.
    #[must_use]
    pub fn is_kept_by_members(&self) -> bool {
        self.kept_by_members().is_kept()
    }

    /// How they do.
    #[must_use]
    pub fn kept_by_members(&self) -> Persist {
        match PersistMode::parse(&self.persist).filter(|_| self.mode.has_copies()) {
            Some(PersistMode::Sync) => Persist::Sync,
            Some(PersistMode::Async) => Persist::Async,
            Some(PersistMode::None | PersistMode::Behind) | None => Persist::None,
        }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            name: Self::DEFAULT.to_owned(),
            mode: CacheMode::default(),
            owners: 2,
            ack: "sync".to_owned(),
            read_mode: "lease".to_owned(),
            limits: CacheLimits::default(),
            eviction: PolicyKind::default().name().to_owned(),
            default_ttl: None,
            default_max_idle: None,
            segments: None,
            persist: "async".to_owned(),
            preload: "all".to_owned(),
            behind_delay: Duration::from_millis(DELAY_MS_DEFAULT),
            behind_queue: WAITING_BYTES_DEFAULT,
            regions: Vec::new(),
        }
    }
}

/// A key-prefix region: `[[cache.region]]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RegionConfig {
    /// Keys that begin with this belong to the region; the longest prefix wins.
    pub prefix: String,
    /// Bytes; `None` = only the cache's limit holds.
    pub max_bytes: Option<u64>,
    /// Entries; `None` = only the cache's limit holds.
    pub max_entries: Option<u64>,
    /// The policy's name; `None` = the cache's.
    pub eviction: Option<String>,
}
