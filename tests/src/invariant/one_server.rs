//! I1, I9: on true time no two members serve one segment. That who reads locally is in sync (R24) is
//! judged by what is read: a backup of an older epoch may still read if it is in sync in the newer
//! one too, since an expansion takes nothing from it.

use isogrid_grid::id::{Epoch, GroupId, NodeId, SegmentId};

use super::View;
use crate::sim::process::Machine;

/// Remembers nothing.
#[derive(Debug, Default)]
pub struct OneServer;

/// Which member serves a segment on a machine now, and in which epoch.
fn serving(
    machine: &Machine,
    true_us: u64,
    (group, at): (GroupId, SegmentId),
) -> Option<(NodeId, Epoch)> {
    let core = &machine.process.as_ref()?.control;
    let epoch = core.serves(machine.clock.now(true_us), group, at)?;
    Some((core.identity().node, epoch))
}

impl OneServer {
    /// Only a step lets a member serve more; time alone only takes away. So it is enough to look
    /// at what the member serves that has just done something.
    pub(super) fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        let (Some(core), Some(us)) = (view.core(), view.machines.get(view.at)) else {
            return Ok(());
        };
        for (group, segments) in core.metadata().groups() {
            for at in (0..).map(SegmentId).take(segments.segments.len()) {
                let of = |machine| serving(machine, view.now, (*group, at));
                let Some((a, one)) = of(us) else { continue };
                let mut others = view.machines.iter().filter_map(of);
                if let Some((b, two)) = others.find(|(node, _)| *node != a) {
                    return Err(format!("I9: {group} {at}: {a} serves in {one}, {b} in {two}"));
                }
            }
        }
        Ok(())
    }
}
