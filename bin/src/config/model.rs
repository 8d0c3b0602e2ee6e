//! The configuration as plain structs, each with its documented unit, default and bounds.

use std::fmt::{self, Display, Formatter};
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use isogrid_engine::eviction::PolicyKind;
use isogrid_engine::persist::behind::{DELAY_MS_DEFAULT, WAITING_BYTES_DEFAULT};
use isogrid_engine::persist::{LOG_BYTES_DEFAULT, PersistMode};

use crate::security::Mode;

/// Everything that a node needs to know to start.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// This node.
    pub node: NodeConfig,
    /// memcached listeners, each in front of one cache. Default: `127.0.0.1:11211`.
    pub memcached: Vec<ListenerConfig>,
    /// Where every protocol is spoken, told apart by a connection's first byte. Default:
    /// `127.0.0.1:7400`.
    pub native: Vec<Address>,
    /// Where HTTP alone is spoken. Default: `127.0.0.1:7480`.
    pub http: Vec<Address>,
    /// The cluster that the node belongs to, if it does.
    pub cluster: ClusterConfig,
    /// How the memcached protocols behave, on every listener.
    pub protocol: ProtocolConfig,
    /// Named caches; the first one is called `default` unless configured otherwise.
    pub caches: Vec<CacheConfig>,
    /// What a client may ask for at most.
    pub limits: LimitsConfig,
    /// Who may do what.
    pub auth: AuthConfig,
    /// TLS.
    pub tls: TlsConfig,
    /// Logs.
    pub log: LogConfig,
    /// Where to write the bound TCP ports, as `TCP INET: port` lines (memcached's
    /// `MEMCACHED_PORT_FILENAME`). Default: nowhere.
    pub port_file: Option<PathBuf>,
    /// Where to write the process id (memcached's `-P`). Default: nowhere.
    pub pid_file: Option<PathBuf>,
    /// Stop when stdin ends. Default: false.
    pub until_eof: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            node: NodeConfig::default(),
            memcached: vec![ListenerConfig::default()],
            native: vec![Address::local(7400)],
            http: vec![Address::local(7480)],
            cluster: ClusterConfig::default(),
            protocol: ProtocolConfig::default(),
            caches: vec![CacheConfig::default()],
            limits: LimitsConfig::default(),
            auth: AuthConfig::default(),
            tls: TlsConfig::default(),
            log: LogConfig::default(),
            port_file: None,
            pid_file: None,
            until_eof: false,
        }
    }
}

impl ServerConfig {
    /// As [`ServerConfig::default`], and nothing is kept: for nodes of tests.
    pub fn ephemeral() -> Self {
        let node = NodeConfig { data_dir: None, ..NodeConfig::default() };
        Self { node, ..Self::default() }
    }

    /// How the first cache that is kept at all is kept; so is what is no cache.
    pub fn kept_mode(&self) -> Option<PersistMode> {
        let local = self.caches.iter().filter(|cache| cache.mode == CacheMode::Local);
        let modes = local.filter_map(|cache| PersistMode::parse(&cache.persist));
        let modes: Vec<_> = modes.filter(|mode| *mode != PersistMode::None).collect();
        let logged = modes.iter().copied().find(|mode| mode.is_logged());
        // Beside caches that are written behind there is a log for what else is kept.
        logged.or((!modes.is_empty()).then_some(PersistMode::Async))
    }

    /// Every listener, whichever key it stands under.
    pub fn listeners(&self) -> Vec<ListenerConfig> {
        let first = self.caches.first().map(|cache| cache.name.clone()).unwrap_or_default();
        let native = self.native.iter().map(|address| ListenerConfig {
            address: address.clone(),
            accept: Accept::ALL,
            cache: first.clone(),
            ..ListenerConfig::default()
        });
        let http = self.http.iter().map(|address| ListenerConfig {
            address: address.clone(),
            accept: Accept::HTTP,
            cache: first.clone(),
            ..ListenerConfig::default()
        });
        self.memcached.iter().cloned().chain(native).chain(http).collect()
    }
}

/// The cluster that a node belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterConfig {
    /// Its name: clusters of different names never mix. Default: `isogrid`.
    pub name: String,
    /// Where other members reach this one. Default: `127.0.0.1:7401`.
    pub peer: Address,
    /// What others are told to reach it at; `None`: `peer`. Default: none.
    pub advertise: Option<String>,
    /// Where other members may be: `HOST:PORT` and `HOST:FIRST-LAST`, by commas. Default: none.
    pub join: Option<String>,
    /// How many nodes found the cluster; 0: this one founds none. Default: 0.
    pub bootstrap_expect: u64,
    /// How long a member may serve without hearing from the leader. Default: 1.5 s.
    pub lease: Duration,
    /// This node's certificate among its peers; `None`: they speak without TLS. Default: none.
    pub tls_cert: Option<String>,
    /// Its private key. Default: none.
    pub tls_key: Option<String>,
    /// The authority that signs the certificates of members. Default: none.
    pub tls_ca: Option<String>,
}

impl ClusterConfig {
    /// Whether the node belongs to a cluster at all.
    pub fn is_on(&self) -> bool {
        self.bootstrap_expect > 0 || self.join.is_some()
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            name: "isogrid".to_owned(),
            peer: Address::local(7401),
            advertise: None,
            join: None,
            bootstrap_expect: 0,
            lease: Duration::from_millis(1_500),
            tls_cert: None,
            tls_key: None,
            tls_ca: None,
        }
    }
}

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

/// This node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// Its name in logs. Default: the host name, else `isogrid`.
    pub name: String,
    /// Worker threads: a bound on the CPU used. Default: the number of cores. Minimum: 1.
    pub threads: usize,
    /// How long a SIGTERM waits for requests that are under way, and before that for other members
    /// of a cluster to take over what the node serves. Default: 5 s.
    pub drain_timeout: Duration,
    /// Bytes that all caches together may be given; one that is made while the server runs is
    /// refused above it. `None` = as much memory as the machine has. Default: none.
    pub memory: Option<u64>,
    /// Where caches that persist are kept; `None` = nowhere. Default: `isogrid-data`.
    pub data_dir: Option<String>,
    /// Where backups of the running server are written; `auto` = `backups` in the data directory,
    /// `None` = nowhere. Default: `auto`.
    pub backup_dir: Option<String>,
    /// Bytes of the log between two checkpoints; its files are a quarter. Default: 128 MiB.
    pub log_size: u64,
    /// How long a SIGTERM waits for changes that are written behind; `None` = until all are
    /// written. Default: none.
    pub behind_timeout: Option<Duration>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: host_name(),
            threads: cores(),
            drain_timeout: Duration::from_secs(5),
            memory: None,
            data_dir: Some("isogrid-data".to_owned()),
            backup_dir: Some(AuthConfig::AUTO.to_owned()),
            log_size: LOG_BYTES_DEFAULT,
            behind_timeout: None,
        }
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "isogrid".to_owned(),
        name => name.to_owned(),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP address; port 0 picks a free one.
    Tcp(SocketAddr),
    /// A unix socket path (`unix:PATH`) and its access mask (octal, memcached's `-a`).
    Unix(PathBuf, u32),
}

impl Address {
    /// The access mask of a unix socket unless configured otherwise (memcached's `-a`).
    pub const UNIX_MASK: u32 = 0o700;

    /// A port on the loopback interface.
    pub fn local(port: u16) -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(..) => true,
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path, Self::UNIX_MASK) => write!(f, "unix:{}", path.display()),
            Self::Unix(path, mask) => write!(f, "unix:{}?mode={mask:o}", path.display()),
        }
    }
}

impl Default for Address {
    fn default() -> Self {
        Self::local(11211)
    }
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
    /// When a write counts as kept: a name of [`PersistMode`]. Default: async.
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

    /// Whether the members of a cluster keep their copies of it on their disks.
    #[must_use]
    pub fn is_kept_by_members(&self) -> bool {
        let is_sync = PersistMode::parse(&self.persist) == Some(PersistMode::Sync);
        self.mode.has_copies() && is_sync
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            name: Self::DEFAULT.to_owned(),
            mode: CacheMode::default(),
            owners: 2,
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

/// What a client may ask for at most. Every limit that is hit is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitsConfig {
    /// Largest item in bytes (key, value and about 50 bytes of header, as memcached's `-I`).
    /// Default: 1 MiB. Bounds: 1 KiB..=1 GiB.
    pub max_item_size: usize,
    /// Connections at once. Default: 10,000 (drop-in: 1,024).
    pub max_connections: usize,
    /// Connections at once from one address, an IPv6 address counted as its /64; `None` = as many
    /// as there are. Default: 1,000 (drop-in: none).
    pub max_connections_per_address: Option<usize>,
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
    /// Close a connection that has not said which protocol it speaks for so long, on listeners
    /// that accept several. Default: 10 s.
    pub handshake_timeout: Duration,
    /// Requests of one connection before others get their turn (memcached's `-R`). Default: 32
    /// (drop-in: 20).
    pub requests_per_turn: usize,
    /// Connections at once that have to log in and have not; over it the oldest is closed.
    /// Default: 512.
    pub unauthenticated: usize,
    /// Close a connection that has not logged in for so long; `None` = never. Default: 10 s
    /// (drop-in: never).
    pub login_timeout: Option<Duration>,
    /// Close a connection after so many failed logins, and one that sends or gets more than 4 KiB
    /// before it has logged in; `None` = never. Default: 3 (drop-in: never).
    pub login_tries: Option<u64>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_item_size: 1 << 20,
            max_connections: 10_000,
            max_connections_per_address: Some(1_000),
            refuse_fast: true,
            backlog: 1_024,
            idle_timeout: Some(Duration::from_secs(3_600)),
            request_timeout: Some(Duration::from_secs(30)),
            write_timeout: Some(Duration::from_secs(30)),
            handshake_timeout: Duration::from_secs(10),
            requests_per_turn: 32,
            unauthenticated: 512,
            login_timeout: Some(Duration::from_secs(10)),
            login_tries: Some(3),
        }
    }
}

/// Who may do what.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthConfig {
    /// When connections have to log in. Default: auto.
    pub mode: Mode,
    /// The file of users; `auto` = `security/users.toml` in the data directory. Default: auto.
    pub users: String,
    /// The audit log; `auto` = `security/audit.jsonl` in the data directory, `None` = none.
    /// Default: auto.
    pub audit: Option<String>,
    /// memcached's `-Y` and `MEMCACHED_SASL_PWDB`: a file of `user:password` lines in the place of
    /// the file of users. Default: none.
    pub passwords: Option<PathBuf>,
}

impl AuthConfig {
    /// The folder in the data directory that the files are in unless configured otherwise.
    const FOLDER: &str = "security";
    /// Stands for a file in that folder.
    const AUTO: &str = "auto";
}

impl Default for AuthConfig {
    fn default() -> Self {
        let auto = Self::AUTO.to_owned();
        Self { mode: Mode::Auto, users: auto.clone(), audit: Some(auto), passwords: None }
    }
}

impl ServerConfig {
    /// The file of users; `None` when there is no place for it.
    pub fn users_file(&self) -> Option<PathBuf> {
        self.security_file(&self.auth.users, "users.toml")
    }

    /// The audit log; `None` for none.
    pub fn audit_file(&self) -> Option<PathBuf> {
        self.security_file(self.auth.audit.as_ref()?, "audit.jsonl")
    }

    /// The folder of the files of security in the data directory, if there is one.
    pub fn security_folder(&self) -> Option<PathBuf> {
        Some(Path::new(self.node.data_dir.as_ref()?).join(AuthConfig::FOLDER))
    }

    /// The folder of backups, if there is one.
    pub fn backup_folder(&self) -> Option<PathBuf> {
        let said = self.node.backup_dir.as_ref()?;
        if said == AuthConfig::AUTO {
            return Some(Path::new(self.node.data_dir.as_ref()?).join("backups"));
        }
        Some(PathBuf::from(said))
    }

    fn security_file(&self, said: &str, name: &str) -> Option<PathBuf> {
        if said == AuthConfig::AUTO {
            return Some(self.security_folder()?.join(name));
        }
        Some(PathBuf::from(said))
    }

    /// What of TLS a listener speaks.
    pub fn tls_of(&self, listener: &ListenerConfig) -> TlsMode {
        match (&listener.address, listener.tls) {
            (Address::Unix(..), _) | (_, ListenerTls::Off) => TlsMode::Off,
            (_, ListenerTls::On) => TlsMode::On,
            (_, ListenerTls::Optional) => TlsMode::Optional,
            (_, ListenerTls::Node) => self.tls.mode,
        }
    }
}

/// TLS.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsConfig {
    /// Whether TLS is spoken, where a listener does not say. Default: off.
    pub mode: TlsMode,
    /// A PEM file: the certificate, then those that lead to its authority. Default: none.
    pub cert: Option<String>,
    /// A PEM file with the certificate's private key. Default: none.
    pub key: Option<String>,
    /// A PEM file: the authorities of client certificates. Default: none.
    pub ca: Option<String>,
    /// Whether clients show certificates. Default: off.
    pub client: ClientCertificates,
    /// The oldest version spoken, `1.2` or `1.3`. Default: 1.2.
    pub min_version: String,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            mode: TlsMode::Off,
            cert: None,
            key: None,
            ca: None,
            client: ClientCertificates::Off,
            min_version: "1.2".to_owned(),
        }
    }
}

/// Whether TLS is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Off,
    /// Always.
    On,
    /// By those who begin with it.
    Optional,
}

/// Whether TLS is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerTls {
    /// As `[tls]` says.
    Node,
    /// Never.
    Off,
    /// Always.
    On,
    /// By those who begin with it.
    Optional,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked to.
    Off,
    /// They may; one that is shown must be good.
    Optional,
    /// They must.
    Required,
}

/// Logs.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// Default: pretty on a terminal, else json.
    pub format: LogFormat,
    /// A `tracing` filter, e.g. `info` or `isogrid=debug`. Default: `info`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        let pretty = std::io::stderr().is_terminal();
        let format = if pretty { LogFormat::Pretty } else { LogFormat::Json };
        Self { format, level: "info".to_owned() }
    }
}

/// The forms of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON document a line.
    Json,
}
