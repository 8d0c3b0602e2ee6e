//! Copies of entries in this process, and how they stay current.
//!
//! Reserve, then publish (docs/EVENTS.md): a read whose answer shall be kept reserves its key
//! first; an invalidation drops the copy *and* the reservation; the answer is kept only if its
//! reservation is still there. The stream of invalidations is worked off within the client's task,
//! before the next answer of the same connection reaches anybody, and copies are only kept of what
//! was read over the connection of the stream. Without a stream there are no copies.

mod copies;
mod track;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::copies::Copies;
use super::entry::Entry;
use crate::client::core::LinkId;
use crate::client::object::Object;

/// How a near cache is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NearStats {
    /// Copies now.
    pub entries: usize,
    /// Reads that a copy answered.
    pub hits: u64,
    /// Reads that went to the server.
    pub misses: u64,
    /// Copies and reservations that an invalidation dropped.
    pub invalidated: u64,
    /// Times that everything was dropped: the connection was lost, or the server asked for it.
    pub emptied: u64,
}

/// The copies of one cache.
#[derive(Debug)]
pub struct Near {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    max_age: Option<Duration>,
}

#[derive(Debug)]
struct State {
    copies: Copies,
    /// The connection of the stream, while there is one.
    link: Option<LinkId>,
    stats: NearStats,
}

impl Near {
    pub fn begin(object: &Arc<Object>, entries: usize, max_age: Option<Duration>) -> Arc<Self> {
        let (copies, stats) = (Copies::new(entries), NearStats::default());
        let state = Mutex::new(State { copies, link: None, stats });
        let shared = Arc::new(Shared { state, max_age });
        let following = track::follow(Arc::clone(object), Arc::clone(&shared));
        let task = tokio::spawn(following).abort_handle();
        Arc::new(Near { shared, task })
    }

    /// The copy, if there is one.
    pub fn get(&self, key: &[u8], now: Instant) -> Option<Entry> {
        let mut state = self.shared.lock();
        let copy = state.copies.get(key, now);
        if copy.is_some() {
            state.stats.hits += 1
        } else {
            state.stats.misses += 1
        }
        copy
    }

    /// Sets a place aside for what is about to be read over this connection, that of the stream;
    /// `None`: it cannot be kept.
    pub fn reserve(&self, key: &[u8]) -> Option<(u64, LinkId)> {
        let mut state = self.shared.lock();
        state.link.map(|link| (state.copies.reserve(key), link))
    }

    /// Keeps what was read, if nothing has been said against it since it was asked for.
    pub fn publish(
        &self,
        key: &[u8],
        reservation: u64,
        entry: &Entry,
        asked: Instant,
        link: LinkId,
    ) {
        // A copy in use does not count as use for the server: it is read again before the entry
        // is idle for too long.
        let lives = [entry.ttl, entry.idle.map(|idle| idle / 2), self.shared.max_age];
        let life = lives.into_iter().flatten().min();
        let mut state = self.shared.lock();
        if state.link == Some(link) {
            state.copies.publish(key, reservation, entry, asked, life);
        } else {
            state.copies.give_up(key, reservation);
        }
    }

    /// There is nothing to keep.
    pub fn give_up(&self, key: &[u8], reservation: u64) {
        self.shared.lock().copies.give_up(key, reservation);
    }

    /// This client is about to write the entry, or has done so.
    pub fn forget(&self, key: &[u8]) {
        self.shared.lock().copies.remove(key);
    }

    /// This client is about to write many entries, or has done so.
    pub fn forget_all(&self) {
        self.shared.lock().copies.clear();
    }

    pub fn stats(&self) -> NearStats {
        let state = self.shared.lock();
        NearStats { entries: state.copies.len(), ..state.stats }
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What is between the lines of this file does not panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_all(&self) {
        let link = self.lock().link;
        self.empty(link);
    }

    fn empty(&self, link: Option<LinkId>) {
        let mut state = self.lock();
        state.copies.clear();
        state.link = link;
        state.stats.emptied += 1;
    }
}
