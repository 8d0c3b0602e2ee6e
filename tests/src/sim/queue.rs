//! What is going to happen, in the order of true time; of what happens at the same moment that
//! which was scheduled first comes first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use isogrid_grid::id::NodeId;
use isogrid_grid::segment::Request;

use super::fresh::Load;
use super::part::Said;
use super::server::Answer;

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
}

/// What is scheduled.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// When, in which order it came, and where it stands.
    times: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<What>>,
    /// Where nothing stands.
    free: Vec<usize>,
    next: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, what: What) {
        self.next += 1;
        let place = self.free.pop().unwrap_or(self.events.len());
        if place == self.events.len() {
            self.events.push(None);
        }
        self.events[place] = Some(what);
        self.times.push(Reverse((at, self.next, place)));
    }

    /// The first that happens until then, and when.
    pub(super) fn pop(&mut self, until: u64) -> Option<(u64, What)> {
        self.times.peek().filter(|Reverse((at, ..))| *at <= until)?;
        let Reverse((at, _, place)) = self.times.pop()?;
        self.free.push(place);
        Some((at, self.events.get_mut(place)?.take()?))
    }
}
