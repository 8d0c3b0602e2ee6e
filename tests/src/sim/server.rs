//! The data plane of one process: its copies, and the operations of clients on them.

use std::collections::BTreeMap;

use isogrid_grid::control::Control;
use isogrid_grid::id::{Epoch, GroupId, NodeId, SegmentId};
use isogrid_grid::membership::Now;
use isogrid_grid::replica::{Action, Event, Peer, Replica};
use isogrid_grid::segment::{Request, Wish};

use super::kv::{Key, Kv, State, parse, record, version};

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
}

/// What it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was read.
    Read(State),
    /// It was written, under this version.
    Written(u64),
    /// The condition did not hold: this is there.
    Conflict(State),
    /// Surely not done.
    Failed,
    /// Nobody here knows.
    Unknown,
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
}

/// One copy, and who waits for it.
#[derive(Debug)]
struct Fragment {
    replica: Replica,
    base: Kv,
    /// What keys will be once everything that is decided is committed.
    head: BTreeMap<Key, State>,
    /// Who is answered when this number is committed.
    waiting: BTreeMap<u64, Vec<(u64, Answer, Epoch)>>,
}

/// The copies of a process.
#[derive(Debug, Default)]
pub struct Server {
    fragments: BTreeMap<(GroupId, SegmentId), Fragment>,
}

impl Server {
    /// The metadata have changed.
    pub fn view(&mut self, now: Now, control: &Control, out: &mut Vec<Out>) {
        let us = control.identity().node;
        for (group, state) in control.metadata().groups() {
            if state.settings.durable {
                continue;
            }
            let ours = control.incarnation().and_then(|_| control.metadata().copy_of(us, false));
            for (at, view) in (0..).map(SegmentId).zip(&state.segments) {
                let new = || Fragment::new(us, *group, at);
                let fragment = self.fragments.entry((*group, at)).or_insert_with(new);
                let mut done = Vec::new();
                fragment.replica.view(now.monotonic, view, ours, &mut fragment.base, &mut done);
                fragment.carry_out(now, control, (*group, at), done, out);
            }
        }
    }

    /// Some time has passed.
    pub fn tick(&mut self, now: Now, control: &Control, out: &mut Vec<Out>) {
        for (place, fragment) in &mut self.fragments {
            fragment.step(now, control, *place, Event::Tick, out);
        }
    }

    /// A message between copies.
    pub fn receive(
        &mut self,
        now: Now,
        control: &Control,
        (from, group, segment): (NodeId, GroupId, SegmentId),
        message: Peer,
        out: &mut Vec<Out>,
    ) {
        if let Some(fragment) = self.fragments.get_mut(&(group, segment)) {
            let event = Event::Received(from, message);
            fragment.step(now, control, (group, segment), event, out);
        }
    }

    /// The leader wants a role back: nothing is taken any more, and once all is answered that is
    /// said.
    pub fn give_up(
        &mut self,
        us: NodeId,
        group: GroupId,
        segment: SegmentId,
        epoch: Epoch,
        out: &mut Vec<Out>,
    ) {
        if let Some(fragment) = self.fragments.get_mut(&(group, segment)) {
            for (number, _, _) in std::mem::take(&mut fragment.waiting).into_values().flatten() {
                out.push(Out::Answer(number, Answer::Unknown));
            }
        }
        out.push(Out::Ask(Request { group, segment, epoch, wish: Wish::GaveUp(us) }));
    }

    /// An operation of a client.
    pub fn ask(
        &mut self,
        now: Now,
        control: &Control,
        place: (GroupId, SegmentId),
        (number, key, ask): (u64, Key, Ask),
        out: &mut Vec<Out>,
    ) {
        let Some(fragment) = self.fragments.get_mut(&place) else {
            return out.push(Out::Answer(number, Answer::Failed));
        };
        match ask {
            Ask::Get => out.push(Out::Answer(number, fragment.read(now, control, place, key))),
            _ => fragment.write(now, control, place, (number, key, ask), out),
        }
    }

    /// The copies, for those who compare them.
    pub fn copies(&self) -> impl Iterator<Item = (GroupId, SegmentId, &Replica, &Kv)> {
        self.fragments.iter().map(|((group, at), one)| (*group, *at, &one.replica, &one.base))
    }
}

impl Fragment {
    fn new(us: NodeId, group: GroupId, segment: SegmentId) -> Self {
        Fragment {
            replica: Replica::new(us, group, segment),
            base: Kv::default(),
            head: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    fn step(
        &mut self,
        now: Now,
        control: &Control,
        place: (GroupId, SegmentId),
        event: Event,
        out: &mut Vec<Out>,
    ) {
        let mut done = Vec::new();
        self.replica.step(now.monotonic, event, &mut self.base, &mut done);
        self.carry_out(now, control, place, done, out);
    }

    fn carry_out(
        &mut self,
        now: Now,
        control: &Control,
        (group, at): (GroupId, SegmentId),
        done: Vec<Action>,
        out: &mut Vec<Out>,
    ) {
        for action in done {
            match action {
                Action::Send(to, message) => out.push(Out::Send(to, group, at, message)),
                Action::Ask(request) => out.push(Out::Ask(request)),
                Action::Committed(seq) => {
                    let later = self.waiting.split_off(&(seq + 1));
                    let served = control.serves(now, group, at);
                    for (number, answer, epoch) in
                        std::mem::replace(&mut self.waiting, later).into_values().flatten()
                    {
                        // Epochs may have passed; what counts is that we still serve (R18).
                        let holds = served.is_some_and(|now| now >= epoch);
                        let answer = if holds { answer } else { Answer::Unknown };
                        out.push(Out::Answer(number, answer));
                    }
                }
                Action::Active(_) => self.begin(),
                Action::Passive => {
                    self.head.clear();
                    for (number, _, _) in std::mem::take(&mut self.waiting).into_values().flatten()
                    {
                        out.push(Out::Answer(number, Answer::Unknown));
                    }
                }
            }
        }
    }

    /// What keys are when this copy begins to serve: everything is committed.
    fn begin(&mut self) {
        self.head.clear();
        for op in self.replica.overlay() {
            let (key, value) = parse(&op.record);
            self.head.insert(key, (value, version(op)));
        }
    }

    /// Reads what is committed, and only then asks whether we may (R23, R24).
    fn read(
        &self,
        now: Now,
        control: &Control,
        (group, at): (GroupId, SegmentId),
        key: Key,
    ) -> Answer {
        let state = self.base.get(key);
        let is_pending = self.replica.overlay().any(|op| parse(&op.record).0 == key);
        let serves = self.replica.is_active()
            && control.serves(now, group, at) == Some(self.replica.epoch());
        let may_read = !self.replica.is_filling()
            && !is_pending
            && control.may_read(now, group, at) == Some(self.replica.epoch());
        if serves || may_read { Answer::Read(state) } else { Answer::Failed }
    }

    fn write(
        &mut self,
        now: Now,
        control: &Control,
        place: (GroupId, SegmentId),
        (number, key, ask): (u64, Key, Ask),
        out: &mut Vec<Out>,
    ) {
        let epoch = self.replica.epoch();
        if control.serves(now, place.0, place.1) != Some(epoch) || !self.replica.is_active() {
            return out.push(Out::Answer(number, Answer::Failed));
        }
        let state = self.head.get(&key).copied().unwrap_or_else(|| self.base.get(key));
        let value = match ask {
            Ask::Put(value) => Some(value),
            Ask::Cas(expected, value) if state.1 == expected => Some(value),
            Ask::Cas(..) => return self.conflict(number, state, epoch, out),
            Ask::Get | Ask::Delete => None,
        };
        let mut done = Vec::new();
        let record = record(key, value);
        let taken = self.replica.append(now.monotonic, record, 1, &mut self.base, &mut done);
        match taken {
            Ok(seq) => {
                let version = u64::from(epoch.0) << 40 | seq;
                // A deleted key has no version.
                let state = value.map_or((None, 0), |value| (Some(value), version));
                self.head.insert(key, state);
                let answer = (number, Answer::Written(version), epoch);
                self.waiting.entry(seq).or_default().push(answer);
                // A copy without others has committed already.
                let committed = self.replica.committed();
                done.push(Action::Committed(committed));
            }
            Err(_) => out.push(Out::Answer(number, Answer::Failed)),
        }
        self.carry_out(now, control, place, done, out);
    }

    /// An answer that depends on what is not committed yet waits for it (R19).
    fn conflict(&mut self, number: u64, state: State, epoch: Epoch, out: &mut Vec<Out>) {
        let (last, answer) = (self.replica.last(), Answer::Conflict(state));
        if last <= self.replica.committed() {
            out.push(Out::Answer(number, answer));
        } else {
            self.waiting.entry(last).or_default().push((number, answer, epoch));
        }
    }
}
