//! The data plane of one process: its copies, and the operations of clients on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use isogrid_grid::control::Control;
use isogrid_grid::id::{Epoch, GroupId, NodeId, SegmentId};
use isogrid_grid::membership::Now;
use isogrid_grid::metadata::Persist;
use isogrid_grid::replica::{Budget, Event, Kept, OpId, Peer, Replica};
use isogrid_grid::segment::{GiveUp, Request, Wish};
use isogrid_grid::tx::Open;

use super::disk::{Changes, Place};
use super::fragment::Fragment;
use super::groups::{QUEUES, persist_of};
use super::hosting::Hosting;
use super::job::{self, Stamp};
use super::kv::{Key, Kv, State};
use super::options::Options;
use super::part::{Call, Said};

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The value.
    Get,
    /// This value, whatever there is.
    Put(u64),
    /// This value, if the version is this one; 0: if there is none.
    Cas(u64, u64),
    /// Nothing.
    Delete,
    /// One more than there is.
    Add,
}

/// An operation that has arrived.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Its number.
    pub number: u64,
    /// Of which key.
    pub key: Key,
    /// What is asked for.
    pub ask: Ask,
    /// Under what it may come again.
    pub id: Option<OpId>,
}

/// What it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was read.
    Read(State),
    /// It was written, under this version.
    Written(u64),
    /// It was counted up to this, under this version.
    Counted(u64, u64),
    /// The condition did not hold: this is there.
    Conflict(State),
    /// Surely not done.
    Failed,
    /// Nobody here knows.
    Unknown,
}

impl Answer {
    /// What is kept of it, for who asks again.
    pub(super) fn encode(self) -> Vec<u8> {
        let numbers = match self {
            Answer::Written(version) => [0, version, 0],
            Answer::Counted(value, version) => [1, value, version],
            Answer::Conflict((None, version)) => [2, version, 0],
            Answer::Conflict((Some(value), version)) => [3, version, value],
            Answer::Read(_) | Answer::Failed | Answer::Unknown => [4, 0, 0],
        };
        numbers.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Answer {
        let mut numbers = bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut next = || numbers.next().unwrap_or(4);
        match [next(), next(), next()] {
            [0, version, _] => Answer::Written(version),
            [1, value, version] => Answer::Counted(value, version),
            [2, version, _] => Answer::Conflict((None, version)),
            [3, version, value] => Answer::Conflict((Some(value), version)),
            _ => Answer::Unknown,
        }
    }
}

/// A process at a moment: what time it is there, and what it knows.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The time.
    pub now: Now,
    /// What it knows.
    pub control: &'a Control,
}

/// What is to be done for the data plane.
#[derive(Debug)]
pub enum Out {
    /// Send this to a member's copy.
    Send(NodeId, GroupId, SegmentId, Peer),
    /// Tell the control core.
    Ask(Request),
    /// Answer an operation.
    Answer(u64, Answer),
    /// What a segment says to a call.
    Said(u64, Said),
    /// What a queue says, and when that was done.
    Job(u64, job::Said, Stamp),
    /// A transaction has waited for too long.
    Resolve((GroupId, SegmentId), Open),
    /// Keep the so-manieth change of a copy; whether somebody waits for that.
    Keep(Place, u64, Kept, bool),
    /// Something has happened to a copy that answers at once.
    Tail(Place, Tail),
}

/// What decides about what a copy has answered at once.
#[derive(Debug)]
pub enum Tail {
    /// It begins to serve in this epoch, and what it decides gets numbers from this on; what was
    /// declared lost until then (R29).
    Began(Epoch, u64, u64),
    /// All copies have everything up to here.
    Settled(u64),
    /// It has given its role up, so all of it is there.
    GaveUp,
    /// This operation was refused, and where that is recorded it has this version.
    Refused(u64, u64),
}

/// Bytes that may be answered and on no other copy: so few that some operations wait.
pub const BUDGET: usize = 600;

/// Whether a group's writes are answered at once, in runs where some are: all but the one with local
/// reads, which asks that everybody has what was answered (R24).
#[must_use]
pub fn answers_at_once(at_once: bool, group: GroupId) -> bool {
    at_once && group != GroupId(1) && group != QUEUES
}

/// The copies of a process.
#[derive(Debug, Default)]
pub struct Server {
    at_once: bool,
    confirms: bool,
    /// Of the groups that answer at once.
    budgets: BTreeMap<GroupId, Arc<Budget>>,
    fragments: BTreeMap<(GroupId, SegmentId), Fragment>,
    /// Its queues, if there are any.
    pub queues: Option<Hosting>,
}

impl Server {
    /// The copies that were on a disk, and what there is to write down of them so that the log can
    /// begin anew.
    ///
    /// # Panics
    /// When what was kept is no copy.
    #[must_use]
    pub fn restore(us: NodeId, options: &Options, kept: Changes) -> (Server, Changes) {
        let Options { at_once, confirm: confirms, .. } = *options;
        let mut server = Server { at_once, confirms, ..Server::default() };
        let (of_queues, kept): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|(place, _)| place.0 == QUEUES);
        for (place, kept) in kept {
            server.fragment(us, place, persist_of(options, place.0)).restore(kept);
        }
        let mut checkpoint = Vec::new();
        for (place, fragment) in &mut server.fragments {
            checkpoint.extend(fragment.restored().into_iter().map(|kept| (*place, kept)));
        }
        if options.queue_owners > 0 {
            let (queues, state) = Hosting::restore(us, of_queues);
            server.queues = Some(queues);
            checkpoint.extend(state);
        }
        (server, checkpoint)
    }

    fn fragment(&mut self, us: NodeId, place: Place, persist: Persist) -> &mut Fragment {
        let at_once = answers_at_once(self.at_once, place.0);
        let (budgets, confirms) = (&mut self.budgets, self.confirms);
        self.fragments.entry(place).or_insert_with(|| {
            let new = || Arc::clone(budgets.entry(place.0).or_insert_with(|| Budget::new(BUDGET)));
            Fragment::new(us, place, (persist, confirms), at_once.then(new))
        })
    }

    /// So many changes of copies are durable.
    pub fn durable(&mut self, at: Moment<'_>, counts: &BTreeMap<Place, u64>, out: &mut Vec<Out>) {
        for (place, count) in counts {
            let queues = self.queues.as_mut().filter(|_| place.0 == QUEUES);
            queues.into_iter().for_each(|queues| queues.durable(at, (place.1, *count), out));
            let fragment = self.fragments.get_mut(place);
            fragment.into_iter().for_each(|one| one.step(at, Event::Durable(*count), out));
        }
    }

    /// The metadata have changed.
    pub fn view(&mut self, at: Moment<'_>, out: &mut Vec<Out>) {
        let (us, metadata) = (at.control.identity().node, at.control.metadata());
        for (group, state) in metadata.groups() {
            let persist = state.settings.persist;
            if *group == QUEUES {
                self.begin(at, out);
                continue;
            }
            let ours = at.control.incarnation().and_then(|_| metadata.copy_of(us, persist));
            if persist.is_kept() && ours.is_none() {
                // The process before may have known more than is known here before its end is.
                continue;
            }
            for (segment, view) in (0..).map(SegmentId).zip(&state.segments) {
                self.fragment(us, (*group, segment), persist).view(at, view, ours, out);
            }
        }
    }

    /// The lease of the process begins, or the metadata have changed: what queues it may serve.
    pub fn begin(&mut self, at: Moment<'_>, out: &mut Vec<Out>) {
        let group = at.control.metadata().groups().get(&QUEUES);
        let queues = group.zip(self.queues.as_mut()).into_iter();
        queues.for_each(|(group, queues)| queues.view(at, group, out));
    }

    /// Some time has passed.
    pub fn tick(&mut self, at: Moment<'_>, out: &mut Vec<Out>) {
        for one in self.fragments.values_mut() {
            one.step(at, Event::Tick, out);
            one.tend(at, out);
        }
        self.queues.iter_mut().for_each(|queues| queues.tick(at, out));
    }

    /// A message between copies.
    pub fn receive(
        &mut self,
        at: Moment<'_>,
        place: (GroupId, SegmentId),
        (from, message): (NodeId, Peer),
        out: &mut Vec<Out>,
    ) {
        match self.fragments.get_mut(&place) {
            Some(fragment) => fragment.step(at, Event::Received(from, message), out),
            None => {
                let queues = self.queues.iter_mut().filter(|_| place.0 == QUEUES);
                let said = (from, place.1);
                queues.for_each(|queues| queues.receive(at, said, message.clone(), out));
            }
        }
    }

    /// The leader wants a role back: nothing is taken any more, and once all is answered that is
    /// said.
    pub fn give_up(
        &mut self,
        at: Moment<'_>,
        GiveUp { node: us, group, segment, epoch }: GiveUp,
        out: &mut Vec<Out>,
    ) {
        if let Some(queues) = self.queues.as_mut().filter(|_| group == QUEUES) {
            let request = Request { group, segment, epoch, wish: Wish::GaveUp(us) };
            return queues.give_up(at, request, out);
        }
        let fragment = self.fragments.get_mut(&(group, segment));
        fragment.into_iter().for_each(|fragment| fragment.leave(us, epoch, out));
    }

    /// An operation of a client.
    pub fn ask(
        &mut self,
        at: Moment<'_>,
        place: (GroupId, SegmentId),
        asked: Asked,
        out: &mut Vec<Out>,
    ) {
        match self.fragments.get_mut(&place) {
            Some(fragment) => fragment.ask(at, asked, out),
            None => out.push(Out::Answer(asked.number, Answer::Failed)),
        }
    }

    /// A part of a transaction.
    pub fn call(
        &mut self,
        at: Moment<'_>,
        place: (GroupId, SegmentId),
        (number, call): (u64, Call),
        out: &mut Vec<Out>,
    ) {
        let fragment = self.fragments.get_mut(&place);
        fragment.into_iter().for_each(|one| one.call(at, number, call.clone(), out));
    }

    /// A batch of operations is over: what they have decided is sent.
    pub fn flush(&mut self, at: Moment<'_>, out: &mut Vec<Out>) {
        self.fragments.values_mut().for_each(|fragment| fragment.flush(at, out));
        self.queues.iter_mut().for_each(|queues| queues.flush(at, out));
    }

    /// Whether a segment is served from here, the lease left aside.
    #[must_use]
    pub fn is_active(&self, place: Place) -> bool {
        match self.fragments.get(&place) {
            Some(fragment) => fragment.replica.is_active(),
            None => {
                let queues = self.queues.as_ref().filter(|_| place.0 == QUEUES);
                queues.is_some_and(|queues| queues.is_active(place.1))
            }
        }
    }

    /// The copies, for those who compare them.
    pub fn copies(&self) -> impl Iterator<Item = (GroupId, SegmentId, &Replica, &Kv)> {
        self.fragments.iter().map(|((group, at), one)| (*group, *at, &one.replica, &one.base))
    }
}
