//! A connection to a peer: TCP, or TLS over it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tls::PeerTls;

/// What bytes go to and fro over.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection.
pub type Stream = Box<dyn Duplex>;

/// The accepting side of a new connection.
pub async fn accept(stream: TcpStream, tls: Option<&PeerTls>) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    match tls {
        Some(tls) => tls.accept(stream).await,
        None => Ok(Box::new(stream)),
    }
}

/// The connecting side of a new connection.
pub async fn connect(stream: TcpStream, tls: Option<&PeerTls>) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    match tls {
        Some(tls) => tls.connect(stream).await,
        None => Ok(Box::new(stream)),
    }
}

/// Writes one piece of `bytes`; it is an error when none goes for `patience`.
pub async fn write(stream: &mut Stream, bytes: &[u8], patience: Duration) -> io::Result<usize> {
    match timeout(patience, stream.write(bytes)).await? {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        written => written,
    }
}

/// Writes all of `bytes`, which are few.
pub async fn write_all(stream: &mut Stream, bytes: &[u8], patience: Duration) -> io::Result<()> {
    let all = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    timeout(patience, all).await?
}
