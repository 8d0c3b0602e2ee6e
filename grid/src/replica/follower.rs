//! One of the other copies, as their primary sees it: it knows what to send it, and when.

use super::fill::Fill;
use super::log::OpLog;
use super::{ANSWER_MS, Action, Base, FillId, Filled, Op, Peer, RESEND_MS};
use crate::id::{Copy, Epoch, GroupId, NodeId, SegmentId};
use crate::membership::Monotonic;
use crate::mutant::is_planted;
use crate::segment::{Request, Wish};

/// What a primary has to give.
pub(super) struct Source<'a, B> {
    pub(super) now: Monotonic,
    pub(super) group: GroupId,
    pub(super) segment: SegmentId,
    pub(super) epoch: Epoch,
    pub(super) log: &'a OpLog,
    /// Up to where its entries show what was done.
    pub(super) shown: u64,
    pub(super) base: &'a B,
}

#[derive(Debug)]
pub(super) struct Follower {
    pub(super) copy: Copy,
    /// Up to where it has everything, as it said in this epoch. It takes nothing back.
    acked: u64,
    /// Up to where it was sent everything.
    sent: u64,
    /// Up to where it gets no patches: it has said that it lacks something.
    whole: u64,
    /// What it knows to be committed, as it said last: what it was told may have got lost, have come
    /// in an epoch that was over there, or be forgotten after a restart.
    told: u64,
    /// When operations, or what is committed, were sent last.
    sent_at: Option<Monotonic>,
    /// Since when it owes an answer to operations.
    owes_since: Option<Monotonic>,
    /// The last round that it has answered, and since when it owes an answer to a later one (R25).
    confirmed: (u64, Option<Monotonic>),
    pub(super) fill: Option<Fill>,
}

impl Follower {
    /// One that has everything up to `acked`, or will have when it is filled.
    pub(super) fn new(copy: Copy, acked: u64, fill: Option<Fill>) -> Self {
        let (sent_at, owes_since, confirmed) = (None, None, (0, None));
        let (sent, whole) = (acked, 0);
        Follower { copy, acked, sent, whole, told: 0, sent_at, owes_since, confirmed, fill }
    }

    /// It has no more than this.
    pub(super) fn begin(&mut self, last: u64) {
        if !is_planted("disks-agree") {
            self.acked = self.acked.min(last);
            self.sent = self.acked;
        }
    }

    /// A new epoch: what was answered in the one before does not count any more (R17).
    pub(super) fn enter(&mut self, committed: u64) {
        self.acked = self.acked.min(committed);
        self.sent = self.acked;
        (self.sent_at, self.owes_since, self.confirmed.1) = (None, None, None);
        self.fill.as_mut().into_iter().for_each(Fill::enter);
    }

    /// Up to where it has everything, if that is waited for.
    pub(super) fn counted(&self) -> Option<u64> {
        self.fill.as_ref().is_none_or(|fill| fill.counts).then_some(self.acked)
    }

    /// Whether it has answered a round.
    pub(super) fn has_confirmed(&self, round: u64) -> bool {
        self.confirmed.0 >= round
    }

    /// It is asked for an answer to a round.
    pub(super) fn ask_to_confirm(&mut self, now: Monotonic) -> NodeId {
        self.confirmed.1.get_or_insert(now);
        self.copy.node
    }

    /// Whether operations may be sent to it: it knows where they begin.
    fn is_ready(&self) -> bool {
        self.fill.as_ref().is_none_or(Fill::has_begun)
    }

    /// Sends what was decided since something was sent last.
    pub(super) fn flush(&mut self, from: &Source<'_, impl Base>, out: &mut Vec<Action>) {
        if self.is_ready() && self.sent < from.log.ready() {
            self.send_next(from, out);
        }
    }

    /// Sends what follows what was sent, or only what is committed when nothing does.
    fn send_next(&mut self, from: &Source<'_, impl Base>, out: &mut Vec<Action>) {
        let Some(mut ops) = from.log.batch(self.sent) else {
            // What a copy in sync lacks is here, unless its disk lacks more than is kept (R62). One
            // that is filled too slowly begins anew.
            if self.fill.is_none() {
                self.owes_since.get_or_insert(from.now);
            }
            return;
        };
        if !ops.is_empty() {
            self.owes_since.get_or_insert(from.now);
        }
        if let Some(fill) = &mut self.fill {
            fill.bytes += ops.iter().map(|op| op.record.len() as u64).sum::<u64>();
        }
        let (epoch, prev, committed) = (from.epoch, self.sent, from.log.committed());
        let is_whole = |op: &&mut Op| self.fill.is_some() || op.seq <= self.whole;
        ops.iter_mut().filter(is_whole).for_each(|op| op.patch = None);
        self.sent += ops.len() as u64;
        self.sent_at = Some(from.now);
        if is_planted("told-once") {
            self.told = committed;
        }
        let message = Peer::Repl { epoch, prev, ops, committed };
        out.push(Action::Send(self.copy.node, message));
    }

    /// What it says.
    pub(super) fn hear(
        &mut self,
        message: &Peer,
        from: &Source<'_, impl Base>,
        out: &mut Vec<Action>,
    ) {
        match *message {
            Peer::Ack { last, committed, since, .. }
                if self.is_ready() && since == self.filled_since() =>
            {
                self.told = committed;
                self.acked(last, from, out);
            }
            Peer::Lacks { last, .. } if self.is_ready() => self.lacks(last, from, out),
            Peer::Holds { fill, end, .. } => self.holds(fill, end, from, out),
            Peer::Took { fill, number, .. } => self.took(fill, number, from, out),
            Peer::Confirmed { round, .. } if !self.has_confirmed(round) => {
                self.confirmed = (round, None);
            }
            _ => {}
        }
    }

    /// Since which entry of the metadata it is being filled; 0: it is not.
    fn filled_since(&self) -> u64 {
        self.fill.as_ref().map_or(0, |fill| fill.id.since)
    }

    /// Everything up to `last` is there.
    pub(super) fn acked(&mut self, last: u64, from: &Source<'_, impl Base>, out: &mut Vec<Action>) {
        let last = last.min(from.log.last());
        if last > self.acked {
            self.acked = last;
            self.sent = self.sent.max(last);
            self.owes_since = (last < from.log.ready()).then_some(from.now);
        }
        if self.acked == self.sent {
            self.flush(from, out);
        }
        self.expand(from, out);
    }

    /// What came does not follow `last`: it is sent again from there, unless that is known to be
    /// over.
    pub(super) fn lacks(&mut self, last: u64, from: &Source<'_, impl Base>, out: &mut Vec<Action>) {
        if last >= self.acked && last < self.sent {
            // It may have refused a patch.
            self.whole = self.whole.max(self.sent);
            self.sent = last;
            self.send_next(from, out);
        }
    }

    /// A copy that is to be filled says what it has.
    fn holds(
        &mut self,
        id: FillId,
        end: (Epoch, u64),
        from: &Source<'_, impl Base>,
        out: &mut Vec<Action>,
    ) {
        if self.fill.as_mut().is_some_and(|fill| fill.holds(id, end, from)) {
            self.fill(from, out);
        }
    }

    /// The copy has taken a chunk: the next one follows, or it is done.
    fn took(
        &mut self,
        id: FillId,
        number: u64,
        from: &Source<'_, impl Base>,
        out: &mut Vec<Action>,
    ) {
        if self.fill.as_mut().is_some_and(|fill| fill.took(id, number)) {
            if let Some(kept) = self.fill.as_ref().and_then(Fill::kept) {
                (self.acked, self.sent) = (kept, kept);
                self.flush(from, out);
            }
            self.fill(from, out);
            self.expand(from, out);
        }
    }

    fn fill(&mut self, from: &Source<'_, impl Base>, out: &mut Vec<Action>) {
        let message = self.fill.as_mut().and_then(|fill| fill.send(from));
        out.extend(message.map(|message| Action::Send(self.copy.node, message)));
    }

    /// What time alone asks for: what got lost is sent again, who is silent is told of, and what
    /// is committed is said.
    pub(super) fn tend(&mut self, from: &Source<'_, impl Base>, out: &mut Vec<Action>) {
        self.complain(from, out);
        self.fill(from, out);
        let is_waiting = self.sent_at.is_some_and(|at| from.now < at + RESEND_MS);
        let lacks = self.acked < from.log.ready() || self.told < from.log.committed();
        if self.is_ready() && lacks && !is_waiting {
            self.sent = self.acked;
            self.send_next(from, out);
        }
        self.expand(from, out);
    }

    /// One that does not answer is to be left out (R21), or filled another time.
    fn complain(&self, from: &Source<'_, impl Base>, out: &mut Vec<Action>) {
        let owes = [self.owes_since, self.confirmed.1].into_iter().flatten();
        let is_silent = owes.min().is_some_and(|since| from.now >= since + ANSWER_MS);
        match &self.fill {
            Some(fill) if is_silent || fill.is_silent(from.now) => {
                out.push(from.ask(Wish::Abandon(self.copy, fill.id.since)));
            }
            None if is_silent => out.push(from.ask(Wish::Shrink(self.copy.node))),
            Some(_) | None => {}
        }
    }

    /// A copy that has all chunks counts from now on; when it has everything that is committed,
    /// it may become one in sync (R42).
    fn expand(&mut self, from: &Source<'_, impl Base>, out: &mut Vec<Action>) {
        let Some(fill) = self.fill.as_mut().filter(|fill| fill.is_done()) else { return };
        fill.counts = !is_planted("uncounted-filling");
        if self.acked >= from.log.committed() && fill.is_covered(self.acked) {
            if !std::mem::replace(&mut fill.is_told, true) {
                let (kept, bytes) = (fill.kept().is_some(), fill.bytes);
                out.push(Action::Filled(Filled { kept, bytes }));
            }
            out.push(from.ask(Wish::Expand(self.copy, fill.id.since)));
        }
    }
}

impl<B> Source<'_, B> {
    fn ask(&self, wish: Wish) -> Action {
        let (group, segment, epoch) = (self.group, self.segment, self.epoch);
        Action::Ask(Request { group, segment, epoch, wish })
    }
}
