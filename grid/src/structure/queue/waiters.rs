//! Who waits for messages, in the order in which they asked.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_engine::Timestamp;

use super::operation::Puller;

/// Those who wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiters {
    last: u64,
    all: BTreeMap<u64, (Puller, Timestamp)>,
    deadlines: BTreeSet<(Timestamp, u64)>,
}

impl Waiters {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many messages they take, all together.
    pub fn demand(&self) -> usize {
        self.all.values().map(|(puller, _)| puller.most).sum()
    }

    /// Somebody waits until then; with which ticket.
    pub fn add(&mut self, puller: Puller, until: Timestamp) -> u64 {
        let is_free = |place: &u64| *place <= self.last && !self.all.contains_key(place);
        let place = Some(puller.place).filter(|place| *place > 0 && is_free(place));
        let ticket = place.unwrap_or(self.last + 1);
        self.last = self.last.max(ticket);
        self.all.insert(ticket, (puller, until));
        self.deadlines.insert((until, ticket));
        ticket
    }

    /// Whether somebody waited with this ticket; nobody does any more.
    pub fn remove(&mut self, ticket: u64) -> bool {
        let Some((_, until)) = self.all.remove(&ticket) else { return false };
        self.deadlines.remove(&(until, ticket))
    }

    /// Who asked next after whoever has this ticket.
    pub fn behind(&self, ticket: u64) -> Option<(u64, Puller)> {
        let (next, (puller, _)) = self.all.range(ticket.saturating_add(1)..).next()?;
        Some((*next, *puller))
    }

    /// The tickets of a consumer.
    pub fn of(&self, consumer: u128) -> Vec<u64> {
        let all = self.all.iter().filter(|(_, (puller, _))| puller.consumer == consumer);
        all.map(|(ticket, _)| *ticket).collect()
    }

    /// Who has waited long enough first, and when.
    pub fn first_deadline(&self) -> Option<(Timestamp, u64)> {
        self.deadlines.first().copied()
    }
}
