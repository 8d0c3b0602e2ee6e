//! What the Raft leader proposes for segments: a pure function of the metadata and of what the
//! leader knows of the members (R4, R28, R29, R41, R42, at most one step a segment and entry).
//!
//! Nothing is taken from a member whose lease may still hold (R9): such a step is left out, and
//! the plan says whom to grant nothing until then, or whom to ask to give a role up.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_engine::Timestamp;

use super::assign::{Candidate, assign};
use crate::id::{Copy, Epoch, GroupId, NodeId, SegmentId};
use crate::metadata::{Change, Filling, Group, GroupSettings, Member, Metadata, Segment, Step};
use crate::mutant::is_planted;

/// What the leader knows of the members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// They have a lease: roles can be given to them.
    pub alive: BTreeSet<NodeId>,
    /// Their leases are over for sure, and they have not been heard of since: roles can be taken
    /// from them. Who is in neither set is left alone.
    pub gone: BTreeSet<NodeId>,
    /// They are alive, or were so a while ago: they keep their place.
    pub expected: BTreeSet<NodeId>,
    /// The leader is new and has not heard of them yet. A whole cluster that starts again waits
    /// for the disks of all, so that what copies have beyond others is not thrown away (R62).
    pub awaited: BTreeSet<NodeId>,
    /// Segments of which all copies in memory are gone are declared empty (`on_loss`, R29).
    pub reset_lost: bool,
}

/// What a member asks for, or says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Which group.
    pub group: GroupId,
    /// Which segment.
    pub segment: SegmentId,
    /// In which epoch; in any other it means nothing.
    pub epoch: Epoch,
    /// What.
    pub wish: Wish,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// The primary gets no answer from a backup (R21).
    Shrink(NodeId),
    /// The primary has filled a copy since that entry, and waits for its answers (R42).
    Expand(Copy, u64),
    /// A copy that the primary fills since that entry does not answer.
    Abandon(Copy, u64),
    /// The member serves the segment no more (R9b).
    GaveUp(NodeId),
}

/// A role that a member is to give up (R33).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GiveUp {
    /// Who.
    pub node: NodeId,
    /// Which group.
    pub group: GroupId,
    /// Which segment.
    pub segment: SegmentId,
    /// In which epoch.
    pub epoch: Epoch,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be proposed.
    pub changes: Vec<Change>,
    /// To be granted no lease until what they have can be taken from them.
    pub withhold: BTreeSet<NodeId>,
    /// To be asked to give roles up.
    pub give_up: Vec<GiveUp>,
}

/// Copies that are filled at a time, to one member and by one primary. R44 says 2; each takes a few
/// rounds of the log besides, so that a member that comes back with 170 nearly empty segments took
/// 10 s, in which the next loss is one of data.
const TRANSFERS_MAX: usize = 8;

/// What is to be done now, by the leader's wall clock, for members that ask for this.
#[must_use]
pub fn plan(
    metadata: &Metadata,
    health: &Health,
    requests: &BTreeSet<Request>,
    now: Timestamp,
) -> Plan {
    let mut planner = Planner {
        metadata,
        health,
        requests,
        // The clock of a new primary begins ahead of any that was served by (R47).
        clock_floor: now + WALL_SKEW_MAX,
        plan: Plan::default(),
        transfers: BTreeMap::new(),
        primaries: BTreeMap::new(),
    };
    metadata.groups().values().for_each(|group| planner.count_transfers(group));
    for (id, group) in metadata.groups() {
        planner.count_primaries(group);
        let targets = planner.targets(group);
        for (at, (segment, target)) in (0..).map(SegmentId).zip(group.segments.iter().zip(targets))
        {
            let place = Place { id: *id, group, at, segment };
            if let Some(step) = planner.step(&place, target) {
                planner.withhold_from_losers(segment, &step);
                let (group, segment, expected) = (*id, at, segment.epoch);
                planner.plan.changes.push(Change { group, segment, expected, step });
            }
        }
    }
    planner.plan
}

/// One segment, and where it stands.
struct Place<'a> {
    id: GroupId,
    group: &'a Group,
    at: SegmentId,
    segment: &'a Segment,
}

struct Planner<'a> {
    metadata: &'a Metadata,
    health: &'a Health,
    requests: &'a BTreeSet<Request>,
    clock_floor: Timestamp,
    plan: Plan,
    /// How many copies are filled to, and by, each member.
    transfers: BTreeMap<NodeId, usize>,
    /// How many segments of the group each member serves, or is to serve.
    primaries: BTreeMap<NodeId, usize>,
}

impl Planner<'_> {
    /// Where copies should be.
    fn targets(&self, group: &Group) -> Vec<Vec<NodeId>> {
        let mut candidates = candidates(self.metadata);
        candidates.retain(|candidate| self.health.expected.contains(&candidate.node));
        let before: Vec<Vec<NodeId>> =
            group.segments.iter().map(|segment| segment.target.clone()).collect();
        if candidates.is_empty() {
            return before;
        }
        assign(&candidates, &before, group.settings.copies(candidates.len()))
    }

    fn count_transfers(&mut self, group: &Group) {
        for segment in &group.segments {
            for filling in &segment.syncing {
                *self.transfers.entry(filling.copy.node).or_default() += 1;
                segment.primary.into_iter().for_each(|primary| {
                    *self.transfers.entry(primary).or_default() += 1;
                });
            }
        }
    }

    fn count_primaries(&mut self, group: &Group) {
        self.primaries = self.metadata.members().keys().map(|node| (*node, 0)).collect();
        for primary in group.segments.iter().filter_map(|segment| segment.primary) {
            *self.primaries.entry(primary).or_default() += 1;
        }
    }

    fn has_asked(&self, place: &Place<'_>, wish: Wish) -> bool {
        let (group, segment, epoch) = (place.id, place.at, place.segment.epoch);
        if is_planted("old-wishes") {
            let is_it =
                |one: &Request| (one.group, one.segment, one.wish) == (group, segment, wish);
            return self.requests.iter().any(is_it);
        }
        self.requests.contains(&Request { group, segment, epoch, wish })
    }

    fn step(&mut self, place: &Place<'_>, target: Vec<NodeId>) -> Option<Step> {
        let gone = |node: &NodeId| self.health.gone.contains(node);
        let Some(primary) = place.segment.primary.filter(|primary| !gone(primary)) else {
            return self.succeed(place);
        };
        let asked = self.plan.give_up.len();
        let step = (self.shrink(place, primary))
            .or_else(|| self.relieve(place, primary))
            .or_else(|| self.expand(place))
            .or_else(|| self.fill(place, primary, &target))
            .or_else(|| self.settle(place, primary, &target));
        let waits = self.plan.give_up.len() > asked;
        step.or_else(|| self.replace(place, primary).filter(|_| !waits))
    }

    /// A primary that has given up serves no more in this epoch, though what it was asked for may
    /// not be wanted any more: who was to take over has gone, say. Then another one does, or the
    /// same in a later epoch.
    fn replace(&mut self, place: &Place<'_>, primary: NodeId) -> Option<Step> {
        if !self.has_asked(place, Wish::GaveUp(primary)) {
            return None;
        }
        let insync: Vec<NodeId> = place.segment.insync.iter().map(|copy| copy.node).collect();
        let can = |node: &NodeId| *node != primary && self.health.alive.contains(node);
        let Some(next) = self.heir(insync.iter().copied().filter(can)) else {
            return Some(Step::Vacate);
        };
        *self.primaries.entry(next).or_default() += 1;
        Some(Step::Serve(next, insync, self.clock_floor))
    }

    /// From those that are gone something is taken on the strength of that: they get no new lease
    /// before it is applied (R9).
    fn withhold_from_losers(&mut self, segment: &Segment, step: &Step) {
        let stays = |node: &NodeId| match step {
            Step::Serve(primary, insync, _) => {
                insync.contains(node) && (segment.primary != Some(*node) || primary == node)
            }
            Step::Vacate => segment.primary != Some(*node),
            Step::Expand(..) | Step::Fill(..) | Step::Reset(..) | Step::Force(..) => true,
        };
        let nodes = segment.insync.iter().map(|copy| copy.node).chain(segment.primary);
        let losers = nodes.filter(|node| !stays(node) && self.health.gone.contains(node));
        self.plan.withhold.extend(losers);
    }

    /// Whether the member's process is about to end.
    fn is_stopping(&self, node: NodeId) -> bool {
        self.metadata.members().get(&node).is_some_and(|member| member.stopping)
    }

    /// The primary is gone, or there is none: a copy in sync that is alive takes over, the one
    /// whose member is primary least often; never anybody else (R28).
    fn succeed(&mut self, place: &Place<'_>) -> Option<Step> {
        let segment = place.segment;
        let is_awaited = |copy: &Copy| {
            self.metadata.is_current(*copy) && self.health.awaited.contains(&copy.node)
        };
        let begins = place.group.settings.persist.is_kept() && segment.primary.is_none();
        if begins && segment.insync.iter().any(is_awaited) {
            return None;
        }
        let can = |copy: &&Copy| {
            self.metadata.is_current(**copy) && !self.health.gone.contains(&copy.node)
        };
        let insync: Vec<NodeId> = segment.insync.iter().filter(can).map(|copy| copy.node).collect();
        let alive = insync.iter().copied().filter(|node| self.health.alive.contains(node));
        let anyone = self.health.alive.iter().copied().filter(|_| is_planted("promote-anyone"));
        let alive = alive.chain(anyone);
        let Some(next) = self.heir(alive) else { return self.lose(place, &insync) };
        *self.primaries.entry(next).or_default() += 1;
        let insync = if insync.contains(&next) { insync } else { vec![next] };
        Some(Step::Serve(next, insync, self.clock_floor))
    }

    /// Who of these is to serve a segment: one that goes on, if any does.
    fn heir(&self, alive: impl Iterator<Item = NodeId>) -> Option<NodeId> {
        alive.min_by_key(|node| (self.is_stopping(*node), self.primaries.get(node), *node))
    }

    /// No copy in sync can serve.
    fn lose(&self, place: &Place<'_>, insync: &[NodeId]) -> Option<Step> {
        if !insync.is_empty() {
            return None;
        }
        if place.segment.primary.is_some() {
            return Some(Step::Vacate);
        }
        let is_lost = place.segment.insync.iter().all(|copy| !self.metadata.is_current(*copy));
        // Who was expelled does not come back: an operator has accepted that.
        let is_member = |copy: &Copy| self.metadata.members().contains_key(&copy.node);
        let is_accepted = !place.segment.insync.iter().any(is_member);
        let persist = place.group.settings.persist;
        let stale = place.segment.stale.iter().filter(|_| is_planted("force-unasked"));
        let mut stale = stale.filter(|stale| self.health.alive.contains(&stale.copy.node));
        if let Some(stale) = stale.next() {
            return Some(Step::Force(stale.copy, self.clock_floor));
        }
        if !is_lost || !(is_accepted || (self.health.reset_lost && !persist.is_kept())) {
            return None;
        }
        let wanted = place.segment.target.iter().chain(&self.health.alive);
        let mut alive = wanted.filter(|node| self.has_data(**node));
        let copy = alive.find_map(|node| self.metadata.copy_of(*node, persist))?;
        Some(Step::Reset(copy, self.clock_floor))
    }

    fn has_data(&self, node: NodeId) -> bool {
        let member = self.metadata.members().get(&node);
        self.health.alive.contains(&node)
            && member.is_some_and(|member| member.has_data() && !member.stopping)
    }

    /// Backups that are gone, or do not answer the primary (R21).
    fn shrink(&mut self, place: &Place<'_>, primary: NodeId) -> Option<Step> {
        let mut stay = Vec::new();
        for copy in &place.segment.insync {
            let asked = self.has_asked(place, Wish::Shrink(copy.node));
            let is_gone = self.health.gone.contains(&copy.node) || !self.metadata.is_current(*copy);
            if copy.node == primary || !(is_gone || asked) {
                stay.push(copy.node);
            } else if !is_gone && place.group.settings.local_reads && !is_planted("backup-reads-on")
            {
                // It may serve reads until its lease is over.
                self.plan.withhold.insert(copy.node);
                stay.push(copy.node);
            }
        }
        let shrinks = stay.len() < place.segment.insync.len();
        shrinks.then_some(Step::Serve(primary, stay, self.clock_floor))
    }

    /// Members whose processes are about to end hand over to copies in sync what they have, all of
    /// it: a primary would wait for a copy that has gone without a word (R33, R64).
    fn relieve(&mut self, place: &Place<'_>, primary: NodeId) -> Option<Step> {
        let segment = place.segment;
        let all = || segment.insync.iter().map(|copy| copy.node);
        let going: BTreeSet<NodeId> = all().filter(|node| self.is_stopping(*node)).collect();
        if going.is_empty() {
            return None;
        }
        let stay: Vec<NodeId> = all().filter(|node| !going.contains(node)).collect();
        if !going.contains(&primary) {
            let giving = if place.group.settings.local_reads { going } else { BTreeSet::new() };
            let step = Step::Serve(primary, stay, self.clock_floor);
            return self.once_given_up(place, giving, step);
        }
        let alive = stay.iter().copied().filter(|node| self.health.alive.contains(node));
        let next = self.heir(alive)?;
        let reads = |node: &NodeId| *node == primary || place.group.settings.local_reads;
        let giving = going.into_iter().filter(reads).collect();
        let step = Step::Serve(next, stay, self.clock_floor);
        let step = self.once_given_up(place, giving, step)?;
        *self.primaries.entry(next).or_default() += 1;
        Some(step)
    }

    /// The step, once these serve the segment no more; until then they are asked (R9b).
    fn once_given_up(
        &mut self,
        place: &Place<'_>,
        mut giving: BTreeSet<NodeId>,
        step: Step,
    ) -> Option<Step> {
        giving.retain(|node| !self.has_asked(place, Wish::GaveUp(*node)));
        if giving.is_empty() {
            return Some(step);
        }
        let (group, segment, epoch) = (place.id, place.at, place.segment.epoch);
        let ask = giving.into_iter().map(|node| GiveUp { node, group, segment, epoch });
        self.plan.give_up.extend(ask);
        None
    }

    fn expand(&self, place: &Place<'_>) -> Option<Step> {
        let can = |filling: &&Filling| {
            let wish = Wish::Expand(filling.copy, filling.since);
            self.metadata.is_current(filling.copy) && self.has_asked(place, wish)
        };
        let Filling { copy, since } = place.segment.syncing.iter().find(can)?;
        Some(Step::Expand(*copy, *since))
    }

    /// Begins to fill the copies that should be there, and gives up those that should not.
    fn fill(&mut self, place: &Place<'_>, primary: NodeId, target: &[NodeId]) -> Option<Step> {
        let segment = place.segment;
        let mut syncing: Vec<Copy> = Vec::new();
        for node in target.iter().filter(|node| !segment.is_insync(**node)) {
            let copy = self.metadata.copy_of(*node, place.group.settings.persist);
            let may = |_: &Copy| !self.health.gone.contains(node) && !self.is_stopping(*node);
            let Some(copy) = copy.filter(may) else { continue };
            let known = segment.syncing.iter().find(|filling| filling.copy == copy);
            let abandons = |filling: &Filling| {
                self.has_asked(place, Wish::Abandon(filling.copy, filling.since))
            };
            if known.is_some_and(abandons) {
                continue;
            }
            let goes_on = known.is_some();
            if goes_on || (self.health.alive.contains(node) && self.may_transfer(primary, *node)) {
                syncing.push(copy);
            }
        }
        let before: Vec<Copy> = segment.syncing.iter().map(|filling| filling.copy).collect();
        let is_same = syncing == before && segment.target == target;
        (!is_same).then(|| Step::Fill(syncing, target.to_vec()))
    }

    /// Whether one more transfer may begin; if so it is counted.
    fn may_transfer(&mut self, from: NodeId, to: NodeId) -> bool {
        let busy = |node| self.transfers.get(node).is_some_and(|count| *count >= TRANSFERS_MAX);
        if busy(&from) || busy(&to) {
            return false;
        }
        [from, to].iter().for_each(|node| *self.transfers.entry(*node).or_default() += 1);
        true
    }

    /// All copies that should be there are in sync: those that should not be go, and the one that
    /// should serve serves, once the others have given up what they serve (R33).
    fn settle(&mut self, place: &Place<'_>, primary: NodeId, target: &[NodeId]) -> Option<Step> {
        let segment = place.segment;
        let next = *target.first()?;
        let can = |node: &NodeId| {
            let is_there = segment.is_insync(*node) && self.health.alive.contains(node);
            is_there && !self.is_stopping(*node)
        };
        if !target.iter().all(can) {
            return None;
        }
        let goes = |copy: &&Copy| !target.contains(&copy.node);
        let mut giving = BTreeSet::new();
        if primary != next {
            giving.insert(primary);
        }
        if place.group.settings.local_reads {
            giving.extend(segment.insync.iter().filter(goes).map(|copy| copy.node));
        }
        if primary == next && !segment.insync.iter().any(|copy| goes(&copy)) {
            return None;
        }
        let step = Step::Serve(next, target.to_vec(), self.clock_floor);
        self.once_given_up(place, giving, step)
    }
}

/// The members that may have copies.
fn candidates(metadata: &Metadata) -> Vec<Candidate> {
    let may = |member: &Member| member.has_data() && !member.leaving;
    let members = metadata.members().iter().filter(|(_, member)| may(member));
    let candidate = |(node, member): (&NodeId, &Member)| {
        let (weight, zone) = (member.weight, member.zone.clone());
        Candidate { node: *node, weight, zone }
    };
    members.map(candidate).collect()
}

/// Who owns the segments of a new group, their primaries first: members whose processes run.
#[must_use]
pub fn first_owners(metadata: &Metadata, settings: &GroupSettings) -> Vec<Vec<NodeId>> {
    let mut candidates = candidates(metadata);
    candidates.retain(|candidate| metadata.copy_of(candidate.node, settings.persist).is_some());
    let nobody = vec![Vec::new(); usize::from(metadata.settings().segments)];
    assign(&candidates, &nobody, settings.copies(candidates.len()))
}

/// How far a member's wall clock may be off for it to get a lease, ms (R47).
pub const WALL_SKEW_MAX: u64 = 500;

#[cfg(test)]
mod tests;
