//! Who votes: one, two, three or five members; the others follow (R71).

use std::collections::BTreeSet;

use super::Control;
use super::leading::Leading;
use crate::id::NodeId;
use crate::invalidation::Silence;
use crate::membership::Now;
use crate::metadata::{Command, Member, Role};
use crate::raft::MemberChange;

/// How far behind a member may be to become a voter, entries.
const CAUGHT_UP: u64 = 100;
/// How long a member without a lease waits before it ends with the others, ms.
const ALONE_MS: u64 = 5_000;

impl Control {
    /// Proposes the next step towards the voters that there should be. Whether there is one.
    pub(super) fn change_voters(&mut self, leading: &mut Leading, now: Now) -> bool {
        if self.metadata.index() < leading.members_at {
            return false;
        }
        if self.hand_over(leading, now) {
            return true;
        }
        let Some(change) = self.next_change(leading, now) else {
            return self.forget_one(leading, now);
        };
        let taken = self.raft.propose_members(change).is_ok();
        leading.members_at = self.raft.last_index();
        taken
    }

    /// A leader that leaves lets another one lead, which then takes its vote. One whose process is
    /// about to end does so last: it knows the others, and a new leader would have to get to know
    /// them before anybody is given a role. Whether there is somebody to lead.
    fn hand_over(&mut self, leading: &Leading, now: Now) -> bool {
        let members = self.metadata.members();
        let us = members.get(&self.identity.node);
        let goes = us.is_none_or(|us| us.leaving || (us.stopping && !self.has_roles_for_others()));
        if !goes {
            return false;
        }
        let heirs: Vec<NodeId> = self.heirs().collect();
        let alive = heirs.iter().find(|node| leading.grants.holds(**node, now.monotonic));
        alive.into_iter().for_each(|next| self.raft.transfer(*next));
        !heirs.is_empty()
    }

    /// The other voters that may lead.
    fn heirs(&self) -> impl Iterator<Item = NodeId> {
        let stays = |node: &NodeId| {
            let member = self.metadata.members().get(node);
            *node != self.identity.node && member.is_some_and(Member::stays)
        };
        self.raft.voting().voters.iter().copied().filter(stays)
    }

    /// Whether this member has a copy in sync, and somebody else could have it.
    fn has_roles_for_others(&self) -> bool {
        let us = self.identity.node;
        let may = |(node, member): (&NodeId, &Member)| {
            let has_data = member.has_data() && member.incarnation.is_some();
            *node != us && has_data && member.stays()
        };
        let mut segments = self.metadata.groups().values().flat_map(|group| &group.segments);
        self.metadata.members().iter().any(may) && segments.any(|segment| segment.is_insync(us))
    }

    /// Whether nobody would miss this process, which has said that it is about to end: it has no
    /// role, in the data or in Raft, that another member could have (R33, R64).
    #[must_use]
    pub fn is_relieved(&self) -> bool {
        let us = self.metadata.members().get(&self.identity.node);
        let leads_others = self.raft.leads() && self.heirs().next().is_some();
        us.is_none_or(|us| us.stopping && !leads_others && !self.has_roles_for_others())
    }

    /// Whether the cluster was shut down while this process ran.
    #[must_use]
    pub fn was_shut_down(&self) -> bool {
        self.metadata.shut_down().is_some() && self.incarnation().is_some()
    }

    /// Whether the cluster was shut down while this process ran, and it may end: whoever leads stays
    /// until all that it hears know it, since without it they may never (R64).
    #[must_use]
    pub fn is_shut_down(&self, now: Now) -> bool {
        let Some(at) = self.metadata.shut_down().filter(|_| self.was_shut_down()) else {
            return false;
        };
        // One that was cut off may hear of it when the others are back already.
        let waits = if self.lease.holds(now.monotonic) { 0 } else { ALONE_MS };
        if self.shut_down_at.is_none_or(|at| now.monotonic < at + waits) {
            return false;
        }
        let Some(leading) = &self.leading else { return true };
        let mut others = self.metadata.members().keys().filter(|node| **node != self.identity.node);
        others.all(|node| {
            self.raft.knows_committed(*node) >= at || !leading.grants.holds(*node, now.monotonic)
        })
    }

    fn next_change(&self, leading: &Leading, now: Now) -> Option<MemberChange> {
        let (voting, members) = (self.raft.voting(), self.metadata.members());
        let all = || voting.voters.iter().chain(&voting.learners);
        if let Some(new) = members.keys().find(|node| !all().any(|known| known == *node)) {
            return Some(MemberChange::Follow(*new));
        }
        if let Some(old) = all().find(|node| !members.contains_key(node)) {
            return Some(MemberChange::Remove(*old));
        }
        let stays = |node: &&NodeId| members.get(node).is_some_and(|member| !member.leaving);
        let is_good =
            |node: &&NodeId| stays(node) && leading.expects(**node, now.monotonic, &self.config);
        let wanted = voters_for(members.keys().filter(stays).count());
        let good = voting.voters.iter().filter(is_good).count();
        let caught_up = |node: &&NodeId| {
            self.raft.matched(**node) + CAUGHT_UP >= self.raft.last_index()
                && leading.grants.holds(**node, now.monotonic)
        };
        let is_witness =
            |node: &&NodeId| members.get(node).is_some_and(|member| member.role == Role::Witness);
        // To vote is all that a witness is there for, so it does so before members with data.
        let ready = || voting.learners.iter().filter(is_good).filter(caught_up);
        let others = || voting.voters.iter().rev().filter(|node| **node != self.identity.node);
        let witness = ready().find(is_witness);
        let replaceable = others().find(|node| !is_witness(node));
        if good < wanted {
            let next = witness.or_else(|| ready().next());
            return next.map(|node| MemberChange::Vote(*node));
        }
        if let Some(witness) = witness.filter(|_| replaceable.is_some()) {
            return Some(MemberChange::Vote(*witness));
        }
        let bad = voting.voters.iter().find(|node| !is_good(node));
        let surplus = replaceable.or_else(|| others().next());
        let goes = bad.or(surplus).filter(|_| voting.voters.len() > wanted);
        goes.map(|node| MemberChange::Follow(*node))
    }

    /// A member that leaves, has nothing any more and does not vote is forgotten, once its lease is
    /// over: until then it may serve invalidated caches, and is told of writes (R38).
    fn forget_one(&mut self, leading: &mut Leading, now: Now) -> bool {
        let voters = &self.raft.voting().voters;
        let has_gone = |node: &NodeId| {
            let mut segments = self.metadata.groups().values().flat_map(|group| &group.segments);
            !voters.contains(node) && !segments.any(|segment| segment.names(*node))
        };
        let leaving = self.metadata.members().iter().filter(|(_, member)| member.leaving);
        let done = leaving.map(|(node, _)| *node).find(has_gone);
        let Some(node) = done else { return false };
        let silence = Silence { node, ours: 0, theirs: 0 };
        leading.grants.silent(self.identity.node, silence, now.monotonic);
        if !leading.grants.is_over(node, now.monotonic) {
            return false;
        }
        // Until that is applied it gets none, as one that is expelled.
        leading.grants.withhold(BTreeSet::from([node]));
        self.propose(leading, Command::Remove(node))
    }
}

/// How many vote where so many members stay. Where all want to go the last of them cannot.
fn voters_for(members: usize) -> usize {
    match members {
        0..=2 => members.max(1),
        3 | 4 => 3,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::voters_for;

    /// A leader that was to take the last vote tried so for ever.
    #[test]
    fn somebody_votes_though_all_want_to_leave() {
        assert_eq!([0, 1, 2, 3, 4, 5, 9].map(voters_for), [1, 1, 2, 3, 3, 5, 5]);
    }
}
