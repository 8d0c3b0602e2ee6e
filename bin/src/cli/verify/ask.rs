//! One client that records what it asks and is told.

use std::sync::Arc;
use std::time::Duration;

use isogrid_wire::client::cache::{Counted, Removed, Written};
use isogrid_wire::client::{Cache, Client, Error, Options, Routing};

use crate::checker::{Ask, Operation, Told};
use crate::cli::bench::clock::Clock;

/// How long a request may take. Failover takes less.
const PATIENCE: Duration = Duration::from_secs(4);

/// How clients connect. Every write has a tag: one that is sent again and done twice could undo what
/// came between, which no order of operations explains.
pub fn options() -> Options {
    Options::default()
        .app("verify")
        .timeout(PATIENCE)
        .backoff(Duration::from_millis(10), Duration::from_millis(200))
        .tag_writes(true)
}

/// A client.
pub struct Asker {
    number: usize,
    client: Client,
    cache: Cache,
    clock: Arc<Clock>,
    history: Vec<Operation>,
}

impl Asker {
    /// Connects to one of these servers. Its history begins now.
    ///
    /// # Errors
    /// It cannot.
    pub async fn connect(
        number: usize,
        seeds: Vec<String>,
        options: Options,
    ) -> Result<Asker, Error> {
        let client = Client::connect(seeds, options).await?;
        let cache = client.cache("default").must_exist().open().await?;
        let (clock, history) = (Arc::new(Clock::start()), Vec::new());
        Ok(Asker { number, client, cache, clock, history })
    }

    /// The same with a clock that others have as well.
    pub fn with_clock(self, clock: &Arc<Clock>) -> Asker {
        Asker { clock: Arc::clone(clock), ..self }
    }

    /// Asks, and records it.
    pub async fn perform(&mut self, key: String, ask: Ask) -> Told {
        let called = self.now();
        let told = self.told(key.as_bytes(), ask).await;
        let (returned, number) = (self.now(), self.number);
        self.history.push(Operation {
            client: number,
            node: number,
            key,
            ask,
            told,
            called,
            returned,
        });
        told
    }

    /// What was recorded.
    pub fn take(&mut self) -> Vec<Operation> {
        std::mem::take(&mut self.history)
    }

    /// How its requests found their members.
    pub async fn routing(&self) -> Routing {
        self.client.routing().await
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().as_nanos()).unwrap_or(u64::MAX)
    }

    async fn told(&self, key: &[u8], ask: Ask) -> Told {
        let done = match ask {
            Ask::Get => self.read(key).await,
            Ask::Put(value) => {
                self.cache.put(key, value.to_string().as_bytes()).await.map(|done| written(&done))
            }
            Ask::Cas { version, value, .. } => {
                let value = value.to_string();
                let put = self.cache.put(key, value.as_bytes()).if_version(version);
                put.await.map(|done| written(&done))
            }
            Ask::Delete => self.cache.remove(key).await.map(|done| match done {
                Removed::Removed { .. } => Told::Done(None),
                Removed::NotFound => Told::Missing,
                Removed::Mismatch { .. } => Told::Changed,
            }),
            Ask::Increment => self.cache.incr(key, 1).await.map(|done| match done {
                Counted::Done { value, .. } => Told::Counted(value),
                Counted::NotFound => Told::Missing,
                Counted::Mismatch { .. } => Told::Changed,
            }),
        };
        let lost = |error: Error| if error.is_unknown() { Told::Unknown } else { Told::Failed };
        done.unwrap_or_else(lost)
    }

    async fn read(&self, key: &[u8]) -> Result<Told, Error> {
        let entry = self.cache.get(key).await?;
        Ok(Told::Read(entry.map(|entry| {
            let text = std::str::from_utf8(&entry.value).ok();
            // What is no number was written by nobody: the check says so of this one.
            let value = text.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
            (value, entry.version)
        })))
    }
}

fn written(done: &Written) -> Told {
    match done {
        Written::Stored { version, .. } => Told::Done(Some(*version)),
        Written::NotStored { version: 0, .. } | Written::Mismatch { version: 0, .. } => {
            Told::Missing
        }
        Written::NotStored { .. } | Written::Mismatch { .. } => Told::Changed,
    }
}
