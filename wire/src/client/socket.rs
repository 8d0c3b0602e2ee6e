//! One socket of a client.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::core::Channel;
use super::dial::{Dialed, Dialer, Stream};

/// A socket, from the moment on that it is asked for.
pub enum Socket {
    /// The name is being looked up, and the connection made.
    Connecting(Pin<Box<dyn Future<Output = io::Result<Dialed>> + Send>>),
    /// It is open.
    Open {
        /// The connection.
        stream: Box<dyn Stream>,
        /// What is to be written.
        out: Vec<u8>,
        /// How much of it is.
        written: usize,
    },
}

/// What came of a socket.
pub enum Input<'a> {
    /// It is open.
    Connected(Channel),
    /// Bytes.
    Bytes(&'a [u8]),
    /// It could not be connected, or has ended; why, if the ends do not trust each other.
    Ended(Option<String>),
}

impl Input<'_> {
    fn failed(error: &io::Error) -> Self {
        // TLS says so of what it refuses; a bare socket never does.
        let refused = error.kind() == io::ErrorKind::InvalidData;
        Input::Ended(refused.then(|| error.to_string()))
    }
}

impl Socket {
    pub fn connect(dialer: Dialer, address: String) -> Self {
        Socket::Connecting(Box::pin(dialer.dial(address)))
    }

    /// Appends bytes; [`Socket::poll_flush`] writes them.
    pub fn send(&mut self, bytes: Vec<u8>) {
        if let Socket::Open { out, .. } = self {
            if out.is_empty() {
                *out = bytes;
            } else {
                out.extend_from_slice(&bytes);
            }
        }
    }

    pub fn is_writing(&self) -> bool {
        matches!(self, Socket::Open { out, .. } if !out.is_empty())
    }

    /// What has come of it, if anything; bytes are read into `buffer`.
    pub fn poll_input<'b>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &'b mut [u8],
    ) -> Poll<Input<'b>> {
        match self {
            Socket::Connecting(connecting) => {
                Poll::Ready(match ready!(connecting.as_mut().poll(cx)) {
                    Err(error) => Input::failed(&error),
                    Ok(Dialed { stream, channel }) => {
                        *self = Socket::Open { stream, out: Vec::new(), written: 0 };
                        Input::Connected(channel)
                    }
                })
            }
            Socket::Open { stream, .. } => {
                let mut read = ReadBuf::new(buffer);
                let result = ready!(Pin::new(stream).poll_read(cx, &mut read));
                let len = read.filled().len();
                Poll::Ready(match result {
                    Err(error) => Input::failed(&error),
                    Ok(()) if len == 0 => Input::Ended(None),
                    Ok(()) => Input::Bytes(buffer.get(..len).unwrap_or_default()),
                })
            }
        }
    }

    /// Writes as much as the socket takes now.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Socket::Open { stream, out, written } = self else { return Ok(()) };
        if out.is_empty() {
            return Ok(());
        }
        while let Some(rest) = out.get(*written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(len) => *written += len?,
            }
        }
        // What TLS has taken may still be on its way to the socket.
        if Pin::new(stream).poll_flush(cx)?.is_ready() {
            *written = 0;
            out.clear();
        }
        Ok(())
    }
}
