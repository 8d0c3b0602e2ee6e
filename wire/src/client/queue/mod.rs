//! Queues: each message goes to one consumer, and comes again until one has acknowledged it.
//!
//! ```no_run
//! use std::time::Duration;
//! use isogrid_wire::client::queue::Message;
//! use isogrid_wire::client::{Client, Error};
//!
//! # async fn example(client: Client) -> Result<(), Error> {
//! let jobs = client.queue("jobs").await?;
//! jobs.publish(&Message::new("resize 7.png")).await?;
//! jobs.publish(&Message::new("resize 8.png").priority(9).dedup("8.png")).await?;
//!
//! let mut consumer = jobs.consume().credit(10).open().await?;
//! let job = consumer.next().await?;
//! match std::str::from_utf8(&job.body) {
//!     Ok(text) => {
//!         println!("{text}, attempt {}", job.attempt);
//!         job.ack().await?;
//!     }
//!     Err(error) => drop(job.refuse(&error.to_string()).await?),
//! }
//!
//! for job in jobs.pull(5, Duration::from_secs(1)).await? {
//!     job.ack().await?;
//! }
//! # Ok(())
//! # }
//! ```

mod consumer;
mod delivery;
mod message;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Document;
use tokio::time::Instant;

use super::Client;
use super::error::{Cause, Error};
use super::handle::{decode, millis};
use super::object::{Make, Object};
use crate::native::catalog::ObjectKind;
use crate::native::queue::{
    Browse, BrowseReply, MessageState, Publish, PublishAck, PublishReply, Pull, PullReply, Purge,
    PurgeReply, Redrive, RedriveReply, Stats, StatsReply,
};
use crate::native::{List, Status};
pub use consumer::{Consume, Consumer};
pub use delivery::{Delivery, Settled};
pub(super) use message::headers;
pub use message::{Message, Shown};

/// Messages that are asked for at a time when all are shown.
const PAGE: u16 = 256;

/// A queue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {
    object: Arc<Object>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is published under this id, which is above those of all before.
    Done(u64),
    /// One with the same `dedup` was published, under this id.
    Duplicate(u64),
    /// It is surely not published: the queue is full.
    Refused,
}

impl Client {
    /// The queue of this name; it is made with default options if it is not there.
    ///
    /// # Errors
    ///
    /// The server refused, or cannot be reached.
    pub async fn queue(&self, name: &str) -> Result<Queue, Error> {
        self.queue_made(name, Make::Plain).await
    }

    /// The queue of this name; it is made with these options, a JSON object, if it is not there, and
    /// must have them if it is.
    ///
    /// # Errors
    ///
    /// As [`Client::queue`]; `OBJECT_EXISTS`.
    pub async fn queue_with(&self, name: &str, options: &Document) -> Result<Queue, Error> {
        self.queue_made(name, Make::With(options.to_string())).await
    }

    /// The queue of this name, if it is there.
    ///
    /// # Errors
    ///
    /// As [`Client::queue`]; [`Cause::NoSuchObject`].
    pub async fn queue_that_is(&self, name: &str) -> Result<Queue, Error> {
        self.queue_made(name, Make::Never).await
    }

    async fn queue_made(&self, name: &str, make: Make) -> Result<Queue, Error> {
        self.made(ObjectKind::Queue, name, make).await
    }

    pub(super) async fn made(
        &self,
        kind: ObjectKind,
        name: &str,
        make: Make,
    ) -> Result<Queue, Error> {
        let object = Object::new(self.handle.clone(), kind, name, make);
        object.number(Instant::now() + self.handle.timeout).await?;
        Ok(Queue { object: Arc::new(object) })
    }
}

/// Errors of all methods: the request has no answer, and its outcome says whether it was executed.
impl Queue {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.object.name
    }

    pub(super) fn object(&self) -> &Object {
        &self.object
    }

    /// Publishes a message, once, however often it has to be sent.
    ///
    /// # Errors
    ///
    /// As above; `QUOTA_EXCEEDED`: the queue is full.
    pub async fn publish(&self, message: &Message) -> Result<Published, Error> {
        let all = self.publish_many(std::slice::from_ref(message)).await?;
        all.first().copied().ok_or_else(|| Error::unknown(Cause::Protocol("an answer is missing")))
    }

    /// Publishes messages, each on its own, in the order of the request.
    ///
    /// # Errors
    ///
    /// As above; `QUOTA_EXCEEDED`: the queue is full, and none is published.
    pub async fn publish_many(&self, messages: &[Message]) -> Result<Vec<Published>, Error> {
        let headers: Vec<_> = messages.iter().map(Message::headers).collect();
        let new =
            messages.iter().zip(&headers).map(|(message, headers)| message.new_message(headers));
        let new: Vec<_> = new.collect();
        let publish = Publish { ack: PublishAck::Default, messages: List::of(&new) };
        let reply = self.object.call(|| self.object.handle.request(&publish)).await?;
        let (PublishReply::Ok { results } | PublishReply::Partial { results }) =
            decode::<Publish<'_>>(&reply)?;
        let one = |(status, id)| match (status, id) {
            (Status::Ok, id) => Published::Done(id),
            (_, 0) => Published::Refused,
            (_, id) => Published::Duplicate(id),
        };
        Ok(results.iter().map(|result| one((result.status, result.id))).collect())
    }

    /// Up to `n` messages (1 to 64); it waits for one, and answers none when it has waited so long.
    ///
    /// # Errors
    ///
    /// As above. What was taken by a request whose answer is lost comes again when its time is over.
    pub async fn pull(&self, n: u16, wait: Duration) -> Result<Vec<Delivery>, Error> {
        let pull = Pull { group: "", n, wait: millis_or_none(wait) };
        let timeout = self.object.handle.timeout + wait;
        let request = || self.object.handle.request(&pull);
        let reply = self.object.call_within(timeout, request).await?;
        let PullReply::Ok { deliveries } = decode::<Pull<'_>>(&reply)?;
        Ok(deliveries.iter().map(|one| Delivery::of(self, &one, None)).collect())
    }

    /// Gets messages as they come, from [`Consume::open`] on.
    pub fn consume(&self) -> Consume<'_> {
        Consume::of(self)
    }

    /// All messages in this state, oldest first; nothing is changed by that.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn browse(&self, state: MessageState) -> Result<Vec<Shown>, Error> {
        let (mut all, mut cursor): (_, Option<Vec<u8>>) = (Vec::new(), None);
        loop {
            let browse = Browse { cursor: cursor.as_deref(), n: PAGE, state };
            let reply = self.object.call(|| self.object.handle.request(&browse)).await?;
            let BrowseReply::Ok { messages, cursor: next } = decode::<Browse<'_>>(&reply)?;
            all.extend(messages.iter().map(|message| Shown::of(&message)));
            let Some(next) = next else { return Ok(all) };
            cursor = Some(next.to_vec());
        }
    }

    /// Removes messages in this state, but none that a consumer has; how many.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn purge(&self, state: MessageState) -> Result<u64, Error> {
        let reply = self.object.call(|| self.object.handle.request(&Purge { state })).await?;
        let PurgeReply::Ok { count } = decode::<Purge>(&reply)?;
        Ok(count)
    }

    /// Brings up to `n` dead messages back, 0: all; how many.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn redrive(&self, n: u32) -> Result<u64, Error> {
        let reply = self.object.call(|| self.object.handle.request(&Redrive { n })).await?;
        let RedriveReply::Ok { count } = decode::<Redrive>(&reply)?;
        Ok(count)
    }

    /// What there is, and what went through, as a JSON object of numbers.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn stats(&self) -> Result<Document, Error> {
        let reply = self.object.call(|| self.object.handle.request(&Stats {})).await?;
        let StatsReply::Ok { stats } = decode::<Stats>(&reply)?;
        stats.parse().map_err(|malformed| Error::failed(Cause::Malformed(malformed)))
    }
}

/// A span of 0 stays 0.
pub(super) fn millis_or_none(span: Duration) -> crate::native::Ms {
    crate::native::Ms(if span.is_zero() { 0 } else { millis(span) })
}
