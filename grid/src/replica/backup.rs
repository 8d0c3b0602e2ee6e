//! A copy that follows a primary.

use super::{Action, Base, FillId, Op, Peer, Replica, Role};
use crate::id::NodeId;
use crate::mutant::is_planted;

impl Replica {
    /// Operations from the primary. What is here already is left alone, a gap is told (R17).
    pub(super) fn follow(
        &mut self,
        from: NodeId,
        prev: u64,
        ops: Vec<Op>,
        committed: u64,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let Role::Backup(primary) = self.role else { return };
        if primary != from && !is_planted("old-primary") {
            return;
        }
        if matches!(self.filling, Some((_, None))) {
            // Where it begins is not known yet.
            return;
        }
        let epoch = self.epoch;
        if prev > self.log.last() && !is_planted("gap") {
            return out.push(Action::Send(from, Peer::Lacks { epoch, last: self.log.last() }));
        }
        self.log.extend(ops);
        self.keep_log(out);
        self.log.commit(committed, base, out);
        // Else the disk says when.
        if self.is_durable() {
            out.push(Action::Send(from, self.ack(self.log.last())));
        }
    }

    /// Everything up to `last` is here.
    pub(super) fn ack(&self, last: u64) -> Peer {
        Peer::Ack { epoch: self.epoch, last, committed: self.log.committed() }
    }

    /// The primary begins to fill this copy. Told twice it goes on.
    pub(super) fn begin_fill(
        &mut self,
        from: NodeId,
        fill: FillId,
        after: u64,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let Some((since, begun)) = self.filling else { return };
        if since != fill.since || !matches!(self.role, Role::Backup(primary) if primary == from) {
            return;
        }
        if begun != Some(fill) {
            self.filling = Some((since, Some(fill)));
            if is_planted("fill-on-top") {
                self.log.begin(after);
            } else {
                self.begin(after, base, out);
            }
        }
        self.took(from, fill, 0, out);
    }

    /// Entries for a copy that is being filled.
    pub(super) fn take_chunk(
        &mut self,
        from: NodeId,
        fill: FillId,
        number: u64,
        bytes: &[u8],
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        if self.filling == Some((fill.since, Some(fill))) && base.take(bytes).is_some() {
            self.keep_chunk(bytes, out);
            self.took(from, fill, number, out);
        }
    }

    /// A new primary asks how far we are. While that may be less after a restart it is left to ask
    /// again.
    pub(super) fn tell(&self, from: NodeId, out: &mut Vec<Action>) {
        let follows = matches!(self.role, Role::Backup(primary) if primary == from);
        if follows && self.filling.is_none() && self.is_durable() {
            out.push(Action::Send(from, Peer::Has { epoch: self.epoch, last: self.log.last() }));
        }
    }

    /// A new primary wants what it lacks.
    pub(super) fn give_tail(&self, from: NodeId, after: u64, out: &mut Vec<Action>) {
        if matches!(self.role, Role::Backup(primary) if primary == from)
            && let Some(ops) = self.log.batch(after)
        {
            out.push(Action::Send(from, Peer::Tail { epoch: self.epoch, ops }));
        }
    }
}
