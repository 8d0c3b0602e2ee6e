//! Brings entries into memory that are elsewhere: on threads of its own, so that nobody who serves
//! waits for a disk, and once for each key, however many ask for it.
//!
//! A task that misses an entry which is not in memory [begins](Loads::begin) a [`Flight`], waits for
//! it ([`Flight::poll`]) and then does again what it was about to do. What a flight does is up to
//! the [`Source`]: it brings the entry into its table if it is still there.

mod flight;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use thiserror::Error;

pub use flight::Flight;

/// Keys that may be under way at once, of all tables together; more are refused as
/// [`LoadError::Busy`]. A flight takes about 200 bytes and its key.
pub const FLIGHTS_MAX: usize = 16 << 10;

/// Why an entry could not be brought into memory. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LoadError {
    /// What is stored is not what was written. Other keys are not affected.
    #[error("what is stored under the key is damaged")]
    Damaged,
    /// The place where entries are stored cannot be read now.
    #[error("the store cannot be read")]
    Failed,
    /// Memory has no room for the entry.
    #[error("memory has no room for the entry")]
    NoRoom,
    /// Too much is under way already.
    #[error("too many entries are on their way from the disk")]
    Busy,
}

/// Where the entries of one table are when they are not in memory.
pub trait Source: Send + Sync {
    /// Brings the entry of a key into memory, if there is one; that there is none is no error. Runs
    /// on a thread of the loader and may wait for a disk.
    ///
    /// # Errors
    /// [`LoadError`]; it is told to all who wait for the key.
    fn load(&self, key: &[u8]) -> Result<(), LoadError>;
}

/// The threads that load. They end when the last handle goes.
pub struct Loader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<(Arc<Loads>, Flight)>>,
    work: Condvar,
    stopping: AtomicBool,
}

impl Loader {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(threads: usize) -> io::Result<Arc<Loader>> {
        let mut loader = Loader { shared: Arc::default(), threads: Vec::new() };
        for _ in 0..threads {
            let shared = Arc::clone(&loader.shared);
            let named = std::thread::Builder::new().name("loader".to_owned());
            loader.threads.push(named.spawn(move || shared.run())?);
        }
        Ok(Arc::new(loader))
    }

    /// The loads of one table.
    #[must_use]
    pub fn loads(&self, source: Arc<dyn Source>) -> Arc<Loads> {
        let shared = Arc::clone(&self.shared);
        Arc::new_cyclic(|this| Loads {
            this: this.clone(),
            shared,
            source,
            flights: Mutex::default(),
        })
    }

    /// Ends the threads after what they are at; who still waits is told [`LoadError::Failed`].
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        let left = std::mem::take(&mut *self.shared.queue.lock());
        self.shared.work.notify_all();
        left.into_iter().for_each(|(loads, flight)| loads.end(&flight, Err(LoadError::Failed)));
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        while let Some((loads, flight)) = self.next() {
            let outcome = loads.source.load(flight.key());
            loads.end(&flight, outcome);
        }
    }

    fn next(&self) -> Option<(Arc<Loads>, Flight)> {
        let mut queue = self.queue.lock();
        loop {
            if self.stopping.load(Ordering::Acquire) {
                return None;
            }
            if let Some(next) = queue.pop_front() {
                return Some(next);
            }
            self.work.wait(&mut queue);
        }
    }
}

/// What is on its way into one table.
pub struct Loads {
    this: std::sync::Weak<Loads>,
    shared: Arc<Shared>,
    source: Arc<dyn Source>,
    flights: Mutex<BTreeMap<Box<[u8]>, Flight>>,
}

impl Loads {
    /// The flight of a key: the one that is under way, or a new one. Whoever has waited for it must
    /// look again, since the entry may have gone once more.
    ///
    /// # Errors
    /// [`LoadError::Busy`]; [`LoadError::Failed`] when the loader has ended.
    pub fn begin(&self, key: &[u8]) -> Result<Flight, LoadError> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(key) {
            return Ok(flight.clone());
        }
        let (Some(this), flight) = (self.this.upgrade(), Flight::new(key)) else {
            return Err(LoadError::Failed);
        };
        let mut queue = self.shared.queue.lock();
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(LoadError::Failed);
        }
        if queue.len() >= FLIGHTS_MAX {
            return Err(LoadError::Busy);
        }
        queue.push_back((this, flight.clone()));
        drop(queue);
        flights.insert(key.into(), flight.clone());
        self.shared.work.notify_one();
        Ok(flight)
    }

    /// Keys that are under way.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.flights.lock().len()
    }

    /// The next to ask begins anew; those who have waited go on.
    fn end(&self, flight: &Flight, outcome: Result<(), LoadError>) {
        self.flights.lock().remove(flight.key());
        flight.land(outcome);
    }
}
