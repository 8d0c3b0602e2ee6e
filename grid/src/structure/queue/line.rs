//! Which messages can be delivered, in their order: those of a higher priority first, then by id. Of a
//! group only the first message can, and only while none of the group is in flight (R88).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::options::PRIORITY_MAX;
use crate::mutant::is_planted;

/// A message in the line.
#[derive(Debug, Clone)]
pub(super) struct Stand {
    pub id: u64,
    pub priority: u8,
    pub group: Option<Arc<[u8]>>,
}

/// Whether a message may be delivered, when it is its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may.
    Now,
    /// It may not yet.
    Later,
    /// Somebody has it.
    InFlight,
}

/// The messages that can be delivered, and those that stand behind others of their group.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    ready: BTreeSet<(u8, u64)>,
    groups: BTreeMap<Arc<[u8]>, Group>,
}

/// Messages of a group that are neither done nor dead.
#[derive(Debug, Clone, Default)]
struct Group {
    all: BTreeMap<u64, (u8, Turn)>,
    /// How many of them somebody has: more than one where a member took over that knows of a delivery
    /// which was over already.
    in_flight: usize,
}

impl Line {
    /// The next one.
    pub fn first(&self) -> Option<u64> {
        let first = if is_planted("queue-newest-first") { BTreeSet::last } else { BTreeSet::first };
        first(&self.ready).map(|(_, id)| *id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// A message is in the queue, and this is its turn.
    pub fn set(&mut self, stand: &Stand, turn: Turn) {
        self.change(stand, Some(turn));
    }

    /// A message is in the queue no more, or is dead.
    pub fn remove(&mut self, stand: &Stand) {
        self.change(stand, None);
    }

    fn change(&mut self, Stand { id, priority, group }: &Stand, turn: Option<Turn>) {
        let Some(name) = group else { return self.show(*id, *priority, turn == Some(Turn::Now)) };
        let mut group = self.groups.remove(name).unwrap_or_default();
        // Who was first may be so no more.
        if let Some((first, (priority, _))) = group.all.first_key_value() {
            self.show(*first, *priority, false);
        }
        let before = match turn {
            Some(turn) => group.all.insert(*id, (*priority, turn)),
            None => group.all.remove(id),
        };
        let is_held = |turn: Option<Turn>| usize::from(turn == Some(Turn::InFlight));
        group.in_flight += is_held(turn);
        group.in_flight -= is_held(before.map(|(_, turn)| turn));
        if let Some((first, (priority, turn))) = group.all.first_key_value() {
            self.show(*first, *priority, *turn == Turn::Now && group.in_flight == 0);
            self.groups.insert(Arc::clone(name), group);
        }
    }

    fn show(&mut self, id: u64, priority: u8, is_ready: bool) {
        let place = (PRIORITY_MAX.saturating_sub(priority), id);
        match is_ready {
            true => drop(self.ready.insert(place)),
            false => drop(self.ready.remove(&place)),
        }
    }
}
