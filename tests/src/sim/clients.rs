//! What clients ask for, and what they were told.

use std::collections::BTreeMap;

use isogrid_grid::id::{GroupId, SegmentId};

use super::chance::Chance;
use super::kv::Key;
use super::queue::What;
use super::server::{Answer, Ask, Asked};
use super::world::{SEGMENTS, World};
use crate::invariant::linear::{Linear, Operation, Place};

/// Keys of each group: few, so that operations meet.
const KEYS: u64 = 32;
/// How long a client waits for an answer, us.
const PATIENCE_US: u64 = 5_000_000;

/// The keys of a segment.
pub(super) fn keys_of(segment: SegmentId) -> impl Iterator<Item = Key> {
    (0..KEYS)
        .filter_map(|key| Key::try_from(key).ok())
        .filter(move |key| segment_of(*key) == segment)
}

fn segment_of(key: Key) -> SegmentId {
    SegmentId(u16::from(key) % SEGMENTS)
}

/// All clients together.
#[derive(Debug, Default)]
pub struct Clients {
    /// What they were told.
    pub linear: Linear,
    under_way: BTreeMap<u64, Operation>,
    next: u64,
}

impl Clients {
    /// Something to ask for.
    pub fn draw(&mut self, chance: &mut Chance, writes_per_million: u64) -> (Place, Ask) {
        let group = usize::try_from(chance.below(8)).unwrap_or(0);
        let group = GroupId([0, 0, 0, 1, 1, 2, 2, 2].get(group).copied().unwrap_or(0));
        let key = Key::try_from(chance.below(KEYS)).unwrap_or(0);
        let place = (group, segment_of(key), key);
        // No value is written twice, so that it says who wrote it.
        self.next += 1;
        let value = self.next;
        let ask = match chance.below(6) {
            _ if !chance.hits(writes_per_million) => Ask::Get,
            0..=2 => Ask::Put(value),
            3 | 4 => Ask::Cas(self.known(place), value),
            _ => Ask::Delete,
        };
        (place, ask)
    }

    fn known(&self, place: Place) -> u64 {
        self.linear.floors().find(|(other, _)| *other == place).map_or(0, |(_, version)| version)
    }

    /// An operation begins: its number. What is below `lost_before` was declared lost.
    pub fn begin(&mut self, place: Place, ask: Ask, lost_before: u64) -> u64 {
        self.next += 1;
        let operation = self.linear.ask(place, ask, lost_before);
        self.under_way.insert(self.next, operation);
        self.next
    }

    /// What an operation asks for that is under way.
    #[must_use]
    pub fn ask(&self, number: u64) -> Option<Ask> {
        self.under_way.get(&number).map(|operation| operation.ask)
    }

    /// Which key it is about.
    #[must_use]
    pub fn place(&self, number: u64) -> Option<Place> {
        self.under_way.get(&number).map(|operation| operation.place)
    }

    /// An operation is answered. The first answer is the one that counts.
    ///
    /// # Errors
    /// It does not fit what others were told.
    pub fn end(&mut self, number: u64, answer: Answer, lost_before: u64) -> Result<(), String> {
        let Some(operation) = self.under_way.remove(&number) else { return Ok(()) };
        self.linear.answer(&operation, answer, lost_before)
    }
}

impl World {
    /// A client asks for something.
    pub fn client(&mut self) {
        let running = self.running();
        let Some(at) = self.chance.pick(&running).copied() else { return };
        let (place, ask) = self.clients.draw(&mut self.chance, self.options.writes_per_million);
        let Some(control) = self.control(at) else { return };
        let view = control.metadata().groups().get(&place.0);
        let view = view.and_then(|group| group.segments.get(usize::from(place.1.0)));
        let primary = view.and_then(|view| view.primary);
        // Most ask the member that they believe to serve the key, some ask anybody.
        let primary = primary.filter(|_| self.chance.hits(800_000));
        let to = primary.and_then(|primary| self.machine_of(primary)).unwrap_or(at);
        self.ask_of(to, place, ask);
    }

    /// A client asks a machine for this.
    pub(super) fn ask_of(&mut self, to: usize, place: Place, ask: Ask) {
        let lost_before = self.invariants.lost_before(place.0, place.1);
        let number = self.clients.begin(place, ask, lost_before);
        self.note(format!("client {number}: {ask:?} of {place:?} to m{to}"));
        let delay = self.chance.between(100, 3_000);
        self.schedule(delay, What::Operation(to, number));
        self.schedule(PATIENCE_US, What::Answer(number, Answer::Unknown));
    }

    pub(super) fn operate(&mut self, at: usize, number: u64) {
        if !self.is_awake(at) {
            return self.wait_for(at, What::Operation(at, number));
        }
        let Some((group, segment, key)) = self.clients.place(number) else { return };
        let Some(ask) = self.clients.ask(number) else { return };
        let asked = Asked { number, key, ask };
        self.serve(at, |server, moment, out| server.ask(moment, (group, segment), asked, out));
        self.flush_later(at);
    }

    pub(super) fn answer(&mut self, number: u64, answer: Answer) {
        let Some((group, segment, _)) = self.clients.place(number) else { return };
        self.note(format!("client {number}: {answer:x?}"));
        let lost_before = self.invariants.lost_before(group, segment);
        if let Err(broken) = self.clients.end(number, answer, lost_before) {
            self.fail(&broken);
        }
    }
}
