//! Topics: each message is kept until the topic's retention takes it, and goes to each group of
//! consumers, and to whoever reads.
//!
//! ```no_run
//! use isogrid_wire::client::queue::Message;
//! use isogrid_wire::client::topic::{Event, From};
//! use isogrid_wire::client::{Client, Error};
//!
//! # async fn example(client: Client) -> Result<(), Error> {
//! let news = client.topic("news").await?;
//! news.publish(&Message::new("it rains")).await?;
//!
//! // A group is a queue: what is acknowledged is done for the group, wherever it goes on.
//! let billing = news.group("billing", From::First).await?;
//! let mut consumer = billing.consume().credit(10).open().await?;
//! consumer.next().await?.ack().await?;
//!
//! // Whoever reads has its place by itself.
//! let mut reader = news.subscribe(From::First).await?;
//! match reader.next().await? {
//!     Event::Message(message) => println!("{}: {:?}", message.id, message.body),
//!     Event::Lost(count) => println!("{count} messages are gone already"),
//! }
//! # Ok(())
//! # }
//! ```

mod subscriber;

use std::time::Duration;

use serde_json::{Value as Document, json};

use super::Client;
use super::error::Error;
use super::handle::decode;
use super::object::Make;
use super::queue::{Message, Published, Queue, headers, millis_or_none};
use crate::native::catalog::ObjectKind;
use crate::native::queue::{LogMessage, MessageState, Read, ReadFrom, ReadReply};
pub use subscriber::{Event, Subscriber};

/// A topic. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Topic {
    client: Client,
    /// Publishing, counting and purging are as those of a queue.
    log: Queue,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum From {
    /// With what is published from now on.
    #[default]
    New,
    /// With the oldest message that there is.
    First,
    /// With the message of this id, or the next one.
    Position(u64),
    /// With what was published at this time or later, ms since 1970.
    Time(u64),
}

/// A message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its id, which is its position.
    pub id: u64,
    /// When it was published, ms since 1970.
    pub published_ms: u64,
    /// What is said of the body.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Messages that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// So many from the position on are gone: exactly, if the topic was served by one member all
    /// along, else at the most.
    pub lost: u64,
    /// The position to read on from.
    pub next: u64,
    /// In their order.
    pub messages: Vec<Logged>,
}

impl Client {
    /// The topic of this name; it is made with default options if it is not there.
    ///
    /// # Errors
    ///
    /// The server refused, or cannot be reached.
    pub async fn topic(&self, name: &str) -> Result<Topic, Error> {
        self.topic_made(name, Make::Plain).await
    }

    /// The topic of this name; it is made with these options, a JSON object, if it is not there, and
    /// must have them if it is.
    ///
    /// # Errors
    ///
    /// As [`Client::topic`]; `OBJECT_EXISTS`.
    pub async fn topic_with(&self, name: &str, options: &Document) -> Result<Topic, Error> {
        self.topic_made(name, Make::With(options.to_string())).await
    }

    /// The topic of this name, if it is there.
    ///
    /// # Errors
    ///
    /// As [`Client::topic`]; [`super::Cause::NoSuchObject`].
    pub async fn topic_that_is(&self, name: &str) -> Result<Topic, Error> {
        self.topic_made(name, Make::Never).await
    }

    async fn topic_made(&self, name: &str, make: Make) -> Result<Topic, Error> {
        let log = self.made(ObjectKind::Topic, name, make).await?;
        Ok(Topic { client: self.clone(), log })
    }
}

/// Errors of all methods: the request has no answer, and its outcome says whether it was executed.
impl Topic {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.log.name()
    }

    /// Publishes a message, once, however often it has to be sent. It cannot be delayed, and its
    /// priority counts for nothing.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn publish(&self, message: &Message) -> Result<Published, Error> {
        self.log.publish(message).await
    }

    /// Publishes messages, each on its own, in the order of the request.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn publish_many(&self, messages: &[Message]) -> Result<Vec<Published>, Error> {
        self.log.publish_many(messages).await
    }

    /// The group of this name, a queue; it is made if it is not there, and begins there then.
    ///
    /// # Errors
    ///
    /// As above; `OUT_OF_RANGE`: the topic has not come to this position.
    pub async fn group(&self, name: &str, from: From) -> Result<Queue, Error> {
        self.group_with(name, from, &json!({})).await
    }

    /// As [`Topic::group`]; it is made with these options of a queue, and must have them if it is
    /// there.
    ///
    /// # Errors
    ///
    /// As [`Topic::group`]; `OBJECT_EXISTS`.
    pub async fn group_with(
        &self,
        name: &str,
        from: From,
        options: &Document,
    ) -> Result<Queue, Error> {
        let mut options = options.clone();
        if let Some(options) = options.as_object_mut() {
            options.insert("from".to_owned(), json!(from.text()));
        }
        self.client.queue_with(&format!("{}/{name}", self.name()), &options).await
    }

    /// Up to `n` messages (1 to 64) from there on; it waits for one, and answers none when it has
    /// waited so long.
    ///
    /// # Errors
    ///
    /// As above; `OUT_OF_RANGE`: the topic has not come to this position.
    pub async fn read(&self, from: From, n: u16, wait: Duration) -> Result<Page, Error> {
        let (from, at) = from.wire();
        let read = Read { from, at, n, wait: millis_or_none(wait) };
        let object = self.log.object();
        let timeout = object.handle.timeout + wait;
        let reply = object.call_within(timeout, || object.handle.request(&read)).await?;
        let ReadReply::Ok { lost, next, messages } = decode::<Read>(&reply)?;
        Ok(Page { lost, next, messages: messages.iter().map(|one| Logged::of(&one)).collect() })
    }

    /// Reads messages as they come. What is published from here on is not missed.
    ///
    /// # Errors
    ///
    /// As [`Topic::read`].
    pub async fn subscribe(&self, from: From) -> Result<Subscriber, Error> {
        Subscriber::open(self, from).await
    }

    /// Removes all messages; how many. Groups pass over them.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn purge(&self) -> Result<u64, Error> {
        self.log.purge(MessageState::Any).await
    }

    /// What there is, and what went through, as a JSON object of numbers.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn stats(&self) -> Result<Document, Error> {
        self.log.stats().await
    }
}

impl From {
    fn wire(self) -> (ReadFrom, u64) {
        match self {
            From::New => (ReadFrom::New, 0),
            From::First => (ReadFrom::First, 0),
            From::Position(id) => (ReadFrom::Position, id),
            From::Time(time) => (ReadFrom::Time, time),
        }
    }

    /// As the option `from` of a group says it.
    fn text(self) -> String {
        match self {
            From::New => "new".to_owned(),
            From::First => "first".to_owned(),
            From::Position(id) => id.to_string(),
            From::Time(time) => format!("@{time}"),
        }
    }
}

impl Logged {
    fn of(message: &LogMessage<'_>) -> Self {
        Logged {
            id: message.id,
            published_ms: message.published_ms,
            headers: headers(&message.content),
            body: message.content.body.bytes().to_vec(),
        }
    }
}
