//! I23: one leader a term, and the same metadata after the same entry, on all members. And there
//! is one cluster, however many have begun to found one.

use std::collections::BTreeMap;

use isogrid_grid::id::{ClusterId, NodeId};
use xxhash_rust::xxh64::xxh64;

use super::View;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Agreement {
    /// The one that there is.
    cluster: Option<ClusterId>,
    leaders: BTreeMap<u64, NodeId>,
    /// The hash of the metadata after each entry.
    states: BTreeMap<u64, u64>,
    /// How far each machine's metadata were when they were looked at last.
    seen: BTreeMap<usize, u64>,
}

impl Agreement {
    pub(super) fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        let Some(core) = view.core() else { return Ok(()) };
        let (node, cluster) = (core.identity().node, core.identity().cluster);
        let first = *self.cluster.get_or_insert(cluster);
        if first != cluster {
            return Err(format!("two clusters: {first} and {cluster}"));
        }
        if core.leads() {
            let term = core.leader().0;
            let leader = *self.leaders.entry(term).or_insert(node);
            if leader != node {
                return Err(format!("I23: {leader} and {node} both lead in term {term}"));
            }
        }
        let index = core.metadata().index();
        if self.seen.insert(view.at, index) == Some(index) {
            return Ok(());
        }
        let hash = xxh64(&core.metadata().encode(), 0);
        if *self.states.entry(index).or_insert(hash) != hash {
            return Err(format!("I23: {node} has other metadata at {index} than another member"));
        }
        Ok(())
    }

    pub(super) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    pub(super) fn entries(&self) -> usize {
        self.states.len()
    }
}
