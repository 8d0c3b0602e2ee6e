//! A link: one queue to one peer on one lane, and the task that connects and writes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use isogrid_engine::env::{os_seed, split_mix};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::handshake::{Answer, Hello, NoHandshake, VERSIONS, within};
use super::lane::Lane;
use super::queue::{Batch, Queue};
use super::stats::count;
use super::stream::{self, Stream};
use super::trouble::Trouble;
use super::writer::Writer;
use super::{NotSent, Shared};

/// A link to a peer; dropping it closes its connection.
pub struct Link {
    queue: Arc<Queue>,
    version: Arc<AtomicU16>,
    task: AbortHandle,
}

impl Link {
    /// A link that connects when there is something to send.
    pub fn open(shared: &Arc<Shared>, to: &str, lane: Lane) -> Self {
        let queue = Arc::new(Queue::new(lane, &shared.config.bounds));
        let (shared, to) = (Arc::clone(shared), to.to_owned());
        let runtime = shared.runtime.clone();
        let version = Arc::new(AtomicU16::new(0));
        let dialer = Dialer {
            shared,
            to,
            lane,
            queue: Arc::clone(&queue),
            version: Arc::clone(&version),
            failures: 0,
            told: false,
            seed: os_seed(),
        };
        Link { queue, version, task: runtime.spawn(dialer.run()).abort_handle() }
    }

    /// The version that is spoken on its connection; 0: there is none.
    pub fn version(&self) -> u16 {
        self.version.load(Ordering::Relaxed)
    }

    /// Queues a frame; says how many older ones were dropped for it.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn send(&self, frame: &[u8]) -> Result<usize, NotSent> {
        self.queue.push(frame)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why there is no connection.
#[derive(Debug, Error)]
enum Failure {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no connection within the time that it may take")]
    Connect,
    #[error("{0}")]
    NoHandshake(#[from] NoHandshake),
    #[error("it says: {}", .0.escape_debug())]
    Refused(String),
}

/// The task of a link.
struct Dialer {
    shared: Arc<Shared>,
    to: String,
    lane: Lane,
    queue: Arc<Queue>,
    /// The version that is spoken.
    version: Arc<AtomicU16>,
    /// In a row.
    failures: u32,
    /// The sink knows that there is no connection.
    told: bool,
    seed: u64,
}

impl Dialer {
    async fn run(mut self) {
        let mut batch = Batch::default();
        loop {
            self.queue.filled().await;
            let why = match self.connect().await {
                Ok((stream, version, window)) => {
                    self.version.store(version, Ordering::Relaxed);
                    self.serve(stream, window, &mut batch).await.into()
                }
                Err(why) => why,
            };
            // Who answers next may be of another version.
            self.version.store(0, Ordering::Relaxed);
            self.tell(&why);
            sleep(self.pause()).await;
        }
    }

    async fn connect(&self) -> Result<(Stream, u16, u32), Failure> {
        let (config, bounds) = (&self.shared.config, &self.shared.config.bounds);
        let socket = timeout(bounds.connect_timeout, TcpStream::connect(&self.to));
        let socket = socket.await.map_err(|_| Failure::Connect)??;
        let greeted = async {
            let connected = stream::connect(socket, config.tls.as_ref()).await;
            let mut stream = connected.map_err(NoHandshake::NoTls)?;
            let hello = Hello {
                versions: VERSIONS,
                lane: self.lane.code(),
                cluster: config.cluster.clone(),
                address: self.shared.address.clone(),
            };
            stream::write_all(&mut stream, &hello.encode(), bounds.handshake_timeout).await?;
            let answer = Answer::read(&mut stream).await?;
            Ok((stream, answer))
        };
        match within(bounds.handshake_timeout, greeted).await? {
            (stream, Answer::Welcome { version, window }) => Ok((stream, version, window)),
            (_, Answer::Refused(why)) => Err(Failure::Refused(why)),
        }
    }

    /// Writes until the connection is lost; says why it was.
    async fn serve(&mut self, stream: Stream, window: u32, batch: &mut Batch) -> io::Error {
        count(&self.shared.stats.connects, 1);
        self.told = false;
        self.queue.connected();
        let traffic = self.shared.stats.lane(self.lane);
        let bounds = &self.shared.config.bounds;
        let mut writer = Writer::new(stream, window, &self.queue, traffic, bounds);
        let Err(why) = writer.run(batch).await;
        // One that is closed as soon as it is there is a failure too.
        if writer.is_proven() {
            self.failures = 0;
        }
        count(&self.shared.stats.dropped, self.queue.disconnected(batch));
        why
    }

    /// Tells the sink, once until there is a connection again.
    fn tell(&mut self, why: &Failure) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        count(&self.shared.stats.losses, 1);
        let kind = match why {
            Failure::Refused(_) => Trouble::RefusedThere,
            _ => Trouble::Unreachable,
        };
        self.shared.troubles.tell(kind, &format_args!("{} ({})", self.to, self.lane.name()), why);
        self.shared.sink.unreachable(&self.to);
    }

    /// How long to wait after a failure: peers that lost each other at once do not meet at once.
    fn pause(&mut self) -> Duration {
        let (first, last) = self.shared.config.bounds.back_off;
        let whole = first.saturating_mul(1 << self.failures.min(16)).min(last);
        self.failures = self.failures.saturating_add(1);
        let chance = u32::try_from(split_mix(&mut self.seed) >> 48).unwrap_or(0);
        whole.mul_f64(1.0 - f64::from(chance) / f64::from(1 << 17))
    }
}
