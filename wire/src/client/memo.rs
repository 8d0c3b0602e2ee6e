//! Computes what is not there: once, however many ask for it at the same time, on whatever
//! clients.
//!
//! ```no_run
//! use std::time::Duration;
//! use isogrid_wire::client::{Client, Error};
//!
//! # async fn slow(id: u32) -> Result<Vec<u8>, std::io::Error> { Ok(id.to_be_bytes().to_vec()) }
//! # async fn example(client: Client) -> Result<(), Error> {
//! let reports = client.cache("reports").open().await?;
//! let memo = client
//!     .memo(&reports)
//!     .ttl(Duration::from_secs(60))
//!     .stale_while_revalidate(Duration::from_secs(600))
//!     .open()
//!     .await?;
//! let report = memo.get(b"7", || slow(7)).await;
//! # drop(report);
//! # Ok(())
//! # }
//! ```

mod flight;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use self::flight::{Flights, Seat};
use super::Client;
use super::cache::{Cache, Entry};
use super::error::{Cause, Error};
use super::lock::{Guard, Locks, Taken};

/// Results of a function in a cache, by key. Cheap to clone.
///
/// Of all callers that miss a key at the same time one computes it; the others wait and get its
/// result. Within a process they wait for each other, between processes at a lock of the server:
/// when the one that computes dies, the lock goes to somebody who waits, and that one computes.
#[derive(Debug, Clone)]
pub struct Memo {
    cache: Cache,
    locks: Locks,
    flights: Flights,
    ttl: Option<Duration>,
    idle: Option<Duration>,
    stale: Duration,
    patience: Duration,
    lease: Duration,
}

/// How results are kept.
#[derive(Debug)]
#[must_use = "nothing is kept before `open`"]
pub struct MemoBuilder {
    client: Client,
    cache: Cache,
    ttl: Option<Duration>,
    idle: Option<Duration>,
    stale: Duration,
    patience: Duration,
    lease: Duration,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoError<E> {
    /// The function failed. The next one that asks computes again.
    Compute(E),
    /// The cache or the lock could not be asked.
    Grid(Error),
}

impl<E: std::fmt::Display> std::fmt::Display for MemoError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MemoError::Compute(error) => error.fmt(f),
            MemoError::Grid(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for MemoError<E> {}

impl Client {
    /// Keeps results in this cache.
    pub fn memo(&self, cache: &Cache) -> MemoBuilder {
        MemoBuilder {
            client: self.clone(),
            cache: cache.clone(),
            ttl: None,
            idle: None,
            stale: Duration::ZERO,
            patience: Duration::from_secs(30),
            lease: Duration::from_secs(5),
        }
    }
}

impl MemoBuilder {
    /// How long a result is fresh. Default: as the cache is configured.
    pub fn ttl(self, ttl: Duration) -> Self {
        MemoBuilder { ttl: Some(ttl), ..self }
    }

    /// How long a result may be idle. Default: as the cache is configured.
    pub fn idle(self, idle: Duration) -> Self {
        MemoBuilder { idle: Some(idle), ..self }
    }

    /// For so long after its [`MemoBuilder::ttl`] a result is still given out, while one caller
    /// computes the next one in the background. Without a ttl it has no meaning.
    pub fn stale_while_revalidate(self, stale: Duration) -> Self {
        MemoBuilder { stale, ..self }
    }

    /// How long to wait for a result that somebody else computes. Default: 30 s.
    pub fn patience(self, patience: Duration) -> Self {
        MemoBuilder { patience, ..self }
    }

    /// So long after the death of a process that computes, another one begins to. Default: 5 s;
    /// at least 1 s.
    pub fn lease(self, lease: Duration) -> Self {
        MemoBuilder { lease, ..self }
    }

    /// Opens the locks that callers meet at: in the space `default`, `memo:`, the name of the
    /// cache, `:` and the key.
    ///
    /// # Errors
    ///
    /// As [`Client::locks`].
    pub async fn open(self) -> Result<Memo, Error> {
        let MemoBuilder { client, cache, ttl, idle, stale, patience, lease } = self;
        let locks = client.locks("default").await?;
        Ok(Memo { cache, locks, flights: Flights::default(), ttl, idle, stale, patience, lease })
    }
}

impl Memo {
    /// The result for `key`: from the cache, or computed by this caller or another one.
    ///
    /// `compute` is run by at most one caller of a key at a time, but for one that lost its lock
    /// without noticing: its result is not stored.
    ///
    /// # Errors
    ///
    /// [`MemoError`]. A result that was computed is given to the caller even if it could not be
    /// stored.
    pub async fn get<F, Fut, E>(&self, key: &[u8], compute: F) -> Result<Arc<[u8]>, MemoError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
        E: Send + 'static,
    {
        if let Some(entry) = self.cache.get(key).await.map_err(MemoError::Grid)? {
            let value = Arc::clone(&entry.value);
            if self.is_stale(&entry) {
                self.refresh(key, compute);
            }
            return Ok(value);
        }
        let mut compute = Some(compute);
        loop {
            match self.flights.board(key) {
                Seat::Passenger(flight) => match flight.land(self.patience).await {
                    Ok(Some(value)) => return Ok(value),
                    Ok(None) => {}
                    Err(_) => return Err(MemoError::Grid(Error::failed(Cause::Timeout))),
                },
                Seat::Pilot(flight) => {
                    let Some(compute) = compute.take() else { continue };
                    let value = self.lead(key, compute).await?;
                    flight.landed(&value);
                    return Ok(value);
                }
            }
        }
    }

    fn is_stale(&self, entry: &Entry) -> bool {
        let stale = self.ttl.is_some() && !self.stale.is_zero();
        stale && entry.ttl.is_some_and(|left| left <= self.stale)
    }

    /// Computes anew in the background, unless somebody does already.
    fn refresh<F, Fut, E>(&self, key: &[u8], compute: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
        E: Send + 'static,
    {
        let Seat::Pilot(flight) = self.flights.board(key) else { return };
        let (memo, key) = (self.clone(), key.to_vec());
        tokio::spawn(async move {
            let Ok(Taken::Held(guard)) = memo.lock(&key, Duration::ZERO).await else { return };
            match memo.cache.get(&key).fresh().await {
                Ok(Some(entry)) if !memo.is_stale(&entry) => flight.landed(&entry.value),
                Ok(_) => {
                    if let Ok(value) = compute().await {
                        flight.landed(&memo.store(&key, value, &guard).await);
                    }
                }
                Err(_) => {}
            }
        });
    }

    /// Gets the result as the one caller of this process.
    async fn lead<F, Fut, E>(&self, key: &[u8], compute: F) -> Result<Arc<[u8]>, MemoError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Vec<u8>, E>>,
    {
        let guard = match self.right_to_compute(key).await.map_err(MemoError::Grid)? {
            Right::Computed(value) => return Ok(value),
            Right::Ours(guard) => guard,
        };
        let value = compute().await.map_err(MemoError::Compute)?;
        Ok(self.store(key, value, &guard).await)
    }

    /// Waits as those do who only want the result: all of them are woken at once when it is
    /// there. Only when it is not, because whoever computed it died or failed, they queue for the
    /// right to compute.
    async fn right_to_compute(&self, key: &[u8]) -> Result<Right, Error> {
        let guard = match self.lock(key, Duration::ZERO).await? {
            Taken::Held(guard) => guard,
            Taken::Busy { .. } => {
                let name = self.lock_name(key);
                let done = self.locks.shared_lock(&name).ttl(self.lease).wait(self.patience);
                drop(done.acquire().await?);
                if let Some(value) = self.value(key).await? {
                    return Ok(Right::Computed(value));
                }
                match self.lock(key, self.patience).await? {
                    Taken::Held(guard) => guard,
                    Taken::Busy { .. } => return Err(Error::failed(Cause::Timeout)),
                }
            }
        };
        // Somebody may have finished between the miss and the lock.
        match self.value(key).await? {
            Some(value) => Ok(Right::Computed(value)),
            None => Ok(Right::Ours(guard)),
        }
    }

    async fn lock(&self, key: &[u8], wait: Duration) -> Result<Taken, Error> {
        let name = self.lock_name(key);
        self.locks.lock(&name).ttl(self.lease).wait(wait).acquire().await
    }

    /// Long keys may share a lock: who gets it looks for its own result first.
    fn lock_name(&self, key: &[u8]) -> Vec<u8> {
        let mut name = [b"memo:", self.cache.name().as_bytes(), b":", key].concat();
        name.truncate(LOCK_NAME_LEN_MAX);
        name
    }

    async fn value(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, Error> {
        Ok(self.cache.get(key).fresh().await?.map(|entry| entry.value))
    }

    /// Keeps a result while the lock is still held. What cannot be kept is still a result.
    async fn store(&self, key: &[u8], value: Vec<u8>, guard: &Guard) -> Arc<[u8]> {
        let value: Arc<[u8]> = value.into();
        let mut put = self.cache.put(key, &value).fence(guard);
        if let Some(ttl) = self.ttl {
            put = put.ttl(ttl + self.stale);
        }
        if let Some(idle) = self.idle {
            put = put.idle(idle);
        }
        drop(put.await);
        value
    }
}

/// Longest name of a lock in bytes.
const LOCK_NAME_LEN_MAX: usize = 1_024;

/// What a caller may do.
enum Right {
    /// Take the result of another one.
    Computed(Arc<[u8]>),
    /// Compute, for as long as it holds this.
    Ours(Guard),
}
