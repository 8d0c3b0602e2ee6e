//! What clients ask for, and what they were told.

use std::collections::BTreeMap;

use isogrid_grid::id::{GroupId, SegmentId};
use isogrid_grid::replica::OpId;

use super::chance::Chance;
use super::kv::Key;
use super::queue::What;
use super::server::{Answer, Ask, Asked};
use super::world::{SEGMENTS, World};
use crate::invariant::Lost;
use crate::invariant::counted::Counted;
use crate::invariant::linear::{Linear, Operation, Place};

/// Keys of each group: few, so that operations meet.
const KEYS: u64 = 32;
/// Counters of each group; their keys are behind the others.
const COUNTERS: u64 = 8;
/// Clients that ask under numbers.
const NAMED: u64 = 40;
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
    /// What was done of that which may come again.
    pub counted: Counted,
    under_way: BTreeMap<u64, Operation>,
    /// What may come again, and may be on its way even when it is answered; what had been declared
    /// lost when it was asked for first.
    named: BTreeMap<u64, (Place, Ask, u64)>,
    next: u64,
}

impl Clients {
    /// Something to ask for.
    pub fn draw(&mut self, chance: &mut Chance, writes_per_million: u64) -> (Place, Ask) {
        let group = usize::try_from(chance.below(8)).unwrap_or(0);
        let group = GroupId([0, 0, 0, 1, 1, 2, 2, 2].get(group).copied().unwrap_or(0));
        let key = Key::try_from(chance.below(KEYS)).unwrap_or(0);
        let place = (group, segment_of(key), key);
        let value = self.new_value();
        if chance.hits(writes_per_million / 4) {
            let key = Key::try_from(KEYS + chance.below(COUNTERS)).unwrap_or(0);
            return ((group, segment_of(key), key), Ask::Add);
        }
        let ask = match chance.below(6) {
            _ if !chance.hits(writes_per_million) => Ask::Get,
            0..=2 => Ask::Put(value),
            3 | 4 => Ask::Cas(self.known(place), value),
            _ => Ask::Delete,
        };
        (place, ask)
    }

    /// One that nobody has written: it says who wrote it.
    pub fn new_value(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn known(&self, place: Place) -> u64 {
        self.linear.floors().find(|(other, _)| *other == place).map_or(0, |(_, version)| version)
    }

    /// An operation begins, and may come again or not: its number. So much was declared lost.
    pub fn begin(&mut self, (place, ask): (Place, Ask), named: bool, lost: Lost) -> u64 {
        self.next += 1;
        let operation = self.linear.ask(place, ask, lost);
        self.under_way.insert(self.next, operation);
        if named {
            self.named.insert(self.next, (place, ask, lost.any));
            self.counted.ask(self.next, place, ask == Ask::Add);
        }
        self.next
    }

    /// What an operation is that is under way.
    #[must_use]
    pub fn asked(&self, number: u64) -> Option<(Place, Asked)> {
        if let Some((place, ask, _)) = self.named.get(&number).copied() {
            let client = u128::from(number % NAMED).to_le_bytes();
            let id = Some(OpId { client, number });
            return Some((place, Asked { number, key: place.2, ask, id }));
        }
        let Operation { place, ask, .. } = *self.under_way.get(&number)?;
        Some((place, Asked { number, key: place.2, ask, id: None }))
    }

    /// Whether an operation has no answer yet.
    #[must_use]
    pub fn is_open(&self, number: u64) -> bool {
        self.under_way.contains_key(&number)
    }

    /// Whether an operation that comes now may have been answered before all was declared lost, its
    /// answer included: then nothing keeps it from being done again.
    #[must_use]
    pub fn is_forgotten(&self, number: u64, lost_before: u64) -> bool {
        let named = self.named.get(&number);
        !self.is_open(number) && named.is_some_and(|(.., before)| *before < lost_before)
    }

    /// Whether an operation may come again.
    #[must_use]
    pub fn is_named(&self, number: u64) -> bool {
        self.named.contains_key(&number)
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
        let may_be_named = ask != Ask::Get && self.chance.hits(500_000);
        let number = self.ask_of(to, place, ask, may_be_named || ask == Ask::Add);
        if self.clients.is_named(number) {
            let later = self.chance.between(50_000, 800_000);
            self.schedule(later, What::Again(number));
        }
    }

    /// A client asks a machine for this.
    pub(super) fn ask_of(&mut self, to: usize, place: Place, ask: Ask, named: bool) -> u64 {
        let lost = self.invariants.lost(place.0, place.1);
        let number = self.clients.begin((place, ask), named, lost);
        self.note(format_args!("client {number}: {ask:?} of {place:?} to m{to}, named {named}"));
        let delay = self.chance.between(100, 3_000);
        self.schedule(delay, What::Operation(to, number));
        self.schedule(PATIENCE_US, What::Tired(number));
        number
    }

    /// A client that has no answer asks anybody; some attempts come when it has one.
    pub(super) fn ask_again(&mut self, number: u64) {
        let running = self.running();
        let Some(to) = self.chance.pick(&running).copied() else { return };
        if !self.clients.is_open(number) {
            return;
        }
        self.note(format_args!("client {number}: again to m{to}"));
        let slowest = if self.chance.hits(100_000) { 3_000_000 } else { 3_000 };
        let delay = self.chance.between(100, slowest);
        self.schedule(delay, What::Operation(to, number));
        let later = self.chance.between(50_000, 500_000);
        self.schedule(later, What::Again(number));
    }

    pub(super) fn operate(&mut self, at: usize, number: u64) {
        if !self.is_awake(at) {
            return self.wait_for(at, What::Operation(at, number));
        }
        let Some(((group, segment, _), asked)) = self.clients.asked(number) else { return };
        let lost_before = self.invariants.lost(group, segment).any;
        if self.clients.is_forgotten(number, lost_before) {
            return;
        }
        self.serve(at, |server, moment, out| server.ask(moment, (group, segment), asked, out));
        self.flush_later(at);
    }

    pub(super) fn answer(&mut self, number: u64, answer: Answer) {
        if !self.clients.is_named(number) {
            return self.end(number, answer);
        }
        if matches!(answer, Answer::Failed | Answer::Unknown) {
            // It asks again, and other attempts may be on their way.
            return;
        }
        let Some(((group, segment, _), _)) = self.clients.asked(number) else { return };
        let lost_before = self.invariants.lost(group, segment).any;
        if let Err(broken) = self.clients.counted.answer(number, answer, lost_before) {
            self.fail(&broken);
        }
        self.end(number, answer);
    }

    pub(super) fn end(&mut self, number: u64, answer: Answer) {
        let Some(((group, segment, _), _)) = self.clients.asked(number) else { return };
        self.note(format_args!("client {number}: {answer:x?}"));
        let lost_before = self.invariants.lost(group, segment).any;
        if let Err(broken) = self.clients.end(number, answer, lost_before) {
            self.fail(&broken);
        }
    }
}
