//! The streams of a connection that have items: what they all have in common, and who is next.

use std::collections::BTreeMap;
use std::task::{Context, Poll};

use isogrid_grid::events::{SegmentSeq, Tracker};
use isogrid_wire::Output;
use isogrid_wire::native::admin::Progress;
use isogrid_wire::native::cache::ALL_SEGMENTS;
use isogrid_wire::native::{Json, Nothing};
use serde_json::Value;
use tokio::sync::mpsc;

use super::clustered::hear::Hearing;
use super::clustered::walk::Walk;
use super::consume::Consuming;
use super::listen::Listening;
use super::reply::{Given, To};
use super::scan::Scanning;
use super::topology::Watching;
use super::track::Tracking;
use crate::security::{Identity, OpClass};
use crate::server::node::Node;

/// Items of one frame at the most.
pub const ITEMS_MAX: usize = 256;
/// Bytes at which a frame of items ends.
pub const FRAME_BYTES: usize = 64 << 10;
/// Bytes of items at which others have their turn.
const TURN_BYTES: usize = 128 << 10;

/// A stream that has items.
pub enum Live {
    /// Over a snapshot.
    Scan(Scanning),
    /// Over the members of a cluster.
    Walk(Box<Walk>),
    /// Of changes.
    Listen(Listening),
    /// Of changes at all members of a cluster.
    Hear(Box<Hearing>),
    /// Of keys that are out of date.
    Track(Tracking),
    /// Of messages.
    Consume(Consuming),
    /// Of tables of who serves what.
    Topology(Watching),
    /// Of the steps of a method, of this class.
    Progress(mpsc::Receiver<Value>, OpClass),
}

/// What a stream is given to go on with.
pub struct Turn<'t> {
    /// The server.
    pub node: &'t Node,
    /// The time, ms.
    pub now: u64,
    /// Whom it is for, if anybody has to log in.
    pub who: Option<&'t Identity>,
    /// Whom the items go to.
    pub to: To,
    /// How many may be sent.
    pub credit: usize,
    /// Where they go.
    pub out: &'t mut Output,
}

/// What a stream did.
#[derive(Default)]
pub struct Step {
    /// Items that were sent.
    pub sent: usize,
    /// There is more to do at once.
    pub more: bool,
    /// It came to its end.
    pub end: Option<Given>,
}

impl Live {
    /// What kind of thing it does, and the number of the cache that it is of, if it is of one; `None`
    /// for what everybody may do.
    pub fn asked(&self) -> Option<(OpClass, Option<u32>)> {
        Some(match self {
            Live::Scan(scan) => (OpClass::Keys, Some(scan.object)),
            Live::Walk(walk) => (OpClass::Keys, Some(walk.object)),
            Live::Listen(listen) => (OpClass::Keys, Some(listen.object)),
            Live::Hear(hear) => (OpClass::Keys, Some(hear.object)),
            Live::Track(track) => (OpClass::Keys, Some(track.object)),
            Live::Consume(consume) => (OpClass::ReadWrite, Some(consume.object)),
            Live::Topology(_) => return None,
            Live::Progress(_, class) => (*class, None),
        })
    }

    /// Sends what there is, as far as it may. When it is idle the task is woken when it is no
    /// more.
    fn poll(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step {
        match self {
            Live::Scan(scan) => scan.poll(turn),
            Live::Walk(walk) => walk.poll(turn, cx),
            Live::Listen(listen) => listen.poll(turn, cx),
            Live::Hear(hear) => hear.poll(turn, cx),
            Live::Track(track) => track.poll(turn, cx),
            Live::Consume(consume) => consume.poll(turn, cx),
            Live::Topology(watching) => watching.poll(turn, cx),
            Live::Progress(steps, _) => progress(steps, turn, cx),
        }
    }
}

fn progress(steps: &mut mpsc::Receiver<Value>, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step {
    let mut step = Step::default();
    while let Poll::Ready(Some(document)) = steps.poll_recv(cx) {
        // Steps that may not be told are left out.
        if step.sent < turn.credit {
            let text = document.to_string();
            let items = [Progress { progress: Json(&text) }];
            turn.to.items(&items, &Nothing {}, turn.out);
            step.sent += 1;
        }
    }
    step
}

/// The streams of a connection that have items.
#[derive(Default)]
pub struct Lives {
    all: BTreeMap<u32, (To, Live)>,
    /// The one that had its turn last.
    last: u32,
    /// For each cache the stream that is told of keys which the connection read.
    reads: BTreeMap<u32, u32>,
}

impl Lives {
    /// Adds one.
    pub fn add(&mut self, to: To, live: Live) {
        if let Live::Track(Tracking { object, of_reads: true, .. }) = &live {
            self.reads.insert(*object, to.stream);
        }
        self.all.insert(to.stream, (to, live));
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes one out; whom its items went to.
    pub fn remove(&mut self, stream: u32) -> Option<To> {
        self.reads.retain(|_, of| *of != stream);
        self.all.remove(&stream).map(|(to, _)| to)
    }

    /// All streams, with what they are.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Live)> {
        self.all.iter().map(|(stream, (_, live))| (*stream, live))
    }

    /// All opcodes and streams, for the end of the connection.
    pub fn to(&self) -> impl Iterator<Item = To> {
        self.all.values().map(|(to, _)| *to)
    }

    /// The tracker of what the connection reads of a cache.
    pub fn tracker(&self, object: u32) -> Option<&Tracker> {
        match self.all.get(self.reads.get(&object)?) {
            Some((_, Live::Track(track))) => Some(&track.tracker),
            _ => None,
        }
    }

    /// The streams in the order of their turns.
    pub fn turns(&self) -> Vec<u32> {
        let behind = self.all.range(self.last.saturating_add(1)..);
        behind.chain(self.all.range(..=self.last)).map(|(stream, _)| *stream).collect()
    }

    /// Gives a stream its turn; its items have the epoch of this moment.
    pub fn poll(
        &mut self,
        stream: u32,
        credit: u32,
        (node, now, epoch, who): (&Node, u64, u32, Option<&Identity>),
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Option<(To, Step)> {
        let (to, live) = self.all.get_mut(&stream)?;
        self.last = stream;
        to.epoch = epoch;
        let mut turn = Turn { node, now, who, to: *to, credit: credit as usize, out };
        let step = live.poll(&mut turn, cx);
        Some((*to, step))
    }

    /// Whether others are to have their turn.
    pub fn is_enough(out: &Output) -> bool {
        out.len() >= TURN_BYTES
    }
}

/// Segments as they are told: one item for all of them, or one each.
pub fn segments(of: &[SegmentSeq], count: usize) -> Vec<(u16, u64)> {
    if of.len() >= count {
        return vec![(ALL_SEGMENTS, 0)];
    }
    of.iter().map(|at| (segment(at.segment), at.seq)).collect()
}

/// A segment's number on the wire.
pub fn segment(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(ALL_SEGMENTS)
}
