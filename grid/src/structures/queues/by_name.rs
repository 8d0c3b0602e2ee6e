//! Queues, topics and groups by name: what is asked of a name goes to whichever of them it is of.

use std::collections::BTreeSet;

use isogrid_engine::{Error, Table, Timestamp};

use super::names::{Name, Options, of_group, of_topic};
use super::{NotKept, Queues, put, remove};
use crate::structure::Structure;
use crate::structure::queue::{Part, Queue, QueueOp, QueueReply, QueueStats, Wake};
use crate::structure::topic::{Ahead, Start, Topic};

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

impl Queues {
    /// The queue of this name, or the group of a topic, which is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Queue> {
        match Name::of(name) {
            Name::Queue(name) => self.all.get(name),
            Name::Group(topic, group) => self.topics.get(topic)?.group(group),
            Name::Topic(_) => None,
        }
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

    pub(super) fn parts(&self, name: &str) -> Vec<Part> {
        match Name::of(name) {
            Name::Topic(name) => self.topics.get(name).map(|topic| topic.parts().collect()),
            Name::Queue(_) | Name::Group(..) => self.get(name).map(|queue| queue.parts().collect()),
        }
        .unwrap_or_default()
    }

    pub(super) fn part(&self, name: &str, part: &Part) -> Option<Vec<u8>> {
        match Name::of(name) {
            Name::Topic(name) => self.topics.get(name)?.part(part),
            Name::Queue(_) | Name::Group(..) => self.get(name)?.part(part),
        }
    }

    pub(super) fn take_changed(&mut self, name: &str) -> BTreeSet<Part> {
        match Name::of(name) {
            Name::Queue(name) => self.all.get_mut(name).map(Queue::take_changed),
            Name::Topic(name) => self.topics.get_mut(name).map(Topic::take_changed),
            Name::Group(topic, group) => {
                self.topics.get_mut(topic).map(|topic| topic.take_changed_of(group))
            }
        }
        .unwrap_or_default()
    }

    /// Has an operation done; the answer, and who waits for messages of which queue no more.
    pub(super) fn tell(
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
}
