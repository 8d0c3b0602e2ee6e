//! A copy that serves: it sends what it decides to all others, and commits what all in sync have.

use std::sync::Arc;

use super::fill::Fill;
use super::follower::{Follower, Source};
use super::{
    Action, Base, FillId, NotTaken, OVERLAY_BYTES, OVERLAY_MAX, Op, Patch, Peer, Peers, Record,
    Replica, Role,
};
use crate::id::NodeId;
use crate::membership::Monotonic;
use crate::metadata::Segment;
use crate::mutant::is_planted;

/// The other copies, as their primary sees them.
#[derive(Debug)]
pub(super) struct Followers {
    peers: Peers<Follower>,
    /// It takes writes: everything that was there at the takeover is committed.
    pub(super) is_active: bool,
    /// Where the log ended at the takeover.
    must: u64,
}

impl Followers {
    /// A new epoch: what was answered in the one before does not count any more (R17).
    pub(super) fn enter(&mut self, committed: u64) {
        self.peers.values_mut().for_each(|follower| follower.enter(committed));
    }

    /// Disks may lack what was committed, where no write waited for them (R62): a copy has what it says.
    fn begin(&mut self, answers: &Peers<Option<u64>>) {
        for (node, last) in answers {
            let follower = self.peers.get_mut(node).zip(*last);
            follower.into_iter().for_each(|(follower, last)| follower.begin(last));
        }
    }

    /// Follows the metadata: who has a copy, and who is filled. The log ends at `last`.
    pub(super) fn view(&mut self, view: &Segment, us: NodeId, committed: u64, last: u64) {
        let is_listed = |follower: &Follower| {
            let since = |fill: &Fill| (follower.copy, fill.id.since);
            view.insync.contains(&follower.copy)
                || follower.fill.as_ref().map(since).is_some_and(|known| {
                    view.syncing.iter().any(|filling| (filling.copy, filling.since) == known)
                })
        };
        self.peers.retain(|_, follower| is_listed(follower));
        for copy in view.insync.iter().filter(|copy| copy.node != us) {
            let new = || Follower::new(*copy, committed, None);
            self.peers.entry(copy.node).or_insert_with(new).fill = None;
        }
        for filling in &view.syncing {
            let id = FillId { since: filling.since, begun: view.epoch };
            let new = || Follower::new(filling.copy, last, Some(Fill::new(id, last)));
            self.peers.entry(filling.copy.node).or_insert_with(new);
        }
    }

    /// Whether another copy is waited for.
    pub(super) fn has_counted(&self) -> bool {
        self.peers.values().any(|follower| follower.counted().is_some())
    }

    /// Whether all whose answers count have answered a round (R25).
    pub(super) fn have_confirmed(&self, round: u64) -> bool {
        let counted = || self.peers.values().filter(|follower| follower.counted().is_some());
        let is_planted = is_planted("confirm-with-one");
        counted().all(|follower| follower.has_confirmed(round))
            || (is_planted && counted().any(|follower| follower.has_confirmed(round)))
    }

    /// Those that owe an answer to a round, and are asked for it now.
    pub(super) fn ask_to_confirm(
        &mut self,
        now: Monotonic,
        round: u64,
    ) -> impl Iterator<Item = NodeId> {
        let counted = self.peers.values_mut().filter(|follower| follower.counted().is_some());
        counted.filter(move |one| !one.has_confirmed(round)).map(move |one| one.ask_to_confirm(now))
    }

    fn insync(&self) -> usize {
        1 + self.peers.values().filter(|follower| follower.fill.is_none()).count()
    }

    /// Up to where all whose answers count have everything.
    fn acked_by_all(&self, last: u64) -> u64 {
        let acked = self.peers.values().filter_map(Follower::counted);
        if is_planted("commit-at-once") {
            return last;
        }
        let all = if is_planted("commit-with-one") { acked.max() } else { acked.min() };
        all.unwrap_or(last)
    }
}

impl Replica {
    /// Takes what the member has decided into the log: its number. [`Replica::flush`] sends it to
    /// the other copies, all of a batch at once (R16). It is committed when [`Action::Committed`]
    /// says so, and not before; when [`Action::Passive`] comes instead, nobody here knows whether
    /// it will be.
    ///
    /// # Errors
    /// [`NotTaken`]: it is surely not done.
    pub fn append(&mut self, record: Record, min_insync: u8) -> Result<u64, NotTaken> {
        self.append_patched(record, None, min_insync)
    }

    /// As [`Replica::append`], of a record that copies which have all before it may get as a patch.
    ///
    /// # Errors
    /// As there.
    pub fn append_patched(
        &mut self,
        record: Record,
        patch: Option<Patch>,
        min_insync: u8,
    ) -> Result<u64, NotTaken> {
        let Role::Primary(followers) = &self.role else { return Err(NotTaken::Passive) };
        if !followers.is_active {
            return Err(NotTaken::Passive);
        }
        if followers.insync() < usize::from(min_insync) {
            return Err(NotTaken::TooFewCopies);
        }
        let is_full = self.log.last() - self.log.committed() >= OVERLAY_MAX as u64;
        if is_full || self.log.open_bytes() >= OVERLAY_BYTES {
            return Err(NotTaken::Busy);
        }
        let seq = self.log.last() + 1;
        self.log.push(Op { seq, epoch: self.epoch, record, patch: patch.map(Arc::new) });
        Ok(seq)
    }

    /// What was appended last does not leave before [`Replica::seal`], nor what follows it: it is
    /// to be one with its answer, which is not known yet (R34).
    pub fn withhold(&mut self) {
        self.log.withhold();
    }

    /// The record of an operation that is withheld; `None` when it is no more, since the copy
    /// ceased to serve: then it was surely not done.
    #[must_use]
    pub fn withheld(&self, seq: u64) -> Option<&Record> {
        self.log.withheld(seq)
    }

    /// An operation that was withheld is whole.
    pub fn seal(&mut self, seq: u64, record: Record) {
        self.log.seal(seq, record);
    }

    /// Sends what was appended, and commits it where there is nobody to be waited for.
    pub fn flush(&mut self, now: Monotonic, base: &mut impl Base, out: &mut Vec<Action>) {
        if let Some((followers, source)) = self.serving(now, base) {
            followers.peers.values_mut().for_each(|follower| follower.flush(&source, out));
        }
        self.advance(now, base, out);
    }

    /// Commits what all have whose answers count, and serves once that is all there was.
    pub(super) fn advance(&mut self, now: Monotonic, base: &mut impl Base, out: &mut Vec<Action>) {
        self.keep_log(out);
        let durable = self.durable();
        let Role::Primary(followers) = &mut self.role else { return };
        self.log.commit(followers.acked_by_all(self.log.last()).min(durable), base, out);
        let is_complete = self.log.committed() >= followers.must || is_planted("serve-early");
        if !followers.is_active && is_complete {
            followers.is_active = true;
            out.push(Action::Active(self.log.last() + 1));
        }
        self.show(now, base, out);
        self.go_round(now, out);
    }

    /// Another copy says something to the primary.
    pub(super) fn hear(
        &mut self,
        now: Monotonic,
        from: NodeId,
        message: &Peer,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        if let Some((followers, source)) = self.serving(now, base)
            && let Some(follower) = followers.peers.get_mut(&from)
        {
            follower.hear(message, &source, out);
        }
        self.advance(now, base, out);
    }

    /// What time alone asks for.
    pub(super) fn tend(&mut self, now: Monotonic, base: &mut impl Base, out: &mut Vec<Action>) {
        self.advance(now, base, out);
        if let Some((followers, source)) = self.serving(now, base) {
            followers.peers.values_mut().for_each(|follower| follower.tend(&source, out));
        }
    }

    /// The followers, and what there is for them.
    fn serving<'a, B: Base>(
        &'a mut self,
        now: Monotonic,
        base: &'a B,
    ) -> Option<(&'a mut Followers, Source<'a, B>)> {
        let shown = self.shown();
        let Role::Primary(followers) = &mut self.role else { return None };
        let Replica { group, segment, epoch, ref log, .. } = *self;
        Some((followers, Source { now, group, segment, epoch, log, shown, base }))
    }

    /// Begins to serve, with everything that the log has still to be committed. The others said in
    /// `answers` how far they are.
    pub(super) fn serve(
        &mut self,
        now: Monotonic,
        view: &Segment,
        answers: &Peers<Option<u64>>,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let (committed, must) = (self.log.committed(), self.log.last());
        let mut followers = Followers { peers: Peers::new(), is_active: false, must };
        followers.view(view, self.us, committed, must);
        followers.begin(answers);
        self.role = Role::Primary(followers);
        self.tend(now, base, out);
    }
}
