//! I14, I16, R3: how a segment may change from one entry to the next. Whoever serves was in sync,
//! who is in sync is there today, and every such change is a new epoch. A witness has nothing. R63: a
//! stale copy serves when an operator has asked for that, and no copy in sync may come back unseen.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_grid::control::Control;
use isogrid_grid::id::{Copy, Data, Epoch, GroupId, Incarnation, NodeId, SegmentId};
use isogrid_grid::metadata::{Change, Metadata, Role, Segment};

use super::View;

/// The newest metadata that anybody has.
#[derive(Debug, Default)]
pub struct Succession {
    newest: Option<Metadata>,
    /// How often a segment was declared empty.
    resets: BTreeMap<GroupId, u64>,
    /// What an operator has asked for.
    asked: BTreeSet<(GroupId, SegmentId, Epoch)>,
    forced: u64,
    /// Copies that count again, which were written behind these processes.
    pub(super) came_back: Vec<((GroupId, SegmentId), (NodeId, Incarnation))>,
}

/// What of a segment was declared lost: nobody has to find it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// What was below this version, and nobody may find it (R29).
    pub empty: u64,
    /// What was below this version, and what it had replaced may be found again (R63).
    pub any: u64,
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
                if let Some(was) = was {
                    let place = (*group, SegmentId(u16::try_from(at).unwrap_or(0)));
                    let left = segment.insync.iter().filter_map(|copy| ended(was, copy));
                    self.came_back.extend(left.map(|process| (place, process)));
                }
                if let Some(was) = was.filter(|_| is_next) {
                    follows(was, segment).map_err(|why| format!("{group} s{at}: {why}"))?;
                    if is_forced(was, segment) {
                        self.forced += 1;
                        let place = (*group, SegmentId(u16::try_from(at).unwrap_or(0)), was.epoch);
                        self.may_be_forced(place, (before, was), view)?;
                    }
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
    pub(super) fn asked_to_force(&mut self, change: &Change) {
        self.asked.insert((change.group, change.segment, change.expected));
    }

    pub(super) fn forced(&self) -> u64 {
        self.forced
    }

    fn may_be_forced(
        &self,
        place: (GroupId, SegmentId, Epoch),
        (before, was): (&Metadata, &Segment),
        view: &View<'_>,
    ) -> Result<(), String> {
        if !self.asked.contains(&place) {
            return Err(format!("R63: nobody asked for what became of {place:?}: {was:?}"));
        }
        let there = was.insync.iter().filter(|copy| before.is_current(**copy)).find(|copy| {
            view.machines.iter().any(|machine| {
                let now = machine.clock.now(view.now).monotonic;
                let control = machine.process.as_ref().map(|process| &process.control);
                let is_it = |control: &&Control| control.identity().node == copy.node;
                control.filter(is_it).is_some_and(|control| control.lease().holds(now))
            })
        });
        match there {
            Some(copy) => Err(format!("R63: {copy} is in sync and alive: {place:?}, {was:?}")),
            None => Ok(()),
        }
    }

    pub(super) fn lost(&self, group: GroupId, segment: SegmentId) -> Lost {
        let group = self.newest.as_ref().and_then(|newest| newest.groups().get(&group));
        let segment = group.and_then(|group| group.segments.get(usize::from(segment.0)));
        segment.map_or(Lost::default(), |segment| {
            let empty = segment.lost_before;
            Lost { empty, any: empty.max(segment.forced_before) }
        })
    }
}

/// The process that a copy which is written behind was in sync with, when it is now what that left.
fn ended(was: &Segment, now: &Copy) -> Option<(NodeId, Incarnation)> {
    let before = was.insync.iter().find(|copy| copy.node == now.node && *copy != now)?;
    match (before.data, now.data) {
        (Data::Behind(of, process), Data::Behind(is, _)) if of == is => Some((now.node, process)),
        _ => None,
    }
}

/// R62: what is on disks counts when no process is left that was in sync.
fn all_ended(was: &Segment, now: &Segment) -> bool {
    !was.insync.iter().any(|copy| now.insync.contains(copy))
}

fn is_reset(was: &Segment, now: &Segment) -> bool {
    was.lost_before != now.lost_before
}

fn is_forced(was: &Segment, now: &Segment) -> bool {
    was.forced_before != now.forced_before
}

fn follows(was: &Segment, now: &Segment) -> Result<(), String> {
    let is_same = (was.primary, &was.insync) == (now.primary, &now.insync);
    let step = now.epoch.0 - was.epoch.0;
    if step != u32::from(!is_same) {
        return Err(format!("R3: {was:?} became {now:?}"));
    }
    let is_declared = is_reset(was, now) || is_forced(was, now);
    let promoted = now.primary.filter(|primary| was.primary != Some(*primary));
    if promoted.is_some_and(|primary| !was.is_insync(primary)) && !is_declared {
        return Err(format!("I16: {promoted:?} serves and was not in sync: {was:?}"));
    }
    let new = now.insync.iter().find(|copy| !was.insync.contains(copy));
    let was_filled = |copy: &Copy| was.syncing.iter().any(|filling| filling.copy == *copy);
    let comes_back = |copy: &Copy| ended(was, copy).is_some() && all_ended(was, now);
    if new.is_some_and(|copy| !was_filled(copy) && !comes_back(copy)) && !is_declared {
        return Err(format!("I16: {new:?} is in sync and was never filled: {was:?}"));
    }
    Ok(())
}

fn holds(metadata: &Metadata, segment: &Segment) -> Result<(), String> {
    if segment.insync.is_empty() {
        return Err("R29: no copy is listed".into());
    }
    let mut witnesses = metadata.members().iter().filter(|(_, one)| one.role == Role::Witness);
    if let Some((witness, _)) = witnesses.find(|(node, _)| segment.names(**node)) {
        return Err(format!("{witness} is a witness and has a copy: {segment:?}"));
    }
    // Of one that was written behind its process something may be left: it is taken out next.
    let mut stale = segment.insync.iter().filter(|copy| !metadata.is_current(**copy));
    let stale = stale.find(|copy| metadata.today(**copy).is_none());
    match (segment.primary, stale) {
        (Some(_), Some(stale)) => Err(format!("I14: {stale} is in sync and is not there")),
        (Some(primary), None) if !segment.is_insync(primary) => {
            Err(format!("I16: {primary} serves and is not in sync"))
        }
        _ => Ok(()),
    }
}
