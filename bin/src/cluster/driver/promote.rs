//! Stale copies that are to serve because an operator says so (R63).

use isogrid_engine::Timestamp;
use isogrid_grid::control::Event;
use isogrid_grid::id::{Epoch, GroupId, NodeId, SegmentId};
use isogrid_grid::metadata::{Change, Command, Metadata, Step};
use isogrid_grid::segment::WALL_SKEW_MAX;

use super::{Core, Driver};
use crate::cluster::Promoted;

impl Driver {
    pub(super) fn promote(&mut self, group: GroupId, all: &[Promoted]) {
        let Core::Member(control) = &self.core else { return };
        let floor = self.cluster.now().wall + WALL_SKEW_MAX;
        let change = |one: &Promoted| promotion(control.metadata(), group, one, floor);
        let changes: Vec<Change> = all.iter().filter_map(change).collect();
        self.step(Event::Propose(Command::Change(changes)));
    }
}

fn promotion(
    metadata: &Metadata,
    group: GroupId,
    promoted: &Promoted,
    floor: Timestamp,
) -> Option<Change> {
    let state = metadata.groups().get(&group)?;
    let copy = metadata.copy_of(NodeId(promoted.member), state.settings.persist)?;
    let is_stale = state.segments.get(promoted.segment)?.stale.iter().any(|one| one.copy == copy);
    let step = if is_stale { Step::Force(copy, floor) } else { Step::Reset(copy, floor) };
    let segment = SegmentId(u16::try_from(promoted.segment).ok()?);
    Some(Change { group, segment, expected: Epoch(promoted.epoch), step })
}
