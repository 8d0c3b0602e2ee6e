//! Answers that are not there yet, in the order of their requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use isogrid_grid::copies::Ticket;
use isogrid_grid::id::NodeId;
use isogrid_grid::replica::OpId;
use isogrid_wire::Output;
use isogrid_wire::memcached::Framing;

use super::lines::END;
use super::{NOWHERE, UNKNOWN, refusal};
use crate::cluster::{Answer, Asked, Cluster, Done, Outgoing, Route, Shared, named};

/// A part of what a connection answers.
pub enum Part {
    /// The next so many bytes of the output.
    Here {
        /// How many.
        len: usize,
        /// They are true once this is committed, or confirmed.
        waits: Option<Ticket>,
        /// It never will be, as far as anybody knows.
        is_lost: bool,
        /// What is to be asked for then, if that may be: nothing was changed.
        again: Option<Box<Deferred>>,
        /// Whom to tell that.
        framing: Framing<'static>,
    },
    /// Somebody else's answer, or that of a later time.
    There(Box<Deferred>),
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
    /// It may be passed on again, whatever became of it: it has a name.
    is_named: bool,
    /// An attempt may have been executed.
    is_doubtful: bool,
    /// Its answer is a part of one: the end is not its own.
    is_part: bool,
    /// How its client is told what became of it; `None`: not at all.
    framing: Option<Framing<'static>>,
    asked: Option<(NodeId, Asked)>,
    answer: Option<Bytes>,
}

impl Part {
    /// The next so many bytes of the output: true already, or once that is committed.
    pub fn here(len: usize, waits: Option<Ticket>, framing: &Framing<'_>) -> Part {
        let framing = framing.of_refusals();
        Part::Here { len, waits, is_lost: false, again: None, framing }
    }

    /// The same, and what is to be asked for if they are not true.
    #[must_use]
    pub fn or(mut self, other: Option<Box<Deferred>>) -> Part {
        if let Part::Here { again, .. } = &mut self {
            *again = other;
        }
        self
    }

    /// What is not executed yet.
    fn missing(&mut self) -> Option<&mut Deferred> {
        match self {
            Part::Here { is_lost: true, again, .. } => again.as_deref_mut(),
            Part::Here { .. } => None,
            Part::There(deferred) => Some(deferred),
        }
    }

    /// How many bytes of the output it is, and what they wait for.
    pub fn own(&self) -> (usize, Option<Ticket>) {
        match self {
            Part::Here { len, waits, .. } => (*len, *waits),
            Part::There(_) => (0, None),
        }
    }

    /// Whether a segment may be changed by it, and what follows cannot see that yet.
    pub fn writes(&self, segment: u32) -> bool {
        match self {
            Part::Here { waits, .. } => {
                waits.is_some_and(|ticket| ticket.segment == segment && ticket.writes())
            }
            Part::There(deferred) => deferred.writes && deferred.target == Target::Segment(segment),
        }
    }

    /// Waits until it is there. What is not when it `is_late` is told to be unknown, or not done.
    pub fn poll(
        &mut self,
        cluster: &Cluster,
        shared: &Shared,
        is_late: bool,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if let Part::Here { waits, is_lost, .. } = self
            && let Some(ticket) = *waits
        {
            *is_lost = !match committed(ticket, cluster, shared, cx) {
                Poll::Pending if is_late => false,
                other => ready!(other),
            };
            *waits = None;
        }
        self.missing().map_or(Poll::Ready(()), |deferred| deferred.poll(is_late, cx))
    }

    /// Asks for it, if nobody is asked, or somebody who does not serve it any more.
    pub fn ask_again(&mut self, cluster: &Cluster, shared: &Shared, outgoing: &mut Outgoing) {
        if let Some(deferred) = self.missing()
            && deferred.answer.is_none()
            && deferred.is_misled(cluster, shared)
        {
            deferred.ask(cluster, shared, outgoing);
        }
    }

    /// Whether nobody is asked for what is missing.
    pub fn is_unasked(&mut self) -> bool {
        self.missing().is_some_and(|deferred| deferred.asked.is_none())
    }
}

/// Whether what was written is committed, and may be said so (R18): who serves the segment by now
/// has it as well, but without a lease nothing is said.
fn committed(
    ticket: Ticket,
    cluster: &Cluster,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    let Some(copies) = shared.copies() else { return Poll::Ready(false) };
    copies.poll(ticket, cx).map(|done| done.is_ok() && cluster.may_serve())
}

impl Deferred {
    /// A request for somebody else.
    pub fn new(
        target: Target,
        raw: &[u8],
        writes: bool,
        is_part: bool,
        framing: Option<&Framing<'_>>,
    ) -> Deferred {
        let (raw, framing) = (raw.to_vec(), framing.map(Framing::of_refusals));
        let (is_named, is_doubtful) = (false, false);
        let (asked, answer) = (None, None);
        Deferred { target, raw, writes, is_named, is_doubtful, is_part, framing, asked, answer }
    }

    /// The same under a name, with which it is executed once.
    #[must_use]
    pub fn named(self, id: OpId) -> Deferred {
        Deferred { raw: named(id, &self.raw), is_named: true, ..self }
    }

    /// Has it passed on to who can execute it, if somebody is known.
    pub fn ask(&mut self, cluster: &Cluster, shared: &Shared, outgoing: &mut Outgoing) {
        let Some(to) = self.who(cluster, shared) else { return };
        self.is_doubtful |= self.asked.is_some();
        let asked = cluster.ask(outgoing, to, shared, &self.raw);
        self.asked = asked.map(|asked| (to, asked));
    }

    fn who(&self, cluster: &Cluster, shared: &Shared) -> Option<NodeId> {
        match self.target {
            Target::Member(node) => Some(node),
            Target::Segment(segment) => match cluster.view().route(shared.group, segment) {
                // Back to ourselves: when the request was looked at we did not serve it.
                Route::Here => cluster.view().us(),
                Route::There(node) => Some(node),
                Route::Nowhere => None,
            },
        }
    }

    /// Whether nobody is asked, or somebody who may never answer while another one would.
    fn is_misled(&self, cluster: &Cluster, shared: &Shared) -> bool {
        let Some((of, _)) = &self.asked else { return true };
        self.is_named && self.who(cluster, shared).is_some_and(|to| to != *of)
    }

    fn poll(&mut self, is_late: bool, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((_, asked)) = &mut self.asked
            && let Poll::Ready(answer) = Pin::new(asked).poll(cx)
        {
            self.take(answer);
        }
        if self.answer.is_none() && is_late {
            let is_unknown = (self.asked.is_some() || self.is_doubtful) && self.writes;
            self.answer = Some(self.refusal(is_unknown));
        }
        if self.answer.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn take(&mut self, Answer { done, mut bytes }: Answer) {
        self.asked = None;
        match done {
            Done::Executed => {
                if self.is_part && bytes.ends_with(END) {
                    bytes.truncate(bytes.len() - END.len());
                }
                let is_for_nobody = matches!(self.target, Target::Member(_));
                self.answer = Some(if is_for_nobody { Bytes::new() } else { bytes });
            }
            Done::Unknown if self.writes && !self.is_named => {
                self.answer = Some(self.refusal(true));
            }
            // What has a name, or changes nothing, is simply asked again.
            Done::Unknown => self.is_doubtful = true,
            Done::Elsewhere => {}
        }
    }

    fn said(&self) -> &[u8] {
        self.answer.as_deref().unwrap_or_default()
    }

    fn refusal(&self, is_unknown: bool) -> Bytes {
        let why = if is_unknown { UNKNOWN } else { NOWHERE };
        self.framing.as_ref().map(|framing| refusal(framing, why).into()).unwrap_or_default()
    }
}

/// Puts all parts, which are there, into the output in their order.
pub fn assemble(parts: &mut Vec<Part>, out: &mut Output) {
    let is_plain = |part: &Part| matches!(part, Part::Here { is_lost: false, .. });
    if !parts.iter().all(is_plain) {
        let bytes = out.to_vec();
        let mut rest = &bytes[..];
        out.clear();
        for part in parts.iter() {
            match part {
                Part::Here { len, is_lost, framing, again, .. } => {
                    let (front, behind) = rest.split_at_checked(*len).unwrap_or((rest, b""));
                    rest = behind;
                    match again {
                        _ if !is_lost => out.put(front),
                        Some(again) => out.put(again.said()),
                        None => out.put(&refusal(framing, UNKNOWN)),
                    }
                }
                Part::There(deferred) => out.put(deferred.said()),
            }
        }
    }
    parts.clear();
}
