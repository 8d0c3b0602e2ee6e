//! The state in parts that are kept each by itself. The log's are the topic's; each group has its own,
//! as a queue has, but for what was said of its messages, which the log knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isogrid_engine::Timestamp;

use super::log::{Gone, Log};
use super::{Topic, TopicOptions};
use crate::bytes::{Input, put_u64};
use crate::structure::queue::{Head, Part, Queue};

impl Topic {
    /// What these parts are, by name; ids that it gives out begin with `first`, or behind all that
    /// there are. It has no groups yet. `None` when nothing says that there is a topic.
    pub fn of_parts<'a>(
        parts: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        now: Timestamp,
        first: u64,
    ) -> Option<Self> {
        let (mut options, mut gone) = (None, Gone::default());
        let (mut heads, mut known) = (BTreeMap::new(), Vec::new());
        for (name, bytes) in parts {
            let mut input = Input(bytes);
            match Part::of_name(name) {
                Some(Part::Options) => options = TopicOptions::decode(&mut input),
                Some(Part::Cursor) => gone = decode_gone(&mut input)?,
                Some(Part::Message(id)) => heads.extend(Head::decode(&mut input).map(|h| (id, h))),
                Some(Part::Dedup(name)) => {
                    known.extend(input.u64().zip(input.u64()).zip(Some(name)))
                }
                Some(Part::State(_)) | None => {}
            }
        }
        let mut topic = Topic::new(options?, now, first.max(gone.last + 1));
        topic.log = Log::of(gone);
        for (id, head) in heads {
            topic.next_id = topic.next_id.max(id.saturating_add(1));
            known.extend(head.dedup.iter().map(|name| ((id, head.published), Arc::clone(name))));
            topic.log.push(id, head);
        }
        // Clocks of members are apart; times of messages rise all the same.
        topic.now = topic.log.last().map_or(now, |(_, head)| head.published.max(now));
        known.sort_unstable();
        for ((id, at), name) in known {
            topic.window.add(&name, id, at);
        }
        Some(topic)
    }

    /// A group that these parts are comes back; whether they are one.
    pub fn put_back<'a>(
        &mut self,
        name: &str,
        parts: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        now: Timestamp,
    ) -> bool {
        let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (part, bytes) in parts {
            if let Some(Part::State(id)) = Part::of_name(part) {
                // What was said of its messages, the log has.
                let head = self.log.get(id).map(|head| Head { dedup: None, ..head.clone() });
                all.extend(head.map(|head| (Part::Message(id).name(), head.to_bytes())));
            }
            all.push((part.to_vec(), bytes.to_vec()));
        }
        let all = all.iter().map(|(name, bytes)| (&**name, &**bytes));
        let group = Queue::of_parts(all, now, self.next_id).filter(|of| of.cursor().is_some());
        group.map(|group| self.groups.insert(name.to_owned(), group)).is_some()
    }

    /// The parts of the topic that have changed since this was asked last; a message that was
    /// published is not among them, whoever has its bytes keeps it.
    pub fn take_changed(&mut self) -> BTreeSet<Part> {
        std::mem::take(&mut self.changed)
    }

    /// As [`Topic::take_changed`], of a group.
    pub fn take_changed_of(&mut self, group: &str) -> BTreeSet<Part> {
        self.groups.get_mut(group).map(Queue::take_changed).unwrap_or_default()
    }

    /// A part as bytes, of a message without its own; `None` when it is not there.
    #[must_use]
    pub fn part(&self, part: &Part) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match part {
            Part::Options => self.options.encode(&mut out),
            Part::Dedup(name) => {
                let (id, at) = self.window.get(name)?;
                if self.log.get(id).is_some() {
                    return None;
                }
                put_u64(&mut out, id);
                put_u64(&mut out, at);
            }
            Part::Message(id) => out = self.log.get(*id)?.to_bytes(),
            Part::Cursor => {
                let Gone { last, count } = self.log.gone();
                put_u64(&mut out, last);
                put_u64(&mut out, count);
            }
            Part::State(_) => return None,
        }
        Some(out)
    }

    /// All parts of the topic, those that are not there included.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let messages = self.log.behind(0).map(|(id, _)| Part::Message(id));
        let known = self.window.names().map(Part::Dedup);
        [Part::Options, Part::Cursor].into_iter().chain(known).chain(messages)
    }
}

fn decode_gone(input: &mut Input<'_>) -> Option<Gone> {
    Some(Gone { last: input.u64()?, count: input.u64()? })
}
