//! The socket of a connection: in the clear, or over TLS.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use isogrid_wire::client::Stream;
use tokio::io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Bytes read at once.
const READ_LEN: usize = 64 << 10;

/// What bytes go over.
pub enum Socket {
    /// One whose readiness can be asked for: nothing is waited for that is not needed.
    Clear(TcpStream),
    /// Records are made and opened in between, so that only trying tells.
    Secure(Box<dyn Stream>),
}

/// What is to be written.
#[derive(Debug, Default)]
pub struct Output {
    pub bytes: Vec<u8>,
    written: usize,
}

impl Output {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }
}

impl Socket {
    /// Waits until something was, or can be, read or written.
    pub async fn ready(&mut self, input: &mut Vec<u8>, output: &mut Output) -> Result<()> {
        match self {
            Socket::Clear(stream) => {
                let mut interest = Interest::READABLE;
                if !output.rest().is_empty() {
                    interest |= Interest::WRITABLE;
                }
                stream.ready(interest).await.map(drop)
            }
            Socket::Secure(stream) => {
                std::future::poll_fn(|cx| {
                    let (open, before) = (!output.rest().is_empty(), input.len());
                    let flushed = poll_flush(stream, output, cx)?.is_ready() && open;
                    poll_read(stream, input, cx)?;
                    if flushed || input.len() > before {
                        Poll::Ready(Ok(()))
                    } else {
                        Poll::Pending
                    }
                })
                .await
            }
        }
    }

    /// Writes as much as the socket takes.
    pub fn flush(&mut self, output: &mut Output) -> Result<()> {
        let Socket::Clear(stream) = self else { return self.flush_secure(output) };
        while !output.rest().is_empty() {
            match stream.try_write(output.rest()) {
                Ok(len) => output.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        output.clear();
        Ok(())
    }

    fn flush_secure(&mut self, output: &mut Output) -> Result<()> {
        let Socket::Secure(stream) = self else { return Ok(()) };
        match poll_flush(stream, output, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Reads what there is.
    pub fn read(&mut self, input: &mut Vec<u8>) -> Result<()> {
        match self {
            Socket::Clear(stream) => read_clear(stream, input),
            Socket::Secure(stream) => {
                // An end is told by `ready`, when what came ahead of it has been taken.
                let _ = poll_read(stream, input, &mut Context::from_waker(Waker::noop()));
                Ok(())
            }
        }
    }
}

fn read_clear(stream: &TcpStream, input: &mut Vec<u8>) -> Result<()> {
    loop {
        input.reserve(READ_LEN);
        let room = input.capacity() - input.len();
        match stream.try_read_buf(input) {
            Ok(0) => return Err(closed()),
            Ok(len) if len < room => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn poll_flush(
    stream: &mut Box<dyn Stream>,
    output: &mut Output,
    cx: &mut Context<'_>,
) -> Poll<Result<()>> {
    while !output.rest().is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, output.rest()) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
            Poll::Ready(len) => output.written += len?,
        }
    }
    output.clear();
    // What TLS has taken may still be on its way to the socket.
    Pin::new(stream).poll_flush(cx)
}

/// Reads until there is no more. What came ahead of an end is taken first.
fn poll_read(
    stream: &mut Box<dyn Stream>,
    input: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Result<()> {
    let before = input.len();
    loop {
        let begin = input.len();
        input.resize(begin + READ_LEN, 0);
        let mut room = ReadBuf::new(input.get_mut(begin..).unwrap_or_default());
        let read = Pin::new(&mut *stream).poll_read(cx, &mut room);
        let len = room.filled().len();
        input.truncate(begin + len);
        match read {
            Poll::Ready(Ok(())) if len > 0 => {}
            Poll::Pending => return Ok(()),
            Poll::Ready(_) if begin > before => return Ok(()),
            Poll::Ready(result) => return result.and(Err(closed())),
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "the server closed it")
}
