//! I6: once nothing happens any more, copies in sync have committed the same and are the same.

use std::collections::BTreeMap;

use isogrid_grid::id::{Copy, GroupId, NodeId, SegmentId};
use isogrid_grid::metadata::Metadata;

use crate::sim::kv::Key;
use crate::sim::process::Machine;

/// What a copy holds: up to where it is committed, and the entries.
type Holds<'a> = (u64, &'a BTreeMap<Key, (u64, u64)>);

/// Compares the copies of all machines, as far as the metadata say that they are in sync: a process
/// that was removed knows older ones.
///
/// # Errors
/// Two that differ.
pub fn check(metadata: &Metadata, machines: &[Machine]) -> Result<(), String> {
    let mut known: BTreeMap<(GroupId, SegmentId), (NodeId, Holds<'_>)> = BTreeMap::new();
    for process in machines.iter().filter_map(|machine| machine.process.as_ref()) {
        let us = process.control.identity().node;
        for (group, segment, replica, base) in process.server.copies() {
            let view = metadata.groups().get(&group).map(|group| &group.segments);
            let view = view.and_then(|segments| segments.get(usize::from(segment.0)));
            let is_ours = |copy: &&Copy| copy.node == us && metadata.is_current(**copy);
            if view.is_none_or(|view| !view.insync.iter().any(|copy| is_ours(&copy))) {
                continue;
            }
            let ours = (replica.committed(), base.entries());
            let (other, theirs) = *known.entry((group, segment)).or_insert((us, ours));
            if theirs != ours {
                let differ = differ(theirs, ours);
                return Err(format!(
                    "I6: {group:?} {segment:?} differs, {other} and {us}: {differ}"
                ));
            }
        }
    }
    Ok(())
}

/// In what two copies differ.
fn differ((committed, theirs): Holds<'_>, (here, ours): Holds<'_>) -> String {
    let one_sided = |key: &&Key| theirs.get(key) != ours.get(key);
    let keys = theirs.keys().chain(ours.keys()).filter(one_sided);
    let entry = |key: &Key| format!("{key}: {:?} and {:?}", theirs.get(key), ours.get(key));
    let entries: BTreeMap<Key, String> = keys.map(|key| (*key, entry(key))).collect();
    format!("committed {committed} and {here}, {:?}", entries.values())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named() {
        let (one, other) = ([(1, (5, 2)), (2, (7, 1))].into(), [(1, (5, 2))].into());
        let said = differ((4, &one), (3, &other));
        assert_eq!(said, r#"committed 4 and 3, ["2: Some((7, 1)) and None"]"#);
    }
}
