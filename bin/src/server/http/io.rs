//! A client's socket as the HTTP library wants it, with what was read already in front. It says
//! what the connection is doing, so that the sweep can end those that do it for too long.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::connections::{Info, State};
use crate::server::node::Node;
use crate::server::stream::Stream;

/// A socket whose state others see.
pub struct Tracked {
    stream: Stream,
    first: Vec<u8>,
    info: Arc<Info>,
    node: Arc<Node>,
}

impl Tracked {
    /// The socket of a connection, of which `first` was read already.
    pub fn new(stream: Stream, first: Vec<u8>, info: Arc<Info>, node: Arc<Node>) -> Self {
        Tracked { stream, first, info, node }
    }

    /// A request has begun. What follows of it does not begin it anew: whoever sends a byte now
    /// and then gets no more time for that.
    fn note_read(&self, bytes: usize) {
        if self.info.state().0 == State::Idle {
            self.info.set_received(0);
            self.info.set_state(State::Reading, self.node.now());
        }
        self.info.add_received(bytes as u64);
    }

    fn note_write(&self, written: &Poll<io::Result<usize>>) {
        let begins = self.info.state().0 != State::Writing;
        if begins || matches!(written, Poll::Ready(Ok(1..))) {
            self.info.set_state(State::Writing, self.node.now());
        }
    }
}

impl AsyncRead for Tracked {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            let read = ready!(this.stream.poll_read(cx, buffer.initialize_unfilled()))?;
            buffer.advance(read);
            if read > 0 {
                this.note_read(read);
            }
        } else {
            let len = this.first.len().min(buffer.remaining());
            let rest = this.first.split_off(len);
            buffer.put_slice(&std::mem::replace(&mut this.first, rest));
            this.note_read(len);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tracked {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.stream.poll_write(cx, bytes);
        this.note_write(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.stream.poll_write_vectored(cx, slices);
        this.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Called when everything was written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.poll_flush(cx))?;
        if self.info.state().0 == State::Writing {
            self.info.set_state(State::Idle, self.node.now());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_shutdown(cx)
    }
}
