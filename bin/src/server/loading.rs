//! What one connection waits for that is not in memory: entries that are on the disk, room for what
//! is evicted, and all that a start has left to be read. The connection waits, its thread does not.

use std::task::{Context, Poll, ready};

use isogrid_engine::Error;
use isogrid_engine::load::{Flight, LoadError};
use isogrid_engine::persist::Reader;

use super::node::Node;

/// Why a request was not executed. It has changed nothing and said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The entry of its key is not in memory.
    Away,
    /// The disk is behind with what is evicted, so there is no room.
    Behind,
    /// It goes through all entries, and not all have been read since the start.
    Unread,
}

impl Stopped {
    /// The same as the engine says it, if it is that.
    #[inline]
    pub fn of(error: &Error) -> Option<Stopped> {
        match error {
            Error::Away => Some(Stopped::Away),
            Error::Behind => Some(Stopped::Behind),
            _ => None,
        }
    }
}

/// Why a request that was stopped is not executed later either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// What it needs cannot be brought into memory.
    Load(LoadError),
    /// What it needs is never in memory together.
    Crowded,
}

/// Entries of one request that are loaded at once: more wait for the next turn.
const FLIGHTS_MAX: usize = 64;
/// How often one request is tried again before it is refused: what it needs may be more than fits
/// into memory together.
const TRIES_MAX: u32 = 100;

/// What a connection waits for.
pub struct Loading {
    reader: Reader,
    flights: Vec<Flight>,
    /// It waits for room.
    room: bool,
    /// It waits for all that is still to be read since the start.
    whole: bool,
    /// The request that comes next is answered with this.
    refusal: Option<Refusal>,
    /// How often the request that comes next was stopped.
    tries: u32,
}

impl Loading {
    /// Nothing yet.
    pub fn new(reader: Reader) -> Self {
        Loading { reader, flights: Vec::new(), room: false, whole: false, refusal: None, tries: 0 }
    }

    /// Whether a request that goes through all entries finds all that are in memory or store.
    pub fn is_whole(&self) -> bool {
        self.reader.is_whole()
    }

    /// Begins to load the entry of a key.
    #[cold]
    pub fn load(&mut self, key: &[u8]) {
        if self.flights.len() >= FLIGHTS_MAX {
            return;
        }
        match self.reader.begin(key) {
            Ok(flight) => self.flights.push(flight),
            Err(error) => self.refusal = Some(Refusal::Load(error)),
        }
    }

    /// The request that comes next was stopped, and what it needs is under way.
    #[cold]
    pub fn stopped(&mut self, why: Stopped) {
        self.room = why == Stopped::Behind;
        self.whole = why == Stopped::Unread;
        self.tries += 1;
        if self.tries > TRIES_MAX {
            self.refusal = Some(Refusal::Crowded);
        }
    }

    /// A request that had been stopped was executed.
    #[inline]
    pub fn went_on(&mut self) {
        self.tries = 0;
    }

    /// Whether the connection has to wait before it goes on.
    #[inline]
    pub fn waits(&self) -> bool {
        !self.flights.is_empty() || self.room || self.whole
    }

    /// Whether the request that comes next cannot be executed.
    #[inline]
    pub fn refuses(&self) -> bool {
        self.refusal.is_some()
    }

    /// Why the request that comes next cannot be executed, if so.
    #[inline]
    pub fn take_refusal(&mut self) -> Option<Refusal> {
        let refusal = self.refusal.take();
        self.tries = if refusal.is_some() { 0 } else { self.tries };
        refusal
    }

    /// Waits until all that was asked for is in memory, or cannot be.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(flight) = self.flights.last() {
            let landed = ready!(flight.poll(cx));
            self.flights.pop();
            self.refuse(landed);
        }
        if self.room {
            let room = ready!(self.reader.poll_room(cx));
            self.room = false;
            self.refuse(room);
        }
        if self.whole {
            let whole = ready!(self.reader.poll_whole(cx));
            self.whole = false;
            self.refuse(whole);
        }
        Poll::Ready(())
    }

    fn refuse(&mut self, outcome: Result<(), LoadError>) {
        if let Err(error) = outcome {
            self.refusal = Some(Refusal::Load(error));
        }
    }
}

impl Refusal {
    /// Why an entry is not served, with what to do.
    pub fn text(self) -> &'static str {
        match self {
            Refusal::Load(LoadError::Damaged) => {
                "storage damaged: what is stored under the key is not what was written"
            }
            Refusal::Load(LoadError::Failed) => "storage failed: see the server's log",
            Refusal::Load(LoadError::NoRoom) => "out of memory loading object",
            Refusal::Load(LoadError::Busy) => {
                "busy: too many entries are on their way from the disk, try again"
            }
            Refusal::Crowded => "busy: what the request needs does not fit into memory, try again",
        }
    }
}

/// Does something with the entry of a key, as often as it takes until what it needs is in memory.
///
/// # Errors
/// [`Refusal`]; nothing was changed.
pub async fn loaded<T>(
    node: &Node,
    cache: &str,
    key: &[u8],
    mut work: impl FnMut() -> Result<T, Stopped>,
) -> Result<T, Refusal> {
    let mut loading = None;
    loop {
        let why = match work() {
            Ok(done) => return Ok(done),
            Err(why) => why,
        };
        if loading.is_none() {
            loading = node.loading(cache);
        }
        // Without a store nothing is away: it went with the cache a moment ago.
        let Some(loading) = &mut loading else { return Err(Refusal::Crowded) };
        if why == Stopped::Away {
            loading.load(key);
        }
        loading.stopped(why);
        std::future::poll_fn(|cx| loading.poll(cx)).await;
        if let Some(refusal) = loading.take_refusal() {
            return Err(refusal);
        }
    }
}
