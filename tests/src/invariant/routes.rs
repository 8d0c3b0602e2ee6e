//! Clients route by a table that they fetch when its epoch changes: the same epoch means the same
//! primaries and the same members, whoever is asked.

use std::collections::BTreeMap;

use isogrid_grid::control::Control;
use isogrid_grid::id::{GroupId, NodeId};

use super::View;

type Table = (Vec<NodeId>, Vec<(GroupId, Vec<Option<NodeId>>)>);

/// The table of each topology epoch, as whoever was looked at first had it.
#[derive(Debug, Default)]
pub struct Routes {
    tables: BTreeMap<u64, Table>,
    /// How far each machine's metadata were when they were looked at last.
    seen: BTreeMap<usize, u64>,
}

impl Routes {
    pub(super) fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        let Some(core) = view.core() else { return Ok(()) };
        let index = core.metadata().index();
        if self.seen.insert(view.at, index) == Some(index) {
            return Ok(());
        }
        let (epoch, table) = (core.metadata().routes(), table(core));
        // Nothing has been said yet, and no client takes 0 for a table.
        if epoch == 0 {
            return Ok(());
        }
        let first = self.tables.entry(epoch).or_insert_with(|| table.clone());
        if *first == table {
            return Ok(());
        }
        Err(format!("two tables of the topology epoch {epoch}: {first:?} and {table:?}"))
    }
}

fn table(core: &Control) -> Table {
    let metadata = core.metadata();
    let groups = metadata.groups().iter().map(|(group, state)| {
        (*group, state.segments.iter().map(|segment| segment.primary).collect())
    });
    (metadata.members().keys().copied().collect(), groups.collect())
}
