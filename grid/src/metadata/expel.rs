//! Members that do not come back, and are forgotten with all that they had.

use super::{Metadata, Refusal, today};
use crate::id::{Copy, GroupId, NodeId, SegmentId};

impl Metadata {
    /// Forgets a member that is gone for good. What only it had is lost by that, which an operator
    /// has to accept (R29, R63). The proposer knows that it has no lease (R9).
    pub(super) fn expel(&mut self, node: NodeId, accepts_loss: bool) -> Result<(), Refusal> {
        if !self.members.contains_key(&node) {
            return Err(Refusal::NoMember);
        }
        if !accepts_loss && self.only_on(node).next().is_some() {
            return Err(Refusal::NotAllowed);
        }
        let members = &self.members;
        let today = |copy: Copy| today(members, copy).filter(|copy| copy.node != node);
        for group in self.groups.values_mut() {
            let local_reads = group.settings.local_reads;
            for segment in &mut group.segments {
                segment.target.retain(|target| *target != node);
                segment.end_of(node, local_reads, &today);
            }
        }
        self.forget(node)
    }

    /// The segments that are lost with this member: nobody else has a copy in sync.
    pub fn only_on(&self, node: NodeId) -> impl Iterator<Item = (GroupId, SegmentId)> {
        self.groups.iter().flat_map(move |(id, group)| {
            let all = (0..).map(SegmentId).zip(&group.segments);
            let lost = all.filter(move |(_, segment)| {
                let mut copies = segment.insync.iter().filter(|copy| self.is_current(**copy));
                copies.next().is_some_and(|copy| copy.node == node) && copies.next().is_none()
            });
            lost.map(|(at, _)| (*id, at))
        })
    }
}
