//! Who reaches whom, and how.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::namespaces::Namespaces;
use super::proxy;

/// What becomes of the bytes from one node to another. In namespaces it becomes of packets: those
/// of a slow link wait in a queue, and are lost when it is full; those of a link that is stalled or
/// swallowed are lost, and TCP sends them again; a dropped link has its senders told at once that
/// nothing goes that way.
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
    /// What carries the bytes, where no proxies do.
    namespaces: Option<Namespaces>,
}

impl Network {
    /// One of packets, all links good; `None`, and a note, where that cannot be.
    pub fn of_namespaces(nodes: usize) -> Option<Arc<Network>> {
        let namespaces = Namespaces::new(nodes)?;
        let address = |node| namespaces.places(node)[2].to_string();
        Some(Arc::new(Network {
            addresses: (0..nodes).map(address).collect(),
            links: Mutex::new(vec![Link::Good; nodes * nodes]),
            namespaces: Some(namespaces),
        }))
    }

    /// The namespaces that it is made of.
    pub fn namespaces(&self) -> Option<&Namespaces> {
        self.namespaces.as_ref()
    }

    /// A proxy in front of each of these, all links good.
    pub fn new(nodes: &[SocketAddr]) -> Arc<Network> {
        let listeners: Vec<_> = nodes.iter().map(|_| proxy::listen()).collect();
        let address = |(_, address): &(_, SocketAddr)| address.to_string();
        let network = Arc::new(Network {
            addresses: listeners.iter().map(address).collect(),
            links: Mutex::new(vec![Link::Good; nodes.len() * nodes.len()]),
            namespaces: None,
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
        self.note(from, to, link);
        self.carry(|namespaces| namespaces.set(from, to, link));
    }

    /// All links of a node become this, in both directions.
    pub fn isolate(&self, node: usize, link: Link) {
        for other in (0..self.addresses.len()).filter(|other| *other != node) {
            self.note(node, other, link);
            self.note(other, node, link);
        }
        self.carry(|namespaces| namespaces.isolate(node, link));
    }

    /// All links are good again.
    pub fn heal(&self) {
        self.lock().fill(Link::Good);
        self.carry(Namespaces::heal);
    }

    fn note(&self, from: usize, to: usize, link: Link) {
        self.lock()[from * self.addresses.len() + to] = link;
    }

    fn carry(&self, change: impl FnOnce(&Namespaces) -> Result<(), String>) {
        if let Some(namespaces) = &self.namespaces {
            change(namespaces).unwrap();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
