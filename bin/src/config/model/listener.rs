//! What is spoken where, and how.

use super::{Address, CacheConfig, ListenerTls};

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

/// Which protocols a listener accepts. With more than one, a connection's first byte tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// memcached's text, meta and binary protocols.
    pub memcached: bool,
    /// HTTP/1.1.
    pub http: bool,
    /// The native protocol.
    pub native: bool,
}

impl Accept {
    /// memcached's protocols alone.
    pub const MEMCACHED: Self = Self { memcached: true, http: false, native: false };
    /// HTTP alone.
    pub const HTTP: Self = Self { memcached: false, http: true, native: false };
    /// Whatever there is.
    pub const ALL: Self = Self { memcached: true, http: true, native: true };
    /// The names of the protocols, as a user writes them.
    pub const NAMES: [&str; 3] = ["memcached", "http", "native"];

    /// Whether HTTP is all that is accepted.
    pub fn is_http(self) -> bool {
        self == Self::HTTP
    }

    /// Each name with whether it is accepted.
    pub fn named(self) -> [(&'static str, bool); 3] {
        let [memcached, http, native] = Self::NAMES;
        [(memcached, self.memcached), (http, self.http), (native, self.native)]
    }
}

/// One listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerConfig {
    /// Where.
    pub address: Address,
    /// What a connection may speak. Default: memcached's protocols alone.
    pub accept: Accept,
    /// Which of memcached's protocols. Default: auto.
    pub protocol: ProtocolChoice,
    /// The cache behind it. Default: `default`.
    pub cache: String,
    /// Whether `flush_all` is allowed here (memcached's `-F` denies it). Default: true.
    pub flush: bool,
    /// Whether TLS is spoken here. Default: as `[tls]` says.
    pub tls: ListenerTls,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            address: Address::default(),
            accept: Accept::MEMCACHED,
            protocol: ProtocolChoice::Auto,
            cache: CacheConfig::DEFAULT.to_owned(),
            flush: true,
            tls: ListenerTls::Node,
        }
    }
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

impl Default for ProtocolConfig {
    fn default() -> Self {
        Self {
            shutdown_command: false,
            dump: true,
            cas: true,
            verbosity: 0,
            prefix_delimiter: ':',
            detail: false,
            drop_in: false,
        }
    }
}
