//! The caller's end of the client's task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::core::{By, CallId, Reply, Request, Routing};
use super::error::{Cause, Error};
use super::shell::{Command, Consumer, Waiter};
use crate::native::schema::Repeat;
use crate::native::{Answer, Call, Codec, Json, Limits, Malformed, Reader};

/// Cheap to clone; the task ends when the last one is gone.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    next: Arc<AtomicU64>,
    /// How long a request may take unless it says otherwise.
    pub timeout: Duration,
    pub tag_writes: bool,
}

impl Handle {
    pub fn new(
        commands: mpsc::UnboundedSender<Command>,
        timeout: Duration,
        tag_writes: bool,
    ) -> Self {
        Handle { commands, next: Arc::new(AtomicU64::new(1)), timeout, tag_writes }
    }

    /// A request with this body, of the class that its operation is declared with.
    pub fn request<'a, T: Call + Codec<'a>>(&self, body: &T) -> Request {
        let mut encoded = Vec::with_capacity(body.encoded_len());
        body.encode(&mut encoded);
        Request {
            op: T::CODE,
            repeat: T::OPERATION.repeat,
            by: if T::OPERATION.route.is_some() { By::Key } else { By::Nothing },
            over: None,
            tagged: self.tag_writes,
            object: 0,
            life: None,
            doubt: false,
            lease: None,
            fence: None,
            tx: None,
            body: encoded,
            credit: 0,
            timeout: (T::OPERATION.repeat != Repeat::Stream).then_some(self.timeout),
        }
    }

    /// Asks, and waits for the answer. A future that is dropped cancels the request.
    pub async fn call(&self, request: Request) -> Result<Reply, Error> {
        let (answered, answer) = oneshot::channel();
        let id = self.send(request, Waiter::One(answered))?;
        let mut interest = Interest { handle: self.clone(), id, done: false };
        let result = answer.await;
        interest.done = true;
        result.unwrap_or(Err(Error::unknown(Cause::Closed)))
    }

    /// Asks, and does not want to know what comes of it.
    pub fn detach(&self, request: Request) {
        let (nobody, _) = oneshot::channel();
        // A task that has ended has no connection on which anything could be done.
        drop(self.send(request, Waiter::One(nobody)));
    }

    /// Opens a stream; it ends when the interest is dropped, if not before.
    pub fn stream(&self, request: Request, to: Box<dyn Consumer>) -> Result<Interest, Error> {
        let id = self.send(request, Waiter::Stream(to))?;
        Ok(Interest { handle: self.clone(), id, done: false })
    }

    /// For each hash of a key of an object the member that serves it, whatever number that has;
    /// `None` when one member will do for all.
    pub async fn places(
        &self,
        object: u32,
        reads: bool,
        hashes: Vec<u64>,
    ) -> Option<Vec<Option<usize>>> {
        let (answered, answer) = oneshot::channel();
        self.commands.send(Command::Places(object, reads, hashes, answered)).ok()?;
        answer.await.ok().flatten()
    }

    /// How requests found their members so far.
    pub async fn routing(&self) -> Routing {
        let (answered, answer) = oneshot::channel();
        // A task that has ended sends nothing anywhere.
        drop(self.commands.send(Command::Routing(answered)));
        answer.await.unwrap_or_default()
    }

    fn send(&self, request: Request, waiter: Waiter) -> Result<CallId, Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let command = Command::Call(id, Box::new(request), waiter);
        self.commands.send(command).map_err(|_| Error::failed(Cause::Closed))?;
        Ok(id)
    }
}

/// Somebody waits for a request.
#[derive(Debug)]
pub struct Interest {
    handle: Handle,
    id: CallId,
    done: bool,
}

impl Interest {
    /// The stream may send more items.
    pub fn credit(&self, items: u32) {
        // A task that has ended sends no items either.
        drop(self.handle.commands.send(Command::Credit(self.id, items)));
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        if !self.done {
            drop(self.handle.commands.send(Command::Cancel(self.id)));
        }
    }
}

/// What the server stored is read whatever its size: it had limits of its own.
pub const UNBOUNDED: Limits = Limits {
    frame_len_max: usize::MAX,
    message_len_max: usize::MAX,
    key_len_max: usize::MAX,
    value_len_max: usize::MAX,
    streams_max: usize::MAX,
    inflight_max: usize::MAX,
    keys_max: usize::MAX,
};

/// Decodes the answer to a `T`. One that cannot be read says nothing of what was done.
pub fn decode<T: Call>(reply: &Reply) -> Result<T::Reply<'_>, Error> {
    let unreadable = |malformed: Malformed| {
        let reads = matches!(T::OPERATION.repeat, Repeat::Read | Repeat::Stream);
        let cause = Cause::Malformed(malformed);
        if reads { Error::failed(cause) } else { Error::unknown(cause) }
    };
    <T::Reply<'_>>::decode_all(Reader::new(&reply.payload, &UNBOUNDED)).map_err(unreadable)
}

/// A document of an answer that only tells.
pub fn parsed(document: &Json<'_>) -> Result<Value, Error> {
    document.parse().map_err(|malformed| Error::failed(Cause::Malformed(malformed)))
}

/// What is left until then.
pub fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// A time span as the protocol counts it, rounded up: a span that is not nothing is at least one
/// millisecond, since 0 stands for ever.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
