//! Who reaches whom, and how.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::proxy;

/// What becomes of the bytes from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// They arrive.
    Good,
    /// They arrive so much later.
    Slow(Duration),
    /// They wait, and arrive when the link is good again, as TCP does it on a cut cable.
    Stalled,
    /// They are taken and thrown away; such a connection is closed when the link is good again.
    Swallowed,
    /// Connections are closed as soon as they are there.
    Dropped,
}

/// The network between the nodes.
pub struct Network {
    /// Where nodes are reached: what they advertise.
    addresses: Vec<String>,
    links: Mutex<Vec<Link>>,
}

impl Network {
    /// A proxy in front of each of these, all links good.
    pub fn new(nodes: &[SocketAddr]) -> Arc<Network> {
        let listeners: Vec<_> = nodes.iter().map(|_| proxy::listen()).collect();
        let address = |(_, address): &(_, SocketAddr)| address.to_string();
        let network = Arc::new(Network {
            addresses: listeners.iter().map(address).collect(),
            links: Mutex::new(vec![Link::Good; nodes.len() * nodes.len()]),
        });
        for (to, ((listener, _), node)) in listeners.into_iter().zip(nodes).enumerate() {
            proxy::run(listener, *node, to, &network);
        }
        network
    }

    /// Where a node is reached.
    pub fn address(&self, node: usize) -> &str {
        &self.addresses[node]
    }

    /// All of them.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// How a link is now.
    pub fn link(&self, from: usize, to: usize) -> Link {
        self.lock()[from * self.addresses.len() + to]
    }

    /// A link becomes this.
    pub fn set(&self, from: usize, to: usize, link: Link) {
        self.lock()[from * self.addresses.len() + to] = link;
    }

    /// All links of a node become this, in both directions.
    pub fn isolate(&self, node: usize, link: Link) {
        for other in (0..self.addresses.len()).filter(|other| *other != node) {
            self.set(node, other, link);
            self.set(other, node, link);
        }
    }

    /// All links are good again.
    pub fn heal(&self) {
        self.lock().fill(Link::Good);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
