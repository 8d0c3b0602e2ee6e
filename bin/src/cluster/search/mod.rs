//! Where other nodes of the cluster may be: as the operator has it (`cluster.join`), its names looked
//! up and its files read again and again, and as they say themselves (`cluster.discover = multicast`). All of this only
//! says whom to greet: who belongs to the cluster the handshake of peers decides, and Raft.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the task |
//! | `names.rs` | names that are looked up |
//! | `service.rs` | services, by SRV records of the DNS |
//! | `file.rs` | files of addresses |
//! | `multicast.rs` | announcements over UDP |

mod file;
mod multicast;
mod names;
mod service;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Weak;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::driver::Input;
use super::seeds::Sources;
use super::{Cluster, ClusterError};
use crate::config::{Address, ClusterConfig, Discover};
use file::MembersFile;
pub use multicast::Heard;
use multicast::Multicast;
use names::Names;
pub use service::Service;

/// How often names are looked up and files read, and a node says where it is.
const LOOK: Duration = Duration::from_secs(1);

/// What the task has to look for others with.
pub(super) struct Search {
    /// Names and addresses that the configuration has, and services.
    named: Vec<String>,
    files: Vec<MembersFile>,
    names: Names,
    multicast: Option<Multicast>,
}

impl Search {
    /// As the configuration says; `address` is where peers reach this node.
    ///
    /// # Errors
    /// There can be no announcements on this machine, or not from the address of `cluster.peer`.
    pub(super) fn new(config: &ClusterConfig, address: &str) -> Result<Search, ClusterError> {
        let sources = config.join.as_deref().and_then(Sources::of).unwrap_or_default();
        let multicast = match config.discover {
            Discover::Off => None,
            Discover::Multicast => Some(Search::announce(config, address)?),
        };
        Ok(Search {
            named: sources.seeds.into_iter().chain(sources.services).collect(),
            files: sources.files.into_iter().map(MembersFile::new).collect(),
            names: Names::default(),
            multicast,
        })
    }

    fn announce(config: &ClusterConfig, address: &str) -> Result<Multicast, ClusterError> {
        let group = &config.multicast;
        let refused = |source| ClusterError::Multicast { group: group.clone(), source };
        let Address::Tcp(SocketAddr::V4(peer)) = &config.peer else {
            let why = io::Error::other("announcements go over IPv4, and cluster.peer does not");
            return Err(refused(why));
        };
        Multicast::open(group, *peer.ip(), (&config.name, address)).map_err(refused)
    }

    /// Tells the driver where others may be, until the node is a member and whenever it knows no leader
    /// then, and others where it is for as long as it runs.
    pub(super) async fn run(mut self, cluster: Weak<Cluster>) {
        if self.named.is_empty() && self.files.is_empty() && self.multicast.is_none() {
            return;
        }
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match &mut self.multicast {
                Some(multicast) => tokio::select! {
                    _ = ticks.tick() => multicast.announce().await,
                    () = multicast.hear(&cluster) => continue,
                },
                None => drop(ticks.tick().await),
            }
            let Some(one) = cluster.upgrade() else { return };
            let has_contact = one.identity().is_some() && one.told().leader.is_some();
            drop(one);
            if !has_contact {
                let found = self.look().await;
                if let Some(cluster) = cluster.upgrade() {
                    let _ = cluster.inputs.send(Input::Seeds(found));
                }
            }
        }
    }

    async fn look(&mut self) -> Vec<String> {
        let mut names: BTreeSet<String> = self.named.iter().cloned().collect();
        for file in &mut self.files {
            names.extend(file.read().await);
        }
        let named = self.names.look_up(&names, async |name| lookup(name).await).await;
        let announced = self.multicast.iter_mut().flat_map(Multicast::announced);
        let all: BTreeSet<String> = named.into_iter().chain(announced).collect();
        all.into_iter().collect()
    }
}

async fn lookup(name: &str) -> io::Result<Vec<SocketAddr>> {
    if let Some(service) = Service::parse(name) {
        return service.look_up().await;
    }
    Ok(tokio::net::lookup_host(name).await?.collect())
}
