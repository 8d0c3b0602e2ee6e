//! The server's configuration: plain structs with units, defaults and bounds. Only this module
//! reads files, environment and flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a node needs to know to start.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// This node.
    pub node: NodeConfig,
    /// memcached listeners, each in front of one cache. Default: `127.0.0.1:11211`.
    pub memcached: Vec<ListenerConfig>,
    /// How the memcached protocols behave, on every listener.
    pub protocol: ProtocolConfig,
    /// Named caches; the first one is called `default` unless configured otherwise.
    pub caches: Vec<CacheConfig>,
    /// What a client may ask for at most.
    pub limits: LimitsConfig,
    /// Logs.
    pub log: LogConfig,
}

/// This node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// Its name in logs. Default: the host name, else `isogrid`.
    pub name: String,
    /// Worker threads: a bound on the CPU used. Default: the number of cores. Minimum: 1.
    pub threads: usize,
    /// How long a SIGTERM waits for requests that are under way. Default: 5 s.
    pub drain_timeout: Duration,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP address; port 0 picks a free one.
    Tcp(SocketAddr),
    /// A unix socket path (`unix:PATH`) and its access mask (octal, memcached's `-a`).
    Unix(PathBuf, u32),
}

/// Which of memcached's protocols a listener speaks (`-B`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// Chosen by the first byte of each connection.
    Auto,
    /// Text and meta only.
    Ascii,
    /// Binary only.
    Binary,
}

/// One memcached listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerConfig {
    /// Where.
    pub address: Address,
    /// Which protocols. Default: auto.
    pub protocol: ProtocolChoice,
    /// The cache behind it. Default: `default`.
    pub cache: String,
    /// Whether `flush_all` is allowed here (memcached's `-F` denies it). Default: true.
    pub flush: bool,
}

/// How the memcached protocols behave.
#[derive(Debug, Clone, PartialEq)]
pub struct ProtocolConfig {
    /// `-A`: the `shutdown` command stops the server. Default: false.
    pub shutdown_command: bool,
    /// Without `-X`: `stats cachedump` and `lru_crawler metadump` are answered. Default: true.
    pub dump: bool,
    /// `-C` turns cas answers off. Default: true.
    pub cas: bool,
    /// Verbosity (`-v`), what `stats settings` and `verbosity` show. Default: 0.
    pub verbosity: u32,
    /// The prefix delimiter of `stats detail` (`-D`). Default: `:`.
    pub prefix_delimiter: char,
    /// Whether `stats detail` starts switched on (given `-D`). Default: false.
    pub detail: bool,
    /// When true the server answers as the drop-in for the memcached binary (names in logs only).
    pub drop_in: bool,
}

/// An eviction policy by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes, everything counted. Default: 256 MiB. Minimum: 1 MiB.
    pub max_bytes: u64,
    /// Entries; `None` = as many as fit. Default: none.
    pub max_entries: Option<u64>,
}

/// One named cache.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheConfig {
    /// Its name: 1..=64 of `[A-Za-z0-9_.-]`. Default: `default`.
    pub name: String,
    /// Its limits.
    pub limits: CacheLimits,
    /// The policy's name, one of `isogrid_grid::EVICTION_POLICIES`. Default: the engine's.
    pub eviction: String,
    /// Expiry of entries that are stored without one; `None` = never.
    pub default_ttl: Option<Duration>,
    /// Max-idle of entries that are stored without one; `None` = none.
    pub default_max_idle: Option<Duration>,
    /// Segments (power of two); `None` = chosen by `max_bytes`.
    pub segments: Option<u32>,
    /// Key-prefix regions with limits of their own.
    pub regions: Vec<RegionConfig>,
}

/// A key-prefix region: `[[cache.region]]`.
#[derive(Debug, Clone, PartialEq)]
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

/// What a client may ask for at most (SECURITY S4). Every limit that is hit is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitsConfig {
    /// Largest item in bytes (key, value and about 50 bytes of header, as memcached's `-I`).
    /// Default: 1 MiB. Bounds: 1 KiB..=1 GiB.
    pub max_item_size: usize,
    /// Connections at once. Default: 10,000 (drop-in: 1,024).
    pub max_connections: usize,
    /// Refuse at once with an error line when full (memcached's `maxconns_fast`), or leave the
    /// client in the backlog. Default: true.
    pub refuse_fast: bool,
    /// The listen backlog. Default: 1,024.
    pub backlog: u32,
    /// Close a connection that sent nothing for so long; `None` = never. Default: 1 h (drop-in:
    /// never).
    pub idle_timeout: Option<Duration>,
    /// Close a connection whose request is half read for so long. Default: 30 s (drop-in: never).
    pub request_timeout: Option<Duration>,
    /// Close a connection that does not read its answers for so long. Default: 30 s (drop-in:
    /// never).
    pub write_timeout: Option<Duration>,
    /// Requests of one connection before others get their turn (memcached's `-R`). Default: 32
    /// (drop-in: 20).
    pub requests_per_turn: usize,
}

/// Logs.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// Default: pretty on a terminal, else json.
    pub format: LogFormat,
    /// A `tracing` filter, e.g. `info` or `isogrid=debug`. Default: `info`.
    pub level: String,
}

/// The forms of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON document a line.
    Json,
}
