//! The queues of one segment of a table. Each is a state machine in memory whose parts are entries of
//! the table, so that the log and the copies of the table keep it; whoever opens the table, or takes
//! the segment over, makes the queues anew of the entries.
//!
//! A message that is published is one entry, with its bytes; what becomes of it is a second, small one.
//! All entries of a queue are in its segment: they have one log and one order. So are those of a topic
//! and of its groups, which are queues that have no messages of their own.

mod hosted;
pub mod names;

use std::collections::{BTreeMap, BTreeSet};

use isogrid_engine::hash::stable_segment;
use isogrid_engine::{Cursor, Error, NewEntry, Table, Timestamp};

pub use self::hosted::Hosted;
use self::names::{Name, Options, home, of_group, of_topic};
use super::NotKept;
use crate::id::Epoch;
use crate::structure::Structure;
use crate::structure::queue::{
    Delivery, Head, NewMessage, Part, Queue, QueueOp, QueueReply, QueueStats, Wake,
};
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

/// What came of making something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It is there, and was not before.
    New,
    /// It was there before.
    There,
    /// There is no topic that it could be a group of.
    NoTopic,
    /// The topic has not come to where the group should begin.
    Ahead(Ahead),
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

    /// What is set to what, and what there is in it.
    #[must_use]
    pub fn look(&self, name: &str) -> Option<(Options, QueueStats)> {
        match Name::of(name) {
            Name::Queue(name) => {
                let queue = self.all.get(name)?;
                Some((Options::Queue(*queue.options()), queue.stats()))
            }
            Name::Topic(name) => {
                let topic = self.topics.get(name)?;
                Some((Options::Topic(*topic.options()), topic.stats()))
            }
            Name::Group(topic, group) => {
                let topic = self.topics.get(topic)?;
                let options = *topic.group(group)?.options();
                Some((Options::Group(options, Start::New), topic.group_stats(group)?))
            }
        }
    }

    /// The names of all queues, topics and groups.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let topics = self.topics.iter().flat_map(|(name, topic)| {
            let groups = topic.groups().map(|(group, _)| of_group(name, group));
            [of_topic(name)].into_iter().chain(groups)
        });
        self.all.keys().cloned().chain(topics)
    }

    /// Makes a queue, a topic or a group of one.
    ///
    /// # Errors
    /// It could not be kept, and is not there.
    pub fn create(
        &mut self,
        table: &Table,
        now: Timestamp,
        name: &str,
        options: Options,
    ) -> Result<Made, Error> {
        if self.look(name).is_some() {
            return Ok(Made::There);
        }
        let first = self.next_id();
        match (Name::of(name), options) {
            (Name::Group(of, group), Options::Group(options, start)) => {
                let Some(topic) = self.topics.get_mut(of) else { return Ok(Made::NoTopic) };
                if let Err(ahead) = topic.join(now, (group, options), start) {
                    return Ok(Made::Ahead(ahead));
                }
            }
            (Name::Topic(of), Options::Topic(options)) => {
                self.topics.insert(of.to_owned(), Topic::new(options, now, first));
            }
            (_, Options::Queue(options) | Options::Group(options, _)) => {
                self.all.insert(name.to_owned(), Queue::new(options, now, first));
            }
            (_, Options::Topic(_)) => return Ok(Made::NoTopic),
        }
        // With what it is set to it is there: that is kept last.
        let kept = [Part::Cursor, Part::Options].iter().try_for_each(|part| {
            let bytes = self.part(name, part);
            let key = self.key(table, name, part);
            bytes.map_or(Ok(()), |bytes| put(table, &key, [&bytes, b""], now))
        });
        if let Err(why) = kept {
            self.forget(name);
            return Err(why);
        }
        Ok(Made::New)
    }

    fn forget(&mut self, name: &str) {
        match Name::of(name) {
            Name::Queue(name) => drop(self.all.remove(name)),
            Name::Topic(name) => drop(self.topics.remove(name)),
            Name::Group(topic, group) => {
                let topic = self.topics.get_mut(topic);
                topic.map(|topic| topic.part_with(group));
            }
        }
    }

    /// Removes a queue and all that is in it, a topic with its groups, or a group; `false` when there
    /// is none. What it is set to goes last: as long as anything of it is left, it is there.
    ///
    /// # Errors
    /// As [`Queues::apply`].
    pub fn remove(&mut self, table: &Table, now: Timestamp, name: &str) -> Result<bool, NotKept> {
        if self.look(name).is_none() {
            return Ok(false);
        }
        let next = self.next_id();
        for group in self.groups_of(name) {
            self.remove(table, now, &group)?;
        }
        let parts = self.parts(name).into_iter().filter(|part| *part != Part::Options);
        for (done, part) in parts.chain([Part::Options]).enumerate() {
            remove(table, &self.key(table, name, &part), now)
                .map_err(|why| NotKept { why, done })?;
        }
        self.first = self.first.max(next);
        self.forget(name);
        Ok(true)
    }

    /// The groups of a topic, by their whole names.
    #[must_use]
    pub fn groups_of(&self, name: &str) -> Vec<String> {
        let Name::Topic(of) = Name::of(name) else { return Vec::new() };
        let topic = self.topics.get(of).into_iter();
        topic.flat_map(Topic::groups).map(|(group, _)| of_group(of, group)).collect()
    }

    fn parts(&self, name: &str) -> Vec<Part> {
        match Name::of(name) {
            Name::Queue(name) => self.all.get(name).map(|queue| queue.parts().collect()),
            Name::Topic(name) => self.topics.get(name).map(|topic| topic.parts().collect()),
            Name::Group(..) => self.group(name).map(|queue| queue.parts().collect()),
        }
        .unwrap_or_default()
    }

    fn part(&self, name: &str, part: &Part) -> Option<Vec<u8>> {
        match Name::of(name) {
            Name::Queue(name) => self.all.get(name)?.part(part),
            Name::Topic(name) => self.topics.get(name)?.part(part),
            Name::Group(..) => self.group(name)?.part(part),
        }
    }

    fn group(&self, name: &str) -> Option<&Queue> {
        let Name::Group(topic, group) = Name::of(name) else { return None };
        self.topics.get(topic)?.group(group)
    }

    fn take_changed(&mut self, name: &str) -> BTreeSet<Part> {
        match Name::of(name) {
            Name::Queue(name) => self.all.get_mut(name).map(Queue::take_changed),
            Name::Topic(name) => self.topics.get_mut(name).map(Topic::take_changed),
            Name::Group(topic, group) => {
                self.topics.get_mut(topic).map(|topic| topic.take_changed_of(group))
            }
        }
        .unwrap_or_default()
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

    /// Has an operation done; the answer, and who waits for messages of which queue no more.
    fn tell(
        &mut self,
        now: Timestamp,
        name: &str,
        op: QueueOp<'_>,
    ) -> Option<(QueueReply, Vec<(String, Wake)>)> {
        let (mut wakes, mut of_groups) = (Vec::new(), Vec::new());
        let reply = match Name::of(name) {
            Name::Queue(of) => self.all.get_mut(of)?.apply(now, op, &mut wakes),
            Name::Group(topic, group) => {
                self.topics.get_mut(topic)?.apply_to(now, (group, op), &mut wakes)?
            }
            Name::Topic(of) => {
                let reply = self.topics.get_mut(of)?.apply(now, op, &mut of_groups);
                of_groups.iter_mut().for_each(|(group, _)| *group = of_group(of, group));
                reply
            }
        };
        of_groups.extend(wakes.into_iter().map(|wake| (name.to_owned(), wake)));
        Some((reply, of_groups))
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
        let of_topic = self.group(name).map(|_| of_topic(home(name)));
        let key = self.key(table, of_topic.as_deref().unwrap_or(name), &Part::Message(id));
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
