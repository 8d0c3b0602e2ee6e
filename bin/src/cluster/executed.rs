//! What became of requests of another member that came together: it is answered together too,
//! when the copies have what the answers say.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use isogrid_grid::copies::Ticket;
use tokio::time::timeout;

use super::frame::{Done, Frame, Items, Reply};
use super::transport::Lane;
use super::{Cluster, Shared};

/// How long answers that are true wait for those that came with them.
const TOGETHER: Duration = Duration::from_millis(10);
/// Bytes of answers beyond which the next ones go in another frame.
const FRAME_BYTES: usize = 1 << 20;

/// An answer that comes in time.
pub type Later = Pin<Box<dyn Future<Output = (Done, Vec<u8>)> + Send>>;

/// What became of them, in their order.
#[derive(Default)]
pub struct Executed {
    count: u32,
    answers: Vec<One>,
    /// What clients read of all answers, one after the other.
    bytes: Vec<u8>,
    /// What answers wait for, and which.
    waits: Vec<(u32, Ticket)>,
    later: Vec<(u32, Later)>,
}

struct One {
    number: u32,
    done: Done,
    bytes: Range<usize>,
}

/// Whom answers are for.
#[derive(Clone)]
struct Asker {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    from: String,
    id: u64,
}

impl Executed {
    /// The next request was executed, or surely not: what its client reads, and what that waits
    /// for.
    pub fn answer(&mut self, done: Done, bytes: &[u8], waits: impl Iterator<Item = Ticket>) {
        let (number, start) = (self.begin(), self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.answers.push(One { number, done, bytes: start..self.bytes.len() });
        self.waits.extend(waits.map(|ticket| (number, ticket)));
    }

    /// The next request was not executed: another member serves its key, or nobody does now.
    pub fn elsewhere(&mut self) {
        self.answer(Done::Elsewhere, b"", std::iter::empty());
    }

    /// What becomes of the next request is said in time.
    pub fn later(&mut self, later: Later) {
        let number = self.begin();
        self.later.push((number, later));
    }

    fn begin(&mut self) -> u32 {
        self.count += 1;
        self.count - 1
    }

    /// Answers them: those that wait when they need not wait any more.
    pub(super) fn reply(
        mut self,
        cluster: &Arc<Cluster>,
        shared: &Arc<Shared>,
        from: &str,
        id: u64,
    ) {
        let (cluster, shared) = (Arc::clone(cluster), Arc::clone(shared));
        let asker = Asker { cluster, shared, from: from.to_owned(), id };
        for (number, later) in self.later.drain(..) {
            let asker = asker.clone();
            tokio::spawn(async move {
                let (done, bytes) = later.await;
                asker.tell(std::iter::once(Reply { number, done, bytes: &bytes }));
            });
        }
        if self.waits.is_empty() {
            return self.tell(&asker);
        }
        tokio::spawn(self.reply_in_time(asker));
    }

    async fn reply_in_time(mut self, asker: Asker) {
        let all = poll_fn(|cx| {
            self.settle(&asker, cx);
            if self.waits.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        });
        if timeout(TOGETHER, all).await.is_err() {
            while !self.waits.is_empty() {
                self.tell(&asker);
                let some = |cx: &mut Context<'_>| match self.settle(&asker, cx) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                };
                poll_fn(some).await;
            }
        }
        self.tell(&asker);
    }

    /// Sees what is committed, or never will be as far as is known here; whether there is any.
    fn settle(&mut self, asker: &Asker, cx: &mut Context<'_>) -> bool {
        let (before, answers) = (self.waits.len(), &mut self.answers);
        self.waits.retain(|(number, ticket)| {
            let Poll::Ready(is_true) = asker.poll(*ticket, cx) else { return true };
            let waiting = answers.iter_mut().filter(|one| !is_true && one.number == *number);
            waiting.for_each(|one| one.done = Done::Unknown);
            false
        });
        self.waits.len() < before
    }

    /// Says the answers that wait for nothing.
    fn tell(&mut self, asker: &Asker) {
        let waits = &self.waits;
        let is_open = |one: &mut One| waits.iter().any(|(number, _)| *number == one.number);
        let ready: Vec<One> = self.answers.extract_if(.., |one| !is_open(one)).collect();
        asker.tell(ready.into_iter().map(|One { number, done, bytes }| {
            let bytes = self.bytes.get(bytes).unwrap_or_default();
            Reply { number, done, bytes }
        }));
    }
}

impl Asker {
    /// Whether what was written is committed, and may be said so (R18): who serves the segment by
    /// now has it as well, but without a lease nothing is said.
    fn poll(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(copies) = self.shared.copies() else { return Poll::Ready(false) };
        copies.poll(ticket, cx).map(|done| done.is_ok() && self.cluster.may_serve())
    }

    fn tell<'a>(&self, replies: impl Iterator<Item = Reply<'a>>) {
        self.cluster.tell(&self.from, self.id, replies);
    }
}

impl Cluster {
    /// Answers some requests of those that a member passed on under a number. What does not get
    /// there it takes for unknown.
    pub(super) fn tell<'a>(&self, to: &str, id: u64, replies: impl Iterator<Item = Reply<'a>>) {
        let Some(transport) = self.transport.get() else { return };
        let mut frame = Vec::new();
        let mut replies = replies.peekable();
        while let Some(reply) = replies.next() {
            if frame.is_empty() {
                Frame::Replies { id, replies: Items::default() }.encode(&mut frame);
            }
            reply.put(&mut frame);
            if frame.len() >= FRAME_BYTES || replies.peek().is_none() {
                let _ = transport.send(to, Lane::Requests, &frame);
                frame.clear();
            }
        }
    }
}
