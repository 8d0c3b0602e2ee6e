//! Transactions that the server keeps: what they read is of one moment.
//!
//! ```no_run
//! use isogrid_wire::client::transaction::Commit;
//! use isogrid_wire::client::{Cache, Client, Error};
//! use isogrid_wire::native::tx::Isolation;
//!
//! # async fn example(client: Client, stock: Cache, orders: Cache) -> Result<(), Error> {
//! let tx = client.begin(Isolation::Snapshot).await?;
//! let apples = tx.get(&stock, b"apples").await?.unwrap_or_default();
//! tx.put(&stock, b"apples", apples.get(1..).unwrap_or_default()).await?;
//! tx.put(&orders, b"42", b"one apple").await?;
//! if let Commit::Conflict(keys) = tx.commit().await? {
//!     println!("somebody else was first: {keys:?}");
//! }
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Client;
use super::cache::Cache;
use super::core::{By, Life, LinkId, Reply, Request};
use super::error::Error;
use super::handle::{Handle, decode, left, millis};
use super::transaction::{Commit, ConflictKey};
use crate::native::cache::{Get, GetReply, Put, Remove};
use crate::native::schema::Repeat;
use crate::native::tx::{
    self, Begin, BeginReply, CommitReply, Isolation, Rollback, TxState, TxStatus, TxStatusReply,
};
use crate::native::{self, Call, Codec, Key, Ms, ReadOptions, Value, WriteOptions};

/// How often it is asked how a commit ended whose answer was lost.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// A transaction that the server keeps, on one connection: with that it is rolled back.
///
/// What it reads is of the moment of its first request. With another cache it moves on to a later
/// one, if all that was read is still so; else that request is refused with `TX_CONFLICT`. Over
/// caches of a cluster each entry is read when it is first needed, and the commit checks all of
/// them, whatever the isolation.
///
/// Dropping it rolls it back.
#[derive(Debug)]
pub struct OpenTransaction {
    handle: Handle,
    number: u64,
    link: LinkId,
    life: Life,
    work: Mutex<Work>,
    timeout: Duration,
    ended: bool,
}

/// What it was used for.
#[derive(Debug, Default)]
struct Work {
    /// By their numbers.
    caches: BTreeMap<u32, Cache>,
    written: Vec<(Cache, Vec<u8>)>,
}

impl Client {
    /// Begins a transaction that the server keeps until it is idle for 30 s.
    ///
    /// # Errors
    ///
    /// No answer in time, or the server refused: 16 of them may be open on a connection.
    pub async fn begin(&self, isolation: Isolation) -> Result<OpenTransaction, Error> {
        let (handle, timeout) = (self.handle.clone(), self.handle.timeout);
        let reply = handle.call(handle.request(&Begin { isolation, idle_ms: 0 })).await?;
        let BeginReply::Ok { tx: number } = decode::<Begin>(&reply)?;
        let Reply { link, life, .. } = reply;
        let (work, ended) = (Mutex::default(), false);
        Ok(OpenTransaction { handle, number, link, life, work, timeout, ended })
    }
}

impl OpenTransaction {
    /// How long each request of it may take, instead of the client's timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Reads an entry, as the transaction has written it or as it was at its moment.
    ///
    /// # Errors
    ///
    /// The transaction goes on without this request, unless its connection is gone.
    pub async fn get(&self, cache: &Cache, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let read = ReadOptions { switches: ReadOptions::VALUE, ..ReadOptions::default() };
        let reply = self.ask(cache, &Get { key: Key(key), read }).await?;
        Ok(match decode::<Get<'_>>(&reply)? {
            GetReply::Ok { entry } => entry.value.map(|value| value.bytes().to_vec()),
            GetReply::NotFound {} | GetReply::Unchanged {} => None,
        })
    }

    /// Stores a value when the transaction commits, with the lifetimes of the cache.
    ///
    /// # Errors
    ///
    /// As [`OpenTransaction::get`].
    pub async fn put(&self, cache: &Cache, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.write(cache, key, value, WriteOptions::default()).await
    }

    /// As [`OpenTransaction::put`], with a time to live.
    ///
    /// # Errors
    ///
    /// As [`OpenTransaction::get`].
    pub async fn put_with_ttl(
        &self,
        cache: &Cache,
        key: &[u8],
        value: &[u8],
        ttl: Duration,
    ) -> Result<(), Error> {
        let ttl = Some(Ms(millis(ttl)));
        self.write(cache, key, value, WriteOptions { ttl, ..WriteOptions::default() }).await
    }

    /// Removes an entry when the transaction commits; whether it was there.
    ///
    /// # Errors
    ///
    /// As [`OpenTransaction::get`].
    pub async fn remove(&self, cache: &Cache, key: &[u8]) -> Result<bool, Error> {
        let reply =
            self.ask(cache, &Remove { key: Key(key), write: WriteOptions::default() }).await?;
        self.note(cache, key);
        let removed = decode::<Remove<'_>>(&reply)?;
        Ok(matches!(removed, native::cache::RemoveReply::Ok { .. }))
    }

    async fn write(
        &self,
        cache: &Cache,
        key: &[u8],
        value: &[u8],
        write: WriteOptions,
    ) -> Result<(), Error> {
        let put = Put { key: Key(key), value: Value::Inline(value), write };
        let reply = self.ask(cache, &put).await?;
        self.note(cache, key);
        decode::<Put<'_>>(&reply).map(drop)
    }

    /// Commits.
    ///
    /// [`Commit::Done`] says no versions here.
    ///
    /// # Errors
    ///
    /// [`super::Outcome::Failed`]: nothing of it is in force. [`super::Outcome::Unknown`]: all of it
    /// is, or nothing; the server was asked as long as it could know.
    pub async fn commit(mut self) -> Result<Commit, Error> {
        self.ended = true;
        let deadline = Instant::now() + self.timeout;
        self.forget_copies();
        let commit = tx::Commit { tx: self.number };
        let result = match self.handle.call(self.over_its_connection(&commit)).await {
            Ok(reply) => self.outcome(&reply),
            Err(error) if error.is_unknown() => self.look(deadline, error).await,
            Err(error) => Err(error),
        };
        self.forget_copies();
        result
    }

    /// Rolls back, and waits until it is.
    ///
    /// # Errors
    ///
    /// There was no answer; with its connection it is rolled back all the same.
    pub async fn rollback(mut self) -> Result<(), Error> {
        self.ended = true;
        let rollback = Rollback { tx: self.number };
        self.handle.call(self.over_its_connection(&rollback)).await.map(drop)
    }

    /// A request that belongs to it.
    async fn ask<'a, T: Call + Codec<'a>>(&self, cache: &Cache, body: &T) -> Result<Reply, Error> {
        let deadline = Instant::now() + self.timeout;
        let mut known = cache.object.number(deadline).await?;
        if known.0 != self.life {
            // Of another life of the server than its connection.
            cache.object.forget(known);
            known = cache.object.number(deadline).await?;
        }
        let number = known.1;
        self.work().caches.entry(number).or_insert_with(|| cache.clone());
        let mut request = self.over_its_connection(body);
        // Nothing has changed before the commit: what is not answered was not done.
        (request.repeat, request.tagged) = (Repeat::Read, false);
        (request.object, request.tx) = (number, Some(self.number));
        request.timeout = Some(left(deadline));
        self.handle.call(request).await
    }

    fn over_its_connection<'a, T: Call + Codec<'a>>(&self, body: &T) -> Request {
        let (over, life, timeout) = (Some(self.link), Some(self.life), Some(self.timeout));
        Request { over, life, timeout, by: By::Nothing, ..self.handle.request(body) }
    }

    /// How it ended, when its answer was lost.
    async fn look(&self, deadline: Instant, lost: Error) -> Result<Commit, Error> {
        while left(deadline) > Duration::ZERO {
            let status = self.handle.request(&TxStatus { tx: self.number });
            let request = Request { timeout: Some(left(deadline)), ..status };
            let Ok(reply) = self.handle.call(request).await else { break };
            let TxStatusReply::Ok { state } = decode::<TxStatus>(&reply)?;
            match state {
                TxState::Committed => return Ok(Commit::Done(BTreeMap::new())),
                TxState::Aborted => return Err(Error::failed(lost.cause)),
                TxState::Unknown => break,
                TxState::Active => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
        Err(lost)
    }

    fn outcome(&self, reply: &Reply) -> Result<Commit, Error> {
        let work = self.work();
        let name = |conflict: tx::Conflict<'_>| {
            let cache = work.caches.get(&conflict.object).map_or("", Cache::name);
            ConflictKey { cache: cache.to_owned(), key: conflict.key.0.to_vec() }
        };
        Ok(match decode::<tx::Commit>(reply)? {
            CommitReply::Ok {} => Commit::Done(BTreeMap::new()),
            CommitReply::VersionMismatch { conflicts } => {
                Commit::Conflict(conflicts.iter().map(name).collect())
            }
        })
    }

    fn note(&self, cache: &Cache, key: &[u8]) {
        self.work().written.push((cache.clone(), key.to_vec()));
    }

    fn forget_copies(&self) {
        self.work().written.iter().for_each(|(cache, key)| cache.forget(key));
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if !self.ended {
            let rollback = Rollback { tx: self.number };
            self.handle.detach(self.over_its_connection(&rollback));
        }
    }
}
