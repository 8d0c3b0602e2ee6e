//! Announcements over UDP multicast: a node says of which cluster it is and where its peers reach it,
//! once a second. Nobody believes more of that than that it may be worth a greeting.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use isogrid_engine::env::boot_millis;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::cluster::{Cluster, seeds};
use crate::security::random;

/// How an announcement begins.
const MAGIC: &[u8; 4] = b"IGA1";
/// The longest one, bytes: two strings of a byte's length and what is around them.
const ANNOUNCEMENT_MAX: usize = 4 + 8 + 2 * 256;
/// How long a node counts as there that says nothing more, ms.
const FRESH_MS: u64 = 10_000;
/// Nodes that are remembered.
const NODES_MAX: usize = 256;

/// What was heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// Announcements of nodes of this cluster.
    pub taken: AtomicU64,
    /// Those of other clusters: they are left alone.
    pub others: AtomicU64,
    /// What is no announcement.
    pub malformed: AtomicU64,
}

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Announcement<'a> {
    /// Which process: its own announcements come back to it.
    nonce: u64,
    cluster: &'a str,
    address: &'a str,
}

impl<'a> Announcement<'a> {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.nonce.to_le_bytes());
        for text in [self.cluster, self.address] {
            bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    /// The announcement of these bytes, which anybody may have sent; `None` when they are none.
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (nonce, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (cluster, rest) = text(rest)?;
        let (address, rest) = text(rest)?;
        let is_one = matches!(seeds(address).as_deref(), Some([_]));
        let nonce = u64::from_le_bytes(*nonce);
        (is_one && rest.is_empty()).then_some(Announcement { nonce, cluster, address })
    }
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// The group that nodes announce themselves to.
pub struct Multicast {
    socket: UdpSocket,
    group: SocketAddrV4,
    cluster: String,
    nonce: u64,
    ours: Vec<u8>,
    /// Where nodes are that have announced themselves, and when they did last.
    nodes: BTreeMap<String, u64>,
    /// That nothing could be sent was said.
    told: bool,
    buffer: [u8; ANNOUNCEMENT_MAX + 1],
}

impl Multicast {
    /// Joins the group on the interface that has this address.
    ///
    /// # Errors
    /// The group is none, or this machine does not let it be joined.
    pub fn open(
        group: &str,
        interface: Ipv4Addr,
        (cluster, address): (&str, &str),
    ) -> io::Result<Multicast> {
        let group: SocketAddrV4 = group.parse().map_err(io::Error::other)?;
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // Several nodes of one machine hear the same port.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&group.into())?;
        socket.join_multicast_v4(group.ip(), &interface)?;
        socket.set_multicast_if_v4(&interface)?;
        socket.set_multicast_loop_v4(true)?;
        socket.set_multicast_ttl_v4(1)?;
        let nonce = u64::from_le_bytes(random::bytes());
        let ours = Announcement { nonce, cluster, address }.encode();
        Ok(Multicast {
            socket: UdpSocket::from_std(socket.into())?,
            group,
            cluster: cluster.to_owned(),
            nonce,
            ours,
            nodes: BTreeMap::new(),
            told: false,
            buffer: [0; ANNOUNCEMENT_MAX + 1],
        })
    }

    /// Says where this node is.
    pub async fn announce(&mut self) {
        let sent = self.socket.send_to(&self.ours, self.group).await;
        if let Err(error) = sent
            && !std::mem::replace(&mut self.told, true)
        {
            tracing::warn!(event = "not_announced", group = %self.group, %error, "tried each second");
        }
    }

    /// Takes one announcement.
    pub async fn hear(&mut self, cluster: &Weak<Cluster>) {
        let Ok(len) = self.socket.recv(&mut self.buffer).await else { return };
        let Some(cluster) = cluster.upgrade() else { return };
        let bytes = self.buffer.get(..len).unwrap_or_default();
        let counter = match Announcement::decode(bytes) {
            Some(one) if one.nonce == self.nonce => return,
            Some(one) if one.cluster == self.cluster => {
                note(&mut self.nodes, one.address, boot_millis());
                &cluster.heard.taken
            }
            Some(_) => &cluster.heard.others,
            None => &cluster.heard.malformed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Where nodes are that have announced themselves lately.
    pub fn announced(&mut self) -> Vec<String> {
        let now = boot_millis();
        self.nodes.retain(|_, at| now < *at + FRESH_MS);
        self.nodes.keys().cloned().collect()
    }
}

fn note(nodes: &mut BTreeMap<String, u64>, address: &str, now: u64) {
    if nodes.len() < NODES_MAX || nodes.contains_key(address) {
        nodes.insert(address.to_owned(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_comes_as_it_was_sent_or_not_at_all() {
        let (cluster, address) = ("shop", "10.0.0.1:7401");
        let good = Announcement { nonce: 7, cluster, address };
        let bytes = good.encode();
        assert_eq!(Announcement::decode(&bytes), Some(good));
        for end in 0..bytes.len() {
            assert_eq!(Announcement::decode(&bytes[..end]), None, "{end}");
        }
        let longer = [&bytes[..], b"x"].concat();
        let other = [b"IGA2", &bytes[4..]].concat();
        let nowhere = Announcement { address: "10.0.0.1", ..good }.encode();
        let many = Announcement { address: "10.0.0.1:1-9", ..good }.encode();
        for bad in [longer, other, nowhere, many, vec![0xff; ANNOUNCEMENT_MAX], Vec::new()] {
            assert_eq!(Announcement::decode(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_flood_of_nodes_fills_no_memory() {
        let mut nodes = BTreeMap::new();
        (0..10_000).for_each(|n| note(&mut nodes, &format!("h{n}:1"), n));
        note(&mut nodes, "h3:1", 99_999);
        assert_eq!((nodes.len(), nodes["h3:1"]), (NODES_MAX, 99_999));
    }
}
