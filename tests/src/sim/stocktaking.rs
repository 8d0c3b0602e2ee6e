//! What queues have in the end: looked at where they are served, and taken out to the last message.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_engine::Timestamp;
use isogrid_grid::id::Copy;
use isogrid_grid::metadata::Metadata;
use isogrid_grid::structure::Structure;
use isogrid_grid::structure::queue::{Place, Puller, Queue, QueueOp, QueueReply, Which};

use super::groups::QUEUES;
use super::job::{KINDS, Name, Stamp, name_of};
use super::process::Machine;
use super::server::Moment;
use super::workers::segment_of;
use super::world::World;
use crate::invariant::total_queue::Left;

/// Longer than any time of a message, ms.
const LONG_MS: u64 = 100_000;

/// What a queue has, when that was so; no messages: there is no such queue.
type Found = (Stamp, Option<Vec<Left>>);
/// The entries of a copy's segment.
type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

impl World {
    /// All messages are accounted for, can be had, and are the same on all copies.
    pub(super) fn all_accounted(&mut self) -> Result<(), String> {
        if self.options.queue_owners == 0 {
            return Ok(());
        }
        for queue in 0..KINDS {
            let Some((stamp, left)) = self.left_in(queue)? else { continue };
            let lost = self.invariants.lost(QUEUES, segment_of(queue));
            self.invariants.total_queue.audit(queue, left.as_deref(), stamp, lost)?;
        }
        Ok(())
    }

    /// What a queue has where it is served; `None`: it is not.
    fn left_in(&self, queue: Name) -> Result<Option<Found>, String> {
        let segment = segment_of(queue);
        let Some(at) = self.server_of((QUEUES, segment)) else { return Ok(None) };
        let Some(machine) = self.machines.get(at) else { return Ok(None) };
        let moment = |machine: &Machine| machine.clock.now(self.now);
        let Some(process) = &machine.process else { return Ok(None) };
        let Some(hosting) = &process.server.queues else { return Ok(None) };
        let now = moment(machine);
        let at = Moment { now, control: &process.control };
        let epoch = process.control.serves(now, QUEUES, segment).unwrap_or_default();
        let found = hosting.found(segment, at).ok_or("a queue is not settled")?;
        let entries = hosting.entries(segment, now.wall);
        self.are_same(queue, process.control.metadata(), &entries)?;
        let stamp = Stamp { epoch: epoch.0, turn: u64::MAX };
        let Some(known) = found.get(&name_of(queue)) else { return Ok(Some((stamp, None))) };
        let mut left = Vec::new();
        for (id, place, tries) in shown(known, now.wall) {
            let body = hosting.body(&found, &name_of(queue), id, at);
            let dead = matches!(place, Place::Dead { .. }).then_some(tries);
            left.push(Left { id, body, dead });
        }
        let ids: BTreeSet<u64> = left.iter().map(|one| one.id).collect();
        let taken = taken_out(known, now.wall);
        if taken != ids {
            return Err(format!("R89: of {ids:x?} in queue {queue} these can be had: {taken:x?}"));
        }
        Ok(Some((stamp, Some(left))))
    }

    /// I6: copies in sync have the same entries. A process that was removed knows older metadata.
    fn are_same(&self, queue: Name, metadata: &Metadata, entries: &Entries) -> Result<(), String> {
        let segment = segment_of(queue);
        let group = metadata.groups().get(&QUEUES).map(|group| &group.segments);
        let insync = group.and_then(|all| Some(&all.get(usize::from(segment.0))?.insync));
        for process in self.machines.iter().filter_map(|machine| machine.process.as_ref()) {
            let us = process.control.identity().node;
            let is_ours = |copy: &Copy| copy.node == us && metadata.is_current(*copy);
            let is_insync = insync.is_some_and(|all| all.iter().any(is_ours));
            let Some(hosting) = process.server.queues.as_ref().filter(|_| is_insync) else {
                continue;
            };
            let ours = hosting.entries(segment, 0);
            if ours != *entries {
                return Err(format!("I6: {us} has {ours:?} of queue {queue}, and not {entries:?}"));
            }
        }
        Ok(())
    }
}

fn shown(queue: &Queue, now: Timestamp) -> Vec<(u64, Place, u32)> {
    let browse = QueueOp::Browse { behind: 0, most: usize::MAX, which: Which::All };
    match queue.clone().apply(now, browse, &mut Vec::new()) {
        QueueReply::Shown(all, _) => {
            all.iter().map(|one| (one.id, one.state.place, one.state.tries())).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// All messages that somebody gets who takes and acknowledges what there is, the dead as well.
fn taken_out(queue: &Queue, mut now: Timestamp) -> BTreeSet<u64> {
    let (mut queue, mut all) = (queue.clone(), BTreeSet::new());
    let puller = Puller { consumer: 99, most: 64, visible: 0, auto: false, place: 0 };
    loop {
        now += LONG_MS;
        queue.apply(now, QueueOp::Redrive { most: usize::MAX }, &mut Vec::new());
        let pull = QueueOp::Pull { puller, wait: 0 };
        let given = match queue.apply(now, pull, &mut Vec::new()) {
            QueueReply::Deliveries(given) if !given.is_empty() => given,
            _ => return all,
        };
        for one in given {
            all.insert(one.receipt.id);
            queue.apply(now, QueueOp::Ack(one.receipt), &mut Vec::new());
        }
    }
}
