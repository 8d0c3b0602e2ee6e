//! I2: what a process knows never goes back: neither the metadata's index nor an epoch.

use std::collections::BTreeMap;

use isogrid_grid::id::{Epoch, GroupId};

use super::View;

/// What each process knew last.
#[derive(Debug, Default)]
pub struct Rising {
    known: BTreeMap<usize, (u64, u64)>,
    epochs: BTreeMap<(usize, GroupId, usize), Epoch>,
}

impl Rising {
    pub(super) fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        let Some(core) = view.core() else { return Ok(()) };
        let boot = view.machines.get(view.at).map_or(0, |machine| machine.boots);
        let index = core.metadata().index();
        let before = self.known.insert(view.at, (boot, index));
        if before == Some((boot, index)) {
            return Ok(());
        }
        let is_same_process = before.is_some_and(|(was, _)| was == boot);
        if is_same_process && before.is_some_and(|(_, was)| was > index) {
            return Err(format!("I2: the metadata of m{} went back to {index}", view.at));
        }
        for (group, segments) in core.metadata().groups() {
            for (at, segment) in segments.segments.iter().enumerate() {
                let was = self.epochs.insert((view.at, *group, at), segment.epoch);
                if is_same_process && was.is_some_and(|was| was > segment.epoch) {
                    return Err(format!("I2: {group} s{at} of m{} went back", view.at));
                }
            }
        }
        Ok(())
    }
}
