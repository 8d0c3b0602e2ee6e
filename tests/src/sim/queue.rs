//! What is going to happen, in the order of true time; of what happens at the same moment that
//! which was scheduled first comes first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use isogrid_grid::id::NodeId;
use isogrid_grid::segment::Request;

use super::fresh::Load;
use super::part::Said;
use super::server::Answer;
use super::workers::Work;

/// Something that happens. Where a process is meant, its machine and its number.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// A machine begins a process.
    Start(usize),
    /// A process is killed.
    Stop(usize, u64),
    /// A process ends that has said so, and its next one comes.
    End(usize, u64),
    /// A way of the network is cut, or opened.
    Way(NodeId, NodeId, bool),
    /// A member leaves.
    Leave(usize),
    /// A member is to be removed.
    Expel(usize),
    /// An operator looks for stale copies that could serve.
    Force(usize),
    /// A core's clock ticks.
    Tick(usize, u64),
    /// A message arrives.
    Deliver(NodeId, Vec<u8>),
    /// A stranger looks around.
    Look(usize, u64),
    /// A stranger's promise is on its disk.
    Promised(usize, u64, Vec<u8>),
    /// A stranger's, or a member's, hello arrives.
    Hello(usize, Vec<u8>),
    /// This save is done.
    Saved(usize, u64, u64),
    /// Of what copies have on the disk so much is durable.
    Kept(usize, u64, usize),
    /// A segment's wish reaches the control core.
    Ask(usize, u64, Request),
    /// The data plane has no more operations to take at once.
    Flush(usize, u64),
    /// What a reader of the invalidated cache missed is there.
    Loaded(usize, u64, Load),
    /// A client's operation arrives.
    Operation(usize, u64),
    /// A client is answered.
    Answer(u64, Answer),
    /// A client asks again, if it has no answer.
    Again(u64),
    /// A part of a transaction arrives at a machine.
    Call(usize, u64),
    /// What was said to it arrives at who asked.
    Said(u64, Said),
    /// Who asked asks again, or gives up.
    CallAgain(u64),
    /// A client is tired of waiting.
    Tired(u64),
    /// Something happens to those who use queues.
    Work(Work),
}

/// When something happens, and in the lower half in which order it came: one number, since numbers
/// are compared more often than anything else here.
type Time = u128;

/// What is scheduled.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// In order: what was scheduled for later than all of this, as clients that lose their patience.
    line: VecDeque<(Time, What)>,
    /// All else: when it happens, and its place.
    heap: BinaryHeap<Reverse<(Time, usize)>>,
    events: Vec<Option<What>>,
    /// Places where nothing stands.
    free: Vec<usize>,
    next: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, what: What) {
        self.next += 1;
        let time = Time::from(at) << 64 | Time::from(self.next);
        if self.line.back().is_none_or(|(last, _)| *last < time) {
            return self.line.push_back((time, what));
        }
        let place = self.free.pop().unwrap_or(self.events.len());
        match self.events.get_mut(place) {
            Some(free) => *free = Some(what),
            None => self.events.push(Some(what)),
        }
        self.heap.push(Reverse((time, place)));
    }

    /// The first that happens until then, and when.
    pub(super) fn pop(&mut self, until: u64) -> Option<(u64, What)> {
        let in_line = self.line.front().map(|(time, _)| *time);
        let in_heap = self.heap.peek().map(|Reverse((time, _))| *time);
        let first = in_line.into_iter().chain(in_heap).min()?;
        let at = u64::try_from(first >> 64).ok().filter(|at| *at <= until)?;
        let what = if in_line == Some(first) {
            self.line.pop_front()?.1
        } else {
            let Reverse((_, place)) = self.heap.pop()?;
            self.free.push(place);
            self.events.get_mut(place)?.take()?
        };
        Some((at, what))
    }
}
