//! Where the copies of segments should be: a pure function of the members and of where they
//! should have been so far (R4).
//!
//! Copies stay where they are unless they have to go or somebody has more than its share, so a
//! member that comes or goes moves little more than what it takes or leaves. Copies of one
//! segment go to different zones while there are enough.

use std::collections::BTreeMap;

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
    plan.level_copies();
    plan.level_primaries();
    plan.owners
}

struct Assignment<'a> {
    candidates: BTreeMap<NodeId, &'a Candidate>,
    owners: Vec<Vec<NodeId>>,
    load: BTreeMap<NodeId, u64>,
}

impl<'a> Assignment<'a> {
    fn new(candidates: &'a [Candidate], before: &[Vec<NodeId>], copies: usize) -> Self {
        let candidates: BTreeMap<NodeId, &Candidate> =
            candidates.iter().map(|candidate| (candidate.node, candidate)).collect();
        let keep = |owners: &Vec<NodeId>| {
            let stay = owners.iter().filter(|node| candidates.contains_key(node));
            stay.take(copies).copied().collect()
        };
        let owners: Vec<Vec<NodeId>> = before.iter().map(keep).collect();
        let mut load: BTreeMap<NodeId, u64> = candidates.keys().map(|node| (*node, 0)).collect();
        owners.iter().flatten().for_each(|node| *load.entry(*node).or_default() += 1);
        Assignment { candidates, owners, load }
    }

    /// Gives each segment as many copies as it should have.
    fn fill(&mut self, copies: usize) {
        for at in 0..self.owners.len() {
            while self.owners.get(at).is_some_and(|owners| owners.len() < copies) {
                let Some(node) = self.best_for(at) else { break };
                self.owners.get_mut(at).into_iter().for_each(|owners| owners.push(node));
                *self.load.entry(node).or_default() += 1;
            }
        }
    }

    /// A new zone before a known one, then who has least in proportion.
    fn best_for(&self, at: usize) -> Option<NodeId> {
        let owners = self.owners.get(at)?;
        let others = self.candidates.values().filter(|one| !owners.contains(&one.node));
        let cost = |one: &&&Candidate| {
            let is_known = owners.iter().any(|owner| self.zone(*owner) == one.zone.as_str());
            (is_known, self.share(one.node, 1))
        };
        others.min_by_key(cost).map(|one| one.node)
    }

    fn zone(&self, node: NodeId) -> &str {
        self.candidates.get(&node).map_or("", |one| one.zone.as_str())
    }

    fn weight(&self, node: NodeId) -> u64 {
        self.candidates.get(&node).map_or(1, |one| u64::from(one.weight.max(1)))
    }

    /// What a member would have in proportion to its weight, with so many copies more.
    fn share(&self, node: NodeId, more: u64) -> u64 {
        let load = self.load.get(&node).copied().unwrap_or(0) + more;
        load * SCALE / self.weight(node)
    }

    /// Moves copies from those that have most to those that have least, while it helps.
    fn level_copies(&mut self) {
        let moves_max = self.owners.iter().map(Vec::len).sum::<usize>();
        for _ in 0..moves_max {
            if !self.level_once() {
                break;
            }
        }
    }

    fn level_once(&mut self) -> bool {
        let mut by_share: Vec<NodeId> = self.candidates.keys().copied().collect();
        by_share.sort_by_key(|node| self.share(*node, 0));
        for from in by_share.iter().rev().copied() {
            let less =
                by_share.iter().copied().filter(|to| self.share(*to, 1) < self.share(from, 0));
            let found = less.into_iter().find_map(|to| self.movable(from, to).map(|at| (at, to)));
            if let Some((at, to)) = found {
                self.replace(at, from, to);
                return true;
            }
        }
        false
    }

    /// A segment of which `to` can take the copy of `from` without two of them coming to stand
    /// in one zone.
    fn movable(&self, from: NodeId, to: NodeId) -> Option<usize> {
        self.owners.iter().position(|owners| {
            let mut rest = owners.iter().filter(|node| **node != from);
            owners.contains(&from)
                && !owners.contains(&to)
                && (self.zone(to) == self.zone(from)
                    || rest.all(|node| self.zone(*node) != self.zone(to)))
        })
    }

    fn replace(&mut self, at: usize, from: NodeId, to: NodeId) {
        let owners = self.owners.get_mut(at).into_iter().flatten();
        owners.filter(|node| **node == from).for_each(|node| *node = to);
        *self.load.entry(from).or_default() -= 1;
        *self.load.entry(to).or_default() += 1;
    }

    /// Chooses primaries among the copies so that each member has its share of them.
    fn level_primaries(&mut self) {
        let mut first: BTreeMap<NodeId, u64> = BTreeMap::new();
        self.owners.iter().filter_map(|owners| owners.first()).for_each(|node| {
            *first.entry(*node).or_default() += 1;
        });
        self.load = self
            .candidates
            .keys()
            .map(|node| (*node, first.get(node).copied().unwrap_or(0)))
            .collect();
        for _ in 0..self.owners.len() {
            let better = (0..self.owners.len()).find_map(|at| Some((at, self.better_primary(at)?)));
            let Some((at, to)) = better else { break };
            let Some(owners) = self.owners.get_mut(at) else { break };
            let from = owners.first().copied();
            owners
                .iter()
                .position(|node| *node == to)
                .into_iter()
                .for_each(|to| owners.swap(0, to));
            from.into_iter().for_each(|from| *self.load.entry(from).or_default() -= 1);
            *self.load.entry(to).or_default() += 1;
        }
    }

    fn better_primary(&self, at: usize) -> Option<NodeId> {
        let owners = self.owners.get(at)?;
        let now = owners.first().copied()?;
        let less = owners.iter().copied().filter(|to| self.share(*to, 1) < self.share(now, 0));
        less.min_by_key(|to| self.share(*to, 1))
    }
}

/// Shares are compared in whole numbers: the same on every machine (R76).
const SCALE: u64 = 1 << 20;
