//! Holds a connection's answers back until what they say is kept.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use isogrid_engine::persist::{Moment, PersistMode, Persistence};
use isogrid_engine::wal::{Lsn, WalError};

/// What one connection has to wait for.
pub struct Keeper {
    persistence: Arc<Persistence>,
    sync: bool,
    /// The connection writes to caches of several modes: how long it waits is said with each write.
    mixed: bool,
    /// The connection has written since it waited last, and when it began to.
    wrote: Option<Moment>,
    /// What it waits for.
    waits: Option<(Moment, Lsn)>,
    /// Whoever else was ready has had a turn since it wrote.
    gathered: bool,
}

impl Keeper {
    /// The keeper of a connection to a cache of this mode; `None` when no answer waits for a log.
    pub fn new(persistence: Option<&Arc<Persistence>>, mode: PersistMode) -> Option<Keeper> {
        let persistence = persistence.filter(|_| mode.is_logged())?;
        let (persistence, sync) = (Arc::clone(persistence), mode == PersistMode::Sync);
        Some(Keeper { persistence, sync, mixed: false, wrote: None, waits: None, gathered: false })
    }

    /// The keeper of a connection to caches of any mode.
    pub fn of_any(persistence: Option<&Arc<Persistence>>) -> Option<Keeper> {
        let keeper = Keeper::new(persistence, PersistMode::Async)?;
        Some(Keeper { mixed: true, ..keeper })
    }

    /// As [`Keeper::wrote`], for a keeper of any mode: the write is to a cache of this mode.
    pub fn wrote_to(&mut self, mode: PersistMode) {
        if mode != PersistMode::None {
            self.sync |= mode == PersistMode::Sync;
            self.wrote();
        }
    }

    /// Whether writes are seen only when they are kept: then what follows a write in the same
    /// input must wait for it.
    #[inline]
    pub fn is_sync(&self) -> bool {
        self.sync
    }

    /// Notes that the connection is about to write, or to learn of a write that may not be kept
    /// yet. A log that has failed takes no more: then there is an answer, and nothing to wait for.
    #[inline]
    pub fn wrote(&mut self) {
        if self.wrote.is_none() && self.persistence.failure().is_none() {
            self.wrote = Some(self.persistence.moment());
        }
    }

    /// Whether the connection has to wait before it goes on.
    #[inline]
    pub fn waits(&self) -> bool {
        self.wrote.is_some() || self.waits.is_some()
    }

    /// Waits until all that was written is kept.
    ///
    /// # Errors
    /// Nobody knows whether it is.
    pub fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WalError>> {
        if let Some(wrote) = self.wrote.take() {
            let since = self.waits.map_or(wrote, |(since, _)| since);
            self.waits = Some((since, self.persistence.last()));
        }
        let Some((since, last)) = self.waits else { return Poll::Ready(Ok(())) };
        // Who is ready now writes first: one write to the log is for all of them.
        if !std::mem::replace(&mut self.gathered, true) {
            ready!(pin!(tokio::task::yield_now()).poll(cx));
        }
        let kept = if self.sync {
            ready!(self.persistence.poll_durable(cx, since, last))
        } else {
            self.persistence.flush(since, last)
        };
        (self.waits, self.gathered) = (None, false);
        self.sync &= !self.mixed;
        Poll::Ready(kept)
    }
}
