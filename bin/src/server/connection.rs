//! One connection: read what is there, decode all, execute all, encode all into one buffer, one
//! write. The buffers belong to the thread; a connection that waits holds none. What is said is
//! for its [`Conversation`] to know.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use isogrid_wire::Output;

use super::connections::{Place, State, WHOLE};
use super::counters::Counts;
use super::listener::Arrival;
use super::stream::Stream;

/// Bytes that one read takes at the most, unless a large value is on its way.
const READ_LEN: usize = 64 << 10;
/// Unconsumed input up to this length is copied out of the thread's buffer; more keeps it.
const COPY_LEN_MAX: usize = 4 << 10;
/// Output at which a turn ends, so that one connection's answers stay bounded.
pub const OUTPUT_LEN_MAX: usize = 256 << 10;
/// Pieces of one vectored write.
const SLICES: usize = 64;

/// Spare outputs that a thread keeps, and how large one may be.
const SPARE_MAX: usize = 64;
const SPARE_MEMORY_MAX: usize = 16 << 10;

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// The buffers of the connection that has its turn on this thread.
#[derive(Default)]
struct Buffers {
    input: Vec<u8>,
    output: Output,
    /// For connections whose answers wait, while others have their turn.
    spare: Vec<Output>,
}

impl Buffers {
    /// Takes an output back that is no longer needed.
    fn recycle(&mut self, output: Output) {
        if (1..=SPARE_MEMORY_MAX).contains(&output.memory()) && self.spare.len() < SPARE_MAX {
            self.spare.push(output);
        }
    }
}

/// The ordinary ends of a connection, not worth a line in the log.
const CLOSED_BY_CLIENT: &str = "closed by the client";
/// The end of a connection that the client asked for; not worth a line in the log either.
pub const LAST_ANSWER: &str = "the last answer of the connection";

/// Whether a connection goes on at once or lets others have their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Go on.
    Go,
    /// Let others have their turn; there is more input.
    Yield,
}

/// What one turn did.
pub struct Done {
    /// Input bytes that are done with.
    pub consumed: usize,
    /// How much input is needed before the next turn can do anything.
    pub needed: usize,
    /// Why the connection ends after the output, if it does.
    pub close: Option<&'static str>,
    /// Whether others are to have their turn.
    pub turn: Turn,
}

/// What a connection says: requests in, answers out. No socket in there.
pub trait Conversation: Unpin {
    /// Begins a run of turns.
    fn begin(&mut self);

    /// Ends a run of turns.
    fn end(&mut self);

    /// The time of this run, ms.
    fn now(&self) -> u64;

    /// Where this run is counted.
    fn counts(&mut self) -> &mut Counts;

    /// Notes that bytes were read.
    fn was_read(&mut self) {}

    /// Decodes, executes and answers what is in `input`.
    fn turn(&mut self, input: &[u8], out: &mut Output) -> Done;

    /// Whether nothing but input is waited for, and nothing is to be said without it: then no
    /// `poll_` below has anything to do, and none is asked.
    fn is_calm(&self) -> bool {
        false
    }

    /// Whether a turn has something to say without more input.
    fn is_streaming(&self) -> bool {
        false
    }

    /// Whether the conversation ends when the client says nothing.
    fn ends_in_silence(&self) -> bool;

    /// Whether answers have to wait until what they say is kept.
    fn keeps(&self) -> bool;

    /// Waits until what the answers say is kept.
    ///
    /// # Errors
    /// Why the connection ends without them.
    fn poll_kept(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<Result<(), &'static str>>;

    /// Waits until it is decided who the client is. Why the connection ends behind the answer, if
    /// it does.
    ///
    /// # Errors
    /// Why it ends at once.
    #[inline]
    fn poll_login(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Output,
    ) -> Poll<Result<Option<&'static str>, &'static str>> {
        Poll::Ready(Ok(None))
    }

    /// Waits until what the next request needs is in memory.
    fn poll_loaded(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Says what is to be said though nothing was asked now. When it says nothing, the task is
    /// woken as soon as that changes. Why the connection ends behind that, if it does.
    fn poll_more(&mut self, _: &mut Context<'_>, _: &mut Output) -> Option<&'static str> {
        None
    }

    /// Requests that wait to be answered: for a lock, a message, the disk, another member.
    fn in_flight(&self) -> usize;

    /// Whether more requests may be taken; if not, the task is woken when that changes.
    fn has_room(&self) -> bool {
        true
    }
}

/// A connection's task.
pub struct Connection<C> {
    stream: Stream,
    conversation: C,
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
    /// Bytes ever read, and those before what is being read now.
    read: u64,
    read_before: u64,
    /// Since when it is not read for want of room, ms.
    held_since: Option<u64>,
}

/// Why a connection is over, for the log.
type Ended = Result<&'static str, io::Error>;

impl<C: Conversation> Connection<C> {
    /// A connection that was just accepted.
    pub fn new(arrival: Arrival, conversation: C) -> Self {
        let Arrival { stream, first, place, .. } = arrival;
        let first_len = first.len() as u64;
        Connection {
            stream,
            conversation,
            place,
            start: 0,
            end: first.len(),
            input: first,
            needed: 1,
            unsent: Output::new(),
            unflushed: false,
            closing: None,
            read: first_len,
            read_before: 0,
            held_since: None,
        }
    }

    /// Turns until there is nothing to do but wait.
    fn turns(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<Ended> {
        loop {
            if let Some(why) = self.place.info.ended() {
                return Poll::Ready(Ok(why));
            }
            if !self.conversation.is_calm()
                && let Some(why) = ready!(self.poll_answers(cx, output))
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
            let mut said = false;
            if !self.conversation.is_calm() {
                self.closing = self.conversation.poll_more(cx, output);
                said = !output.is_empty();
                if said || self.closing.is_some() {
                    ready!(self.write(cx, output))?;
                }
                if self.closing.is_some() {
                    continue;
                }
                if !self.conversation.has_room() {
                    if said {
                        continue;
                    }
                    return self.hold();
                }
                ready!(self.conversation.poll_loaded(cx));
            }
            if self.end - self.start < self.needed && !self.conversation.is_streaming() {
                match self.read(cx)? {
                    Poll::Ready(0) => return Poll::Ready(Ok(CLOSED_BY_CLIENT)),
                    Poll::Ready(_) => {}
                    Poll::Pending if said => continue,
                    Poll::Pending => return Poll::Pending,
                }
                if self.end - self.start < self.needed {
                    continue;
                }
            }
            if self.turn(output) == Turn::Yield {
                // Answers that wait go out with the next turn.
                if !self.conversation.keeps() {
                    ready!(self.write(cx, output))?;
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Waits until the answers may be sent, and it is decided who the client is. Why the connection
    /// ends at once, if it does.
    fn poll_answers(
        &mut self,
        cx: &mut Context<'_>,
        output: &mut Output,
    ) -> Poll<Option<&'static str>> {
        if let Err(why) = ready!(self.conversation.poll_kept(cx, output)) {
            return Poll::Ready(Some(why));
        }
        match ready!(self.conversation.poll_login(cx, output)) {
            Ok(why) => self.closing = self.closing.or(why),
            Err(why) => return Poll::Ready(Some(why)),
        }
        Poll::Ready(None)
    }

    /// Decodes and executes what is there.
    fn turn(&mut self, output: &mut Output) -> Turn {
        let input = self.input.get(self.start..self.end).unwrap_or_default();
        let done = self.conversation.turn(input, output);
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
                self.read += read as u64;
                self.conversation.counts().bytes_read += read as u64;
                self.conversation.was_read();
                Poll::Ready(Ok(read))
            }
            Poll::Pending if self.conversation.ends_in_silence() => Poll::Ready(Ok(0)),
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

    /// Nothing is read until there is room.
    #[cold]
    fn hold<T>(&mut self) -> Poll<T> {
        self.held_since = Some(self.conversation.now());
        Poll::Pending
    }

    /// Counts how long nothing was read.
    #[cold]
    fn go_on(&mut self, since: u64) {
        let now = self.conversation.now();
        self.conversation.counts().held_ms += now.saturating_sub(since);
        self.held_since = None;
    }

    fn write(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<io::Result<()>> {
        let written = self.write_all(cx, output);
        if written.is_pending() { self.hold() } else { written }
    }

    fn write_all(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<io::Result<()>> {
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
            self.conversation.counts().bytes_written += written as u64;
            self.place.info.set_state(State::Writing, self.conversation.now());
        }
        if self.unflushed {
            ready!(self.stream.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the thread's buffers, and moves what was kept since the last turns into them.
    fn take_buffers(&mut self, Buffers { input, output, .. }: &mut Buffers) {
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
    fn give_buffers(&mut self, buffers: &mut Buffers) {
        let before = std::mem::take(&mut self.unsent);
        buffers.recycle(before);
        if !buffers.output.is_empty() {
            let next = buffers.spare.pop().unwrap_or_default();
            self.unsent = std::mem::replace(&mut buffers.output, next);
        }
        let input = &mut buffers.input;
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

    fn note_state(&mut self) {
        let there = self.end - self.start;
        let state = if !self.unsent.is_empty() || self.unflushed {
            State::Writing
        } else if there > 0 || self.needed > 1 {
            State::Reading
        } else {
            State::Idle
        };
        let (before, _) = self.place.info.state();
        if state == State::Idle || state != before {
            self.place.info.set_state(state, self.conversation.now());
            self.read_before = self.read - there as u64;
        }
        let is_half = there < self.needed;
        self.place.info.set_received(if is_half { self.read - self.read_before } else { WHOLE });
    }
}

impl<C: Conversation> Future for Connection<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.place.info.set_waker(cx.waker());
        let polled = BUFFERS.with_borrow_mut(|buffers| {
            this.take_buffers(buffers);
            this.conversation.begin();
            if let Some(since) = this.held_since {
                this.go_on(since);
            }
            let polled = this.turns(cx, &mut buffers.output);
            this.conversation.end();
            this.give_buffers(buffers);
            polled
        });
        match polled {
            Poll::Ready(ended) => {
                log_end(&this.place.info.peer.name, &ended);
                Poll::Ready(())
            }
            Poll::Pending => {
                this.note_state();
                this.place.info.set_in_flight(this.conversation.in_flight());
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
