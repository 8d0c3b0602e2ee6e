//! The socket of a connection, plain or over TLS. Neither blocks.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::Result;
use super::protocol::Protocol;

/// A connected socket.
pub enum Stream {
    /// Over TCP.
    Plain(TcpStream),
    /// Over TLS; the handshake is done.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Connects, shakes hands where there is a configuration for it, says what the protocol begins
    /// with, and registers for edge-triggered events.
    pub fn open(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        protocol: Protocol,
        registry: &Registry,
        token: Token,
    ) -> Result<Self> {
        let mut socket = std::net::TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let Some(config) = tls else {
            protocol.introduce(&mut socket)?;
            return Ok(Stream::Plain(registered(socket, registry, token)?));
        };
        let connection = handshake(config, &mut socket)?;
        let mut over_tls = StreamOwned::new(connection, socket);
        protocol.introduce(&mut over_tls)?;
        let (connection, socket) = over_tls.into_parts();
        let socket = registered(socket, registry, token)?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, socket))))
    }

    /// Whether a read that does not fill its buffer has emptied the socket.
    pub fn is_emptied_by_short_reads(&self) -> bool {
        matches!(self, Stream::Plain(_))
    }
}

/// The socket that does not block any more.
fn registered(socket: std::net::TcpStream, registry: &Registry, token: Token) -> Result<TcpStream> {
    socket.set_nonblocking(true)?;
    let mut socket = TcpStream::from_std(socket);
    registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(socket)
}

fn handshake(
    config: &Arc<ClientConfig>,
    socket: &mut std::net::TcpStream,
) -> Result<ClientConnection> {
    let mut connection =
        ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
    while connection.is_handshaking() {
        connection.complete_io(socket)?;
    }
    Ok(connection)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
