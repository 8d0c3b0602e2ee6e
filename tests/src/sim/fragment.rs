//! One copy of a segment, and who waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use isogrid_grid::id::{Copy, Epoch, GroupId, NodeId, SegmentId};
use isogrid_grid::metadata::{Persist, Segment};
use isogrid_grid::mutant::is_planted;
use isogrid_grid::replica::answers::{self, join};
use isogrid_grid::replica::{
    Action, Answered, Base, Budget, Event, Kept, OpId, Record, Replica, Seen,
};
use isogrid_grid::segment::{Request, Wish};

use super::kv::{Key, Kv, State, changes, patch, record, touches, version};
use super::part::Said;
use super::server::{Answer, Ask, Asked, Moment, Out, Tail};

/// One copy, and who waits for it.
#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) replica: Replica,
    pub(super) base: Kv,
    pub(super) place: (GroupId, SegmentId),
    /// What keys will be once everything that is decided is committed.
    pub(super) head: BTreeMap<Key, State>,
    /// Who is answered when this number is committed.
    waiting: BTreeMap<u64, Vec<(u64, Answer, Epoch)>>,
    /// What is said of transactions when this number is committed.
    pub(super) calls: BTreeMap<u64, Vec<(u64, Said, Epoch)>>,
    /// Its reads trust no clock (R25): what is answered when the round of this number is over.
    confirms: bool,
    confirming: BTreeMap<u64, Vec<Out>>,
    /// What operations that may come again were answered, and when that is committed.
    open: BTreeMap<OpId, (u64, Answer)>,
    /// The same of transactions.
    pub(super) decided: BTreeMap<OpId, (u64, answers::Answer)>,
    /// It answers at once what its copies get behind that.
    at_once: bool,
    persist: Persist,
    /// The epoch in which it is asked for its role, and says that it gave it up when all copies have
    /// what was answered.
    leaving: Option<Epoch>,
    /// The epoch in which it takes no writes any more.
    closed: Epoch,
}

impl Fragment {
    pub(super) fn new(
        us: NodeId,
        place: (GroupId, SegmentId),
        (persist, confirms): (Persist, bool),
        budget: Option<Arc<Budget>>,
    ) -> Self {
        let (replica, at_once) = (Replica::new(us, place.0, place.1), budget.is_some());
        let replica = budget.into_iter().fold(replica, Replica::at_once);
        Fragment {
            replica: replica.kept(persist),
            base: Kv::default(),
            place,
            head: BTreeMap::new(),
            waiting: BTreeMap::new(),
            calls: BTreeMap::new(),
            confirms,
            confirming: BTreeMap::new(),
            open: BTreeMap::new(),
            decided: BTreeMap::new(),
            at_once,
            persist,
            leaving: None,
            closed: Epoch(0),
        }
    }

    /// One change of what it was before a restart.
    pub(super) fn restore(&mut self, kept: Kept) {
        self.replica.restore(kept, &mut self.base).expect("what was kept is a copy");
    }

    /// All changes have come: what it is now, in as few.
    pub(super) fn restored(&mut self) -> Vec<Kept> {
        self.replica.restored(false, &mut self.base);
        let mut all = Vec::from(self.replica.state());
        let mut next = None;
        loop {
            let (bytes, behind) = self.base.chunk(next.as_deref());
            all.push(Kept::Chunk(bytes));
            next = behind;
            if next.is_none() {
                all.extend(self.replica.is_whole().then_some(Kept::Whole));
                return all;
            }
        }
    }

    pub(super) fn view(
        &mut self,
        at: Moment<'_>,
        view: &Segment,
        ours: Option<Copy>,
        out: &mut Vec<Out>,
    ) {
        let mut done = Vec::new();
        self.replica.view(at.now.monotonic, view, ours, &mut self.base, &mut done);
        self.carry_out(at, done, out);
    }

    pub(super) fn step(&mut self, at: Moment<'_>, event: Event, out: &mut Vec<Out>) {
        let mut done = Vec::new();
        self.replica.step(at.now.monotonic, event, &mut self.base, &mut done);
        self.carry_out(at, done, out);
    }

    pub(super) fn flush(&mut self, at: Moment<'_>, out: &mut Vec<Out>) {
        let mut done = Vec::new();
        self.replica.flush(at.now.monotonic, &mut self.base, &mut done);
        self.carry_out(at, done, out);
    }

    /// Nobody here knows any more what will become of it.
    pub(super) fn give_up(&mut self, out: &mut Vec<Out>) {
        let unknown =
            if is_planted("unknown-is-failed") { Answer::Failed } else { Answer::Unknown };
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        out.extend(waiting.map(|(number, ..)| Out::Answer(number, unknown)));
    }

    /// The leader wants the role back. What was answered at once is on all copies before that is
    /// said (R37); else nobody waits for anything.
    pub(super) fn leave(&mut self, us: NodeId, epoch: Epoch, out: &mut Vec<Out>) {
        if !self.at_once {
            self.give_up(out);
            let (group, segment) = self.place;
            return out.push(Out::Ask(Request { group, segment, epoch, wish: Wish::GaveUp(us) }));
        }
        self.leaving = Some(epoch);
        self.leave_if_settled(us, out);
    }

    fn leave_if_settled(&mut self, us: NodeId, out: &mut Vec<Out>) {
        let Some(epoch) = self.leaving else { return };
        let is_settled = self.replica.committed() == self.replica.last();
        if epoch == self.replica.epoch() && (is_settled || is_planted("hand-over-early")) {
            let (group, segment) = self.place;
            self.leaving = None;
            self.closed = epoch;
            self.give_up(out);
            // One that has not taken over yet may lack what others have.
            out.extend(self.replica.is_active().then_some(Out::Tail(self.place, Tail::GaveUp)));
            out.push(Out::Ask(Request { group, segment, epoch, wish: Wish::GaveUp(us) }));
        }
    }

    fn carry_out(&mut self, at: Moment<'_>, done: Vec<Action>, out: &mut Vec<Out>) {
        if done.is_empty() && self.leaving.is_none() {
            return;
        }
        let (group, segment) = self.place;
        for action in done {
            match action {
                Action::Send(to, message) => out.push(Out::Send(to, group, segment, message)),
                Action::Ask(request) => out.push(Out::Ask(request)),
                Action::Keep(count, kept) => {
                    let waits = self.replica.awaits_disk();
                    out.push(Out::Keep(self.place, count, kept, waits));
                }
                Action::Committed(seq) => {
                    self.open.retain(|_, (at, _)| *at > seq);
                    self.decided.retain(|_, (at, _)| *at > seq);
                    if self.at_once && self.replica.is_active() {
                        out.push(Out::Tail(self.place, Tail::Settled(seq)));
                    }
                    self.answer(at, seq, out);
                    self.say(at, seq, out);
                }
                Action::Shown(seq) => self.answer(at, seq, out),
                Action::Confirmed(round) => self.confirmed(at, round, out),
                Action::Discarded(_) => assert!(self.at_once, "R37: nothing is lost else"),
                Action::Filled(_) => {}
                Action::Active(from) => {
                    if self.at_once || self.persist == Persist::Async {
                        let (epoch, lost) = (self.replica.epoch(), self.lost_before(at));
                        out.push(Out::Tail(self.place, Tail::Began(epoch, from, lost)));
                    }
                    let mut versions = self.base.entries().values().map(|(_, version)| version);
                    let is_front = versions.all(|version| version & ((1 << 40) - 1) < from);
                    assert!(is_front, "I4: {:?} has entries beyond its log", self.place);
                    self.begin();
                }
                Action::Passive => {
                    self.head.clear();
                    self.open.clear();
                    self.decided.clear();
                    self.calls.clear();
                    self.base.ledger.passive();
                    self.give_up(out);
                    self.confirmed(at, u64::MAX, out);
                }
            }
        }
        self.leave_if_settled(at.control.identity().node, out);
    }

    /// What was declared lost, or given up by an operator, as this process knows it.
    fn lost_before(&self, at: Moment<'_>) -> u64 {
        let group = at.control.metadata().groups().get(&self.place.0);
        let segment = group.and_then(|group| group.segments.get(usize::from(self.place.1.0)));
        segment.map_or(0, |segment| segment.lost_before.max(segment.forced_before))
    }

    /// Answers those who waited for what is committed. Epochs may have passed; what counts is that
    /// we still serve (R18).
    fn answer(&mut self, at: Moment<'_>, seq: u64, out: &mut Vec<Out>) {
        let later = self.waiting.split_off(&(seq + 1));
        let served = at.control.serves(at.now, self.place.0, self.place.1);
        let done = std::mem::replace(&mut self.waiting, later);
        let each = |(seq, all): (u64, Vec<_>)| all.into_iter().map(move |one| (seq, one));
        for (seq, (number, answer, epoch)) in done.into_iter().flat_map(each) {
            let holds = served.is_some_and(|now| now >= epoch);
            let answer = if holds { answer } else { Answer::Unknown };
            if matches!(answer, Answer::Conflict(_)) {
                let version = u64::from(epoch.0) << 40 | seq;
                out.push(Out::Tail(self.place, Tail::Refused(number, version)));
            }
            self.tell(Out::Answer(number, answer), out);
        }
    }

    /// What keys are when this copy begins to serve: everything is committed.
    fn begin(&mut self) {
        self.head.clear();
        for op in self.replica.overlay() {
            changes(op, |key, value| {
                self.head.insert(key, (value, version(op)));
            });
        }
    }

    pub(super) fn ask(&mut self, at: Moment<'_>, asked: Asked, out: &mut Vec<Out>) {
        let answer = match asked.ask {
            Ask::Get => Some(self.read(at, asked.key)),
            _ => self.write(at, asked),
        };
        answer.into_iter().for_each(|answer| self.tell(Out::Answer(asked.number, answer), out));
    }

    /// Says something, at once where it depends on no clock: what was written is on all copies.
    pub(super) fn tell(&mut self, one: Out, out: &mut Vec<Out>) {
        let depends =
            matches!(one, Out::Answer(_, Answer::Read(_) | Answer::Conflict(_)) | Out::Said(..));
        match Some(()).filter(|()| self.confirms && depends).and_then(|()| self.replica.confirm()) {
            Some(round) => self.confirming.entry(round).or_default().push(one),
            None => out.push(one),
        }
    }

    /// A round is over, or all of them are, since the copy serves no more.
    fn confirmed(&mut self, at: Moment<'_>, round: u64, out: &mut Vec<Out>) {
        let later = self.confirming.split_off(&round.saturating_add(1));
        let may = self.serves(at);
        for one in std::mem::replace(&mut self.confirming, later).into_values().flatten() {
            match one {
                Out::Answer(number, _) if !may => out.push(Out::Answer(number, Answer::Failed)),
                one if may => out.push(one),
                _ => {}
            }
        }
    }

    pub(super) fn serves(&self, at: Moment<'_>) -> bool {
        self.replica.is_active()
            && at.control.serves(at.now, self.place.0, self.place.1) == Some(self.replica.epoch())
    }

    /// Reads what is committed, and only then asks whether we may (R23, R24).
    pub(super) fn read(&self, at: Moment<'_>, key: Key) -> Answer {
        let mut state = self.base.get(key);
        if is_planted("dirty-read") {
            state = self.head.get(&key).copied().unwrap_or(state);
        }
        let is_pending = self.replica.overlay().any(|op| touches(op, key));
        let may_read = !self.replica.is_filling()
            && (!is_pending || is_planted("dirty-local-read"))
            && at.control.may_read(at.now, self.place.0, self.place.1)
                == Some(self.replica.epoch());
        let serves =
            self.serves(at) || (is_planted("read-without-lease") && self.replica.is_active());
        if serves || may_read { Answer::Read(state) } else { Answer::Failed }
    }

    /// Decides a write; the answer, unless it has to wait.
    fn write(&mut self, at: Moment<'_>, asked: Asked) -> Option<Answer> {
        let epoch = self.replica.epoch();
        let is_closed = self.closed == epoch || self.leaving == Some(epoch);
        if !self.serves(at) || is_closed {
            return Some(Answer::Failed);
        }
        let Asked { number, key, ask, id } = asked;
        if let Some((seq, answer)) = id.and_then(|id| self.open.get(&id)).copied() {
            return self.wait(seq, number, answer);
        }
        match id.map_or(Seen::New, |id| self.base.answers.seen(at.now.wall, id)) {
            Seen::New => {}
            Seen::Answered(answer) => return answer.map(|bytes| Answer::decode(&bytes)),
            Seen::Forgotten => return Some(Answer::Unknown),
        }
        let state = self.head.get(&key).copied().unwrap_or_else(|| self.base.get(key));
        let value = match ask {
            Ask::Put(value) => Some(value),
            Ask::Cas(expected, value) if state.1 == expected => Some(value),
            Ask::Cas(..) if id.is_some() => {
                return self.record(at, asked, (&[], state), Answer::Conflict(state));
            }
            Ask::Cas(..) => return self.conflict(number, state),
            Ask::Add => Some(state.0.unwrap_or(0) + 1),
            Ask::Get | Ask::Delete => None,
        };
        let version = u64::from(self.replica.epoch().0) << 40 | (self.replica.last() + 1);
        let answer = match (ask, value) {
            (Ask::Add, Some(value)) => Answer::Counted(value, version),
            _ => Answer::Written(version),
        };
        let answer = self.record(at, asked, (&[record(key, value)], state), answer);
        if answer.is_none() {
            // A deleted key has no version.
            self.head.insert(key, value.map_or((None, 0), |value| (Some(value), version)));
        }
        answer
    }

    /// Records what was decided of a key in this state, as one with the answer where that may be
    /// asked for again.
    fn record(
        &mut self,
        at: Moment<'_>,
        Asked { number, key, id, .. }: Asked,
        (changes, before): (&[Record], State),
        answer: Answer,
    ) -> Option<Answer> {
        let answered = id.map(|id| Answered::new(id, at.now.wall, &answer.encode()));
        let record = match (&answered, changes) {
            (None, [one]) => one.clone(),
            _ => join(answered.as_ref(), changes),
        };
        let patch = patch(key, before, &record);
        let Ok(seq) = self.replica.append_patched(record, patch, 1) else {
            return Some(Answer::Failed);
        };
        self.open.extend(id.map(|id| (id, (seq, answer))));
        self.wait(seq, number, answer)
    }

    fn wait(&mut self, seq: u64, number: u64, answer: Answer) -> Option<Answer> {
        let epoch = self.replica.epoch();
        self.waiting.entry(seq).or_default().push((number, answer, epoch));
        None
    }

    /// An answer that depends on what is not committed yet waits for it (R19).
    fn conflict(&mut self, number: u64, state: State) -> Option<Answer> {
        let (last, answer) = (self.replica.last(), Answer::Conflict(state));
        if last <= self.replica.shown() || is_planted("conflict-at-once") {
            return Some(answer);
        }
        let waiting = self.waiting.entry(last).or_default();
        waiting.push((number, answer, self.replica.epoch()));
        None
    }
}
