//! Faults at the worst moments, which a random moment seldom hits.

use isogrid_grid::control::Event;
use isogrid_grid::id::{GroupId, NodeId, SegmentId};
use isogrid_grid::message::{Envelope, Message};
use isogrid_grid::metadata::Command;
use isogrid_grid::replica::Peer;
use isogrid_grid::segment::Wish;

use super::clients::keys_of;
use super::queue::What;
use super::server::Ask;
use super::world::World;

impl World {
    /// A primary is about to send this to a copy. How much later than else it arrives, us.
    pub(super) fn ambush_message(
        &mut self,
        at: usize,
        to: NodeId,
        place: (GroupId, SegmentId),
        message: &Peer,
    ) -> u64 {
        if !self.options.ambush {
            return 0;
        }
        match message {
            Peer::Chunk { .. } if self.chance.hits(5_000) => self.end_while_filling(at, place),
            Peer::Chunk { bytes, .. } if self.chance.hits(10_000) => {
                return self.send_chunk_twice(at, to, place, bytes);
            }
            Peer::Repl { ops, .. } if !ops.is_empty() && self.chance.hits(500) => {
                // It ends soon, and what it says from here on comes when it is over.
                self.note(format_args!("ambush m{at}: {message:?}"));
                self.machines.get_mut(at).into_iter().for_each(|machine| machine.is_doomed = true);
                self.stop_soon(at, 30_000);
            }
            _ => {}
        }
        0
    }

    /// The primary deletes something, and ends before the copy that it fills has heard that this
    /// is committed.
    fn end_while_filling(&mut self, at: usize, (group, segment): (GroupId, SegmentId)) {
        self.note(format_args!("ambush m{at}: it ends while it fills {group} {segment}"));
        for key in keys_of(segment) {
            if self.chance.hits(300_000) {
                self.ask_of(at, (group, segment, key), Ask::Delete, false);
            }
        }
        self.stop_soon(at, 30_000);
    }

    /// A chunk takes so long that it is sent again, that gets lost, and what was in it is deleted
    /// meanwhile.
    fn send_chunk_twice(
        &mut self,
        at: usize,
        to: NodeId,
        (group, segment): (GroupId, SegmentId),
        bytes: &[u8],
    ) -> u64 {
        self.note(format_args!("ambush m{at}: a chunk of {group} {segment} is sent twice"));
        if let Some(key) = bytes.first().filter(|key| keys_of(segment).any(|one| one == **key)) {
            self.ask_of(at, (group, segment, *key), Ask::Delete, false);
        }
        let from = self.control(at).map_or(NodeId(0), |control| control.identity().node);
        self.schedule(10_000, What::Way(from, to, false));
        self.schedule(200_000, What::Way(from, to, true));
        self.chance.between(110_000, 190_000)
    }

    /// A primary is about to say that a copy has been filled. Maybe that copy hears nothing from
    /// it any more, and the primary ends when the copy is one in sync, or is about to be.
    pub(super) fn ambush_wish(&mut self, at: usize, wish: Wish) {
        let (Wish::Expand(copy, _), Some(control)) = (wish, self.control(at)) else { return };
        let us = control.identity().node;
        if self.options.ambush && self.chance.hits(100_000) {
            self.note(format_args!("ambush m{at}: {wish:?}"));
            self.network.set(us, copy.node, false);
            self.stop_soon(at, 1_000_000);
        }
    }

    /// A process has become a member. If it has founded nothing, maybe it leaves while others still
    /// let it in.
    pub(super) fn leave_soon(&mut self, at: usize) {
        let later = self.chance.below(2_000_000);
        if self.options.hasty && at as u64 >= self.options.founders {
            self.schedule(later, What::Leave(at));
        }
    }

    pub(super) fn stop_soon(&mut self, at: usize, us: u64) {
        let boot = self.boots(at);
        let later = self.chance.below(us);
        self.schedule(later, What::Stop(at, boot));
    }

    /// A member leaves, as long as enough stay.
    pub fn leave(&mut self, at: usize) {
        let Some(control) = self.control(at) else { return };
        let node = control.identity().node;
        let staying = control.metadata().members().values().filter(|m| !m.leaving).count();
        if staying > 2 {
            self.step(at, Event::Propose(Command::Leave(node)));
        }
    }

    /// An operator takes a member for one that does not come back, as long as enough stay.
    pub fn expel(&mut self, at: usize) {
        let Some(node) = self.machines.get(at).and_then(|m| Some(m.known_as.as_ref()?.0)) else {
            return;
        };
        let other = self.running().into_iter().find(|other| *other != at);
        let Some((other, control)) = other.and_then(|other| Some((other, self.control(other)?)))
        else {
            return;
        };
        if control.metadata().members().len() > 2 {
            self.step(other, Event::Propose(Command::Expel(node, false)));
        }
    }

    /// How much later than others a message comes: a chunk, or one of a process that ends soon, us.
    pub(super) fn delay_of(&mut self, envelope: &Envelope) -> u64 {
        let from = self.machine_of(envelope.from).and_then(|at| self.machines.get(at));
        let is_doomed = from.is_some_and(|machine| machine.is_doomed);
        let is_chunk = matches!(&envelope.message, Message::Copies(all)
            if all.iter().any(|(.., peer)| matches!(peer, Peer::Chunk { .. })));
        match (is_doomed, is_chunk) {
            (true, _) => self.chance.between(50_000, 2_000_000),
            (_, true) => self.chance.between(0, 1_000 * self.options.chunk_ms_max),
            _ => 0,
        }
    }
}
