//! The proxy in front of a node. Who connects is told by the first bytes of a connection, which
//! name the sender's advertised address (PEERS.md); so one proxy has a link for each pair of nodes
//! and direction.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::network::{Link, Network};

/// How often a direction that has nothing to carry looks how its link is.
const LOOK: Duration = Duration::from_millis(20);
/// Of the envelope of a handshake, see PEERS.md.
const ENVELOPE_LEN: usize = 16;
const BODY_LEN_MAX: usize = 1_024;

/// A listener on a free port of loopback.
pub fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Carries what comes to `listener` to the node `to`, until the network is dropped.
pub fn run(listener: TcpListener, node: SocketAddr, to: usize, network: &Arc<Network>) {
    let network = Arc::downgrade(network);
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        while network.strong_count() > 0 {
            match listener.accept() {
                Ok((stream, _)) => {
                    let network = Weak::clone(&network);
                    std::thread::spawn(move || carry(stream, node, to, &network));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    });
}

/// One connection.
fn carry(mut from: TcpStream, node: SocketAddr, to: usize, network: &Weak<Network>) {
    let set_up = |stream: &TcpStream| {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)
    };
    let Ok(()) = set_up(&from) else { return };
    let Some(hello) = read_hello(&mut from) else { return };
    let sender = network.upgrade().and_then(|network| sender(&hello, network.addresses()));
    let Some(sender) = sender else { return };
    // A node that does not run refuses: the connection ends at once.
    let Ok(there) = TcpStream::connect(node) else { return };
    let Ok(()) = set_up(&there) else { return };
    let (Ok(back_from), Ok(back_to)) = (there.try_clone(), from.try_clone()) else { return };
    let back =
        Direction { from: back_from, to: back_to, link: (to, sender), network: network.clone() };
    std::thread::spawn(move || back.run(&[]));
    Direction { from, to: there, link: (sender, to), network: network.clone() }.run(&hello);
}

/// The first bytes of a connection, to the end of what its sender says of itself.
fn read_hello(from: &mut TcpStream) -> Option<Vec<u8>> {
    from.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut hello = vec![0; ENVELOPE_LEN];
    from.read_exact(&mut hello).ok()?;
    let len = u32::from_le_bytes(hello.get(8..12)?.try_into().ok()?) as usize;
    if len > BODY_LEN_MAX {
        return None;
    }
    hello.resize(ENVELOPE_LEN + len, 0);
    from.read_exact(&mut hello[ENVELOPE_LEN..]).ok()?;
    Some(hello)
}

/// Whose address the first bytes end with.
fn sender(hello: &[u8], addresses: &[String]) -> Option<usize> {
    let named = |address: &String| hello.ends_with(address.as_bytes());
    // One may be the end of another one: `1.0.0.1:80` of `11.0.0.1:80`.
    let all = addresses.iter().enumerate().filter(|(_, address)| named(address));
    all.max_by_key(|(_, address)| address.len()).map(|(node, _)| node)
}

/// One direction of a connection.
struct Direction {
    from: TcpStream,
    to: TcpStream,
    link: (usize, usize),
    network: Weak<Network>,
}

impl Direction {
    fn run(mut self, first: &[u8]) {
        let _ = self.carry(first);
        let _ = self.from.shutdown(Shutdown::Both);
        let _ = self.to.shutdown(Shutdown::Both);
    }

    /// `None` when the connection is to be closed.
    fn carry(&mut self, first: &[u8]) -> Option<()> {
        self.from.set_read_timeout(Some(LOOK)).ok()?;
        let (mut piece, mut has_lost) = (vec![0; 64 << 10], false);
        self.pass(first, &mut has_lost)?;
        loop {
            match self.from.read(&mut piece) {
                Ok(0) => return None,
                Ok(len) => self.pass(&piece[..len], &mut has_lost)?,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
            // What was thrown away is missed in the middle of the stream.
            let is_torn = has_lost && self.link_now()? != Link::Swallowed;
            if is_torn || self.link_now()? == Link::Dropped {
                return None;
            }
        }
    }

    fn link_now(&self) -> Option<Link> {
        Some(self.network.upgrade()?.link(self.link.0, self.link.1))
    }

    fn pass(&mut self, bytes: &[u8], has_lost: &mut bool) -> Option<()> {
        loop {
            match self.link_now()? {
                Link::Good => break,
                Link::Slow(span) => {
                    std::thread::sleep(span);
                    break;
                }
                Link::Stalled => std::thread::sleep(Duration::from_millis(5)),
                Link::Swallowed => {
                    *has_lost |= !bytes.is_empty();
                    return Some(());
                }
                Link::Dropped => return None,
            }
        }
        if *has_lost {
            return None;
        }
        self.to.write_all(bytes).ok()
    }
}
