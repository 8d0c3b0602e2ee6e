//! What clients ask for, and what they were told.

use std::collections::BTreeMap;

use isogrid_grid::id::{GroupId, SegmentId};

use super::chance::Chance;
use super::kv::Key;
use super::server::{Answer, Ask};
use super::world::SEGMENTS;
use crate::invariant::linear::{Linear, Operation, Place};

/// Keys of each group: few, so that operations meet.
const KEYS: u64 = 32;

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
    pub fn draw(&mut self, chance: &mut Chance) -> (Place, Ask) {
        let group = GroupId(u16::from(chance.hits(400_000)));
        let key = Key::try_from(chance.below(KEYS)).unwrap_or(0);
        let place = (group, SegmentId(u16::from(key) % SEGMENTS), key);
        // No value is written twice, so that it says who wrote it.
        self.next += 1;
        let value = self.next;
        let ask = match chance.below(10) {
            0..=3 => Ask::Get,
            4..=6 => Ask::Put(value),
            7 | 8 => Ask::Cas(self.known(place), value),
            _ => Ask::Delete,
        };
        (place, ask)
    }

    fn known(&self, place: Place) -> u64 {
        self.linear.floors().find(|(other, _)| *other == place).map_or(0, |(_, version)| version)
    }

    /// An operation begins: its number.
    pub fn begin(&mut self, place: Place, ask: Ask) -> u64 {
        self.next += 1;
        let operation = self.linear.ask(place, ask);
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
