//! Listening: sockets, the accept loop, one task a connection.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
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
use super::connections::{Connections, Peer, Place, Refused, Spoken};
use super::detect::{Detected, detect, only};
use super::guard::Guard;
use super::http;
use super::login::Client;
use super::memcached::Memcached;
use super::native;
use super::node::Node;
use super::secure::{Wanted, secure};
use super::session::{Rights, Session};
use super::stream::Stream;
use crate::config::{Address, ListenerConfig, ProtocolChoice, TlsMode};

/// How long accepting waits when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// What a client reads when there is no place for anybody; memcached's words.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";
/// The same for a client that speaks HTTP.
const TOO_MANY_HTTP: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
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
    /// How it was configured.
    pub config: ListenerConfig,
    face: Arc<Face>,
}

/// What a listener's connections have in common.
struct Face {
    config: ListenerConfig,
    cache: Arc<Cache>,
    tls: TlsMode,
    /// What every connection speaks, when nothing has to be told apart.
    only: Option<Spoken>,
    http: http::Service,
}

impl Listener {
    /// Binds the address of a listener.
    ///
    /// # Errors
    /// When the address cannot be bound, or the cache does not exist.
    pub fn bind(
        node: &Node,
        config: &ListenerConfig,
        http: &http::Service,
    ) -> Result<Listener, super::Error> {
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
        let (tls, only, http) = (node.config.tls_of(config), only(config.accept), http.clone());
        let face = Arc::new(Face { config: config.clone(), cache, tls, only, http });
        Ok(Listener { socket, address, port, config: config.clone(), face })
    }

    /// Where the native protocol is spoken here over TCP.
    pub fn native_address(&self) -> Option<std::net::SocketAddr> {
        self.address.parse().ok().filter(|_| self.config.accept.native)
    }

    /// What memcached's `-vv` says of a listener; programs that start it wait for this line.
    pub fn as_memcached_tells(&self) -> String {
        let number = match &self.socket {
            Bound::Tcp(listener) => listener.as_raw_fd(),
            Bound::Unix(listener) => listener.as_raw_fd(),
        };
        let protocol = match self.config.protocol {
            ProtocolChoice::Auto => "auto-negotiate",
            ProtocolChoice::Ascii => "ascii",
            ProtocolChoice::Binary => "binary",
        };
        format!("<{number} server listening ({protocol})")
    }

    /// Whether HTTP is all that is spoken here.
    pub fn is_http_alone(&self) -> bool {
        self.face.only == Some(Spoken::Http)
    }

    /// What connections are taken for until they have said anything.
    fn expected(&self) -> Spoken {
        self.face.only.unwrap_or(Spoken::Unknown)
    }

    /// Accepts connections until the node stops. A listener for HTTP alone goes on until its task
    /// is ended, so that health checks hear of the stop while other connections are drained.
    pub async fn run(self, node: Arc<Node>) {
        loop {
            let full = !node.connections.has_place_for(self.expected());
            if !node.config.limits.refuse_fast && full {
                node.connections.paused.fetch_add(1, Ordering::Relaxed);
                let since = node.now();
                tokio::select! {
                    biased;
                    () = self.over(&node) => return,
                    () = node.connections.place_freed() => {}
                }
                let paused = node.now().saturating_sub(since);
                node.connections.paused_ms.fetch_add(paused, Ordering::Relaxed);
                continue;
            }
            tokio::select! {
                biased;
                () = self.over(&node) => return,
                accepted = self.accept() => match accepted {
                    Ok((stream, peer)) => {
                        if !self.is_its_turn(&node).await {
                            return;
                        }
                        self.serve(&node, stream, peer);
                    }
                    Err(error) => {
                        self.log_failure(&node, &error);
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Waits until one more may be accepted; `false` when the node stops meanwhile. Whoever looks
    /// after the server need not wait.
    async fn is_its_turn(&self, node: &Node) -> bool {
        if self.is_http_alone() {
            return true;
        }
        let Some(wait) = node.accept_rate.take(node.now()) else { return true };
        tokio::select! {
            biased;
            () = self.over(node) => false,
            () = tokio::time::sleep(wait) => true,
        }
    }

    async fn over(&self, node: &Node) {
        if self.is_http_alone() {
            std::future::pending::<()>().await;
        }
        node.stopped().await;
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
        match Connections::admit(node, peer, local, self.expected()) {
            Ok(place) => self.face.begin(node, stream, place),
            Err(refused) => {
                self.log_refusal(node, refused, address);
                tokio::spawn(refuse(stream, refused, self.expected()));
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
    /// Begins to serve a connection that has its place.
    fn begin(self: &Arc<Self>, node: &Arc<Node>, stream: Stream, place: Place) {
        let (address, logs_in_over_tls) = (place.info.peer.address, node.config.auth.require_tls);
        let client = Client { address, logs_in_over_tls, ..Client::default() };
        match stream {
            Stream::Tcp(stream) if self.tls != TlsMode::Off && node.tls.is_some() => {
                let (face, node) = (Arc::clone(self), Arc::clone(node));
                drop(tokio::spawn(face.secured(node, stream, place)));
            }
            stream if self.only == Some(Spoken::Memcached) => {
                let arrival = Arrival { stream, first: Vec::new(), place, client };
                drop(tokio::spawn(self.memcached(node, arrival)));
            }
            stream => {
                let arrival = Arrival { stream, first: Vec::new(), place, client };
                drop(tokio::spawn(Arc::clone(self).converse(Arc::clone(node), arrival)));
            }
        }
    }

    /// The handshake, and then the conversation.
    async fn secured(self: Arc<Self>, node: Arc<Node>, stream: TcpStream, place: Place) {
        let Some(tls) = &node.tls else { return };
        let may_be_native = self.config.accept.native;
        let wanted = Wanted { mode: self.tls, may_be_native };
        if let Some((stream, client)) = secure(&node, tls, stream, wanted, &place).await {
            let arrival = Arrival { stream, first: Vec::new(), place, client };
            self.converse(Arc::clone(&node), arrival).await;
        }
    }

    async fn converse(self: Arc<Self>, node: Arc<Node>, arrival: Arrival) {
        match self.only {
            Some(Spoken::Memcached) => self.memcached(&node, arrival).await,
            Some(Spoken::Http) => http::serve(self.http.clone(), arrival).await,
            _ => self.several(node, arrival).await,
        }
    }

    fn memcached(&self, node: &Arc<Node>, arrival: Arrival) -> Connection<Memcached> {
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
            let stay = node.unauthenticated.enter(&arrival.place.info, node.now());
            let cache = self.cache.name().to_owned();
            Box::new(Guard::new(Arc::clone(node), cache, arrival.client.clone(), stay))
        });
        Connection::new(arrival, Memcached::new(session, Decoder::new(limits, protocols)))
    }

    /// Serves a connection of a listener that accepts several protocols.
    async fn several(&self, node: Arc<Node>, mut arrival: Arrival) {
        let unserved = &node.connections.unserved;
        let first = tokio::select! {
            biased;
            () = node.stopped() => return,
            first = read_first(&mut arrival, node.config.limits.handshake_timeout) => first,
        };
        let Ok(first) = first else {
            unserved.handshake_timeout.fetch_add(1, Ordering::Relaxed);
            return log_unserved(&node, &arrival, "said nothing for limits.handshake_timeout");
        };
        // A client that closes at once is no trouble.
        let Some(first) = first else { return };
        match detect(first, self.config.accept) {
            Detected::Served(Spoken::Memcached) => {
                arrival.place.info.set_spoken(Spoken::Memcached);
                self.memcached(&node, arrival).await;
            }
            Detected::Served(Spoken::Http) => {
                arrival.place.info.set_spoken(Spoken::Http);
                http::serve(self.http.clone(), arrival).await;
            }
            Detected::Served(Spoken::Native | Spoken::Unknown) => {
                arrival.place.info.set_spoken(Spoken::Native);
                native::connection(&node, arrival).await;
            }
            Detected::NotAccepted(protocol) => {
                unserved.not_accepted.fetch_add(1, Ordering::Relaxed);
                log_unserved(&node, &arrival, protocol);
            }
            Detected::Unknown => {
                unserved.unknown_protocol.fetch_add(1, Ordering::Relaxed);
                log_unserved(&node, &arrival, "the first byte begins no protocol");
            }
        }
    }
}

/// A connection that has its place, and what was read of it to see what it speaks.
pub struct Arrival {
    /// The socket.
    pub stream: Stream,
    /// What the client sent first, if it was read already.
    pub first: Vec<u8>,
    /// Its place among the connections.
    pub place: Place,
    /// Who is at the other end.
    pub client: Client,
}

/// Bytes read to see what a connection speaks: one would do, a whole short request saves a read.
const FIRST_LEN: usize = 1 << 10;

/// Reads what comes first; `None` when the client closes, an error when nothing comes in time.
async fn read_first(
    arrival: &mut Arrival,
    patience: Duration,
) -> Result<Option<u8>, tokio::time::error::Elapsed> {
    let mut first = vec![0; FIRST_LEN];
    let stream = &mut arrival.stream;
    let read = std::future::poll_fn(|cx| stream.poll_read(cx, &mut first));
    let len = tokio::time::timeout(patience, read).await?.unwrap_or(0);
    first.truncate(len);
    arrival.first = first;
    Ok(arrival.first.first().copied())
}

fn log_unserved(node: &Node, arrival: &Arrival, why: &str) {
    if let Some(left_out) = node.log_limits.unserved.pass(node.now()) {
        let info = &arrival.place.info;
        let (peer, listener) = (info.peer.name.as_str(), info.local.as_str());
        tracing::warn!(event = "not_served", peer, listener, why, left_out);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path, _) = &self.face.config.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn refuse(stream: Stream, refused: Refused, spoken: Spoken) {
    let why = match refused {
        _ if spoken == Spoken::Http => TOO_MANY_HTTP,
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
