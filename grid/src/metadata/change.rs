//! How a segment changes, and what must hold for it.

use isogrid_engine::Timestamp;

use super::{Filling, Metadata, Persist, Refusal, Segment, Stale, are_distinct};
use crate::bytes::{Input, put_many, put_u8, put_u64};
use crate::id::{Copy, Epoch, GroupId, NodeId, SegmentId};
use crate::mutant::is_planted;

/// A change of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which group.
    pub group: GroupId,
    /// Which of its segments.
    pub segment: SegmentId,
    /// The epoch that the proposer saw. In any other nothing is done (R3).
    pub expected: Epoch,
    /// What changes.
    pub step: Step,
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Of the copies in sync only these stay, and this one of them serves: a failover, a copy
    /// that is dropped, a role that moves (R28, R33). The clock does not begin below the time.
    Serve(NodeId, Vec<NodeId>, Timestamp),
    /// A copy that has been filled since that entry is in sync (R42).
    Expand(Copy, u64),
    /// Nobody serves. The copies stay listed: one of them, and nobody else, may come back (R29).
    Vacate,
    /// These copies are to be filled, and these members are to have the segment in the end.
    Fill(Vec<Copy>, Vec<NodeId>),
    /// What there was is declared lost, and an empty copy serves (R29).
    Reset(Copy, Timestamp),
    /// An operator accepts that what was acknowledged lately is lost, and a stale copy serves (R63).
    /// No plan has this step.
    Force(Copy, Timestamp),
}

impl Metadata {
    /// Does each change whose segment is as its proposer saw it. The first refusal is the answer
    /// for all, though the others were done.
    pub(super) fn change(&mut self, changes: &[Change]) -> Result<(), Refusal> {
        let mut first = Ok(());
        for change in changes {
            first = first.and(self.change_one(change));
        }
        first
    }

    fn change_one(&mut self, change: &Change) -> Result<(), Refusal> {
        let (group, at) = (change.group, usize::from(change.segment.0));
        let segment = self.groups.get(&group).and_then(|group| group.segments.get(at));
        let segment = segment.ok_or(Refusal::NoSegment)?;
        if segment.epoch != change.expected {
            return Err(Refusal::Stale(segment.epoch));
        }
        let next = self.after(segment, &change.step)?;
        let moves = next.primary != segment.primary;
        let place = self.groups.get_mut(&group).and_then(|group| group.segments.get_mut(at));
        *place.ok_or(Refusal::NoSegment)? = next;
        if moves && !is_planted("routes-stand-still") {
            self.reroute();
        }
        Ok(())
    }

    /// The segment after this step.
    fn after(&self, segment: &Segment, step: &Step) -> Result<Segment, Refusal> {
        let mut next = segment.clone();
        match step {
            Step::Serve(primary, insync, floor) => {
                next.insync.retain(|copy| insync.contains(&copy.node));
                if is_planted("promote-anyone") {
                    let copy = |node: &NodeId| self.copy_of(*node, Persist::None);
                    next.insync = insync.iter().filter_map(copy).collect();
                } else if next.insync.len() != insync.len() || !insync.contains(primary) {
                    return Err(Refusal::NotInSync);
                }
                if next.insync.is_empty() || !next.insync.iter().all(|copy| self.is_current(*copy))
                {
                    return Err(Refusal::NotCurrent);
                }
                next.primary = Some(*primary);
                next.clock_floor = next.clock_floor.max(*floor);
            }
            Step::Expand(copy, since) => {
                let filling = Filling { copy: *copy, since: *since };
                let at = next.syncing.iter().position(|syncing| *syncing == filling);
                next.syncing.remove(at.ok_or(Refusal::NotInSync)?);
                self.check_current(*copy)?;
                next.primary.ok_or(Refusal::NotAllowed)?;
                next.insync.push(*copy);
            }
            Step::Vacate => next.primary = None,
            Step::Fill(syncing, target) => {
                syncing.iter().try_for_each(|copy| self.check_current(*copy))?;
                let is_insync = syncing.iter().any(|copy| segment.is_insync(copy.node));
                if is_insync || !are_distinct(syncing.iter().map(|copy| copy.node)) {
                    return Err(Refusal::NotAllowed);
                }
                next.syncing = syncing.iter().map(|copy| self.filling(segment, *copy)).collect();
                next.target.clone_from(target);
            }
            Step::Reset(copy, floor) => {
                self.check_current(*copy)?;
                // Nothing is lost while a copy that had it all is there.
                let is_there = next.insync.iter().any(|copy| self.is_current(*copy));
                if next.primary.is_some() || is_there {
                    return Err(Refusal::NotAllowed);
                }
                (next.primary, next.insync) = (Some(copy.node), vec![*copy]);
                next.syncing.clear();
                next.stale.clear();
                next.clock_floor = next.clock_floor.max(*floor);
                next.lost_before = u64::from(next.epoch.0 + 1) << 40;
            }
            Step::Force(copy, floor) => {
                self.check_current(*copy)?;
                let is_stale = next.stale.iter().any(|stale| stale.copy == *copy);
                if next.primary.is_some() || !is_stale {
                    return Err(Refusal::NotAllowed);
                }
                (next.primary, next.insync) = (Some(copy.node), vec![*copy]);
                next.syncing.clear();
                next.clock_floor = next.clock_floor.max(*floor);
                next.forced_before = u64::from(next.epoch.0 + 1) << 40;
            }
        }
        self.fall_behind(segment, &mut next, step.floor());
        let is_same_primary = next.primary == segment.primary;
        if (next.primary, &next.insync) != (segment.primary, &segment.insync)
            && !(is_planted("epoch-stands-still") && is_same_primary)
        {
            next.epoch.0 += 1;
        }
        Ok(next)
    }

    /// Copies that are in sync no more are stale from now on, until they are filled anew.
    fn fall_behind(&self, was: &Segment, next: &mut Segment, at: Timestamp) {
        let dropped = was.insync.iter().filter(|copy| !next.insync.contains(copy));
        let dropped = dropped.filter_map(|copy| self.today(*copy));
        let dropped = dropped.filter(|copy| !next.stale.iter().any(|stale| stale.copy == *copy));
        let dropped = dropped.map(|copy| Stale { copy, epoch: was.epoch, at });
        let mut stale: Vec<Stale> = next.stale.iter().copied().chain(dropped).collect();
        stale.retain(|one| {
            let node = one.copy.node;
            let is_filled = next.syncing.iter().any(|filling| filling.copy.node == node);
            self.is_current(one.copy) && !next.insync.contains(&one.copy) && !is_filled
        });
        next.stale = stale;
    }

    /// One that is being filled already goes on.
    fn filling(&self, segment: &Segment, copy: Copy) -> Filling {
        let known = segment.syncing.iter().find(|filling| filling.copy == copy);
        known.copied().unwrap_or(Filling { copy, since: self.index })
    }

    fn check_current(&self, copy: Copy) -> Result<(), Refusal> {
        if self.is_current(copy) { Ok(()) } else { Err(Refusal::NotCurrent) }
    }
}

impl Change {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.group.encode(out);
        self.segment.encode(out);
        self.expected.encode(out);
        self.step.encode(out);
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Change {
            group: GroupId::decode(input)?,
            segment: SegmentId::decode(input)?,
            expected: Epoch::decode(input)?,
            step: Step::decode(input)?,
        })
    }
}

impl Step {
    /// The time of the entry, where it has one.
    fn floor(&self) -> Timestamp {
        match self {
            Step::Serve(.., floor) | Step::Reset(_, floor) | Step::Force(_, floor) => *floor,
            Step::Expand(..) | Step::Vacate | Step::Fill(..) => 0,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Step::Serve(primary, insync, floor) => {
                put_u8(out, 1);
                primary.encode(out);
                put_many(out, insync.iter(), |out, node| node.encode(out));
                put_u64(out, *floor);
            }
            Step::Expand(copy, since) => {
                put_u8(out, 2);
                copy.encode(out);
                put_u64(out, *since);
            }
            Step::Vacate => put_u8(out, 3),
            Step::Fill(syncing, target) => {
                put_u8(out, 4);
                put_many(out, syncing.iter(), |out, copy| copy.encode(out));
                put_many(out, target.iter(), |out, node| node.encode(out));
            }
            Step::Reset(copy, floor) => {
                put_u8(out, 5);
                copy.encode(out);
                put_u64(out, *floor);
            }
            Step::Force(copy, floor) => {
                put_u8(out, 6);
                copy.encode(out);
                put_u64(out, *floor);
            }
        }
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(match input.u8()? {
            1 => {
                let (primary, insync) = (NodeId::decode(input)?, input.many(NodeId::decode)?);
                Step::Serve(primary, insync, input.u64()?)
            }
            2 => Step::Expand(Copy::decode(input)?, input.u64()?),
            3 => Step::Vacate,
            4 => Step::Fill(input.many(Copy::decode)?, input.many(NodeId::decode)?),
            5 => Step::Reset(Copy::decode(input)?, input.u64()?),
            6 => Step::Force(Copy::decode(input)?, input.u64()?),
            _ => return None,
        })
    }
}
