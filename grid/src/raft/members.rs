//! Who votes, and how that changes.

use ::raft::prelude::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use crate::bytes::{Input, put_many, put_u8, whole};
use crate::id::NodeId;

/// Who votes, and who follows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Voting {
    /// They elect the leader and make up majorities.
    pub voters: Vec<NodeId>,
    /// They follow the log.
    pub learners: Vec<NodeId>,
}

/// One change of who votes. One at a time (R71).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// The member follows the log, and does not vote.
    Follow(NodeId),
    /// The member votes.
    Vote(NodeId),
    /// The member is no part of the group any more.
    Remove(NodeId),
}

impl Voting {
    pub(super) fn to_raft(&self) -> ConfState {
        let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<u64>>();
        (numbers(&self.voters), numbers(&self.learners)).into()
    }

    pub(super) fn of_raft(state: &ConfState) -> Self {
        let nodes = |numbers: &[u64]| numbers.iter().map(|number| NodeId(*number)).collect();
        Voting { voters: nodes(&state.voters), learners: nodes(&state.learners) }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_many(out, self.voters.iter(), |out, node| node.encode(out));
        put_many(out, self.learners.iter(), |out, node| node.encode(out));
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let voters = input.many(NodeId::decode)?;
        Some(Voting { voters, learners: input.many(NodeId::decode)? })
    }
}

impl MemberChange {
    fn parts(self) -> (u8, ConfChangeType, NodeId) {
        match self {
            MemberChange::Follow(node) => (1, ConfChangeType::AddLearnerNode, node),
            MemberChange::Vote(node) => (2, ConfChangeType::AddNode, node),
            MemberChange::Remove(node) => (3, ConfChangeType::RemoveNode, node),
        }
    }

    pub(super) fn to_raft(self) -> ConfChangeV2 {
        let (_, kind, node) = self.parts();
        let mut single = ConfChangeSingle::default();
        single.set_change_type(kind);
        single.node_id = node.0;
        let mut change = ConfChangeV2::default();
        change.set_changes(vec![single].into());
        change
    }

    /// Our own bytes: those that raft-rs makes are never parsed from the log.
    pub(super) fn encode(self) -> Vec<u8> {
        let (kind, _, node) = self.parts();
        let mut out = Vec::new();
        put_u8(&mut out, kind);
        node.encode(&mut out);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        whole(bytes, |input| {
            let (kind, node) = (input.u8()?, NodeId::decode(input)?);
            match kind {
                1 => Some(MemberChange::Follow(node)),
                2 => Some(MemberChange::Vote(node)),
                3 => Some(MemberChange::Remove(node)),
                _ => None,
            }
        })
    }
}
