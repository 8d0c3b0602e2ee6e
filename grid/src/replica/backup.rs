//! A copy that follows a primary.

use super::{Action, Base, Begin, FillId, Op, Peer, Replica, Role};
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
        let is_made = self.log.extend_made(ops, base);
        self.keep_log(out);
        self.log.commit(committed, base, out);
        if !is_made {
            // What it lacks is sent whole.
            return out.push(Action::Send(from, Peer::Lacks { epoch, last: self.log.last() }));
        }
        // Else the disk says when.
        if self.is_durable() {
            out.push(Action::Send(from, self.ack(self.log.last())));
        }
    }

    /// Everything up to `last` is here.
    pub(super) fn ack(&self, last: u64) -> Peer {
        let since = self.filling.map_or(0, |(since, _)| since);
        Peer::Ack { epoch: self.epoch, last, committed: self.log.committed(), since }
    }

    /// Whether a primary that fills this copy for this entry of the metadata is the one; which
    /// filling has begun.
    fn filled_by(&self, from: NodeId, fill: FillId) -> Option<Option<FillId>> {
        let (since, begun) = self.filling?;
        let is_primary = matches!(self.role, Role::Backup(primary) if primary == from);
        (is_primary && since == fill.since).then_some(begun)
    }

    /// The primary that is about to fill this copy asks what it has. From here to where the filling
    /// begins nothing changes here.
    pub(super) fn claim(
        &mut self,
        from: NodeId,
        fill: FillId,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let Some(begun) = self.filled_by(from, fill) else { return };
        if begun == Some(fill) {
            return;
        }
        self.filling = Some((fill.since, None));
        self.be_sound(base, out);
        if self.is_durable() {
            let last = self.log.last();
            let (epoch, end) = (self.epoch, (self.log.epoch_of(last), last));
            out.push(Action::Send(from, Peer::Holds { epoch, fill, end }));
        }
    }

    /// The primary begins to fill this copy. Told twice it goes on.
    pub(super) fn begin_fill(
        &mut self,
        from: NodeId,
        fill: FillId,
        begin: Begin,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let Some(begun) = self.filled_by(from, fill) else { return };
        if begun != Some(fill) {
            if begin.keeps && begin.after != self.log.last() {
                return;
            }
            self.filling = Some((fill.since, Some(fill)));
            self.begin_with(begin, base, out);
        }
        self.took(from, fill, 0, out);
    }

    fn begin_with(&mut self, begin: Begin, base: &mut impl Base, out: &mut Vec<Action>) {
        if begin.keeps {
            return base.filled();
        }
        self.discard(begin.same, out);
        if is_planted("fill-on-top") {
            self.log.begin((begin.after, begin.of));
        } else {
            self.begin((begin.after, begin.of), base, out);
        }
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
