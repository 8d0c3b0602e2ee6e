//! I14, I16, R3: how a segment may change from one entry to the next. Whoever serves was in sync,
//! who is in sync is there today, and every such change is a new epoch.

use std::collections::BTreeMap;

use isogrid_grid::id::{GroupId, SegmentId};
use isogrid_grid::metadata::{Metadata, Segment};

use super::View;

/// The newest metadata that anybody has.
#[derive(Debug, Default)]
pub struct Succession {
    newest: Option<Metadata>,
    /// How often a segment was declared empty.
    resets: BTreeMap<GroupId, u64>,
}

impl Succession {
    pub(super) fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        let Some(core) = view.core() else { return Ok(()) };
        let now = core.metadata();
        let Some(before) = &self.newest else {
            self.newest = Some(now.clone());
            return Ok(());
        };
        if now.index() <= before.index() {
            return Ok(());
        }
        // A snapshot skips entries; what they did is judged where they were applied one by one.
        let is_next = now.index() == before.index() + 1;
        for (group, segments) in now.groups() {
            for (at, segment) in segments.segments.iter().enumerate() {
                let was = before.groups().get(group).and_then(|group| group.segments.get(at));
                if let Some(was) = was.filter(|_| is_next) {
                    follows(was, segment).map_err(|why| format!("{group} s{at}: {why}"))?;
                    *self.resets.entry(*group).or_default() += u64::from(is_reset(was, segment));
                }
                holds(now, segment).map_err(|why| format!("{group} s{at}: {why}"))?;
            }
        }
        self.newest = Some(now.clone());
        Ok(())
    }
}

impl Succession {
    pub(super) fn lost_before(&self, group: GroupId, segment: SegmentId) -> u64 {
        let group = self.newest.as_ref().and_then(|newest| newest.groups().get(&group));
        let segment = group.and_then(|group| group.segments.get(usize::from(segment.0)));
        segment.map_or(0, |segment| segment.lost_before)
    }
}

fn is_reset(was: &Segment, now: &Segment) -> bool {
    was.lost_before != now.lost_before
}

fn follows(was: &Segment, now: &Segment) -> Result<(), String> {
    let is_same = (was.primary, &was.insync) == (now.primary, &now.insync);
    let step = now.epoch.0 - was.epoch.0;
    if step != u32::from(!is_same) {
        return Err(format!("R3: {was:?} became {now:?}"));
    }
    let promoted = now.primary.filter(|primary| was.primary != Some(*primary));
    if promoted.is_some_and(|primary| !was.is_insync(primary)) && !is_reset(was, now) {
        return Err(format!("I16: {promoted:?} serves and was not in sync: {was:?}"));
    }
    let new = now.insync.iter().find(|copy| !was.insync.contains(copy));
    let was_filled = |copy| was.syncing.iter().any(|filling| filling.copy == copy);
    if new.is_some_and(|copy| !was_filled(*copy)) && !is_reset(was, now) {
        return Err(format!("I16: {new:?} is in sync and was never filled: {was:?}"));
    }
    Ok(())
}

fn holds(metadata: &Metadata, segment: &Segment) -> Result<(), String> {
    if segment.insync.is_empty() {
        return Err("R29: no copy is listed".into());
    }
    let stale = segment.insync.iter().find(|copy| !metadata.is_current(**copy));
    match (segment.primary, stale) {
        (Some(_), Some(stale)) => Err(format!("I14: {stale} is in sync and is not there")),
        (Some(primary), None) if !segment.is_insync(primary) => {
            Err(format!("I16: {primary} serves and is not in sync"))
        }
        _ => Ok(()),
    }
}
