//! Frames between the processes of a cluster, over TCP.
//!
//! For each peer and each [`Lane`] whoever sends has a connection of its own, made when there is
//! something to send. Frames go one way; the other way go the answer to the handshake and credit.
//! So nothing that is written in bulk can hold up Raft's heartbeats.
//!
//! A frame comes at most once, and the frames of a lane come in the order in which they were sent.
//! When a connection is lost, so may be what was written to it; what still waits goes with the
//! next one. A frame that does come is what was sent: its checksum is checked.
//!
//! `docs/PEERS.md` has the bytes and the bounds.

mod config;
mod envelope;
mod frame;
mod handshake;
mod lane;
mod link;
mod listener;
mod queue;
mod receiver;
mod seats;
mod stats;
mod stream;
mod tls;
mod trouble;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

pub use config::{Bounds, TransportConfig};
pub use handshake::SHORT;
pub use lane::Lane;
pub use stats::{Stats, Traffic};
pub use tls::PeerTls;

use link::Link;
use seats::Seats;
use trouble::Troubles;

/// Who is given what comes. Called by the tasks of connections, several at once.
pub trait Sink: Send + Sync + 'static {
    /// Frames that came with one read, in order; those that are not looked at are gone. Must not
    /// block: while it does nothing more is read from this peer on this lane, and the peer's
    /// credit runs out. `from` is where the sender says that its peers reach it; without TLS
    /// nobody has checked that.
    fn received(&self, lane: Lane, from: &str, frames: &mut dyn Iterator<Item = &[u8]>);

    /// A connection to `address` was lost or could not be made: once for each loss, not for each
    /// try, and once for each lane that was in use. What waits is not dropped.
    fn unreachable(&self, address: &str);
}

/// Why a frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotSent {
    /// As much waits for this peer on this lane as may. The control lane is never full: there the
    /// oldest frames make room.
    #[error("too much waits to be sent to this member")]
    Full,
    /// It is longer than a frame may be.
    #[error("a frame is longer than a frame may be")]
    TooLong,
    /// The transport is closed.
    #[error("the transport is closed")]
    Closed,
}

/// One process among its peers. Clones are the same transport; the last one that is dropped closes
/// it.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// By address; `None` when closed.
    links: RwLock<Option<BTreeMap<String, [Link; 3]>>>,
    listener: AbortHandle,
}

/// What the tasks of a transport have in common.
struct Shared {
    config: TransportConfig,
    /// Where peers reach this process.
    address: String,
    sink: Arc<dyn Sink>,
    stats: Stats,
    troubles: Troubles,
    seats: Arc<Seats>,
    runtime: Handle,
}

impl Transport {
    /// Listens on `listen` and gives `sink` what comes. Whether `listen` may be reached from other
    /// machines is for [`refuse_exposure`](crate::config::refuse_exposure) to say.
    ///
    /// # Errors
    /// When the address cannot be bound, and `InvalidInput` for names that are too long or an
    /// advertised address without a port.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn bind(
        listen: SocketAddr,
        config: TransportConfig,
        sink: Arc<dyn Sink>,
    ) -> io::Result<Transport> {
        config.check()?;
        let listener = TcpListener::bind(listen).await?;
        let address = config.advertised(listener.local_addr()?.port());
        let (stats, troubles, seats) = (Stats::default(), Troubles::default(), Arc::default());
        let runtime = Handle::current();
        let shared = Arc::new(Shared { config, address, sink, stats, troubles, seats, runtime });
        let listener = tokio::spawn(listener::run(listener, Arc::clone(&shared))).abort_handle();
        let links = RwLock::new(Some(BTreeMap::new()));
        Ok(Transport { inner: Arc::new(Inner { shared, links, listener }) })
    }

    /// Where peers reach this process, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.shared.address
    }

    /// Puts a frame into the queue of a lane to a peer; it connects if need be. Never waits, and
    /// may be called from any thread. An empty frame does not reach the peer's sink.
    ///
    /// # Errors
    /// [`NotSent`]; the frame is not queued then.
    pub fn send(&self, to: &str, lane: Lane, frame: &[u8]) -> Result<(), NotSent> {
        let shared = &self.inner.shared;
        let links = self.inner.links.read();
        let known = links.as_ref().ok_or(NotSent::Closed)?.get(to);
        let dropped = match known {
            Some(links) => lane.of(links).send(frame)?,
            None => {
                drop(links);
                let mut links = self.inner.links.write();
                let links = links.as_mut().ok_or(NotSent::Closed)?;
                let open = || Lane::ALL.map(|lane| Link::open(shared, to, lane));
                lane.of(links.entry(to.to_owned()).or_insert_with(open)).send(frame)?
            }
        };
        stats::count(&shared.stats.dropped, dropped);
        Ok(())
    }

    /// The version that is spoken with a peer on a lane; 0: it is not known, since there is no
    /// connection. Who is there when a frame goes may speak another one.
    #[must_use]
    pub fn version(&self, to: &str, lane: Lane) -> u16 {
        let links = self.inner.links.read();
        let links = links.as_ref().and_then(|links| links.get(to));
        links.map_or(0, |links| lane.of(links).version())
    }

    /// Closes the connections from and to a peer and drops what waits for it: a member has gone.
    pub fn forget(&self, to: &str) {
        let links = self.inner.links.write().as_mut().and_then(|links| links.remove(to));
        drop(links);
        self.inner.shared.seats.show_out(to);
    }

    /// Closes every connection, and listens no more. What waits is not sent.
    pub fn close(&self) {
        self.inner.close();
    }

    /// The certificates, when peers speak TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&PeerTls> {
        self.inner.shared.config.tls.as_ref()
    }

    /// What was counted since the beginning.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.inner.shared.stats
    }
}

impl Inner {
    fn close(&self) {
        drop(self.links.write().take());
        self.listener.abort();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
