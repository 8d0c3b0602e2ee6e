//! Where others are reached that are not where the metadata say: those that are no members, and members
//! whose addresses have changed while nobody could tell the cluster so. When all nodes come back with
//! other addresses, none knows of any.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_grid::id::NodeId;

/// What is known beside the metadata.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Who is no member and said something last, and where it is reached. One that has left is told so
    /// when it asks, and is in no list any more.
    stranger: Option<(NodeId, String)>,
    /// Members that said something from elsewhere than they are known to be.
    moved: BTreeMap<NodeId, String>,
    /// Where members may be.
    seeds: Vec<String>,
}

impl Places {
    /// Members may be here, and nowhere else.
    pub(super) fn look_at(&mut self, seeds: Vec<String>) {
        self.seeds = seeds;
    }

    /// This one said something; `elsewhere`: from where, if it is not `known` to be there.
    pub(super) fn heard(&mut self, from: NodeId, known: Option<&str>, elsewhere: Option<String>) {
        self.stranger = None;
        match (known, elsewhere) {
            (None, elsewhere) => self.stranger = elsewhere.map(|address| (from, address)),
            (Some(_), Some(address)) => drop(self.moved.insert(from, address)),
            (Some(_), None) => drop(self.moved.remove(&from)),
        }
    }

    /// All places where this one may be, which is `known` to be there. Where no leader is known, that is
    /// anywhere: who gets what is not for him leaves it alone.
    pub(super) fn of<'a>(
        &'a self,
        to: NodeId,
        known: Option<&'a str>,
        has_leader: bool,
    ) -> BTreeSet<&'a str> {
        let stranger = self.stranger.iter().filter(|(node, _)| *node == to && known.is_none());
        let told = stranger.map(|(_, address)| address).chain(self.moved.get(&to));
        let seeds = self.seeds.iter().filter(|_| !has_leader);
        known.into_iter().chain(told.chain(seeds).map(String::as_str)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_looked_for_where_it_was_heard_and_anywhere_without_a_leader() {
        let mut places = Places::default();
        let found = |places: &Places, to, known, has_leader| {
            places.of(NodeId(to), known, has_leader).into_iter().collect::<Vec<_>>().join(" ")
        };
        let known = Some("a");
        assert_eq!([true, false].map(|led| found(&places, 1, known, led)), ["a", "a"]);
        places.look_at(vec!["s".to_owned(), "t".to_owned()]);
        assert_eq!([true, false].map(|led| found(&places, 1, known, led)), ["a", "a s t"]);
        for (from, known, elsewhere, to_1, to_2) in [
            (1, Some("a"), Some("b"), "a b", ""),
            (2, None, Some("x"), "a b", "x"),
            // It is no member: only what follows at once is said to it.
            (1, Some("a"), Some("c"), "a c", ""),
            (1, Some("a"), None, "a", ""),
        ] {
            places.heard(NodeId(from), known, elsewhere.map(str::to_owned));
            let all = [found(&places, 1, Some("a"), true), found(&places, 2, None, true)];
            assert_eq!(all, [to_1, to_2], "{from} {elsewhere:?}");
        }
    }
}
