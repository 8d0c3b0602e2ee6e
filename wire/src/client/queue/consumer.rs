//! Messages as they come.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Delivery, Queue};
use crate::client::error::{Cause, Error};
use crate::client::handle::{UNBOUNDED, millis};
use crate::client::stream::{self, Piece, Stream};
use crate::native::queue::{self, ConsumeAck, ConsumeMode};
use crate::native::{Codec, List, Reader};

/// How to consume.
#[derive(Debug, Clone)]
#[must_use = "nothing comes before `open`"]
pub struct Consume<'q> {
    queue: &'q Queue,
    name: String,
    credit: u32,
    ack: ConsumeAck,
    visible: Duration,
}

/// Gets messages. It asks again by itself when the connection is lost; what it has then comes again,
/// and an acknowledgement of it counts as long as nobody else got it. Dropped, it gives back what it
/// has not acknowledged.
#[derive(Debug)]
pub struct Consumer {
    queue: Queue,
    name: String,
    credit: u32,
    ack: ConsumeAck,
    ack_wait_ms: u32,
    stream: Option<Stream>,
    /// How often it began: credit that an earlier stream gave out does not come back to a later one.
    begun: u64,
    ready: VecDeque<Delivery>,
    back: (mpsc::UnboundedSender<u64>, mpsc::UnboundedReceiver<u64>),
}

/// A delivery's part of the credit; it comes back when it is dropped.
#[derive(Debug)]
pub struct Place {
    begun: u64,
    back: mpsc::UnboundedSender<u64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // A consumer that is gone needs no credit.
        let _ = self.back.send(self.begun);
    }
}

impl<'q> Consume<'q> {
    pub(super) fn of(queue: &'q Queue) -> Self {
        let (ack, visible) = (ConsumeAck::Explicit, Duration::ZERO);
        Consume { queue, name: String::new(), credit: 32, ack, visible }
    }

    /// Its name, for people.
    pub fn name(self, name: &str) -> Self {
        Consume { name: name.to_owned(), ..self }
    }

    /// How many messages it has at the most that are not acknowledged. Default: 32.
    pub fn credit(self, credit: u32) -> Self {
        Consume { credit: credit.max(1), ..self }
    }

    /// Messages are done when they are sent: each is delivered at most once.
    pub fn auto(self) -> Self {
        Consume { ack: ConsumeAck::Auto, ..self }
    }

    /// How long it has for a message before others get it. Default: as the queue says.
    pub fn visible(self, visible: Duration) -> Self {
        Consume { visible, ..self }
    }

    /// Begins.
    ///
    /// # Errors
    ///
    /// The server refused, or cannot be reached.
    pub async fn open(self) -> Result<Consumer, Error> {
        let Consume { queue, name, credit, ack, visible } = self;
        let ack_wait = if visible.is_zero() { 0 } else { millis(visible) };
        let mut consumer = Consumer {
            queue: queue.clone(),
            name,
            credit,
            ack,
            ack_wait_ms: u32::try_from(ack_wait).unwrap_or(u32::MAX),
            stream: None,
            begun: 0,
            ready: VecDeque::new(),
            back: mpsc::unbounded_channel(),
        };
        consumer.begin().await?;
        Ok(consumer)
    }
}

impl Consumer {
    /// The next message. It may be dropped while it waits, and nothing is lost.
    ///
    /// # Errors
    ///
    /// The server refused, or the queue was dropped ([`Cause::NoSuchObject`]). A connection that is
    /// lost is none.
    pub async fn next(&mut self) -> Result<Delivery, Error> {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return Ok(delivery);
            }
            let Some(stream) = &mut self.stream else {
                stream::again(self.begin()).await?;
                continue;
            };
            tokio::select! {
                biased;
                back = self.back.1.recv() => {
                    if back == Some(self.begun) {
                        stream.credit(1);
                    }
                }
                piece = stream.next() => self.receive(piece)?,
            }
        }
    }

    fn receive(&mut self, piece: Piece) -> Result<(), Error> {
        match piece {
            Piece::Opened => Ok(()),
            Piece::Items(payload) => self.take(&payload),
            Piece::Ended(end) => {
                self.stream = None;
                stream::over(end, self.queue.name())
            }
        }
    }

    fn take(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut input = Reader::new(payload, &UNBOUNDED);
        let all = List::<queue::Delivery<'_>>::decode(&mut input)
            .map_err(|malformed| Error::failed(Cause::Malformed(malformed)))?;
        for one in all {
            let place = Place { begun: self.begun, back: self.back.0.clone() };
            // What is done already takes no place.
            let place = Some(place).filter(|_| self.ack == ConsumeAck::Explicit);
            self.ready.push_back(Delivery::of(&self.queue, &one, place));
        }
        if let Some(stream) = self.stream.as_ref().filter(|_| self.ack == ConsumeAck::Auto) {
            stream.credit(all.len());
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), Error> {
        let object = &self.queue.object;
        let consume = queue::Consume {
            group: "",
            consumer: &self.name,
            mode: ConsumeMode::Competing,
            ack: self.ack,
            ack_wait_ms: self.ack_wait_ms,
            credit: self.credit,
        };
        let mut request = object.handle.request(&consume);
        request.credit = self.credit;
        let deadline = Instant::now() + object.handle.timeout;
        self.begun += 1;
        self.stream = Some(Stream::open(object, deadline, request).await?);
        Ok(())
    }
}
