//! The handshake of a connection, before there is a conversation.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;

use super::connections::{Info, Place};
use super::login::Client;
use super::node::Node;
use super::stream::Stream;
use super::tls::{self, FIRST_BYTE, Tls};
use crate::config::TlsMode;

/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes at once; for one more the oldest is ended.
pub const HANDSHAKES_MAX: usize = 256;

/// Does what the listener's `mode` asks of a new TCP connection; who the client is comes with it.
/// `None` when the connection ends here: the reason is logged.
pub async fn secure(
    node: &Arc<Node>,
    tls: &Tls,
    stream: TcpStream,
    mode: TlsMode,
    place: &Place,
) -> Option<(Stream, Client)> {
    let address = place.info.peer.address;
    let _stay = node.handshakes.enter(&place.info, node.now());
    match until_ended(&place.info, handshake(tls, stream, mode)).await {
        Ok(Stream::Tls(stream)) => {
            let certificate = tls::client_name(&stream);
            let binding = tls::channel_binding(&stream);
            Some((Stream::Tls(stream), Client { address, tls: true, certificate, binding }))
        }
        Ok(stream) => Some((stream, Client { address, ..Client::default() })),
        Err(error) => {
            let peer = &place.info.peer.name;
            tracing::debug!(event = "handshake_failed", peer, %error);
            None
        }
    }
}

async fn handshake(tls: &Tls, stream: TcpStream, mode: TlsMode) -> io::Result<Stream> {
    if mode == TlsMode::Optional {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first != [FIRST_BYTE] {
            return Ok(Stream::Tcp(stream));
        }
    }
    Ok(Stream::Tls(Box::new(tls.accept(stream).await?)))
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
