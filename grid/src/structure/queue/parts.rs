//! The state in parts that are kept each by itself. A message is published by one part and delivered
//! by another, small one; who gets some prefix of the changes has a queue.
//!
//! A message's first part has the publisher's id in it. It gets a part of its own only when the message
//! is removed while the id is known still.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isogrid_engine::Timestamp;

use super::Queue;
use super::message::{Head, Place, State};
use super::options::QueueOptions;
use super::shelf::Message;
use crate::bytes::{Input, put_bytes, put_many, put_u8, put_u64};
use crate::mutant::is_planted;

/// A part, in the order in which changes are kept: an id is known on its own before its message is
/// gone, and a message is gone before what became of it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What the queue is set to: with it the queue is there.
    Options,
    /// An id that a publisher gave, of a message that is gone.
    Dedup(Arc<[u8]>),
    /// What was said of a message when it was published, and its bytes behind.
    Message(u64),
    /// What has become of a message since.
    State(u64),
    /// Up to where a queue that follows a topic has taken its messages, or up to where a topic's are
    /// gone.
    Cursor,
}

const OPTIONS: u8 = b'o';
const DEDUP: u8 = b'd';
const MESSAGE: u8 = b'm';
const STATE: u8 = b's';
const CURSOR: u8 = b'c';

impl Part {
    /// Its name as bytes.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9);
        match self {
            Part::Options => put_u8(&mut out, OPTIONS),
            Part::Dedup(name) => {
                put_u8(&mut out, DEDUP);
                out.extend_from_slice(name);
            }
            Part::Message(id) => {
                put_u8(&mut out, MESSAGE);
                put_u64(&mut out, *id);
            }
            Part::State(id) => {
                put_u8(&mut out, STATE);
                put_u64(&mut out, *id);
            }
            Part::Cursor => put_u8(&mut out, CURSOR),
        }
        out
    }

    pub(in crate::structure) fn of_name(bytes: &[u8]) -> Option<Part> {
        let (kind, rest) = bytes.split_first()?;
        let id = || <[u8; 8]>::try_from(rest).ok().map(u64::from_le_bytes);
        Some(match *kind {
            OPTIONS => Part::Options,
            DEDUP => Part::Dedup(rest.into()),
            MESSAGE => Part::Message(id()?),
            STATE => Part::State(id()?),
            CURSOR => Part::Cursor,
            _ => return None,
        })
    }
}

impl Head {
    /// A message's first part, all but its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        self.encode(&mut out);
        out
    }

    /// The bytes of a message, out of its first part.
    #[must_use]
    pub fn payload(part: &[u8]) -> Option<&[u8]> {
        let mut input = Input(part);
        Head::decode(&mut input)?;
        Some(input.0)
    }
}

impl Queue {
    /// What these parts are, by name; ids that it gives out begin with `first`. `None` when nothing
    /// says that there is a queue.
    pub fn of_parts<'a>(
        parts: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        now: Timestamp,
        first: u64,
    ) -> Option<Self> {
        let (mut options, mut heads, mut states) = (None, BTreeMap::new(), BTreeMap::new());
        let (mut known, mut cursor) = (Vec::new(), None);
        for (name, bytes) in parts {
            let mut input = Input(bytes);
            match Part::of_name(name) {
                Some(Part::Options) => options = QueueOptions::decode(&mut input),
                Some(Part::Cursor) => cursor = input.u64(),
                Some(Part::Message(id)) => heads.extend(Head::decode(&mut input).map(|h| (id, h))),
                Some(Part::State(id)) => states.extend(State::decode(&mut input).map(|s| (id, s))),
                Some(Part::Dedup(name)) => {
                    known.extend(input.u64().zip(input.u64()).zip(Some(name)))
                }
                None => {}
            }
        }
        let mut queue = Queue { cursor, ..Queue::new(options?, now, first) };
        for (id, head) in heads {
            queue.next_id = queue.next_id.max(id.saturating_add(1));
            let new = State { place: Place::Delayed { until: head.due }, ..State::default() };
            let mut state = states.remove(&id).unwrap_or(new);
            if matches!(state.place, Place::Delayed { until } if until <= now) {
                state.place = Place::Ready;
            }
            known.extend(head.dedup.iter().map(|name| ((id, head.published), Arc::clone(name))));
            queue.shelf.insert(id, Message { head, state });
        }
        if is_planted("queue-dedup-lost") {
            known.clear();
        }
        // An id may have been given again when its time was over: the later message has it.
        known.sort_unstable();
        for ((id, at), name) in known {
            queue.window.add(&name, id, at);
        }
        // Of a message that is gone nothing is left.
        queue.changed = states.into_keys().map(Part::State).collect();
        Some(queue)
    }

    /// The parts that have changed since this was asked last; a message that was published is not
    /// among them, whoever has its bytes keeps it.
    pub fn take_changed(&mut self) -> BTreeSet<Part> {
        std::mem::take(&mut self.changed)
    }

    /// A part as bytes, of a message without its own; `None` when it is not there.
    #[must_use]
    pub fn part(&self, part: &Part) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match part {
            Part::Options => self.options.encode(&mut out),
            Part::Dedup(name) => {
                let (id, at) = self.window.get(name)?;
                if self.shelf.get(id).is_some() {
                    return None;
                }
                put_u64(&mut out, id);
                put_u64(&mut out, at);
            }
            Part::Message(id) => self.shelf.get(*id)?.head.encode(&mut out),
            Part::State(id) => {
                let state = &self.shelf.get(*id)?.state;
                if state.is_new() && self.cursor.is_none() {
                    return None;
                }
                state.encode(&mut out);
            }
            Part::Cursor => put_u64(&mut out, self.cursor?),
        }
        Some(out)
    }

    /// All parts, those that are not there included.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let ids = || self.shelf.behind(0, super::Which::All).map(|(id, _)| id);
        let messages = ids().map(Part::Message).chain(ids().map(Part::State));
        let alone = [Part::Options, Part::Cursor];
        alone.into_iter().chain(self.window.names().map(Part::Dedup)).chain(messages)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u64(&mut out, self.now);
        put_u64(&mut out, self.next_id);
        let parts = self.parts().filter_map(|part| Some((part.name(), self.part(&part)?)));
        put_many(&mut out, parts.collect::<Vec<_>>().into_iter(), |out, (name, bytes)| {
            put_bytes(out, &name);
            put_bytes(out, &bytes);
        });
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let (now, next_id) = (input.u64()?, input.u64()?);
        let parts = input.many(|input| Some((input.bytes()?.to_vec(), input.bytes()?.to_vec())))?;
        let parts = parts.iter().map(|(name, bytes)| (&**name, &**bytes));
        let queue = Queue::of_parts(parts, now, next_id)?;
        input.0.is_empty().then_some(queue)
    }
}
