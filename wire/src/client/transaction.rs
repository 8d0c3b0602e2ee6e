//! Transactions over entries of several caches, of one server or of its cluster: all or nothing.
//!
//! ```no_run
//! use std::time::Duration;
//! use isogrid_wire::client::{Cache, Client, Error};
//!
//! # async fn example(client: Client, stock: Cache, orders: Cache) -> Result<(), Error> {
//! let left = client
//!     .transact(Duration::from_secs(2), |tx| {
//!         let (stock, orders) = (&stock, &orders);
//!         async move {
//!             let apples = tx.get(stock, b"apples").await?.unwrap_or_default();
//!             let left = apples.len().saturating_sub(1);
//!             tx.put(stock, b"apples", &vec![b'*'; left]);
//!             tx.put(orders, b"42", b"one apple");
//!             Ok(left)
//!         }
//!     })
//!     .await?;
//! println!("{left} apples are left");
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::cache::{Cache, Entry};
use super::core::{By, Life, Reply, Request};
use super::error::{Cause, Error};
use super::handle::{decode, left, millis};
use super::lease::forget_if_gone;
use super::{Client, handle::Handle};
use crate::native::topology::is_of_cluster;
use crate::native::tx::{CommitOcc, CommitOccReply, ReadVersion, TxWrite, WriteOp};
use crate::native::{ErrorCode, Key, List, Ms, Value, WriteOptions};

/// An entry of a cache.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConflictKey {
    /// The cache.
    pub cache: String,
    /// The entry.
    pub key: Vec<u8>,
}

/// What came of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// All of it is in force; the version of each entry that was written, 0 for one that was
    /// removed.
    Done(BTreeMap<ConflictKey, u64>),
    /// Nothing of it is: these entries are not as they were read.
    Conflict(Vec<ConflictKey>),
}

/// A transaction that is kept in this process until it commits.
///
/// It is serializable: the server commits it only if every entry that it read still has the
/// version that was read, those that were absent included. Until then nothing is locked and
/// nobody sees anything of it; what it reads is current at the moment of each read, so that two
/// reads may show different moments. A transaction in which they did cannot commit, but may be
/// surprised before.
///
/// Cheap to clone: all clones are the same transaction.
#[derive(Debug, Clone)]
pub struct Transaction {
    handle: Handle,
    work: Arc<Mutex<Work>>,
    timeout: Duration,
}

/// What a transaction has done so far.
#[derive(Debug, Default)]
struct Work {
    caches: BTreeMap<String, Cache>,
    /// The version that each entry had; 0: it was absent.
    reads: BTreeMap<ConflictKey, u64>,
    writes: BTreeMap<ConflictKey, Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Put { value: Vec<u8>, write: WriteOptions },
    Remove,
}

impl Client {
    /// Begins a transaction. Dropping it forgets it.
    #[must_use]
    pub fn transaction(&self) -> Transaction {
        let (handle, timeout) = (self.handle.clone(), self.handle.timeout);
        Transaction { handle, work: Arc::default(), timeout }
    }

    /// Runs `work` in a transaction and commits it; when others were first, begins anew, until
    /// `within` is over.
    ///
    /// # Errors
    ///
    /// That of `work`; [`Cause::Conflict`] with the entries of the last attempt; or what became of
    /// the commit: with an unknown outcome it may be in force, and is not tried again.
    pub async fn transact<T, W, F>(&self, within: Duration, mut work: W) -> Result<T, Error>
    where
        W: FnMut(Transaction) -> F,
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + within;
        let mut pause = Duration::from_millis(1);
        loop {
            let transaction = self.transaction();
            let result = work(transaction.clone()).await?;
            let conflicts = match transaction.commit().await? {
                Commit::Done(_) => return Ok(result),
                Commit::Conflict(conflicts) => conflicts,
            };
            if left(deadline) <= pause {
                return Err(Error::failed(Cause::Conflict(conflicts)));
            }
            // Whoever won is gone by then, and those who lost do not meet again all at once.
            tokio::time::sleep(super::options::about(pause)).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

impl Transaction {
    /// How long the commit may take, instead of the client's timeout.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Transaction { timeout, ..self }
    }

    /// Reads an entry: what this transaction has written, or what the server has. Reading it
    /// again answers the same, or the transaction will not commit.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    pub async fn get(&self, cache: &Cache, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let name = self.work().name(cache, key);
        match self.work().writes.get(&name) {
            Some(Change::Put { value, .. }) => return Ok(Some(value.clone())),
            Some(Change::Remove) => return Ok(None),
            None => {}
        }
        let entry: Option<Entry> = cache.get(key).fresh().await?;
        let version = entry.as_ref().map_or(0, |entry| entry.version);
        // The first version that was read is the one that all that follows builds upon.
        self.work().reads.entry(name).or_insert(version);
        Ok(entry.map(|entry| entry.value.to_vec()))
    }

    /// Stores a value when the transaction commits, with the lifetimes of the cache.
    pub fn put(&self, cache: &Cache, key: &[u8], value: &[u8]) {
        self.write(cache, key, value, WriteOptions::default());
    }

    /// As [`Transaction::put`], with a time to live.
    pub fn put_with_ttl(&self, cache: &Cache, key: &[u8], value: &[u8], ttl: Duration) {
        let ttl = Some(Ms(millis(ttl)));
        self.write(cache, key, value, WriteOptions { ttl, ..WriteOptions::default() });
    }

    /// Removes an entry when the transaction commits.
    pub fn remove(&self, cache: &Cache, key: &[u8]) {
        let mut work = self.work();
        let name = work.name(cache, key);
        work.writes.insert(name, Change::Remove);
    }

    fn write(&self, cache: &Cache, key: &[u8], value: &[u8], write: WriteOptions) {
        let mut work = self.work();
        let name = work.name(cache, key);
        work.writes.insert(name, Change::Put { value: value.to_vec(), write });
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits: if all that was read is as it was, all that is to be written is written at one
    /// moment. A transaction without writes tells whether all its reads are of one moment.
    ///
    /// # Errors
    ///
    /// [`super::Outcome::Failed`]: nothing of it is in force. [`super::Outcome::Unknown`]: all of
    /// it is, or nothing; it was repeated as long as the server could know.
    pub async fn commit(self) -> Result<Commit, Error> {
        let deadline = Instant::now() + self.timeout;
        let work = std::mem::take(&mut *self.work());
        work.forget_copies();
        let result = work.send(&self.handle, deadline).await;
        work.forget_copies();
        result
    }
}

impl Work {
    fn name(&mut self, cache: &Cache, key: &[u8]) -> ConflictKey {
        let name = cache.name().to_owned();
        self.caches.entry(name.clone()).or_insert_with(|| cache.clone());
        ConflictKey { cache: name, key: key.to_vec() }
    }

    async fn send(&self, handle: &Handle, deadline: Instant) -> Result<Commit, Error> {
        let mut anew = false;
        loop {
            let (life, numbers) = self.numbers(deadline).await?;
            let mut request = self.request(handle, &numbers);
            request.timeout = Some(left(deadline));
            if self.is_shared(&numbers) {
                request.by = By::Shared;
            } else {
                request.life = Some(life);
            }
            let error = match handle.call(request).await {
                Ok(reply) => return self.outcome(&reply, &numbers),
                Err(error) => error,
            };
            for (name, number) in &numbers {
                if let Some(cache) = self.caches.get(*name) {
                    forget_if_gone(&cache.object, (life, *number), &error);
                }
            }
            let unknown_number = error.code() == Some(ErrorCode::NoSuchObject);
            let again = error.cause == Cause::OtherLife
                || unknown_number && !std::mem::replace(&mut anew, true);
            if !again || error.is_unknown() {
                return Err(error);
            }
        }
    }

    /// The numbers of all caches, of one life of the server.
    async fn numbers(&self, deadline: Instant) -> Result<(Life, BTreeMap<&str, u32>), Error> {
        loop {
            let mut numbers = BTreeMap::new();
            let mut lives = Vec::new();
            for (name, cache) in &self.caches {
                let (life, number) = cache.object.number(deadline).await?;
                numbers.insert(name.as_str(), number);
                lives.push((life, cache, number));
            }
            let newest = lives.iter().map(|(life, ..)| *life).max().unwrap_or(0);
            let old: Vec<_> = lives.iter().filter(|(life, ..)| *life != newest).collect();
            if old.is_empty() {
                return Ok((newest, numbers));
            }
            for (life, cache, number) in old {
                cache.object.forget((*life, *number));
            }
        }
    }

    /// Whether any member gives the first answer again: the segments of a cluster keep it, of what
    /// writes something.
    fn is_shared(&self, numbers: &BTreeMap<&str, u32>) -> bool {
        !self.writes.is_empty() && numbers.values().all(|number| is_of_cluster(*number))
    }

    fn request(&self, handle: &Handle, numbers: &BTreeMap<&str, u32>) -> Request {
        let object = |name: &ConflictKey| numbers.get(name.cache.as_str()).copied().unwrap_or(0);
        let reads: Vec<ReadVersion<'_>> = self
            .reads
            .iter()
            .map(|(name, version)| ReadVersion {
                object: object(name),
                key: Key(&name.key),
                version: *version,
            })
            .collect();
        let writes: Vec<TxWrite<'_>> = self
            .writes
            .iter()
            .map(|(name, change)| {
                let (object, key) = (object(name), Key(&name.key));
                let (op, value, write) = match change {
                    Change::Put { value, write } => (WriteOp::Put, value.as_slice(), *write),
                    Change::Remove => (WriteOp::Remove, &[][..], WriteOptions::default()),
                };
                TxWrite { object, key, op, value: Value::Inline(value), write }
            })
            .collect();
        handle.request(&CommitOcc { reads: List::of(&reads), writes: List::of(&writes) })
    }

    fn outcome(&self, reply: &Reply, numbers: &BTreeMap<&str, u32>) -> Result<Commit, Error> {
        let name = |object: u32, key: Key<'_>| {
            let found = numbers.iter().find(|(_, number)| **number == object);
            let cache = found.map_or(String::new(), |(name, _)| (*name).to_owned());
            ConflictKey { cache, key: key.0.to_vec() }
        };
        Ok(match decode::<CommitOcc<'_>>(reply)? {
            CommitOccReply::Ok { versions } => {
                Commit::Done(self.writes.keys().cloned().zip(versions).collect())
            }
            CommitOccReply::VersionMismatch { conflicts } => {
                Commit::Conflict(conflicts.iter().map(|c| name(c.object, c.key)).collect())
            }
        })
    }

    fn forget_copies(&self) {
        for name in self.writes.keys() {
            if let Some(cache) = self.caches.get(&name.cache) {
                cache.forget(&name.key);
            }
        }
    }
}
