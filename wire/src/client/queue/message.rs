//! What is published, and what is shown.

use std::time::Duration;

use super::millis_or_none;
use crate::native::queue::{Content, MessageHeader, MessageState, NewMessage, ShownMessage};
use crate::native::{List, Value};

/// A message to be published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    body: Vec<u8>,
    headers: Vec<(String, String)>,
    dedup: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
    delay: Duration,
    ttl: Duration,
    priority: u8,
}

impl Message {
    /// A message of the middle priority, 4.
    #[must_use]
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Message { body: body.into(), priority: 4, ..Message::default() }
    }

    /// Says something of the body.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A second message with this id within five minutes is none.
    #[must_use]
    pub fn dedup(self, id: impl Into<Vec<u8>>) -> Self {
        Message { dedup: Some(id.into()), ..self }
    }

    /// Messages of one group are delivered one by one, in order.
    #[must_use]
    pub fn group(self, group: impl Into<Vec<u8>>) -> Self {
        Message { group: Some(group.into()), ..self }
    }

    /// It is delivered in so long at the earliest.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        Message { delay, ..self }
    }

    /// It is delivered for so long. Default: for ever.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Message { ttl, ..self }
    }

    /// 0 to 9; 9 goes first.
    #[must_use]
    pub fn priority(self, priority: u8) -> Self {
        Message { priority, ..self }
    }

    pub(super) fn headers(&self) -> Vec<MessageHeader<'_>> {
        self.headers.iter().map(|(name, value)| MessageHeader { name, value }).collect()
    }

    pub(super) fn new_message<'a>(&'a self, headers: &'a [MessageHeader<'a>]) -> NewMessage<'a> {
        NewMessage {
            dedup: self.dedup.as_deref(),
            group: self.group.as_deref(),
            delay: millis_or_none(self.delay),
            ttl: millis_or_none(self.ttl),
            priority: self.priority,
            content: Content { headers: List::of(headers), body: Value::Inline(&self.body) },
        }
    }
}

/// A message as [`super::Queue::browse`] shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its id.
    pub id: u64,
    /// How it stands.
    pub state: MessageState,
    /// How often it was delivered.
    pub attempts: u16,
    /// 0 to 9.
    pub priority: u8,
    /// Its group.
    pub group: Option<Vec<u8>>,
    /// When it was published, ms since 1970.
    pub published_ms: u64,
    /// Why deliveries were in vain: which one, when in ms since 1970, and what was said.
    pub causes: Vec<(u16, u64, String)>,
    /// What is said of the body.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Shown {
    pub(super) fn of(shown: &ShownMessage<'_>) -> Self {
        let causes = shown.causes.iter();
        Shown {
            id: shown.id,
            state: shown.state,
            attempts: shown.attempts,
            priority: shown.priority,
            group: shown.group.map(<[u8]>::to_vec),
            published_ms: shown.published_ms,
            causes: causes.map(|one| (one.attempt, one.at_ms, one.reason.to_owned())).collect(),
            headers: headers(&shown.content),
            body: shown.content.body.bytes().to_vec(),
        }
    }
}

/// The headers of a message.
pub(in crate::client) fn headers(content: &Content<'_>) -> Vec<(String, String)> {
    let all = content.headers.iter();
    all.map(|header| (header.name.to_owned(), header.value.to_owned())).collect()
}
