//! A copy that is to serve finds out what was acknowledged: the longest log of those in sync has
//! it all, since nothing was that not all of them had (R30, R31).

use super::{ANSWER_MS, Action, Base, Op, Peer, Peers, RESEND_MS, Replica, Role};
use crate::id::NodeId;
use crate::membership::Monotonic;
use crate::metadata::Segment;
use crate::mutant::is_planted;
use crate::segment::Wish;

/// What a new primary knows so far.
#[derive(Debug)]
pub(super) struct Takeover {
    view: Segment,
    /// What the others have; `None` until they say.
    answers: Peers<Option<u64>>,
    since: Monotonic,
    asked_at: Monotonic,
}

impl Takeover {
    /// Copies that are to be filled may have come since it began.
    pub(super) fn view(&mut self, view: &Segment) {
        self.view.clone_from(view);
    }

    /// The longest log that somebody else has.
    fn longest(&self) -> Option<(u64, NodeId)> {
        self.answers.iter().filter_map(|(node, last)| Some(((*last)?, *node))).max()
    }

    fn is_complete(&self) -> bool {
        self.answers.values().all(Option::is_some)
    }
}

impl Replica {
    pub(super) fn take_over(&mut self, now: Monotonic, view: &Segment, out: &mut Vec<Action>) {
        let others = view.insync.iter().filter(|copy| copy.node != self.us);
        let others = others.filter(|_| !is_planted("takeover-alone"));
        let answers = others.map(|copy| (copy.node, None)).collect();
        let view = view.clone();
        self.role = Role::Taking(Takeover { view, answers, since: now, asked_at: now });
        self.inquire(out);
    }

    /// Asks those who have not answered, or fetches what they have and we lack.
    fn inquire(&self, out: &mut Vec<Action>) {
        let Role::Taking(takeover) = &self.role else { return };
        let (epoch, after) = (self.epoch, self.log.last());
        if takeover.is_complete() {
            let longest = takeover.longest().filter(|(last, _)| *last > after);
            out.extend(longest.map(|(_, node)| Action::Send(node, Peer::Fetch { epoch, after })));
            return;
        }
        let silent = takeover.answers.iter().filter(|(_, last)| last.is_none());
        out.extend(silent.map(|(node, _)| Action::Send(*node, Peer::Ask { epoch })));
    }

    /// Time passes: what got lost is asked again, and who does not answer is left out.
    pub(super) fn ask_again(
        &mut self,
        now: Monotonic,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        self.finish(now, base, out);
        let Role::Taking(takeover) = &mut self.role else { return };
        if now < takeover.asked_at + RESEND_MS {
            return;
        }
        takeover.asked_at = now;
        let is_late = now >= takeover.since + ANSWER_MS;
        let silent = takeover.answers.iter().filter(|(_, last)| last.is_none());
        let silent: Vec<NodeId> = silent.map(|(node, _)| *node).filter(|_| is_late).collect();
        // Of a log that is longer a disk may have so much more that it is not kept as operations (R62).
        let is_short = takeover.is_complete() && is_late && self.is_written_behind();
        silent.into_iter().for_each(|node| self.ask(Wish::Shrink(node), out));
        if is_short {
            self.ask(Wish::GaveUp(self.us), out);
        }
        self.inquire(out);
    }

    /// Another copy says how long its log is.
    pub(super) fn has(
        &mut self,
        now: Monotonic,
        from: NodeId,
        last: u64,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let Role::Taking(takeover) = &mut self.role else { return };
        let Some(answer) = takeover.answers.get_mut(&from) else { return };
        *answer = Some(last);
        self.finish(now, base, out);
        self.inquire_when_complete(out);
    }

    fn inquire_when_complete(&self, out: &mut Vec<Action>) {
        if matches!(&self.role, Role::Taking(takeover) if takeover.is_complete()) {
            self.inquire(out);
        }
    }

    /// What the longest log has and we lacked.
    pub(super) fn take_tail(
        &mut self,
        now: Monotonic,
        ops: Vec<Op>,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        if !matches!(self.role, Role::Taking(_)) {
            return;
        }
        let before = self.log.last();
        self.log.extend(ops);
        self.keep_log(out);
        self.finish(now, base, out);
        if self.log.last() > before {
            self.inquire_when_complete(out);
        }
    }

    /// Serves once all have said what they have, and we have as much as any of them.
    fn finish(&mut self, now: Monotonic, base: &mut impl Base, out: &mut Vec<Action>) {
        let Role::Taking(takeover) = &self.role else { return };
        let lacks = takeover.longest().is_some_and(|(last, _)| last > self.log.last());
        if !takeover.is_complete() || (lacks && !is_planted("takeover-no-fetch")) {
            return;
        }
        let view = takeover.view.clone();
        let answers = takeover.answers.clone();
        self.serve(now, &view, &answers, base, out);
    }
}
