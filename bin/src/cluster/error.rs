//! Why a node cannot take part in a cluster.

use isogrid_grid::id::NodeId;
use isogrid_grid::metadata::{Persist, Role};
use thiserror::Error;

use super::{copies, storage};
use crate::server::tls::TlsError;

/// Why a node cannot take part in a cluster.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// What it keeps about the cluster cannot be used.
    #[error(transparent)]
    Storage(#[from] storage::StorageError),
    /// Peers could not reach it.
    #[error("cannot listen for peers on {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// What it keeps of its caches cannot be used.
    #[error(transparent)]
    Copies(#[from] copies::CopiesError),
    /// Peers are reached over TCP alone.
    #[error("peers are reached over TCP: cluster.peer = {0} is no IP:PORT")]
    NotTcp(String),
    /// Nodes cannot announce themselves.
    #[error(
        "cluster.discover = multicast: cannot join {group} on the interface of cluster.peer: {source}\n  \
         help: say where others are with --join instead"
    )]
    Multicast {
        /// The group.
        group: String,
        /// Why.
        source: std::io::Error,
    },
    /// What a failover loses cannot be kept.
    #[error(
        "cluster.discarded_dir = {folder}: {source}\n  help: name a folder that this process may write to"
    )]
    Discarded {
        /// The folder.
        folder: String,
        /// Why.
        source: std::io::Error,
    },
    /// Peers cannot speak TLS.
    #[error("cluster.tls_cert, cluster.tls_key and cluster.tls_ca: {0}")]
    Tls(#[from] TlsError),
    /// It is a member of another role than it is to have.
    #[error(
        "this node is the member {node} of its cluster, there for {}, and cluster.role = {}\n  help: say \
         cluster.role = {}; or have it leave (`isogrid cluster leave`), and start it with an empty data \
         directory: it comes back as another member",
        .is.name(), .wants.name(), .is.name()
    )]
    OtherRole {
        /// Which member.
        node: NodeId,
        /// What it is there for.
        is: Role,
        /// What the configuration says.
        wants: Role,
    },
    /// The cluster keeps its structures on disks, and there is none.
    #[error(
        "the counters, locks, queues and sessions of this cluster are kept on its members' disks \
         (structures.persist = {}), and this node has no data directory\n  help: give --data-dir; or say \
         cluster.role = witness, and it serves without having any",
        .0.name()
    )]
    NoDisk(Persist),
    /// Two caches would be one group.
    #[error("the caches {0:?} and {1:?} cannot be in one cluster: rename one")]
    SameGroup(String, String),
}
