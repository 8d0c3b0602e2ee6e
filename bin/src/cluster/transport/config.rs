//! What a transport is told when it is made.

use std::io;
use std::time::Duration;

use super::frame::HEADER_LEN;
use super::tls::PeerTls;

/// Names in a handshake, the cluster's and the address together, bytes.
const NAMES_LEN_MAX: usize = 512;

/// Who a process is to its peers, and what it allows them.
pub struct TransportConfig {
    /// The cluster's name: only processes that say the same one are talked to.
    pub cluster: String,
    /// Where peers reach this process, `host:port`. Port 0 stands for the one that is bound.
    pub address: String,
    /// The certificates, when peers speak TLS.
    pub tls: Option<PeerTls>,
    /// How much, and how long.
    pub bounds: Bounds,
}

impl TransportConfig {
    /// Without TLS, with the bounds that the documentation names.
    #[must_use]
    pub fn new(cluster: &str, address: &str) -> Self {
        let (cluster, address) = (cluster.to_owned(), address.to_owned());
        TransportConfig { cluster, address, tls: None, bounds: Bounds::default() }
    }

    /// The advertised address, with the port that was bound in place of 0.
    pub(super) fn advertised(&self, port: u16) -> String {
        match self.address.strip_suffix(":0") {
            Some(host) => format!("{host}:{port}"),
            None => self.address.clone(),
        }
    }

    pub(super) fn check(&self) -> io::Result<()> {
        let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if self.cluster.len() + self.address.len() > NAMES_LEN_MAX {
            return refused("the names of the cluster and of the address are over 512 bytes");
        }
        if self.address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            return refused("the address for peers is not HOST:PORT");
        }
        Ok(())
    }
}

/// How much, and how long. Tests make these small.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The longest frame, bytes.
    pub frame_len_max: usize,
    /// Bytes that wait to be written to one peer on one lane; see [`NotSent::Full`].
    ///
    /// [`NotSent::Full`]: super::NotSent::Full
    pub queue_len_max: usize,
    /// What of the control lane waits while there is no connection, bytes; what is older is
    /// dropped.
    pub control_waiting_max: usize,
    /// Bytes that a sender may have under way before they are given to the sink.
    pub window: u32,
    /// Connections from peers.
    pub connections_max: usize,
    /// Connections that have not said who they are; for one more the oldest is closed.
    pub handshakes_max: usize,
    /// For making a TCP connection, the name's look-up included.
    pub connect_timeout: Duration,
    /// For a handshake, that of TLS included.
    pub handshake_timeout: Duration,
    /// The pause after a failure, at first and at most. It doubles; up to half of it is left out
    /// by chance.
    pub back_off: (Duration, Duration),
    /// Between two signs of life of a link that has nothing else to say.
    pub keep_alive: Duration,
    /// After how much silence a connection is closed.
    pub silence_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            frame_len_max: 64 << 20,
            queue_len_max: 8 << 20,
            control_waiting_max: 1 << 20,
            window: 4 << 20,
            connections_max: 1_024,
            handshakes_max: 256,
            connect_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(5),
            back_off: (Duration::from_millis(20), Duration::from_secs(1)),
            keep_alive: Duration::from_secs(1),
            silence_max: Duration::from_secs(10),
        }
    }
}

impl Bounds {
    /// The longest frame with its header, bytes.
    pub(super) fn encoded_len_max(&self) -> usize {
        self.frame_len_max.saturating_add(HEADER_LEN)
    }
}
