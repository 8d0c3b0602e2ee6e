//! I6: copies in sync that have committed the same are the same.

use std::collections::BTreeMap;

use isogrid_grid::id::{GroupId, SegmentId};
use isogrid_grid::replica::Answers;

use crate::sim::kv::{Key, Kv};
use crate::sim::process::Machine;

/// What a copy holds, the answers to what may come again included.
type Entries = (BTreeMap<Key, (u64, u64)>, Answers);

/// Compares the copies of all machines.
///
/// # Errors
/// Two that differ.
pub fn check(machines: &[Machine]) -> Result<(), String> {
    let mut known: BTreeMap<(GroupId, SegmentId, u64), (usize, Entries)> = BTreeMap::new();
    for (at, machine) in machines.iter().enumerate() {
        let Some(process) = &machine.process else { continue };
        let metadata = process.control.metadata();
        let us = process.control.identity().node;
        for (group, segment, replica, base) in process.server.copies() {
            let view = metadata.groups().get(&group);
            let view = view.and_then(|group| group.segments.get(usize::from(segment.0)));
            let is_insync = view.is_some_and(|view| {
                view.insync.iter().any(|copy| copy.node == us && metadata.is_current(*copy))
            });
            if !is_insync || view.map(|view| view.epoch) != Some(replica.epoch()) {
                continue;
            }
            let place = (group, segment, replica.committed());
            let entries = |base: &Kv| (base.entries().clone(), base.answers.clone());
            let (other, theirs) = known.entry(place).or_insert_with(|| (at, entries(base)));
            if *theirs != entries(base) {
                return Err(format!("I6: {place:?} differs between m{other} and m{at}"));
            }
        }
    }
    Ok(())
}
