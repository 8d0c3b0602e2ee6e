//! Holds a connection's answers back until what they say is kept.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use isogrid_engine::persist::{PersistMode, Persistence};
use isogrid_engine::wal::{Lsn, WalError};

/// What one connection has to wait for.
pub struct Keeper {
    persistence: Arc<Persistence>,
    sync: bool,
    /// The connection has written since it waited last.
    wrote: bool,
    /// The last change that it waits for.
    last: Option<Lsn>,
}

impl Keeper {
    /// The keeper of a connection to a cache of this mode; `None` when no answer waits for a log.
    pub fn new(persistence: Option<&Arc<Persistence>>, mode: PersistMode) -> Option<Keeper> {
        let logged = matches!(mode, PersistMode::Async | PersistMode::Sync);
        let persistence = persistence.filter(|_| logged)?;
        let (persistence, sync) = (Arc::clone(persistence), mode == PersistMode::Sync);
        Some(Keeper { persistence, sync, wrote: false, last: None })
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
        self.wrote |= self.persistence.failure().is_none();
    }

    /// Whether the connection has to wait before it goes on.
    #[inline]
    pub fn waits(&self) -> bool {
        self.wrote || self.last.is_some()
    }

    /// Waits until all that was written is kept.
    ///
    /// # Errors
    /// Nobody knows whether it is.
    pub fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WalError>> {
        if std::mem::take(&mut self.wrote) {
            self.last = Some(self.persistence.last());
        }
        let Some(last) = self.last else { return Poll::Ready(Ok(())) };
        let kept = if self.sync {
            ready!(self.persistence.poll_durable(cx, last))
        } else {
            self.persistence.flush(last)
        };
        self.last = None;
        Poll::Ready(kept)
    }
}
