//! Reads of one entry.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::Cache;
use super::entry::{ALL, Entry};
use crate::client::core::{LinkId, Reply, Request};
use crate::client::error::{Cause, Error};
use crate::client::handle::{decode, left};
use crate::native::cache::{self, GetReply};
use crate::native::{Key, ReadOptions};

/// A read; `.await` does it.
#[derive(Debug)]
#[must_use = "nothing is read before `.await`"]
pub struct Get<'c> {
    cache: &'c Cache,
    key: &'c [u8],
    switches: u16,
    fresh: bool,
    timeout: Duration,
}

impl Cache {
    /// Reads an entry; `None` if there is none.
    ///
    /// With a near cache the answer may be a copy: then it was current when it was read, and no
    /// invalidation of it has come since. It may be older than a write that another client has
    /// been told is done, for as long as the word of it is on its way. [`Get::fresh`] asks the
    /// server.
    ///
    /// # Errors
    ///
    /// No answer in time, or the server refused. A read that fails has changed nothing.
    pub fn get<'c>(&'c self, key: &'c [u8]) -> Get<'c> {
        let timeout = self.object.handle.timeout;
        Get { cache: self, key, switches: ALL, fresh: false, timeout }
    }
}

impl Get<'_> {
    /// Asks the server even if there is a copy.
    pub fn fresh(self) -> Self {
        Get { fresh: true, ..self }
    }

    /// Does not count the read: neither for eviction nor for idleness nor for statistics.
    pub fn peek(self) -> Self {
        Get { switches: self.switches | ReadOptions::NO_TOUCH, ..self }
    }

    /// A copy on another member that lags behind will do.
    pub fn stale_ok(self) -> Self {
        Get { switches: self.switches | ReadOptions::STALE_OK, ..self }
    }

    /// How long this may take, instead of the client's timeout.
    pub fn timeout(self, timeout: Duration) -> Self {
        Get { timeout, ..self }
    }

    async fn read(self) -> Result<Option<Entry>, Error> {
        let near = self.cache.near.as_ref().filter(|_| !self.fresh);
        let asked = Instant::now();
        if let Some(copy) = near.and_then(|near| near.get(self.key, asked)) {
            return Ok(Some(copy));
        }
        let mut reserved = near.and_then(|near| Some((near, near.reserve(self.key)?)));
        let mut reply = self.ask(reserved.map(|(_, (_, link))| link), self.timeout).await;
        if let (Err(error), Some((near, (reservation, _)))) = (&reply, reserved)
            && error.cause == Cause::Disconnected
        {
            // The stream went with its connection: what is read over another one is not kept.
            near.give_up(self.key, reservation);
            reserved = None;
            reply = self.ask(None, left(asked + self.timeout)).await;
        }
        let reply = reply?;
        match decode::<cache::Get<'_>>(&reply)? {
            GetReply::Ok { entry } => {
                let entry = Entry::of(&entry);
                if let Some((near, (reservation, _))) = reserved {
                    near.publish(self.key, reservation, &entry, asked, reply.link);
                }
                Ok(Some(entry))
            }
            GetReply::NotFound {} | GetReply::Unchanged {} => {
                if let Some((near, (reservation, _))) = reserved {
                    near.give_up(self.key, reservation);
                }
                Ok(None)
            }
        }
    }
}

impl Get<'_> {
    /// Asks the server; over a connection, for what is to be kept: it is told of changes there,
    /// whoever serves the key.
    async fn ask(&self, over: Option<LinkId>, timeout: Duration) -> Result<Reply, Error> {
        let track = if over.is_some() { ReadOptions::TRACK } else { 0 };
        let read = ReadOptions { switches: self.switches | track, ..ReadOptions::default() };
        let get = cache::Get { key: Key(self.key), read };
        let object = &self.cache.object;
        object.call_within(timeout, || Request { over, ..object.handle.request(&get) }).await
    }
}

impl<'c> IntoFuture for Get<'c> {
    type Output = Result<Option<Entry>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.read())
    }
}
