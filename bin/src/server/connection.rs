//! One connection: read what is there, decode all, execute all, encode all into one buffer, one
//! write. The buffers belong to the thread; a connection that waits holds none.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use isogrid_engine::wal::WalError;
use isogrid_wire::Output;
use isogrid_wire::memcached::Decoder;

use super::connections::{Place, State};
use super::listener::Arrival;
use super::session::{Session, Turn};
use super::stream::Stream;

/// Bytes that one read takes at the most, unless a large value is on its way.
const READ_LEN: usize = 64 << 10;
/// Unconsumed input up to this length is copied out of the thread's buffer; more keeps it.
const COPY_LEN_MAX: usize = 4 << 10;
/// Output at which a turn ends, so that one connection's answers stay bounded.
pub const OUTPUT_LEN_MAX: usize = 256 << 10;
/// Pieces of one vectored write.
const SLICES: usize = 64;

thread_local! {
    /// The buffers of the connection that has its turn on this thread.
    static BUFFERS: RefCell<(Vec<u8>, Output)> = RefCell::default();
}

/// The ordinary ends of a connection, not worth a line in the log.
const CLOSED_BY_CLIENT: &str = "closed by the client";
/// Writes whose outcome nobody knows were under way.
const UNKEPT: &str = "the log failed; it is unknown whether the last writes are kept";
/// The end of a connection that the client asked for; not worth a line in the log either.
pub const LAST_ANSWER: &str = "the last answer of the connection";

/// A connection's task.
pub struct Connection {
    stream: Stream,
    session: Session,
    decoder: Decoder,
    place: Place,
    /// Input that is not consumed yet: bytes `start..end` of `input`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// How much input the decoder needs before it can go on.
    needed: usize,
    /// Output that the client has not read yet.
    unsent: Output,
    /// Output that the stream has taken and may not have sent yet.
    unflushed: bool,
    /// Why the connection ends once `unsent` is written.
    closing: Option<&'static str>,
}

/// Why a connection is over, for the log.
type Ended = Result<&'static str, io::Error>;

impl Connection {
    /// A connection that was just accepted.
    pub fn new(arrival: Arrival, session: Session, decoder: Decoder) -> Self {
        let Arrival { stream, first, place, .. } = arrival;
        Connection {
            stream,
            session,
            decoder,
            place,
            start: 0,
            end: first.len(),
            input: first,
            needed: 1,
            unsent: Output::new(),
            unflushed: false,
            closing: None,
        }
    }

    /// Turns until there is nothing to do but wait.
    fn turns(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<Ended> {
        loop {
            if let Some(why) = self.place.info.ended() {
                return Poll::Ready(Ok(why));
            }
            if ready!(self.poll_kept(cx)).is_err() {
                // Nobody knows what became of the writes, so no answer is the only true one.
                output.clear();
                return Poll::Ready(Ok(UNKEPT));
            }
            if self.session.guard.is_some()
                && let Some(why) = ready!(self.poll_guard(cx, output))
            {
                return Poll::Ready(Ok(why));
            }
            if !output.is_empty() || self.unflushed {
                ready!(self.write(cx, output))?;
            }
            if let Some(why) = self.closing {
                ready!(self.stream.poll_farewell(cx))?;
                return Poll::Ready(Ok(why));
            }
            ready!(self.poll_loaded(cx));
            if self.end - self.start < self.needed && !self.session.is_streaming() {
                if ready!(self.read(cx))? == 0 {
                    return Poll::Ready(Ok(CLOSED_BY_CLIENT));
                }
                if self.end - self.start < self.needed {
                    continue;
                }
            }
            if self.turn(output) == Turn::Yield {
                // Answers that wait go out with the next turn.
                if self.session.keeper.is_none() {
                    ready!(self.write(cx, output))?;
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Waits until what the answers say is kept.
    #[inline]
    fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WalError>> {
        match &mut self.session.keeper {
            Some(keeper) if keeper.waits() => keeper.poll_kept(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Waits until what the next request needs is in memory.
    #[inline]
    fn poll_loaded(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.session.loading {
            Some(loading) if loading.waits() => loading.poll(cx),
            _ => Poll::Ready(()),
        }
    }

    /// Waits until it is decided who the client is; why the connection ends at once, if it does.
    #[cold]
    fn poll_guard(
        &mut self,
        cx: &mut Context<'_>,
        output: &mut Output,
    ) -> Poll<Option<&'static str>> {
        let Some(guard) = &mut self.session.guard else { return Poll::Ready(None) };
        if let Some(why) = guard.refresh() {
            return Poll::Ready(Some(why));
        }
        // A client that guesses gets its answer, and then the end.
        let failures = guard.failures();
        let why = ready!(guard.poll(cx, output));
        self.session.counts.auth_errors += guard.failures() - failures;
        self.closing = self.closing.or(why);
        Poll::Ready(None)
    }

    /// Decodes and executes what is there.
    fn turn(&mut self, output: &mut Output) -> Turn {
        let input = self.input.get(self.start..self.end).unwrap_or_default();
        let done = self.session.turn(&mut self.decoder, input, output);
        self.start += done.consumed;
        self.needed = done.needed;
        self.closing = done.close;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        done.turn
    }

    /// Reads once; how much. While a large value is on its way the buffer grows with what has
    /// arrived, not with what was announced.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_space();
        let space = self.input.get_mut(self.end..).unwrap_or_default();
        match self.stream.poll_read(cx, space) {
            Poll::Ready(read) => {
                let read = read?;
                self.end += read;
                self.session.counts.bytes_read += read as u64;
                Poll::Ready(Ok(read))
            }
            // Nothing more will come of a node that stops.
            Poll::Pending if self.session.node.is_stopping() => Poll::Ready(Ok(0)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn make_space(&mut self) {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.input.len() < READ_LEN {
            self.input.resize(READ_LEN, 0);
        } else if self.end == self.input.len() {
            let len = (self.end * 2).min(self.needed.max(self.end + 1));
            self.input.resize(len, 0);
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<io::Result<()>> {
        while !output.is_empty() {
            let written = match output.contiguous() {
                Some(bytes) => ready!(self.stream.poll_write(cx, bytes)),
                None => {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let filled = output.slices(&mut slices);
                    let slices = slices.get(..filled).unwrap_or_default();
                    ready!(self.stream.poll_write_vectored(cx, slices))
                }
            }?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            output.advance(written);
            self.unflushed = self.stream.holds_back();
            self.session.counts.bytes_written += written as u64;
            self.place.info.set_state(State::Writing, self.session.now);
        }
        if self.unflushed {
            ready!(self.stream.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the thread's buffers, and moves what was kept since the last turns into them.
    fn take_buffers(&mut self, input: &mut Vec<u8>, output: &mut Output) {
        if self.input.len() < READ_LEN {
            if input.len() < READ_LEN {
                input.resize(READ_LEN, 0);
            }
            let kept = self.input.get(self.start..self.end).unwrap_or_default();
            if let Some(front) = input.get_mut(..kept.len()) {
                front.copy_from_slice(kept);
            }
            (self.start, self.end) = (0, kept.len());
            std::mem::swap(&mut self.input, input);
        }
        if !self.unsent.is_empty() {
            std::mem::swap(&mut self.unsent, output);
        }
    }

    /// Gives the thread its buffers back, keeping what is not done.
    fn give_buffers(&mut self, input: &mut Vec<u8>, output: &mut Output) {
        if !output.is_empty() {
            std::mem::swap(&mut self.unsent, output);
        } else if self.unsent.has_memory() {
            self.unsent = Output::new();
        }
        let left = self.input.get(self.start..self.end).unwrap_or_default();
        if left.len() <= COPY_LEN_MAX {
            let left = if left.is_empty() { Vec::new() } else { left.to_vec() };
            (self.start, self.end) = (0, left.len());
            *input = std::mem::replace(&mut self.input, left);
            if input.len() > READ_LEN {
                input.truncate(READ_LEN);
                input.shrink_to_fit();
            }
        }
    }

    fn note_state(&self) {
        let state = if !self.unsent.is_empty() || self.unflushed {
            State::Writing
        } else if self.end > self.start || self.needed > 1 {
            State::Reading
        } else {
            State::Idle
        };
        let (before, _) = self.place.info.state();
        if state == State::Idle || state != before {
            self.place.info.set_state(state, self.session.now);
        }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.place.info.set_waker(cx.waker());
        let polled = BUFFERS.with_borrow_mut(|(input, output)| {
            this.take_buffers(input, output);
            this.session.begin();
            let polled = this.turns(cx, output);
            this.session.end();
            this.give_buffers(input, output);
            polled
        });
        match polled {
            Poll::Ready(ended) => {
                log_end(&this.place.info.peer.name, &ended);
                Poll::Ready(())
            }
            Poll::Pending => {
                this.note_state();
                Poll::Pending
            }
        }
    }
}

fn log_end(peer: &str, ended: &Ended) {
    match ended {
        Ok(why @ (CLOSED_BY_CLIENT | LAST_ANSWER)) => {
            tracing::debug!(event = "disconnected", peer, why);
        }
        Ok(why) => tracing::info!(event = "closed", peer, why),
        Err(error) => tracing::debug!(event = "disconnected", peer, %error),
    }
}
