//! Answers that are not there yet, in the order of their requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use isogrid_grid::copies::Ticket;
use isogrid_grid::id::NodeId;
use isogrid_wire::Output;
use tokio::sync::oneshot;

use super::lines::END;
use crate::cluster::{Answer, Cluster, Done, Route, Shared};

/// How long a request waits for somebody who serves its key, or for an answer, ms.
const PATIENCE_MS: u64 = 5_000;
/// How often it looks whether somebody does.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A moment that a connection waits for.
pub type Sleep = Pin<Box<tokio::time::Sleep>>;

/// A part of what a connection answers.
pub enum Part {
    /// The next so many bytes of the output, once what they wait for is committed.
    Here { len: usize, waits: Option<Box<Waits>>, lost: Option<Vec<u8>> },
    /// Somebody else's answer, or that of a later time.
    There(Box<Deferred>),
}

/// What bytes wait for.
pub struct Waits {
    ticket: Ticket,
    until: u64,
    /// What is said in their place when nobody knows.
    unknown: Vec<u8>,
}

/// For whom a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Whoever serves this segment.
    Segment(u32),
    /// This member; what it says goes to nobody.
    Member(NodeId),
}

/// A request that was not executed here.
pub struct Deferred {
    target: Target,
    raw: Vec<u8>,
    writes: bool,
    /// Its answer is a part of one: the end is not its own.
    is_part: bool,
    unknown: Vec<u8>,
    nowhere: Vec<u8>,
    asked: Option<oneshot::Receiver<Answer>>,
    until: Option<u64>,
    answer: Option<Vec<u8>>,
}

impl Part {
    /// The next so many bytes of the output, true already.
    pub fn here(len: usize) -> Part {
        Part::Here { len, waits: None, lost: None }
    }

    /// The same, once that is committed; `unknown` is said when nobody knows whether it is.
    pub fn waiting(self, ticket: Ticket, unknown: Vec<u8>) -> Part {
        match self {
            Part::Here { len, lost, .. } => {
                let waits = Some(Box::new(Waits { ticket, until: 0, unknown }));
                Part::Here { len, waits, lost }
            }
            there @ Part::There(_) => there,
        }
    }

    /// What it waits for.
    pub fn ticket(&self) -> Option<Ticket> {
        match self {
            Part::Here { waits, .. } => waits.as_ref().map(|waits| waits.ticket),
            Part::There(_) => None,
        }
    }

    /// Whether a segment may be changed by it, and what follows cannot see that yet.
    pub fn writes(&self, segment: u32) -> bool {
        match self {
            Part::Here { waits, .. } => {
                waits.as_ref().is_some_and(|waits| waits.ticket.segment == segment)
            }
            Part::There(deferred) => {
                deferred.writes && matches!(deferred.target, Target::Segment(at) if at == segment)
            }
        }
    }

    /// Waits until it is there.
    pub fn poll(
        &mut self,
        cluster: &Cluster,
        shared: &Shared,
        sleep: &mut Option<Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        match self {
            Part::Here { waits, lost, .. } => {
                let Some(open) = waits else { return Poll::Ready(()) };
                let is_true = ready!(open.poll(cluster, shared, sleep, cx));
                let open = waits.take();
                *lost = open.filter(|_| !is_true).map(|open| open.unknown);
                Poll::Ready(())
            }
            Part::There(deferred) => deferred.poll(cluster, shared, sleep, cx),
        }
    }
}

impl Waits {
    /// Whether what was written is committed, and may be said so (R18).
    fn poll(
        &mut self,
        cluster: &Cluster,
        shared: &Shared,
        sleep: &mut Option<Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        let Some(copies) = shared.copies() else { return Poll::Ready(false) };
        match copies.poll(self.ticket, cx) {
            Poll::Ready(done) => Poll::Ready(done.is_ok() && cluster.may_serve()),
            Poll::Pending if is_over(&mut self.until, cluster) => Poll::Ready(false),
            Poll::Pending => {
                let rest = self.until.saturating_sub(cluster.now().monotonic);
                wake_in(Duration::from_millis(rest), sleep, cx);
                Poll::Pending
            }
        }
    }
}

/// Whether the time to wait, which begins with the first look, is over.
fn is_over(until: &mut u64, cluster: &Cluster) -> bool {
    let now = cluster.now().monotonic;
    if *until == 0 {
        *until = now + PATIENCE_MS;
    }
    now >= *until
}

fn wake_in(span: Duration, sleep: &mut Option<Sleep>, cx: &mut Context<'_>) {
    let mut next = Box::pin(tokio::time::sleep(span));
    if next.as_mut().poll(cx).is_ready() {
        cx.waker().wake_by_ref();
    }
    *sleep = Some(next);
}

impl Deferred {
    /// A request for somebody else. `unknown` and `nowhere` are said when nobody knows what became of
    /// it, and when it was surely not done.
    pub fn new(
        target: Target,
        raw: &[u8],
        writes: bool,
        is_part: bool,
        (unknown, nowhere): (Vec<u8>, Vec<u8>),
    ) -> Deferred {
        let raw = raw.to_vec();
        let (asked, until, answer) = (None, None, None);
        Deferred { target, raw, writes, is_part, unknown, nowhere, asked, until, answer }
    }

    /// Passes it on to who can execute it, if somebody is known.
    pub fn ask(&mut self, cluster: &Cluster, shared: &Shared) {
        let to = match self.target {
            Target::Member(node) => Some(node),
            Target::Segment(segment) => match cluster.view().route(shared.group, segment) {
                // Back to ourselves: when the request was looked at we did not serve it.
                Route::Here => cluster.view().us(),
                Route::There(node) => Some(node),
                Route::Nowhere => None,
            },
        };
        self.asked = to.and_then(|to| cluster.pass_on(to, &shared.name, &self.raw));
    }

    fn poll(
        &mut self,
        cluster: &Cluster,
        shared: &Shared,
        sleep: &mut Option<Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let until = *self.until.get_or_insert_with(|| cluster.now().monotonic + PATIENCE_MS);
        loop {
            if self.answer.is_some() {
                return Poll::Ready(());
            }
            let is_late = cluster.now().monotonic >= until;
            let Some(asked) = &mut self.asked else {
                if is_late {
                    self.answer = Some(self.nowhere.clone());
                    continue;
                }
                // Its time has come, if this is not the first look.
                let is_time = sleep.as_mut().is_none_or(|sleep| sleep.as_mut().poll(cx).is_ready());
                if is_time {
                    *sleep = None;
                    self.ask(cluster, shared);
                }
                if self.asked.is_none() {
                    wake_in(LOOK_AGAIN, sleep, cx);
                    return Poll::Pending;
                }
                continue;
            };
            match Pin::new(asked).poll(cx) {
                Poll::Ready(answer) => {
                    let lost = Answer { done: Done::Unknown, bytes: Vec::new() };
                    self.take(answer.unwrap_or(lost));
                    if self.asked.is_none() && self.answer.is_none() {
                        // Not done: whoever asks at once is told the same once more.
                        wake_in(LOOK_AGAIN, sleep, cx);
                        return Poll::Pending;
                    }
                }
                Poll::Pending if is_late => {
                    let answer = if self.writes { &self.unknown } else { &self.nowhere };
                    self.answer = Some(answer.clone());
                }
                Poll::Pending => {
                    let rest = until.saturating_sub(cluster.now().monotonic);
                    wake_in(Duration::from_millis(rest), sleep, cx);
                    return Poll::Pending;
                }
            }
        }
    }

    fn take(&mut self, Answer { done, mut bytes }: Answer) {
        self.asked = None;
        match done {
            Done::Executed => {
                if self.is_part && bytes.ends_with(END) {
                    bytes.truncate(bytes.len() - END.len());
                }
                let is_for_nobody = matches!(self.target, Target::Member(_));
                self.answer = Some(if is_for_nobody { Vec::new() } else { bytes });
            }
            // What changes nothing is simply asked again.
            Done::Unknown if self.writes => self.answer = Some(self.unknown.clone()),
            Done::Elsewhere | Done::Unknown => {}
        }
    }
}

/// Puts all parts, which are there, into the output in their order.
pub fn assemble(parts: &mut Vec<Part>, out: &mut Output) {
    let is_plain = |part: &Part| matches!(part, Part::Here { lost: None, .. });
    if !parts.iter().all(is_plain) {
        let bytes = out.to_vec();
        let mut rest = &bytes[..];
        out.clear();
        for part in parts.iter() {
            match part {
                Part::Here { len, lost, .. } => {
                    let (front, behind) = rest.split_at_checked(*len).unwrap_or((rest, b""));
                    rest = behind;
                    out.put(lost.as_deref().unwrap_or(front));
                }
                Part::There(deferred) => out.put(deferred.answer.as_deref().unwrap_or_default()),
            }
        }
    }
    parts.clear();
}
