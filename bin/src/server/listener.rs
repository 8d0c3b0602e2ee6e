//! Listening: sockets, the accept loop, one task a connection.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use isogrid_grid::Cache;
use isogrid_wire::Limits;
use isogrid_wire::memcached::{Decoder, Protocols};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::connection::Connection;
use super::connections::{Connections, Peer, Place, Refused};
use super::guard::Guard;
use super::login::Client;
use super::node::Node;
use super::secure::secure;
use super::session::{Rights, Session};
use super::stream::Stream;
use crate::config::{Address, ListenerConfig, ProtocolChoice, TlsMode};

/// How long accepting waits when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// What a client reads when there is no place for anybody; memcached's words.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";
/// What a client reads when its address has all the places that it may have.
const TOO_MANY_OF_ADDRESS: &[u8] = b"ERROR Too many open connections from your address\r\n";

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A bound listener.
pub struct Listener {
    socket: Bound,
    /// Where it really listens, as logs and `stats conns` show it.
    pub address: String,
    /// Its TCP port, if it has one.
    pub port: Option<u16>,
    face: Arc<Face>,
}

/// What a listener's connections have in common.
struct Face {
    config: ListenerConfig,
    cache: Arc<Cache>,
    tls: TlsMode,
}

impl Listener {
    /// Binds the address of a listener.
    ///
    /// # Errors
    /// When the address cannot be bound, or the cache does not exist.
    pub fn bind(node: &Node, config: &ListenerConfig) -> Result<Listener, super::Error> {
        let unknown = || super::Error::UnknownCache { name: config.cache.clone() };
        let cache = node.catalog.cache(&config.cache).ok_or_else(unknown)?;
        let refused = |source| super::Error::Bind { address: config.address.to_string(), source };
        let backlog = i32::try_from(node.config.limits.backlog).unwrap_or(i32::MAX);
        let (socket, address, port) = match &config.address {
            Address::Tcp(address) => {
                let listener = bind_tcp(*address, backlog).map_err(refused)?;
                let bound = listener.local_addr().map_err(refused)?;
                (Bound::Tcp(listener), bound.to_string(), Some(bound.port()))
            }
            Address::Unix(path, mask) => {
                let listener = bind_unix(path, *mask, backlog).map_err(refused)?;
                (Bound::Unix(listener), format!("unix:{}", path.display()), None)
            }
        };
        let tls = node.config.tls_of(config);
        let face = Arc::new(Face { config: config.clone(), cache, tls });
        Ok(Listener { socket, address, port, face })
    }

    /// Accepts connections until the node stops.
    pub async fn run(self, node: Arc<Node>) {
        loop {
            if !node.config.limits.refuse_fast && !node.connections.has_place() {
                node.connections.paused.fetch_add(1, Ordering::Relaxed);
                let since = node.now();
                tokio::select! {
                    biased;
                    () = node.stopped() => return,
                    () = node.connections.place_freed() => {}
                }
                let paused = node.now().saturating_sub(since);
                node.connections.paused_ms.fetch_add(paused, Ordering::Relaxed);
                continue;
            }
            tokio::select! {
                biased;
                () = node.stopped() => return,
                accepted = self.accept() => match accepted {
                    Ok((stream, peer)) => self.serve(&node, stream, peer),
                    Err(error) => {
                        self.log_failure(&node, &error);
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Bound::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let peer = Peer { name: format!("tcp:{peer}"), address: Some(peer.ip()) };
                Ok((Stream::Tcp(stream), peer))
            }
            Bound::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Peer { name: self.address.clone(), address: None }))
            }
        }
    }

    fn serve(&self, node: &Arc<Node>, stream: Stream, peer: Peer) {
        let local = if self.port.is_some() {
            format!("tcp:{}", self.address)
        } else {
            self.address.clone()
        };
        let address = peer.address;
        match Connections::admit(node, peer, local) {
            Ok(place) => match (stream, &node.tls) {
                (Stream::Tcp(stream), Some(_)) if self.face.tls != TlsMode::Off => {
                    let (face, node) = (Arc::clone(&self.face), Arc::clone(node));
                    drop(tokio::spawn(face.secured(node, stream, place)));
                }
                (stream, _) => {
                    let client = Client { address, ..Client::default() };
                    drop(tokio::spawn(self.face.connection(node, stream, place, client)));
                }
            },
            Err(refused) => {
                self.log_refusal(node, refused, address);
                tokio::spawn(refuse(stream, refused));
            }
        }
    }

    fn log_refusal(&self, node: &Node, refused: Refused, peer: Option<IpAddr>) {
        let (limit, key) = match refused {
            Refused::Full => (&node.log_limits.full, "limits.max_connections"),
            Refused::Address => (&node.log_limits.address, "limits.max_connections_per_address"),
        };
        let Some(left_out) = limit.pass(node.now()) else { return };
        let peer = peer.map_or_else(|| self.address.clone(), |address| address.to_string());
        tracing::warn!(
            event = "connection_refused",
            peer,
            key,
            open = node.connections.open(),
            left_out,
            "too many connections; raise the key, or find out who holds them with `stats conns`"
        );
    }

    fn log_failure(&self, node: &Node, error: &io::Error) {
        if let Some(left_out) = node.log_limits.accept.pass(node.now()) {
            tracing::warn!(event = "accept_failed", address = self.address, %error, left_out);
        }
    }
}

impl Face {
    /// The handshake, and then the conversation.
    async fn secured(self: Arc<Self>, node: Arc<Node>, stream: TcpStream, place: Place) {
        let Some(tls) = &node.tls else { return };
        if let Some((stream, client)) = secure(&node, tls, stream, self.tls, &place).await {
            self.connection(&node, stream, place, client).await;
        }
    }

    fn connection(
        &self,
        node: &Arc<Node>,
        stream: Stream,
        place: Place,
        client: Client,
    ) -> Connection {
        let limits =
            Limits { item_size_max: node.config.limits.max_item_size, ..Limits::default() };
        let protocols = match self.config.protocol {
            ProtocolChoice::Auto => Protocols::Auto,
            ProtocolChoice::Ascii => Protocols::Ascii,
            ProtocolChoice::Binary => Protocols::Binary,
        };
        let rights = Rights { flush: self.config.flush };
        let mut session = Session::new(Arc::clone(node), Arc::clone(&self.cache), rights);
        session.guard = node.security.is_required().then(|| {
            let stay = node.unauthenticated.enter(&place.info, node.now());
            let cache = self.cache.name().to_owned();
            Box::new(Guard::new(Arc::clone(node), cache, client, stay))
        });
        Connection::new(stream, session, Decoder::new(limits, protocols), place)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path, _) = &self.face.config.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn refuse(stream: Stream, refused: Refused) {
    let why = match refused {
        Refused::Full => TOO_MANY,
        Refused::Address => TOO_MANY_OF_ADDRESS,
    };
    let _ = match stream {
        Stream::Tcp(mut stream) => say::<TcpStream>(&mut stream, why).await,
        Stream::Unix(mut stream) => say::<UnixStream>(&mut stream, why).await,
        Stream::Tls(mut stream) => say(&mut *stream, why).await,
    };
}

async fn say<S: AsyncWriteExt + Unpin>(stream: &mut S, why: &[u8]) -> io::Result<()> {
    stream.write_all(why).await?;
    stream.shutdown().await
}

fn bind_tcp(address: std::net::SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

/// Binds a unix socket; one that a dead server left behind is replaced, one that answers is not.
fn bind_unix(path: &Path, mask: u32, backlog: i32) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers there"));
    }
    let _ = std::fs::remove_file(path);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mask))?;
    socket.listen(backlog)?;
    UnixListener::from_std(socket.into())
}
