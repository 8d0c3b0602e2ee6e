//! The messages of a queue, by where they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isogrid_engine::Timestamp;

use super::line::{Line, Stand, Turn};
use super::message::{Head, Place, State};
use super::operation::{QueueStats, Which};

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub head: Head,
    pub state: State,
}

impl Message {
    /// Whether its lifespan is over. Who came back from the dead has none.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.state.before == 0 && self.head.is_over(now)
    }
}

/// The messages of a queue.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf {
    /// Messages of no group are one.
    strict: bool,
    messages: BTreeMap<u64, Message>,
    line: Line,
    /// Those whose place ends by time.
    due: BTreeSet<(Timestamp, u64)>,
    expiries: BTreeSet<(Timestamp, u64)>,
    held: BTreeMap<u128, BTreeSet<u64>>,
    counts: QueueStats,
}

impl Shelf {
    pub fn new(strict: bool) -> Self {
        Shelf { strict, ..Shelf::default() }
    }

    pub fn get(&self, id: u64) -> Option<&Message> {
        self.messages.get(&id)
    }

    /// What has become of a message; its place changes with [`Shelf::put`].
    pub fn state_mut(&mut self, id: u64) -> Option<&mut State> {
        self.messages.get_mut(&id).map(|message| &mut message.state)
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn counts(&self) -> QueueStats {
        self.counts
    }

    /// The message that is delivered next.
    pub fn first(&self) -> Option<u64> {
        self.line.first()
    }

    /// Messages that can be delivered now.
    pub fn deliverable(&self) -> usize {
        self.line.len()
    }

    /// What a consumer has.
    pub fn held_by(&self, consumer: u128) -> Vec<u64> {
        self.held.get(&consumer).into_iter().flatten().copied().collect()
    }

    /// The first message whose place ends by time, and when.
    pub fn first_due(&self) -> Option<(Timestamp, u64)> {
        self.due.first().copied()
    }

    /// The first message whose lifespan ends, and when.
    pub fn first_expiry(&self) -> Option<(Timestamp, u64)> {
        self.expiries.first().copied()
    }

    /// A message whose lifespan is over is looked at; it is not told again.
    pub fn saw_expiry(&mut self, at: (Timestamp, u64)) {
        self.expiries.remove(&at);
    }

    /// Messages behind an id.
    pub fn behind(&self, id: u64, which: Which) -> impl Iterator<Item = (u64, &Message)> {
        let is_wanted = move |(_, message): &(&u64, &Message)| is(message.state.place, which);
        let all = self.messages.range(id.saturating_add(1)..).filter(is_wanted);
        all.map(|(id, message)| (*id, message))
    }

    pub fn insert(&mut self, id: u64, message: Message) {
        self.counts.bytes += message.head.cost();
        if message.head.expires != 0 {
            self.expiries.insert((message.head.expires, id));
        }
        let place = message.state.place;
        self.messages.insert(id, message);
        self.enter(id, place);
    }

    pub fn remove(&mut self, id: u64) -> Option<Message> {
        let place = self.messages.get(&id)?.state.place;
        self.leave(id, place);
        let stand = self.stand(id)?;
        self.line.remove(&stand);
        let message = self.messages.remove(&id)?;
        self.counts.bytes = self.counts.bytes.saturating_sub(message.head.cost());
        self.expiries.remove(&(message.head.expires, id));
        Some(message)
    }

    /// Puts a message to another place.
    pub fn put(&mut self, id: u64, place: Place) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        let before = std::mem::replace(&mut message.state.place, place);
        self.leave(id, before);
        self.enter(id, place);
    }

    fn stand(&self, id: u64) -> Option<Stand> {
        let Head { priority, group, .. } = &self.messages.get(&id)?.head;
        let common = || self.strict.then(|| Arc::from([]));
        Some(Stand { id, priority: *priority, group: group.clone().or_else(common) })
    }

    fn enter(&mut self, id: u64, place: Place) {
        let Some(stand) = self.stand(id) else { return };
        *self.count(place) += 1;
        match place {
            Place::Ready => self.line.set(&stand, Turn::Now),
            Place::Delayed { until } => {
                self.due.insert((until, id));
                self.line.set(&stand, Turn::Later);
            }
            Place::InFlight { until, consumer } => {
                self.due.insert((until, id));
                self.held.entry(consumer).or_default().insert(id);
                self.line.set(&stand, Turn::InFlight);
            }
            Place::Dead { .. } => self.line.remove(&stand),
        }
    }

    fn leave(&mut self, id: u64, place: Place) {
        *self.count(place) -= 1;
        match place {
            Place::Ready | Place::Dead { .. } => {}
            Place::Delayed { until } => drop(self.due.remove(&(until, id))),
            Place::InFlight { until, consumer } => {
                self.due.remove(&(until, id));
                let held = self.held.get_mut(&consumer);
                if held.is_some_and(|held| held.remove(&id) && held.is_empty()) {
                    self.held.remove(&consumer);
                }
            }
        }
    }

    fn count(&mut self, place: Place) -> &mut u64 {
        match place {
            Place::Ready => &mut self.counts.ready,
            Place::Delayed { .. } => &mut self.counts.delayed,
            Place::InFlight { .. } => &mut self.counts.in_flight,
            Place::Dead { .. } => &mut self.counts.dead,
        }
    }
}

fn is(place: Place, which: Which) -> bool {
    match which {
        Which::All => true,
        Which::Ready => matches!(place, Place::Ready),
        Which::Delayed => matches!(place, Place::Delayed { .. }),
        Which::InFlight => matches!(place, Place::InFlight { .. }),
        Which::Dead => matches!(place, Place::Dead { .. }),
    }
}
