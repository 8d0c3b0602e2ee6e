//! A client for GNP: named caches, counters, locks, transactions, memo.
//!
//! ```no_run
//! use std::time::Duration;
//! use isogrid_wire::client::{Client, Options};
//!
//! # async fn example() -> Result<(), isogrid_wire::client::Error> {
//! let client = Client::connect(["127.0.0.1:7400"], Options::default()).await?;
//! let orders = client.cache("orders").ttl(Duration::from_secs(600)).open().await?;
//!
//! orders.put(b"42", b"two apples").ttl(Duration::from_secs(60)).await?;
//! let order = orders.get(b"42").await?.expect("it was stored a moment ago");
//! assert_eq!(&*order.value, b"two apples");
//!
//! // Only if nobody has changed it since.
//! orders.put(b"42", b"three apples").if_version(order.version).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A client is one task with one pipelined connection to a server, and one to each member of a cluster
//! whose keys are asked for ([`Options::routing`]). Handles are cheap to clone and used from
//! any number of tasks: requests that are asked at the same time leave in one write. The
//! connection is made again for as long as a handle lives, and every request has one deadline in
//! which it is connected, sent, and repeated as far as that is harmless.
//!
//! Who has to log in says so in the [`Options`], and does it anew on each connection:
//!
//! ```no_run
//! # use isogrid_wire::client::{Client, Options};
//! # async fn example() -> Result<(), isogrid_wire::client::Error> {
//! let options = Options::default().password("app", "correct-horse-battery");
//! let client = Client::connect(["grid-1.example.org:7400"], options).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What an error says
//!
//! A request ends with its answer or with an [`Error`], whose [`Outcome`] is true:
//!
//! * [`Outcome::Failed`]: it was surely not executed, and never will be.
//! * [`Outcome::Unknown`]: it was sent, and its answer did not come. It may have been executed.
//!
//! A request that was sent over a connection which then broke is sent again if it only reads or
//! may be done twice. One that must not be done twice carries a number by which the server knows
//! it (an idempotency tag), and is sent again to the same life of the server; when that has ended
//! the outcome is unknown. One about a key of a cluster's cache is sent to any member: the key's
//! copies know the number. Misses, conditions that do not hold and conflicts are no errors but
//! results.
//!
//! # Inside
//!
//! `core` decides, without sockets, clocks or tasks: events in, actions out, the same history for
//! the same seed. `shell` is the task around it. All else are faces: they encode a question, ask
//! it, and decode the answer.

mod error;

mod core;
mod options;
#[cfg(feature = "client-tls")]
mod tls;
mod url;

mod dial;
mod handle;
mod happy_eyeballs;
pub mod raw;
mod shell;
mod socket;

mod object;
mod stream;

pub mod cache;
pub mod catalog;
pub mod counter;
mod lease;
pub mod lock;
pub mod memo;
mod open_tx;
pub mod queue;
pub mod session;
pub mod topic;
pub mod transaction;

use tokio::sync::mpsc;

use self::core::Core;
use self::handle::Handle;
use self::shell::Shell;
use crate::native::conn;

pub use self::core::Routing;
pub use cache::Cache;
pub use catalog::Catalog;
pub use counter::Counters;
pub use dial::Stream;
pub use error::{Cause, Error, Outcome, Refusal};
pub use lock::{Guard, Locks};
pub use memo::Memo;
pub use open_tx::OpenTransaction;
pub use options::Options;
pub use queue::Queue;
pub use session::Sessions;
#[cfg(feature = "client-tls")]
pub use tls::TlsOptions;
pub use topic::Topic;
pub use transaction::{ConflictKey, Transaction};
pub use url::{BadUrl, URL_ENV, Url};

/// A client: one pipelined connection to a server, and to each member of a cluster, kept for as long
/// as a clone of it lives.
#[derive(Debug, Clone)]
pub struct Client {
    handle: Handle,
}

impl Client {
    /// Connects to one of `seeds` (`host:port`) and waits until a server has answered.
    ///
    /// Afterwards the client connects again by itself whenever the connection is lost.
    ///
    /// # Errors
    ///
    /// No server answered within [`Options::timeout`], it refused this client, or a file of
    /// [`TlsOptions`] cannot be used.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn connect<S: Into<String>>(
        seeds: impl IntoIterator<Item = S>,
        options: Options,
    ) -> Result<Client, Error> {
        let seeds: Vec<String> = seeds.into_iter().map(Into::into).collect();
        if seeds.is_empty() {
            return Err(Error::failed(Cause::Protocol("there is no address to connect to")));
        }
        let dialer = options.dialer().map_err(|why| Error::failed(Cause::Insecure(why)))?;
        let (commands, queue) = mpsc::unbounded_channel();
        tokio::spawn(Shell::new(Core::new(options.settings(seeds)), dialer, queue));
        let client = Client { handle: Handle::new(commands, options.timeout, options.tag_writes) };
        client.ping().await?;
        Ok(client)
    }

    /// Connects to where a URL says, as it says; [`Url::of_environment`] is that of `ISOGRID_URL`.
    ///
    /// # Errors
    ///
    /// As of [`Client::connect`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn open(url: &Url) -> Result<Client, Error> {
        Client::connect(url.seeds().iter().cloned(), url.options().clone()).await
    }

    /// How requests about keys of caches of a cluster found the members that serve them, since the
    /// client began.
    pub async fn routing(&self) -> Routing {
        self.handle.routing().await
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    ///
    /// There was none in time.
    pub async fn ping(&self) -> Result<(), Error> {
        self.handle.call(self.handle.request(&conn::Ping {})).await.map(drop)
    }
}
