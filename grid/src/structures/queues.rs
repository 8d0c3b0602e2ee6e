//! The queues of one segment of a table. Each is a state machine in memory whose parts are entries of
//! the table, so that the log and the copies of the table keep it; whoever opens the table, or takes
//! the segment over, makes the queues anew of the entries.
//!
//! A message that is published is one entry, with its bytes; what becomes of it is a second, small one.
//! All entries of a queue are in its segment: they have one log and one order.

mod hosted;

use std::collections::BTreeMap;

use isogrid_engine::hash::stable_segment;
use isogrid_engine::{Cursor, Error, NewEntry, Table, Timestamp};

pub use self::hosted::Hosted;
use super::NotKept;
use crate::id::Epoch;
use crate::structure::Structure;
use crate::structure::queue::{
    Delivery, Head, NewMessage, Part, Queue, QueueOp, QueueOptions, QueueReply, Wake,
};

/// Bits of an id that are counted; in a cluster the epoch is in front of them.
const COUNTED_BITS: u32 = 40;
/// The first byte of all keys.
const QUEUE: u8 = b'q';

/// The segment of all entries of a queue.
#[must_use]
pub fn segment_of(table: &Table, name: &str) -> u32 {
    u32::try_from(stable_segment(name.as_bytes(), table.segment_count())).unwrap_or(0)
}

/// A message that is handed out, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The message.
    pub delivery: Delivery,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Whoever waited with this ticket is told this; no messages: it has waited long enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The queue.
    pub queue: String,
    /// The ticket.
    pub ticket: u64,
    /// The messages.
    pub given: Vec<Given>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The answer.
    pub reply: QueueReply,
    /// The messages of the answer.
    pub given: Vec<Given>,
}

/// Parts, by name.
type Parts = Vec<(Vec<u8>, Vec<u8>)>;

/// The queues of a segment.
#[derive(Debug)]
pub struct Queues {
    segment: u32,
    /// The ids of a queue that is new begin here.
    first: u64,
    all: BTreeMap<String, Queue>,
}

impl Queues {
    /// The name under which the table is kept; no cache can have it.
    pub const TABLE: &'static str = "$queues";

    /// What the entries say. Ids that are given out from now on begin with `first`, or behind all
    /// that there are.
    #[must_use]
    pub fn load(table: &Table, segment: u32, first: u64, now: Timestamp) -> Self {
        let mut parts: BTreeMap<String, Parts> = BTreeMap::new();
        let mut cursor = Some(Cursor::at(segment as usize, 0));
        while let Some(from) = cursor.filter(|at| at.segment() == segment as usize) {
            cursor = table.scan_step(None, from, now, |entry| {
                if let Some((queue, part)) = split(entry.key()) {
                    let one = (part.to_vec(), entry.value().to_vec());
                    parts.entry(queue.to_owned()).or_default().push(one);
                }
                true
            });
        }
        let queue = |(name, parts): (String, Parts)| {
            let parts = parts.iter().map(|(name, bytes)| (&**name, &**bytes));
            Some((name, Queue::of_parts(parts, now, first)?))
        };
        Queues { segment, first, all: parts.into_iter().filter_map(queue).collect() }
    }

    /// The first id of those that are given out in an epoch: above all of those before it (R3).
    #[must_use]
    pub fn first_id(epoch: Epoch) -> u64 {
        u64::from(epoch.0) << COUNTED_BITS
    }

    /// No id from this one on was given out yet.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.first.max(self.all.values().map(Queue::next_id).max().unwrap_or(0))
    }

    /// The queue of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Queue> {
        self.all.get(name)
    }

    /// All queues, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Queue)> {
        self.all.iter().map(|(name, queue)| (&**name, queue))
    }

    /// Makes a queue; `false` when there is one of this name.
    ///
    /// # Errors
    /// It could not be kept, and is not there.
    pub fn create(
        &mut self,
        table: &Table,
        now: Timestamp,
        name: &str,
        options: QueueOptions,
    ) -> Result<bool, Error> {
        if self.all.contains_key(name) {
            return Ok(false);
        }
        let queue = Queue::new(options, now, self.next_id());
        let bytes = queue.part(&Part::Options).unwrap_or_default();
        put(table, &self.key(table, name, &Part::Options), [&bytes, b""], now)?;
        self.all.insert(name.to_owned(), queue);
        Ok(true)
    }

    /// Removes a queue and all that is in it; `false` when there is none. What it is set to goes last:
    /// as long as anything of it is left, the queue is there.
    ///
    /// # Errors
    /// As [`Queues::apply`].
    pub fn remove(&mut self, table: &Table, now: Timestamp, name: &str) -> Result<bool, NotKept> {
        let Some(queue) = self.all.get(name) else { return Ok(false) };
        let next = queue.next_id();
        let parts = queue.parts().filter(|part| *part != Part::Options).chain([Part::Options]);
        for (done, part) in parts.enumerate() {
            remove(table, &self.key(table, name, &part), now)
                .map_err(|why| NotKept { why, done })?;
        }
        self.first = self.first.max(next);
        self.all.remove(name);
        Ok(true)
    }

    /// Publishes a message with these bytes. It is dealt with the next operation: see [`Queues::deal`].
    /// `None`: there is no such queue.
    ///
    /// # Errors
    /// It could not be kept, and is not published.
    pub fn publish(
        &mut self,
        table: &Table,
        now: Timestamp,
        (name, new, bytes): (&str, &NewMessage<'_>, &[u8]),
    ) -> Option<Result<QueueReply, Error>> {
        let queue = self.all.get_mut(name)?;
        let reply = queue.apply(now, QueueOp::Publish(*new), &mut Vec::new());
        let QueueReply::Published { id } = reply else { return Some(Ok(reply)) };
        let head = queue.head(id).map(Head::to_bytes).unwrap_or_default();
        let key = self.key(table, name, &Part::Message(id));
        let kept = put(table, &key, [&head, bytes], now);
        if kept.is_err() {
            let retract = QueueOp::Retract { id };
            self.all.get_mut(name)?.apply(now, retract, &mut Vec::new());
        }
        Some(kept.map(|()| reply))
    }

    /// Deals, behind so many messages that were published and are kept. `None`: there is no such queue.
    ///
    /// # Errors
    /// As [`Queues::apply`]. What was published stays so: it is counted as done.
    pub fn deal(
        &mut self,
        table: &Table,
        now: Timestamp,
        (name, published): (&str, usize),
        told: &mut Vec<Told>,
    ) -> Option<Result<(), NotKept>> {
        let dealt = self.apply(table, now, (name, QueueOp::Deal), told)?;
        let behind = |NotKept { why, done }| NotKept { why, done: done + published };
        Some(dealt.map(drop).map_err(behind))
    }

    /// Does an operation; whoever answers waits until all that it changed is kept. `None`: there is
    /// no such queue.
    ///
    /// # Errors
    /// Not all that has changed could be kept: these are not what the entries say any more, and are
    /// to be loaded anew.
    pub fn apply(
        &mut self,
        table: &Table,
        now: Timestamp,
        (name, op): (&str, QueueOp<'_>),
        told: &mut Vec<Told>,
    ) -> Option<Result<Done, NotKept>> {
        let mut wakes = Vec::new();
        let reply = self.all.get_mut(name)?.apply(now, op, &mut wakes);
        Some(self.keep(table, now, name, (reply, wakes), told))
    }

    /// Does what is due by time.
    ///
    /// # Errors
    /// As [`Queues::apply`].
    pub fn advance(
        &mut self,
        table: &Table,
        now: Timestamp,
        told: &mut Vec<Told>,
    ) -> Result<(), NotKept> {
        let is_due = |queue: &Queue| queue.next_deadline().is_some_and(|at| at <= now);
        let due = self.all.iter().filter(|(_, queue)| is_due(queue));
        let due: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        for name in due {
            self.apply(table, now, (&name, QueueOp::Deal), told).transpose()?;
        }
        Ok(())
    }

    /// When something is due by time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.all.values().filter_map(Queue::next_deadline).min()
    }

    /// The bytes of a message.
    #[must_use]
    pub fn payload(&self, table: &Table, now: Timestamp, name: &str, id: u64) -> Option<Vec<u8>> {
        let (key, pinned) = (self.key(table, name, &Part::Message(id)), table.pin());
        let mut entry = pinned.entry(table.hash(&key), &key, now)?;
        Some(Head::payload(entry.get()?.value())?.to_vec())
    }

    /// Keeps what has changed. Bytes are read first: what is acknowledged at once is gone behind.
    fn keep(
        &mut self,
        table: &Table,
        now: Timestamp,
        name: &str,
        (mut reply, wakes): (QueueReply, Vec<Wake>),
        told: &mut Vec<Told>,
    ) -> Result<Done, NotKept> {
        let give = |delivery: Delivery| {
            let payload = self.payload(table, now, name, delivery.receipt.id).unwrap_or_default();
            Given { delivery, payload }
        };
        let mut given = Vec::new();
        if let QueueReply::Deliveries(all) = &mut reply {
            given = all.drain(..).map(give).collect();
        }
        told.extend(wakes.into_iter().map(|Wake { ticket, deliveries }| {
            let given = deliveries.into_iter().map(give).collect();
            Told { queue: name.to_owned(), ticket, given }
        }));
        let changed = self.all.get_mut(name).map(Queue::take_changed).unwrap_or_default();
        for (done, part) in changed.iter().enumerate() {
            let key = self.key(table, name, part);
            let bytes = self.all.get(name).and_then(|queue| queue.part(part));
            let kept = match bytes {
                Some(bytes) => put(table, &key, [&bytes, b""], now),
                None => remove(table, &key, now),
            };
            kept.map_err(|why| NotKept { why, done })?;
        }
        Ok(Done { reply, given })
    }

    /// The key of a part: behind its name the first number with which it is in the queue's segment.
    fn key(&self, table: &Table, name: &str, part: &Part) -> Vec<u8> {
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let mut key = vec![QUEUE, len];
        key.extend_from_slice(name.as_bytes());
        key.extend_from_slice(&part.name());
        let end = key.len();
        for salt in 0..=u16::MAX {
            key.truncate(end);
            key.extend_from_slice(&salt.to_le_bytes());
            if table.hash(&key).segment() == self.segment {
                break;
            }
        }
        key
    }
}

/// The queue and the part that a key is of.
fn split(key: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = key.strip_prefix(&[QUEUE])?.split_first()?;
    let (name, rest) = rest.split_at_checked((*len).into())?;
    let (part, _) = rest.split_last_chunk::<2>()?;
    Some((str::from_utf8(name).ok()?, part))
}

fn put(table: &Table, key: &[u8], value: [&[u8]; 2], now: Timestamp) -> Result<(), Error> {
    let pinned = table.pin();
    let entry = pinned.entry(table.hash(key), key, now);
    let mut entry = entry.ok_or(Error::KeyLength { len: key.len() })?;
    entry.put(&NewEntry { value, ..NewEntry::default() }).map(drop)
}

fn remove(table: &Table, key: &[u8], now: Timestamp) -> Result<(), Error> {
    let pinned = table.pin();
    let entry = pinned.entry(table.hash(key), key, now);
    entry.ok_or(Error::KeyLength { len: key.len() })?.remove().map(drop)
}

#[cfg(test)]
mod tests;
