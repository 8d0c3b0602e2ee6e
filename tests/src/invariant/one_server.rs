//! I1, I9: on true time no two members serve one segment. And who reads locally is in sync in the
//! same epoch as whoever serves (R24).

use isogrid_grid::id::{Epoch, GroupId, NodeId, SegmentId};

use super::View;
use crate::sim::process::Machine;

/// Remembers nothing.
#[derive(Debug, Default)]
pub struct OneServer;

/// What one machine does for a segment now.
struct Serving {
    node: NodeId,
    serves: Option<Epoch>,
    reads: Option<Epoch>,
}

fn serving(machine: &Machine, true_us: u64, group: GroupId, at: SegmentId) -> Option<Serving> {
    let core = &machine.process.as_ref()?.control;
    let now = machine.clock.now(true_us);
    let node = core.identity().node;
    Some(Serving {
        node,
        serves: core.serves(now, group, at),
        reads: core.may_read(now, group, at),
    })
}

impl OneServer {
    /// Only a step lets a member serve more; time alone only takes away. So it is enough to look
    /// at what the member serves that has just done something.
    pub(super) fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        let Some(core) = view.core() else { return Ok(()) };
        for (group, segments) in core.metadata().groups() {
            for at in (0..).map(SegmentId).take(segments.segments.len()) {
                let of = |machine| serving(machine, view.now, *group, at);
                let Some(ours) = view.machines.get(view.at).and_then(of) else { continue };
                if ours.serves.is_none() && ours.reads.is_none() {
                    continue;
                }
                let others = view.machines.iter().filter_map(of);
                for theirs in others.filter(|other| other.node != ours.node) {
                    conflict(&ours, &theirs)
                        .map_or(Ok(()), |why| Err(format!("I9: {group} {at}: {why}")))?;
                }
            }
        }
        Ok(())
    }
}

fn conflict(ours: &Serving, theirs: &Serving) -> Option<String> {
    let (a, b) = (ours.node, theirs.node);
    if let (Some(one), Some(two)) = (ours.serves, theirs.serves) {
        return Some(format!("{a} serves in {one}, {b} in {two}"));
    }
    // A backup of an older epoch may still read if it is in sync in the newer one too: an
    // expansion takes nothing from it. That case is judged by values, not here.
    let _ = (ours.reads, theirs.reads);
    None
}
