//! The changes of one cache that are not durable in the store: for each key the newest one. Knows
//! no store, thread or clock.
//!
//! ```text
//! note ──> waiting ──take──> taken ──done──> gone
//!             ^                │
//!             ├──put_back──────┤ the store is in trouble: everything again, in its order
//!             └──failed──> suspects (halves, tried by themselves) ──> failing (one, with backoff)
//! ```
//!
//! * A key is written in the order of its changes: it is taken once at a time by its one writer,
//!   and what is noted meanwhile is another change, which waits.
//! * Keys that a transaction changed together are taken together, until they are durable.
//! * A change stays here until it is durable, so that whoever finds no entry in memory can ask.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::groups::Groups;
use crate::env::Timestamp;
use crate::hash::RandomMap;
use crate::store::Stored;

/// What a waiting change is charged beside its key and value.
const OVERHEAD_BYTES: usize = 200;
/// How long a failing key waits for its first retry, and for the later ones at the most, ms.
const RETRY_MS: u64 = 100;
const RETRY_MS_MAX: u64 = 30_000;

pub(super) type Key = Arc<[u8]>;

/// The newest change of a key.
#[derive(Debug)]
struct Waiting {
    /// What the key is now; `None` = it has no entry.
    to: Option<Arc<Stored>>,
    /// When the oldest change was noted that the store does not have.
    since: Timestamp,
    /// Its place in the order in which keys became dirty.
    ticket: u64,
    /// The group of keys that it is written with; 0 = none.
    group: u64,
    /// How often writing it failed.
    attempts: u32,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Queued,
    Taken,
    Suspect,
    /// Failed; to be tried again at this time.
    Failing(Timestamp),
}

/// A change that was taken to be written.
#[derive(Debug)]
pub(super) struct Op {
    pub key: Key,
    pub to: Option<Arc<Stored>>,
    ticket: u64,
    since: Timestamp,
}

/// Changes that are written together or not at all.
pub(super) type Unit = Vec<Op>;

/// A set of changes that wait.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    entries: RandomMap<Key, Waiting>,
    /// Keys that wait for their first try, the oldest first.
    queue: BTreeMap<u64, Key>,
    groups: Groups,
    /// Units of batches that failed, each list to be tried by itself.
    suspects: VecDeque<Vec<Key>>,
    /// Units that failed by themselves: one key of each.
    failing: BTreeMap<(Timestamp, u64), Key>,
    /// The last unit taken was a failing one: others have their turn.
    was_failing: bool,
    next_ticket: u64,
    bytes: usize,
    coalesced: u64,
}

fn cost(key: &[u8], value_len: usize) -> usize {
    OVERHEAD_BYTES + key.len() + value_len
}

fn held(to: Option<&Stored>) -> usize {
    to.map_or(0, |stored| stored.value.len())
}

impl Dirty {
    /// Bytes by which a change would make it grow.
    pub fn growth(&self, key: &[u8], value_len: usize) -> usize {
        let old = self.entries.get(key).map_or(0, |old| cost(key, held(old.to.as_deref())));
        cost(key, value_len).saturating_sub(old)
    }

    /// Notes that a key is this now. Whether nothing waited before.
    pub fn note(&mut self, key: &[u8], to: Option<Stored>, now: Timestamp) -> bool {
        let first = self.entries.is_empty();
        self.bytes += cost(key, held(to.as_ref()));
        let to = to.map(Arc::new);
        let Some(waiting) = self.entries.get_mut(key) else {
            let key: Key = key.into();
            let ticket = self.ticket();
            self.queue.insert(ticket, Arc::clone(&key));
            let place = Place::Queued;
            let waiting = Waiting { to, since: now, ticket, group: 0, attempts: 0, place };
            self.entries.insert(key, waiting);
            return first;
        };
        self.coalesced += 1;
        self.bytes -= cost(key, held(waiting.to.as_deref()));
        waiting.to = to;
        if waiting.place == Place::Taken {
            // What is on its way is another change.
            self.next_ticket += 1;
            let ticket = self.next_ticket;
            (waiting.ticket, waiting.since, waiting.group) = (ticket, now, 0);
            waiting.place = Place::Queued;
            if let Some((key, _)) = self.entries.get_key_value(key) {
                self.queue.insert(ticket, Arc::clone(key));
            }
        }
        first
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// The changes of these keys, which were just noted, are of one transaction.
    pub fn join<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) {
        let mut members = Vec::new();
        for key in keys {
            if let Some((key, waiting)) = self.entries.get_key_value(key) {
                members.push((Arc::clone(key), waiting.group));
            }
        }
        if members.len() < 2 {
            return;
        }
        let (group, joined) = self.groups.merge(members);
        for key in joined {
            if let Some(waiting) = self.entries.get_mut(&key) {
                waiting.group = group;
            }
        }
    }

    /// Everything that was noted is superseded: the cache was cleared.
    pub fn clear(&mut self) {
        let (next_ticket, coalesced) = (self.next_ticket, self.coalesced);
        *self = Dirty { next_ticket, coalesced, ..Dirty::default() };
    }

    /// Takes changes that are to be written as one batch, about `bytes_max` bytes: at least one
    /// unit when there is any to try at `now`.
    pub fn take(&mut self, now: Timestamp, bytes_max: usize) -> Vec<Unit> {
        while let Some(suspects) = self.suspects.pop_front() {
            let units = self.take_all(&suspects, Place::Suspect);
            if !units.is_empty() {
                return units;
            }
        }
        let due = self.failing.first_key_value().filter(|((at, _), _)| *at <= now);
        let failing = due.map(|(_, key)| Arc::clone(key));
        self.was_failing = failing.is_some() && (!self.was_failing || self.queue.is_empty());
        match failing.filter(|_| self.was_failing) {
            Some(key) => self.take_unit(&key).into_iter().collect(),
            None => self.take_queued(bytes_max),
        }
    }

    fn take_queued(&mut self, bytes_max: usize) -> Vec<Unit> {
        let (mut units, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max
            && let Some((_, key)) = self.queue.first_key_value()
        {
            let key = Arc::clone(key);
            let Some(unit) = self.take_unit(&key) else { break };
            bytes += unit.iter().map(|op| cost(&op.key, held(op.to.as_deref()))).sum::<usize>();
            units.push(unit);
        }
        units
    }

    fn take_all(&mut self, keys: &[Key], place: Place) -> Vec<Unit> {
        let mut units = Vec::new();
        for key in keys {
            if self.entries.get(key).is_some_and(|waiting| waiting.place == place) {
                units.extend(self.take_unit(key));
            }
        }
        units
    }

    /// Takes a key and those that must be written with it.
    fn take_unit(&mut self, key: &Key) -> Option<Unit> {
        let group = self.entries.get(key)?.group;
        let keys = self.groups.take(group).unwrap_or_else(|| vec![Arc::clone(key)]);
        Some(keys.iter().filter_map(|key| self.take_key(key)).collect())
    }

    fn take_key(&mut self, key: &Key) -> Option<Op> {
        let waiting = self.entries.get_mut(key)?;
        match waiting.place {
            Place::Queued => drop(self.queue.remove(&waiting.ticket)),
            Place::Failing(at) => drop(self.failing.remove(&(at, waiting.ticket))),
            Place::Suspect | Place::Taken => {}
        }
        waiting.place = Place::Taken;
        let Waiting { ticket, since, .. } = *waiting;
        Some(Op { key: Arc::clone(key), to: waiting.to.clone(), ticket, since })
    }

    /// These are durable.
    pub fn done(&mut self, units: &[Unit]) {
        for op in units.iter().flatten() {
            if self.is_same(op)
                && let Some(waiting) = self.entries.remove(&op.key)
            {
                self.bytes -= cost(&op.key, held(waiting.to.as_deref()));
            }
        }
    }

    /// Whether nothing was noted of a key since it was taken.
    fn is_same(&self, op: &Op) -> bool {
        self.entries.get(&op.key).is_some_and(|waiting| waiting.ticket == op.ticket)
    }

    /// These were not written, or nobody knows: they take their places again, ahead of what
    /// became dirty after them. Where a newer change is there, it takes the place.
    pub fn put_back(&mut self, units: &[Unit]) {
        units.iter().for_each(|unit| self.put_back_unit(unit));
    }

    fn put_back_unit(&mut self, unit: &Unit) {
        for op in unit {
            let Some(waiting) = self.entries.get_mut(&op.key) else { continue };
            match waiting.place {
                Place::Queued => drop(self.queue.remove(&waiting.ticket)),
                Place::Failing(at) => drop(self.failing.remove(&(at, waiting.ticket))),
                Place::Suspect | Place::Taken => {}
            }
            (waiting.ticket, waiting.since, waiting.place) = (op.ticket, op.since, Place::Queued);
            self.queue.insert(op.ticket, Arc::clone(&op.key));
        }
        if unit.len() > 1 {
            // The members that are still there must be together again. Their own group ended when
            // they were taken; a newer change brought its own.
            for op in unit {
                if let Some(waiting) = self.entries.get_mut(&op.key)
                    && self.groups.is_over(waiting.group)
                {
                    waiting.group = 0;
                }
            }
            self.join(unit.iter().map(|op| &*op.key));
        }
    }

    /// A batch of these failed, and the store is not to blame. Of several units each half is tried
    /// by itself; one alone is tried again later, so that it keeps nobody waiting.
    pub fn failed(&mut self, units: &[Unit], now: Timestamp) {
        self.put_back(units);
        if let [unit] = units {
            return self.delay(unit, now);
        }
        let (front, back) = units.split_at(units.len() / 2);
        for half in [front, back] {
            let keys = half.iter().flatten().map(|op| Arc::clone(&op.key)).collect();
            self.suspect(keys);
        }
    }

    fn suspect(&mut self, keys: Vec<Key>) {
        for key in &keys {
            if let Some(waiting) = self.entries.get_mut(key) {
                self.queue.remove(&waiting.ticket);
                waiting.place = Place::Suspect;
            }
        }
        self.suspects.push_back(keys);
    }

    fn delay(&mut self, unit: &Unit, now: Timestamp) {
        for op in unit {
            let Some(waiting) = self.entries.get_mut(&op.key) else { continue };
            self.queue.remove(&waiting.ticket);
            let pause = RETRY_MS << waiting.attempts.min(16);
            let at = now + pause.min(RETRY_MS_MAX);
            waiting.attempts += 1;
            waiting.place = Place::Failing(at);
            self.failing.insert((at, waiting.ticket), Arc::clone(&op.key));
        }
    }

    /// What failed is tried again at once, each once.
    pub fn retry_now(&mut self) {
        for ((_, ticket), key) in std::mem::take(&mut self.failing) {
            if let Some(waiting) = self.entries.get_mut(&key) {
                waiting.place = Place::Failing(0);
                self.failing.insert((0, ticket), key);
            }
        }
    }

    /// What is known of a key that is not durable yet: `Some(None)` = it has no entry.
    pub fn get(&self, key: &[u8]) -> Option<Option<&Stored>> {
        self.entries.get(key).map(|waiting| waiting.to.as_deref())
    }

    /// What is known of all keys that are not durable yet.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Option<&Arc<Stored>>)> {
        self.entries.iter().map(|(key, waiting)| (key, waiting.to.as_ref()))
    }

    /// Keys that wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys that failed and wait for another try.
    pub fn failing(&self) -> usize {
        self.failing.len()
    }

    /// Changes that took the place of one that was never written.
    pub fn coalesced(&self) -> u64 {
        self.coalesced
    }

    /// When the oldest change was noted of those that are not failing: what is due next.
    pub fn oldest_queued(&self) -> Option<Timestamp> {
        if let Some(key) = self.suspects.front().and_then(|keys| keys.first()) {
            return Some(self.since(key));
        }
        self.queue.first_key_value().map(|(_, key)| self.since(key))
    }

    /// When the oldest change was noted that waits.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.entries.values().map(|waiting| waiting.since).min()
    }

    fn since(&self, key: &Key) -> Timestamp {
        self.entries.get(key).map_or(0, |waiting| waiting.since)
    }

    /// When the next failing key is to be tried.
    pub fn next_retry(&self) -> Option<Timestamp> {
        self.failing.first_key_value().map(|((at, _), _)| *at)
    }

    /// Some keys that wait, for the log.
    pub fn some_keys(&self, most: usize) -> Vec<Key> {
        self.entries.keys().take(most).map(Arc::clone).collect()
    }
}

#[cfg(test)]
mod tests;
