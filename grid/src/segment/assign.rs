//! Where the copies of segments should be: a pure function of the members and of where they
//! should have been so far (R4).
//!
//! Copies stay where they are unless they have to go or somebody has more than its share, so a
//! member that comes or goes moves little more than what it takes or leaves. Copies of one
//! segment go to different zones while there are enough, even where a small zone gets more than
//! its share by that.
//!
//! Shares are leveled as flows are: who has too much gives to whom it can, which gives on what it
//! has too much now, until it comes to one that has too little (augmenting paths, Ford and
//! Fulkerson 1956). Single moves would get stuck where copies may not go everywhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use isogrid_engine::env::split_mix;

use crate::id::NodeId;

/// A member that may have copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which member.
    pub node: NodeId,
    /// How much it takes in proportion to others. At least 1.
    pub weight: u16,
    /// Where it stands; may be empty.
    pub zone: String,
}

/// The members that should have each segment, its primary first, `copies` of them or as many as
/// there are. `before` says who should have had it so far.
#[must_use]
pub fn assign(candidates: &[Candidate], before: &[Vec<NodeId>], copies: usize) -> Vec<Vec<NodeId>> {
    let copies = copies.min(candidates.len());
    let mut plan = Assignment::new(candidates, before, copies);
    plan.fill(copies);
    if copies < candidates.len() {
        // What comes to a segment anew comes from afar anyway: where it goes costs nothing more.
        plan.level(&|plan, from| plan.moves(from, |owners| !owners.contains(&from)), replace);
        plan.level(&|plan, from| plan.moves(from, |_| true), replace);
    }
    plan.count_primaries();
    plan.level(&Assignment::promotions, promote);
    plan.owners
}

struct Assignment<'a> {
    candidates: BTreeMap<NodeId, &'a Candidate>,
    before: &'a [Vec<NodeId>],
    owners: Vec<Vec<NodeId>>,
    /// What is to be leveled: copies, then primaries.
    load: BTreeMap<NodeId, u64>,
}

/// In the segment `at`, `to` takes what `from` had.
#[derive(Clone, Copy)]
struct Move {
    at: usize,
    from: NodeId,
    to: NodeId,
}

impl<'a> Assignment<'a> {
    fn new(candidates: &'a [Candidate], before: &'a [Vec<NodeId>], copies: usize) -> Self {
        let candidates: BTreeMap<NodeId, &Candidate> =
            candidates.iter().map(|candidate| (candidate.node, candidate)).collect();
        let zones: BTreeSet<&str> = candidates.values().map(|one| one.zone.as_str()).collect();
        let mut load: BTreeMap<NodeId, u64> = candidates.keys().map(|node| (*node, 0)).collect();
        let zones = zones.len().min(copies);
        let keep = |owners: &Vec<NodeId>| keep(&candidates, owners, copies, zones);
        let owners: Vec<Vec<NodeId>> = before.iter().map(keep).collect();
        owners.iter().flatten().for_each(|node| *load.entry(*node).or_default() += 1);
        Assignment { candidates, before, owners, load }
    }

    /// Gives each segment as many copies as it should have.
    fn fill(&mut self, copies: usize) {
        for at in 0..self.owners.len() {
            let mut owners = self.owners.get_mut(at).map(std::mem::take).unwrap_or_default();
            let mut others: BTreeSet<NodeId> = self.candidates.keys().copied().collect();
            others.retain(|node| !owners.contains(node));
            let mut zones: BTreeSet<&str> = owners.iter().map(|node| self.zone(*node)).collect();
            while owners.len() < copies {
                let Some(node) = self.best_for(at, &others, &zones) else { break };
                others.remove(&node);
                zones.insert(self.zone(node));
                owners.push(node);
                *self.load.entry(node).or_default() += 1;
            }
            self.owners.get_mut(at).into_iter().for_each(|place| place.append(&mut owners));
        }
    }

    /// A new zone before a known one, then who has least in proportion. Of equals it is another
    /// one for each segment, so that what a member leaves behind falls to many.
    fn best_for(
        &self,
        at: usize,
        others: &BTreeSet<NodeId>,
        zones: &BTreeSet<&str>,
    ) -> Option<NodeId> {
        let cost = |node: &NodeId| {
            let mut lot = (at as u64) << 32 ^ node.0;
            (zones.contains(self.zone(*node)), self.share(*node, 1), split_mix(&mut lot), *node)
        };
        others.iter().copied().min_by_key(cost)
    }

    fn zone(&self, node: NodeId) -> &'a str {
        self.candidates.get(&node).map_or("", |one| one.zone.as_str())
    }

    fn weight(&self, node: NodeId) -> u64 {
        self.candidates.get(&node).map_or(1, |one| u64::from(one.weight.max(1)))
    }

    /// What a member would have in proportion to its weight, with so many more.
    fn share(&self, node: NodeId, more: u64) -> u64 {
        let load = self.load.get(&node).copied().unwrap_or(0) + more;
        load * SCALE / self.weight(node)
    }

    /// Moves from those that have most to those that have least, while the one that has more
    /// than the other has less than it had then. That comes to an end: of the shares, in falling
    /// order, the first that changes falls.
    fn level(&mut self, moves: &Moves<'a>, do_one: fn(&mut [NodeId], Move)) {
        while let Some(path) = self.path(moves) {
            for step in path {
                self.owners.get_mut(step.at).into_iter().for_each(|owners| do_one(owners, step));
                *self.load.entry(step.from).or_default() -= 1;
                *self.load.entry(step.to).or_default() += 1;
            }
        }
    }

    /// Moves of which the last ends where there is little, and the first begins where there is
    /// much.
    fn path(&self, moves: &Moves<'a>) -> Option<Vec<Move>> {
        let mut sources: Vec<NodeId> = self.candidates.keys().copied().collect();
        sources.sort_by_key(|node| (self.share(*node, 0), *node));
        let least = sources.iter().map(|node| self.share(*node, 1)).min()?;
        // What is behind one that has more was seen already, and nothing was there.
        let mut seen = BTreeSet::new();
        let sources = sources.into_iter().rev();
        sources
            .take_while(|from| least < self.share(*from, 0))
            .find_map(|from| self.path_from(from, moves, &mut seen))
    }

    fn path_from(
        &self,
        from: NodeId,
        moves: &Moves<'a>,
        seen: &mut BTreeSet<NodeId>,
    ) -> Option<Vec<Move>> {
        let mut came: BTreeMap<NodeId, Move> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        seen.insert(from).then_some(())?;
        while let Some(node) = queue.pop_front() {
            let new: Vec<Move> =
                moves(self, node).into_iter().filter(|step| seen.insert(step.to)).collect();
            came.extend(new.iter().map(|step| (step.to, *step)));
            let better = new.iter().filter(|step| self.share(step.to, 1) < self.share(from, 0));
            if let Some(last) = better.min_by_key(|step| self.share(step.to, 1)) {
                return trace(&came, *last);
            }
            queue.extend(new.iter().map(|step| step.to));
        }
        None
    }

    /// Where the copies of `from` could go, of segments whose former owners are such. No segment
    /// comes to stand in fewer zones.
    fn moves(&self, from: NodeId, is_such: impl Fn(&[NodeId]) -> bool) -> Vec<Move> {
        let segments = self.owners.iter().zip(self.before).enumerate();
        let ours =
            segments.filter(|(_, (owners, before))| owners.contains(&from) && is_such(before));
        let ours: Vec<(usize, &Vec<NodeId>)> = ours.map(|(at, (owners, _))| (at, owners)).collect();
        let to = |to: NodeId| {
            let found = ours.iter().find(|(_, owners)| self.may_replace(owners, from, to));
            found.map(|(at, _)| Move { at: *at, from, to })
        };
        self.candidates.keys().filter_map(|node| to(*node)).collect()
    }

    fn may_replace(&self, owners: &[NodeId], from: NodeId, to: NodeId) -> bool {
        #[cfg(test)]
        tests::LOOKS.set(tests::LOOKS.get() + 1);
        let stands_in = |zone| owners.iter().any(|node| *node != from && self.zone(*node) == zone);
        !owners.contains(&to)
            && (self.zone(to) == self.zone(from)
                || !stands_in(self.zone(to))
                || stands_in(self.zone(from)))
    }

    fn count_primaries(&mut self) {
        self.load.values_mut().for_each(|load| *load = 0);
        let first = self.owners.iter().filter_map(|owners| owners.first());
        first.for_each(|node| *self.load.entry(*node).or_default() += 1);
    }

    /// Which copies could serve instead of those of `from`.
    fn promotions(&self, from: NodeId) -> Vec<Move> {
        let ours =
            self.owners.iter().enumerate().filter(|(_, owners)| owners.first() == Some(&from));
        let others = |(at, owners): (usize, &'_ Vec<NodeId>)| -> Vec<Move> {
            owners.iter().skip(1).map(|to| Move { at, from, to: *to }).collect()
        };
        ours.flat_map(others).collect()
    }
}

/// What a member could give, and to whom.
type Moves<'a> = dyn Fn(&Assignment<'a>, NodeId) -> Vec<Move>;

/// Of the owners so far those that may stay, at most `copies`. While they do not stand in as many
/// `zones` as they could, the last one that shares its zone goes.
fn keep(
    candidates: &BTreeMap<NodeId, &Candidate>,
    before: &[NodeId],
    copies: usize,
    zones: usize,
) -> Vec<NodeId> {
    let mut owners: Vec<NodeId> = Vec::new();
    for node in before.iter().filter(|node| candidates.contains_key(node)) {
        if owners.len() < copies && !owners.contains(node) {
            owners.push(*node);
        }
    }
    let zone = |node: &NodeId| candidates.get(node).map(|one| one.zone.as_str());
    let distinct = owners.iter().map(zone).collect::<BTreeSet<_>>().len();
    // Each place that is free can get a new zone.
    let mut lacking = (zones - distinct.min(zones)).saturating_sub(copies - owners.len());
    for at in (0..owners.len()).rev() {
        let (first, rest) = owners.split_at(at);
        let is_double =
            rest.first().is_some_and(|node| first.iter().any(|one| zone(one) == zone(node)));
        if lacking > 0 && is_double {
            owners.remove(at);
            lacking -= 1;
        }
    }
    owners
}

fn replace(owners: &mut [NodeId], step: Move) {
    let place = owners.iter_mut().find(|node| **node == step.from);
    place.into_iter().for_each(|node| *node = step.to);
}

fn promote(owners: &mut [NodeId], step: Move) {
    let place = owners.iter().position(|node| *node == step.to);
    place.into_iter().for_each(|at| owners.swap(0, at));
}

/// The moves that end with this one. Two in one segment might not go together: there are none
/// then.
fn trace(came: &BTreeMap<NodeId, Move>, last: Move) -> Option<Vec<Move>> {
    let path: Vec<Move> =
        std::iter::successors(Some(last), |step| came.get(&step.from).copied()).collect();
    let segments: BTreeSet<usize> = path.iter().map(|step| step.at).collect();
    (segments.len() == path.len()).then_some(path)
}

/// Shares are compared in whole numbers: the same on every machine (R76).
const SCALE: u64 = 1 << 20;

#[cfg(test)]
mod tests;
