//! A message that this client has, until it is done.

use std::time::Duration;

use super::consumer::Place;
use super::message::headers;
use super::{Queue, millis_or_none};
use crate::client::error::Error;
use crate::client::handle::decode;
use crate::native::queue::{
    Ack, AckReply, Extend, ExtendReply, Nack, NackReply, Refusal, RefusedDelivery,
};
use crate::native::{ErrorCode, List, Ms};

/// A message. Dropped without a word it comes again when its time is over, or its consumer is gone.
#[derive(Debug)]
pub struct Delivery {
    queue: Queue,
    receipt: Vec<u8>,
    /// Its id.
    pub id: u64,
    /// Its how manyeth delivery this is, from 1.
    pub attempt: u16,
    /// When it was published, ms since 1970.
    pub published_ms: u64,
    /// What is said of the body.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What it takes of its consumer's credit, as long as it is there.
    _place: Option<Place>,
}

/// What became of a message that was acknowledged, refused or extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// What was asked for.
    Done,
    /// It was too late: the message was or will be delivered again, or is dead.
    Stale,
}

/// Errors of all methods: the request has no answer, and its outcome says whether it was executed.
impl Delivery {
    pub(super) fn of(
        queue: &Queue,
        delivery: &crate::native::queue::Delivery<'_>,
        place: Option<Place>,
    ) -> Self {
        Delivery {
            queue: queue.clone(),
            receipt: delivery.receipt.to_vec(),
            id: delivery.id,
            attempt: delivery.attempt,
            published_ms: delivery.published_ms,
            headers: headers(&delivery.content),
            body: delivery.content.body.bytes().to_vec(),
            _place: place,
        }
    }

    /// The message is done, and is never delivered again.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn ack(&self) -> Result<Settled, Error> {
        let receipts = [&*self.receipt];
        let ack = Ack { receipts: List::of(&receipts) };
        let object = &self.queue.object;
        settled(object.call(|| object.handle.request(&ack)).await.and_then(|reply| {
            let is_all = matches!(decode::<Ack<'_>>(&reply)?, AckReply::Ok { .. });
            Ok(is_all)
        }))
    }

    /// The message comes again, when the backoff of the queue is over; after its last attempt it is
    /// dead. The reason is kept with it.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn refuse(&self, reason: &str) -> Result<Settled, Error> {
        self.nack(Refusal::Requeue, Duration::ZERO, reason).await
    }

    /// Refuses the message: what becomes of it is said, and after which delay it comes again.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn nack(
        &self,
        refusal: Refusal,
        delay: Duration,
        reason: &str,
    ) -> Result<Settled, Error> {
        let delay = millis_or_none(delay);
        let refused = [RefusedDelivery { receipt: &self.receipt, delay, refusal, reason }];
        let nack = Nack { deliveries: List::of(&refused) };
        let object = &self.queue.object;
        settled(object.call(|| object.handle.request(&nack)).await.and_then(|reply| {
            let is_all = matches!(decode::<Nack<'_>>(&reply)?, NackReply::Ok { .. });
            Ok(is_all)
        }))
    }

    /// More time: so long from now.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn extend(&self, wait: Duration) -> Result<Settled, Error> {
        let receipts = [&*self.receipt];
        let wait = Ms(crate::client::handle::millis(wait));
        let extend = Extend { receipts: List::of(&receipts), wait };
        let object = &self.queue.object;
        settled(object.call(|| object.handle.request(&extend)).await.and_then(|reply| {
            let is_all = matches!(decode::<Extend<'_>>(&reply)?, ExtendReply::Ok { .. });
            Ok(is_all)
        }))
    }
}

fn settled(is_all: Result<bool, Error>) -> Result<Settled, Error> {
    match is_all {
        Ok(true) => Ok(Settled::Done),
        Ok(false) => Ok(Settled::Stale),
        Err(error) if error.code() == Some(ErrorCode::StaleReceipt) => Ok(Settled::Stale),
        Err(error) => Err(error),
    }
}
