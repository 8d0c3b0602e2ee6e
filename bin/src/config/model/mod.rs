//! The configuration as plain structs, each with its documented unit, default and bounds.

mod address;
mod cache;
mod cluster;
mod limits;
mod listener;
mod log;
mod node;
mod security;
mod structures;

use std::path::{Path, PathBuf};

use isogrid_engine::persist::PersistMode;
use isogrid_grid::metadata::Persist;

pub use self::address::Address;
pub use self::cache::{CacheConfig, CacheLimits, CacheMode, RegionConfig};
pub use self::cluster::{ClusterConfig, Discover};
pub use self::limits::LimitsConfig;
pub use self::listener::{Accept, ListenerConfig, ProtocolChoice, ProtocolConfig};
pub use self::log::{LogConfig, LogFormat};
pub use self::node::NodeConfig;
pub use self::security::{AuthConfig, ClientCertificates, ListenerTls, TlsConfig, TlsMode};
pub use self::structures::StructuresConfig;

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
    /// Counters, locks, queues and sessions.
    pub structures: StructuresConfig,
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
            structures: StructuresConfig::default(),
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

    /// How the first cache that is kept at all is kept; so are those that are made later, and
    /// structures of which nothing is said.
    pub fn kept_mode(&self) -> Option<PersistMode> {
        let local = self.caches.iter().filter(|cache| cache.mode == CacheMode::Local);
        let modes = local.filter_map(|cache| PersistMode::parse(&cache.persist));
        let modes: Vec<_> = modes.filter(|mode| *mode != PersistMode::None).collect();
        let logged = modes.iter().copied().find(|mode| mode.is_logged());
        // Beside caches that are written behind there is a log for what else is kept.
        logged.or((!modes.is_empty()).then_some(PersistMode::Async))
    }

    /// How the structures are kept that the node has alone. A member's of the time before are left as
    /// they are.
    pub fn structures_alone(&self) -> Option<PersistMode> {
        match self.structures.said().filter(|_| !self.cluster.is_on()) {
            Some(said) => Some(said).filter(|said| said.is_logged()),
            None => self.kept_mode(),
        }
    }

    /// How the structures of a cluster are kept that comes to be now. Where nothing is said they are
    /// kept as those of a node alone are: on the disk, if there is a place.
    pub fn structures_of_cluster(&self) -> Persist {
        match self.structures.said() {
            Some(PersistMode::Sync) => Persist::Sync,
            Some(PersistMode::Async) => Persist::Async,
            Some(PersistMode::None | PersistMode::Behind) => Persist::None,
            None if self.node.data_dir.is_some() => Persist::Async,
            None => Persist::None,
        }
    }

    /// Whether anything is kept on the disk by this node alone.
    pub fn keeps_alone(&self) -> bool {
        self.kept_mode().is_some() || self.structures_alone().is_some()
    }

    /// Whether anything may be kept on the disk: by this node alone, or for its cluster, whose word
    /// counts for structures.
    pub fn keeps(&self) -> bool {
        let by_members = || self.caches.iter().any(CacheConfig::is_kept_by_members);
        let of = &self.node.data_dir;
        of.is_some() && (self.keeps_alone() || by_members() || self.cluster.is_on())
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
        self.folder(self.node.backup_dir.as_ref()?, "backups")
    }

    /// The folder of writes that a failover has lost, if there is one.
    pub fn discarded_folder(&self) -> Option<PathBuf> {
        self.folder(self.cluster.discarded_dir.as_ref()?, "discarded")
    }

    /// The folder as it is said; auto: this one in the data directory, if there is one.
    fn folder(&self, said: &str, name: &str) -> Option<PathBuf> {
        if said == AuthConfig::AUTO {
            return Some(Path::new(self.node.data_dir.as_ref()?).join(name));
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
