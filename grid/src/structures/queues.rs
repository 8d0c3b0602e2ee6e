//! The queues of one segment of a table. Each is a state machine in memory whose parts are entries of
//! the table, so that the log and the copies of the table keep it; whoever opens the table, or takes
//! the segment over, makes the queues anew of the entries.
//!
//! A message that is published is one entry, with its bytes; what becomes of it is a second, small one.
//! All entries of a queue are in its segment: they have one log and one order. So are those of a topic
//! and of its groups, which are queues that have no messages of their own.

mod by_name;
mod hosted;
pub mod names;

use std::borrow::Cow;
use std::collections::BTreeMap;

use isogrid_engine::hash::stable_segment;
use isogrid_engine::{Cursor, Error, NewEntry, Table, Timestamp};

pub use self::by_name::Made;
pub use self::hosted::Hosted;
use self::names::{Name, home, of_topic};
use super::NotKept;
use crate::id::Epoch;
use crate::structure::Structure;
use crate::structure::queue::{Delivery, Head, NewMessage, Part, Queue, QueueOp, QueueReply, Wake};
use crate::structure::topic::{Ahead, Start, Topic};

/// Bits of an id that are counted; in a cluster the epoch is in front of them.
const COUNTED_BITS: u32 = 40;
/// The first byte of all keys.
const QUEUE: u8 = b'q';

/// The segment of all entries of a queue, or of a topic and its groups.
#[must_use]
pub fn segment_of(table: &Table, name: &str) -> u32 {
    u32::try_from(stable_segment(home(name).as_bytes(), table.segment_count())).unwrap_or(0)
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

/// Messages that are read from a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Read {
    /// How many between the asked position and the first one are gone.
    pub lost: u64,
    /// Where to read on.
    pub next: u64,
    /// The messages.
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
    topics: BTreeMap<String, Topic>,
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
        let (all, topics) = (BTreeMap::new(), BTreeMap::new());
        let mut queues = Queues { segment, first, all, topics };
        // A topic comes ahead of its groups.
        parts.iter().for_each(|(name, parts)| queues.put_back(name, parts, now));
        queues
    }

    /// What these parts are comes back. A group whose topic is not there is none.
    fn put_back(&mut self, name: &str, parts: &Parts, now: Timestamp) {
        let (parts, first) = (parts.iter().map(|(name, bytes)| (&**name, &**bytes)), self.first);
        match Name::of(name) {
            Name::Queue(name) => {
                let queue = Queue::of_parts(parts, now, first);
                self.all.extend(queue.map(|queue| (name.to_owned(), queue)));
            }
            Name::Topic(name) => {
                let topic = Topic::of_parts(parts, now, first);
                self.topics.extend(topic.map(|topic| (name.to_owned(), topic)));
            }
            Name::Group(topic, group) => {
                let topic = self.topics.get_mut(topic);
                topic.map(|topic| topic.put_back(group, parts, now));
            }
        }
    }

    /// The first id of those that are given out in an epoch: above all of those before it (R3).
    #[must_use]
    pub fn first_id(epoch: Epoch) -> u64 {
        u64::from(epoch.0) << COUNTED_BITS
    }

    /// No id from this one on was given out yet.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        let topics = self.topics.values().map(Topic::next_id);
        self.first.max(self.all.values().map(Queue::next_id).chain(topics).max().unwrap_or(0))
    }

    /// Publishes a message with these bytes. It is dealt with the next operation: see [`Queues::deal`].
    /// `None`: there is no such queue or topic.
    ///
    /// # Errors
    /// It could not be kept, and is not published.
    pub fn publish(
        &mut self,
        table: &Table,
        now: Timestamp,
        (name, new, bytes): (&str, &NewMessage<'_>, &[u8]),
    ) -> Option<Result<QueueReply, Error>> {
        let (reply, _) = self.tell(now, name, QueueOp::Publish(*new))?;
        let QueueReply::Published { id } = reply else { return Some(Ok(reply)) };
        let part = Part::Message(id);
        let head = self.part(name, &part).unwrap_or_default();
        let kept = put(table, &self.key(table, name, &part), [&head, bytes], now);
        if kept.is_err() {
            self.tell(now, name, QueueOp::Retract { id });
        }
        Some(kept.map(|()| reply))
    }

    /// Up to so many messages of a topic from there on. `None`: there is no such topic.
    ///
    /// # Errors
    /// [`Ahead`].
    pub fn read(
        &mut self,
        table: &Table,
        now: Timestamp,
        (name, start, most): (&str, Start, usize),
    ) -> Option<Result<Read, Ahead>> {
        let Name::Topic(of) = Name::of(name) else { return None };
        let page = match self.topics.get_mut(of)?.read(now, start, most) {
            Ok(page) => page,
            Err(ahead) => return Some(Err(ahead)),
        };
        let give = |delivery: Delivery| {
            let payload = self.payload(table, now, name, delivery.receipt.id)?;
            Some(Given { delivery, payload })
        };
        let given = page.messages.into_iter().filter_map(give).collect();
        Some(Ok(Read { lost: page.lost, next: page.next, given }))
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
        let told_now = self.tell(now, name, op)?;
        Some(self.keep(table, now, name, told_now, told))
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
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let queues = self.all.iter().filter(|(_, queue)| is_due(queue.next_deadline()));
        let topics = self.topics.iter().filter(|(_, topic)| is_due(topic.next_deadline()));
        let topics = topics.map(|(name, _)| of_topic(name));
        let due: Vec<String> = queues.map(|(name, _)| name.clone()).chain(topics).collect();
        for name in due {
            self.apply(table, now, (&name, QueueOp::Deal), told).transpose()?;
        }
        Ok(())
    }

    /// When something is due by time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let topics = self.topics.values().filter_map(Topic::next_deadline);
        self.all.values().filter_map(Queue::next_deadline).chain(topics).min()
    }

    /// The bytes of a message.
    #[must_use]
    pub fn payload(&self, table: &Table, now: Timestamp, name: &str, id: u64) -> Option<Vec<u8>> {
        // Those of a group are the topic's.
        let owner = match Name::of(name) {
            Name::Group(topic, _) => Cow::Owned(of_topic(topic)),
            Name::Queue(_) | Name::Topic(_) => Cow::Borrowed(name),
        };
        let key = self.key(table, &owner, &Part::Message(id));
        let pinned = table.pin();
        let mut entry = pinned.entry(table.hash(&key), &key, now)?;
        Some(Head::payload(entry.get()?.value())?.to_vec())
    }

    /// Keeps what has changed. Bytes are read first: what is acknowledged at once is gone behind.
    fn keep(
        &mut self,
        table: &Table,
        now: Timestamp,
        name: &str,
        (mut reply, wakes): (QueueReply, Vec<(String, Wake)>),
        told: &mut Vec<Told>,
    ) -> Result<Done, NotKept> {
        let give = |queue: &str, delivery: Delivery| {
            let payload = self.payload(table, now, queue, delivery.receipt.id).unwrap_or_default();
            Given { delivery, payload }
        };
        let mut given = Vec::new();
        if let QueueReply::Deliveries(all) = &mut reply {
            given = all.drain(..).map(|one| give(name, one)).collect();
        }
        told.extend(wakes.into_iter().map(|(queue, Wake { ticket, deliveries })| {
            let given = deliveries.into_iter().map(|one| give(&queue, one)).collect();
            Told { queue, ticket, given }
        }));
        let mut done = 0;
        for name in self.groups_of(name).into_iter().chain([name.to_owned()]) {
            self.keep_changed(table, now, &name, &mut done)?;
        }
        Ok(Done { reply, given })
    }

    fn keep_changed(
        &mut self,
        table: &Table,
        now: Timestamp,
        name: &str,
        done: &mut usize,
    ) -> Result<(), NotKept> {
        for part in self.take_changed(name) {
            let key = self.key(table, name, &part);
            let kept = match self.part(name, &part) {
                Some(bytes) => put(table, &key, [&bytes, b""], now),
                None => remove(table, &key, now),
            };
            kept.map_err(|why| NotKept { why, done: *done })?;
            *done += 1;
        }
        Ok(())
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
