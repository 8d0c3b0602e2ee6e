//! The cluster that a node belongs to.

use std::time::Duration;

use isogrid_grid::metadata::Role;

use super::Address;

/// How nodes find each other beside `join`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discover {
    /// Not at all.
    Off,
    /// By announcements over UDP.
    Multicast,
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
    /// What clients are told to reach this node at, over the native protocol; `None`: its listener.
    /// Default: none.
    pub endpoint: Option<String>,
    /// Where other members may be: `HOST:PORT`, `HOST:FIRST-LAST`, `srv:NAME` and `file:PATH`, by
    /// commas. Default: none.
    pub join: Option<String>,
    /// How others are found beside that. Default: off.
    pub discover: Discover,
    /// The group of announcements, `GROUP:PORT`. Default: `239.255.74.1:7401`.
    pub multicast: String,
    /// What the node is there for. Default: data.
    pub role: Role,
    /// How many nodes found the cluster; 0: this one founds none. Default: 0.
    pub bootstrap_expect: u64,
    /// How long a member may serve without hearing from the leader. Default: 1.5 s.
    pub lease: Duration,
    /// Where writes are kept that were acknowledged at once and that a failover has lost; `auto` =
    /// `discarded` in the data directory, `None` = nowhere. Default: none.
    pub discarded_dir: Option<String>,
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
        self.bootstrap_expect > 0 || self.join.is_some() || self.discover != Discover::Off
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            name: "isogrid".to_owned(),
            peer: Address::local(7401),
            advertise: None,
            endpoint: None,
            join: None,
            discover: Discover::Off,
            multicast: "239.255.74.1:7401".to_owned(),
            role: Role::Data,
            bootstrap_expect: 0,
            lease: Duration::from_millis(1_500),
            discarded_dir: None,
            tls_cert: None,
            tls_key: None,
            tls_ca: None,
        }
    }
}
