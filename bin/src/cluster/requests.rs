//! Requests that were passed on and are not answered yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use tokio::sync::oneshot;

use super::frame::Done;

/// The answer to a request that was passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What became of it.
    pub done: Done,
    /// What the client reads.
    pub bytes: Vec<u8>,
}

/// Requests under way.
#[derive(Debug, Default)]
pub struct Requests {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, (String, oneshot::Sender<Answer>)>>,
    /// Addresses that nothing has come from since a connection to them was lost.
    away: RwLock<BTreeSet<String>>,
}

impl Requests {
    /// A request is about to go to this address: its number, and where its answer comes.
    pub fn begin(&self, to: &str) -> (u64, oneshot::Receiver<Answer>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(id, (to.to_owned(), sender));
        (id, receiver)
    }

    /// How many there were.
    pub fn begun(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// The answer to one has come, or it was never sent.
    pub fn end(&self, id: u64, answer: Answer) {
        let open = self.lock().remove(&id);
        // Whoever asked may have gone.
        let _ = open.map(|(_, sender)| sender.send(answer));
    }

    /// Whether a request that went to this address now might wait for nobody.
    pub fn is_away(&self, address: &str) -> bool {
        self.away.read().unwrap_or_else(PoisonError::into_inner).contains(address)
    }

    /// Something came from this address.
    pub fn is_back(&self, address: &str) {
        if self.is_away(address) {
            self.away.write().unwrap_or_else(PoisonError::into_inner).remove(address);
        }
    }

    /// Nobody knows what becomes of those that went to this address.
    pub fn lost(&self, address: &str) {
        self.away.write().unwrap_or_else(PoisonError::into_inner).insert(address.to_owned());
        let mut open = self.lock();
        let gone = open.extract_if(.., |_, (to, _)| to == address);
        let gone: Vec<_> = gone.collect();
        drop(open);
        for (_, (_, sender)) in gone {
            let _ = sender.send(Answer { done: Done::Unknown, bytes: Vec::new() });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, (String, oneshot::Sender<Answer>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
