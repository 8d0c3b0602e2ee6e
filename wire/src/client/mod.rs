//! A client for GNP.

mod error;

mod core;
mod options;

mod handle;
mod shell;
mod socket;

mod object;
mod stream;

pub mod cache;
pub mod counter;
mod lease;
pub mod lock;
pub mod memo;
pub mod transaction;

use tokio::sync::mpsc;

use self::core::Core;
use self::handle::Handle;
use self::shell::Shell;
use crate::native::conn;

pub use cache::Cache;
pub use counter::Counters;
pub use error::{Cause, Error, Outcome, Refusal};
pub use lock::{Guard, Locks};
pub use memo::Memo;
pub use options::Options;
pub use transaction::{ConflictKey, Transaction};

/// A client: one pipelined connection to a member, kept for as long as a clone of it lives.
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
    /// No server answered within [`Options::timeout`], or it refused this client.
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
        let (commands, queue) = mpsc::unbounded_channel();
        tokio::spawn(Shell::new(Core::new(options.settings(seeds)), queue));
        let client = Client { handle: Handle::new(commands, options.timeout, options.tag_writes) };
        client.ping().await?;
        Ok(client)
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
