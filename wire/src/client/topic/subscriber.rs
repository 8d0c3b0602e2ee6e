//! Messages of a topic as they come. Where it is, nobody knows but the subscriber.

use std::collections::VecDeque;
use std::time::Duration;

use super::{From, Logged, Page, Topic};
use crate::client::error::Error;
use crate::client::stream;

/// Messages that are asked for at a time.
const PAGE: u16 = 64;
/// How long one request waits for them.
const WAIT: Duration = Duration::from_secs(20);

/// Gets messages in their order, each once. It asks again by itself when the connection is lost, and
/// goes on where it was.
#[derive(Debug)]
pub struct Subscriber {
    topic: Topic,
    position: u64,
    ready: VecDeque<Event>,
}

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message(Logged),
    /// It was too slow: so many messages were taken by the topic's retention before it had them.
    /// Exactly, if the topic was served by one member all along, else at the most.
    Lost(u64),
}

impl Subscriber {
    /// Where it begins is known when this is answered.
    pub(super) async fn open(topic: &Topic, from: From) -> Result<Self, Error> {
        let first = topic.read(from, PAGE, Duration::ZERO).await?;
        let ready = VecDeque::new();
        let mut subscriber = Subscriber { topic: topic.clone(), position: 0, ready };
        subscriber.take(first);
        Ok(subscriber)
    }

    /// The position behind what it has given until now: who subscribes there goes on.
    #[must_use]
    pub fn position(&self) -> u64 {
        let id = |event: &Event| match event {
            Event::Message(message) => Some(message.id),
            Event::Lost(_) => None,
        };
        self.ready.iter().find_map(id).unwrap_or(self.position)
    }

    /// What comes next. It may be dropped while it waits, and nothing is skipped; so is nothing by an
    /// error, after which it may be asked again.
    ///
    /// # Errors
    ///
    /// The server refused, or the topic was dropped. A connection that is lost is none.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.topic.read(From::Position(self.position), PAGE, WAIT).await {
                Ok(page) => self.take(page),
                Err(error) => stream::again(async { Err(error) }).await?,
            }
        }
    }

    fn take(&mut self, page: Page) {
        self.position = page.next;
        self.ready.extend(Some(Event::Lost(page.lost)).filter(|_| page.lost > 0));
        self.ready.extend(page.messages.into_iter().map(Event::Message));
    }
}
