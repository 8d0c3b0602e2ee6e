//! A topic: each message is kept in a log until retention takes it, and goes to each group of
//! consumers once, and to whoever reads the log.
//!
//! A group is a queue that follows the log ([`Queue::following`]): it has a cursor, and what it took
//! and is not done. All that queues do with messages, groups do. Who reads says where, and nothing is
//! known of it here.
//!
//! Messages are in the order of their ids, which are the positions in the log. What retention takes is
//! gone for groups too; who had not read it is told how many they were.
//!
//! | file | what it is |
//! |---|---|
//! | `options.rs` | what a topic is set to, and where reading begins |
//! | `log.rs` | the messages |
//! | `read.rs` | reading from a position |
//! | `retain.rs` | what retention takes |
//! | `parts.rs` | the state as parts that are kept |

mod log;
mod options;
mod parts;
mod read;
mod retain;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use isogrid_engine::Timestamp;

use super::Structure;
use super::queue::{
    BATCH_MAX, Head, NewMessage, Part, Queue, QueueOp, QueueOptions, QueueReply, QueueStats, Shown,
    State, Wake, Went, Which, Window, refuse,
};
use log::Log;
pub use options::{Start, TopicOptions};
pub use read::{Ahead, Page};

/// A topic.
#[derive(Debug, Clone)]
pub struct Topic {
    options: TopicOptions,
    /// The latest time that was told: it never goes back.
    now: Timestamp,
    next_id: u64,
    log: Log,
    groups: BTreeMap<String, Queue>,
    window: Window,
    went: Went,
    changed: BTreeSet<Part>,
}

/// What happens to those who wait for messages of a group.
pub type GroupWake = (String, Wake);

impl Topic {
    /// Empty; ids that it gives out begin with `first`.
    #[must_use]
    pub fn new(options: TopicOptions, now: Timestamp, first: u64) -> Self {
        Topic {
            options,
            now,
            next_id: first.max(1),
            log: Log::default(),
            groups: BTreeMap::new(),
            window: Window::default(),
            went: Went::default(),
            changed: BTreeSet::new(),
        }
    }

    /// What it is set to.
    #[must_use]
    pub fn options(&self) -> &TopicOptions {
        &self.options
    }

    /// The id that is given out next.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// What was said of a message when it was published.
    #[must_use]
    pub fn head(&self, id: u64) -> Option<&Head> {
        self.log.get(id)
    }

    /// What there is, and what went through.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        let (ready, bytes) = (self.log.len() as u64, self.log.bytes());
        QueueStats { ready, bytes, went: self.went, ..QueueStats::default() }
    }

    /// A group.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Queue> {
        self.groups.get(name)
    }

    /// All groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Queue)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// What there is in a group; messages that it has not taken yet wait for a consumer too.
    #[must_use]
    pub fn group_stats(&self, name: &str) -> Option<QueueStats> {
        let group = self.groups.get(name)?;
        let (stats, behind) = (group.stats(), self.log.count_behind(group.cursor()?));
        Some(QueueStats { ready: stats.ready + behind as u64, ..stats })
    }

    /// Makes a group that begins there; `false` when there is one of this name.
    ///
    /// # Errors
    /// [`Ahead`].
    pub fn join(
        &mut self,
        now: Timestamp,
        (name, options): (&str, QueueOptions),
        start: Start,
    ) -> Result<bool, Ahead> {
        if self.groups.contains_key(name) {
            return Ok(false);
        }
        self.now = self.now.max(now);
        let (cursor, lost) = self.begin(start)?;
        let mut group = Queue::following(options, self.now, cursor);
        group.begins_behind(lost);
        self.groups.insert(name.to_owned(), group);
        Ok(true)
    }

    /// Removes a group; whether there was one.
    pub fn part_with(&mut self, name: &str) -> bool {
        self.groups.remove(name).is_some()
    }

    /// Does an operation on a group. `None`: there is none of this name.
    pub fn apply_to(
        &mut self,
        now: Timestamp,
        (name, op): (&str, QueueOp<'_>),
        out: &mut Vec<Wake>,
    ) -> Option<QueueReply> {
        self.now = self.now.max(now);
        let group = self.groups.get_mut(name)?;
        let more = match &op {
            QueueOp::Pull { puller, .. } => puller.most.min(BATCH_MAX),
            _ => 0,
        };
        feed(&self.log, group, self.now, more);
        let reply = group.apply(self.now, op, out);
        Some(match (op, reply) {
            (
                QueueOp::Purge { which: Which::All | Which::Ready, most },
                QueueReply::Count(count),
            ) => QueueReply::Count(count + pass_over(&self.log, group, most.saturating_sub(count))),
            (_, reply) => reply,
        })
    }

    /// Does an operation on the topic itself; those that are of a consumer are of its groups.
    pub fn apply(
        &mut self,
        now: Timestamp,
        op: QueueOp<'_>,
        out: &mut Vec<GroupWake>,
    ) -> QueueReply {
        self.now = self.now.max(now);
        match op {
            // Those two belong together, and nothing comes between them.
            QueueOp::Retract { id } => return self.retract(id),
            QueueOp::Publish(new) => return self.publish(&new),
            _ => self.advance(now, out),
        }
        match op {
            QueueOp::Deal => QueueReply::Done,
            QueueOp::Browse { behind, most, which } => self.browse(behind, most, which),
            QueueOp::Purge { which, most } => QueueReply::Count(self.purge(which, most)),
            QueueOp::Stats => QueueReply::Stats(self.stats()),
            _ => QueueReply::Invalid("a topic is consumed by its groups, the queues `TOPIC/GROUP`"),
        }
    }

    /// Does what is due by time, and gives messages to those who wait.
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<GroupWake>) {
        self.now = self.now.max(now);
        self.retain();
        self.forget_ids();
        for (name, group) in &mut self.groups {
            feed(&self.log, group, self.now, 0);
            let mut wakes = Vec::new();
            group.advance(self.now, &mut wakes);
            out.extend(wakes.into_iter().map(|wake| (name.clone(), wake)));
        }
    }

    /// When something is due by time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let groups = self.groups.values().filter_map(Structure::next_deadline);
        groups.chain(self.retention_deadline()).min()
    }

    fn publish(&mut self, new: &NewMessage<'_>) -> QueueReply {
        if let Some(why) = refuse(new) {
            return QueueReply::Invalid(why);
        }
        if new.delay != 0 {
            return QueueReply::Invalid("a message of a topic has no `delay`: they are in order");
        }
        self.forget_ids();
        if let Some(id) = new.dedup.and_then(|name| self.window.find(name)) {
            self.went.duplicates += 1;
            return QueueReply::Duplicate { id };
        }
        let head = Head {
            published: self.now,
            due: 0,
            expires: if new.ttl == 0 { 0 } else { self.now.saturating_add(new.ttl) },
            priority: 0,
            group: new.group.map(Into::into),
            dedup: new.dedup.map(Into::into),
            len: new.len,
        };
        let limit = self.options.max_bytes;
        if head.cost() > limit {
            self.went.refused += 1;
            return QueueReply::Full { what: "bytes", limit };
        }
        let id = self.next_id;
        self.next_id += 1;
        if let Some(name) = &head.dedup {
            self.window.add(name, id, self.now);
        }
        self.log.push(id, head);
        self.went.published += 1;
        QueueReply::Published { id }
    }

    fn retract(&mut self, id: u64) -> QueueReply {
        self.window.forget(id);
        if !self.log.retract(id) {
            return QueueReply::Gone;
        }
        self.went.published = self.went.published.saturating_sub(1);
        QueueReply::Done
    }

    fn browse(&self, behind: u64, most: usize, which: Which) -> QueueReply {
        if !matches!(which, Which::All | Which::Ready) {
            return QueueReply::Shown(Vec::new(), false);
        }
        let mut found = self.log.behind(behind);
        let show =
            |(id, head): (u64, &Head)| Shown { id, head: head.clone(), state: State::default() };
        let shown = found.by_ref().take(most).map(show).collect();
        QueueReply::Shown(shown, found.next().is_some())
    }
}

/// Has a group pass over messages that it has not taken, up to so many; how many.
fn pass_over(log: &Log, group: &mut Queue, most: usize) -> usize {
    let behind: Vec<u64> = group
        .cursor()
        .into_iter()
        .flat_map(|at| log.behind(at))
        .map(|(id, _)| id)
        .take(most)
        .collect();
    behind.last().into_iter().for_each(|last| group.pass_over(*last));
    behind.len()
}

/// Lets a group take messages for those who wait, and so many more.
fn feed(log: &Log, group: &mut Queue, now: Timestamp, more: usize) {
    while group.wants(more) {
        let next = group.cursor().and_then(|cursor| log.behind(cursor).next());
        let Some((id, head)) = next else { break };
        group.take_next(now, id, head);
    }
}
