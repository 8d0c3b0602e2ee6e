//! The handshake of a connection, before there is a conversation.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use isogrid_wire::native::preface::{self, ClientPreface, PREFACE_LEN, ServerPreface};
use isogrid_wire::native::{BEFORE_AUTH_LEN_MAX, Codec, ErrorCode, Frame, Header, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connections::{Info, Place};
use super::login::Client;
use super::native::Failure;
use super::node::Node;
use super::stream::Stream;
use super::tls::{self, FIRST_BYTE, Tls};
use crate::config::TlsMode;

/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes at once; for one more the oldest is ended.
pub const HANDSHAKES_MAX: usize = 256;

/// What a listener wants of its connections.
pub struct Wanted {
    /// Whether they begin with TLS.
    pub mode: TlsMode,
    /// Whether they may speak the native protocol, in which the want of TLS can be said.
    pub may_be_native: bool,
}

/// Does what the listener wants of a new TCP connection; who the client is comes with it. `None` when
/// the connection ends here: the reason is logged.
pub async fn secure(
    node: &Arc<Node>,
    tls: &Tls,
    stream: TcpStream,
    wanted: Wanted,
    place: &Place,
) -> Option<(Stream, Client)> {
    let (address, logs_in_over_tls) = (place.info.peer.address, node.config.auth.require_tls);
    let client = Client { address, logs_in_over_tls, ..Client::default() };
    let _stay = node.handshakes.enter(&place.info, node.now());
    match until_ended(&place.info, handshake(tls, stream, wanted)).await {
        Ok(Stream::Tls(stream)) => {
            let certificate = tls::client_name(&stream);
            let binding = tls::channel_binding(&stream);
            Some((Stream::Tls(stream), Client { tls: true, certificate, binding, ..client }))
        }
        Ok(stream) => Some((stream, client)),
        Err(error) => {
            let peer = &place.info.peer.name;
            tracing::debug!(event = "handshake_failed", peer, %error);
            None
        }
    }
}

async fn handshake(tls: &Tls, stream: TcpStream, wanted: Wanted) -> io::Result<Stream> {
    let is_optional = wanted.mode == TlsMode::Optional;
    if is_optional || wanted.may_be_native {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if is_optional && first != [FIRST_BYTE] {
            return Ok(Stream::Tcp(stream));
        }
        if first == [preface::FIRST_BYTE] {
            refuse_in_the_clear(stream).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "GNP without TLS"));
        }
    }
    Ok(Stream::Tls(Box::new(tls.accept(stream).await?)))
}

/// Tells a client of the native protocol that TLS is wanted here, and waits until it has heard it.
async fn refuse_in_the_clear(mut stream: TcpStream) -> io::Result<()> {
    let mut said = [0; PREFACE_LEN];
    stream.read_exact(&mut said).await?;
    let said = ClientPreface::decode(&said).ok().flatten().ok_or(io::ErrorKind::InvalidData)?;
    let mut payload = Vec::new();
    Failure::of(ErrorCode::TlsRequired).body(|body| body.encode(&mut payload));
    let mut answer = ServerPreface::answer(said).encode().to_vec();
    let header = Header::control(Kind::Err, 0, 0);
    Frame { header, payload: &payload }.encode(&mut answer);
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    // What it has sent and nobody reads would take the answer away from it.
    let mut rest = stream.take(BEFORE_AUTH_LEN_MAX as u64);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map(drop)
}

/// Waits for `work`, or until somebody ends the connection.
async fn until_ended<T>(info: &Info, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        info.set_waker(cx.waker());
        match info.ended() {
            Some(why) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why))),
            None => work.as_mut().poll(cx),
        }
    })
    .await
}
