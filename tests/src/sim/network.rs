//! The network between members: each message takes its own time, and may not come, or come twice.

use std::collections::BTreeSet;

use isogrid_grid::id::NodeId;

use super::chance::Chance;
use super::options::Options;

/// The network.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Ways that are cut, each in one direction.
    cut: BTreeSet<(NodeId, NodeId)>,
}

/// The shapes of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One member against all others.
    Isolate,
    /// What one member says does not arrive.
    Mute,
    /// One member hears nothing.
    Deaf,
    /// One member and another one against all others.
    Pair,
    /// Two parts.
    Halves,
    /// Two parts, and one member that sees both.
    Bridge,
}

/// Those that are drawn.
pub const SHAPES: [Shape; 5] =
    [Shape::Isolate, Shape::Mute, Shape::Deaf, Shape::Halves, Shape::Bridge];

impl Network {
    /// When a message arrives: not at all, once or twice, each so many microseconds from now.
    pub fn send(
        &self,
        from: NodeId,
        to: NodeId,
        options: &Options,
        chance: &mut Chance,
    ) -> impl Iterator<Item = u64> + use<> {
        let mut arrivals = [None; 2];
        if !self.cut.contains(&(from, to)) && !chance.hits(options.drop_per_million) {
            let copies = if chance.hits(options.repeat_per_million) { 2 } else { 1 };
            arrivals.iter_mut().take(copies).for_each(|one| *one = Some(delay(options, chance)));
        }
        arrivals.into_iter().flatten()
    }

    /// Whether a message can go this way.
    #[must_use]
    pub fn is_open(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Cuts the network into this shape around `node`.
    pub fn partition(&mut self, shape: Shape, node: NodeId, all: &[NodeId]) {
        let others = || all.iter().copied().filter(move |other| *other != node);
        let half = others().count() / 2;
        match shape {
            Shape::Isolate => others().for_each(|other| self.cut_both(node, other)),
            Shape::Pair => {
                let here: Vec<NodeId> = others().next_back().into_iter().chain([node]).collect();
                self.cut_between(&here, all);
            }
            Shape::Mute => self.cut.extend(others().map(|other| (node, other))),
            Shape::Deaf => self.cut.extend(others().map(|other| (other, node))),
            Shape::Halves => {
                let here: Vec<NodeId> = others().take(half).chain([node]).collect();
                self.cut_between(&here, all);
            }
            Shape::Bridge => {
                let here: Vec<NodeId> = others().take(half).collect();
                let there: Vec<NodeId> = others().skip(half).collect();
                here.iter().for_each(|a| there.iter().for_each(|b| self.cut_both(*a, *b)));
            }
        }
    }

    fn cut_between(&mut self, here: &[NodeId], all: &[NodeId]) {
        let there: Vec<NodeId> = all.iter().copied().filter(|node| !here.contains(node)).collect();
        here.iter().for_each(|a| there.iter().for_each(|b| self.cut_both(*a, *b)));
    }

    fn cut_both(&mut self, a: NodeId, b: NodeId) {
        self.cut.extend([(a, b), (b, a)]);
    }

    /// Cuts one way, or opens it.
    pub fn set(&mut self, from: NodeId, to: NodeId, is_open: bool) {
        if is_open {
            self.cut.remove(&(from, to));
        } else {
            self.cut.insert((from, to));
        }
    }

    /// All ways are open again.
    pub fn heal(&mut self) {
        self.cut.clear();
    }
}

fn delay(options: &Options, chance: &mut Chance) -> u64 {
    if chance.hits(options.late_per_million) {
        chance.between(1_000, 1_000 * options.late_ms_max)
    } else {
        chance.between(100, 3_000)
    }
}
