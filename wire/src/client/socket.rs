//! One socket of a client.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

/// A socket, from the moment on that it is asked for.
pub enum Socket {
    /// The name is being looked up, and the connection made.
    Connecting(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    /// It is open.
    Open {
        /// The connection.
        stream: TcpStream,
        /// What is to be written.
        out: Vec<u8>,
        /// How much of it is.
        written: usize,
    },
}

/// What came of a socket.
pub enum Input<'a> {
    /// It is open.
    Connected,
    /// Bytes.
    Bytes(&'a [u8]),
    /// It could not be connected, or has ended.
    Ended,
}

impl Socket {
    pub fn connect(address: String) -> Self {
        Socket::Connecting(Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        }))
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
            Socket::Connecting(connecting) => match connecting.as_mut().poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(_)) => Poll::Ready(Input::Ended),
                Poll::Ready(Ok(stream)) => {
                    *self = Socket::Open { stream, out: Vec::new(), written: 0 };
                    Poll::Ready(Input::Connected)
                }
            },
            Socket::Open { stream, .. } => loop {
                match stream.poll_read_ready(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(Input::Ended),
                    Poll::Ready(Ok(())) => {}
                }
                match stream.try_read(buffer) {
                    Ok(0) => return Poll::Ready(Input::Ended),
                    Ok(len) => {
                        return Poll::Ready(Input::Bytes(buffer.get(..len).unwrap_or_default()));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Poll::Ready(Input::Ended),
                }
            },
        }
    }

    /// Writes as much as the socket takes now.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Socket::Open { stream, out, written } = self else { return Ok(()) };
        while *written < out.len() {
            match stream.poll_write_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(ready) => ready?,
            }
            match stream.try_write(out.get(*written..).unwrap_or_default()) {
                Ok(len) => *written += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        *written = 0;
        out.clear();
        Ok(())
    }
}
