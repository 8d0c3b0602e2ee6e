//! Changes of a cache as they happen.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::Cache;
use super::entry::{ALL, Entry};
use crate::client::error::{Cause, Error};
use crate::client::handle::UNBOUNDED;
use crate::client::stream::{self, Piece, Stream};
use crate::native::cache::{self, Event, EventKinds, ListenFlags};
use crate::native::{Codec, List, ReadOptions, Reader, conn};

/// Events that the server may send ahead of the reader.
const CREDIT: u32 = 1_024;

/// A change. Changes of one key that follow each other fast may be told as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An entry was made, or is there at the beginning ([`Listen::initial_state`]).
    Created {
        /// Its key.
        key: Vec<u8>,
        /// As it is now.
        entry: Entry,
    },
    /// An entry got another value.
    Updated {
        /// Its key.
        key: Vec<u8>,
        /// As it is now.
        entry: Entry,
        /// As it was, with [`Listen::with_prev`].
        prev: Option<Entry>,
    },
    /// An entry is gone.
    Gone {
        /// Its key.
        key: Vec<u8>,
        /// Why.
        why: Gone,
        /// As it was, with [`Listen::with_prev`].
        prev: Option<Entry>,
    },
    /// Changes were lost: what the reader has made of the changes so far is no longer the cache.
    /// It has to begin anew, with a scan or, with [`Listen::initial_state`], with an empty map.
    /// All later changes are told.
    Resync,
}

/// Why an entry is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// Somebody removed it.
    Removed,
    /// Its time was over.
    Expired,
    /// It had to make room.
    Evicted,
}

/// What to listen to.
#[derive(Debug)]
#[must_use = "nobody listens before `open`"]
pub struct Listen<'c> {
    cache: &'c Cache,
    kinds: u8,
    switches: u16,
    flags: u8,
    glob: Option<String>,
}

/// Tells of changes. It listens again by itself when the connection is lost, and says
/// [`Change::Resync`] then.
#[derive(Debug)]
pub struct Listener {
    cache: Cache,
    kinds: u8,
    switches: u16,
    flags: u8,
    glob: Option<String>,
    stream: Option<Stream>,
    /// Listened before.
    again: bool,
    ready: VecDeque<Change>,
}

const EVERY_KIND: u8 = EventKinds::CREATE
    | EventKinds::UPDATE
    | EventKinds::REMOVE
    | EventKinds::EXPIRE
    | EventKinds::EVICT;

impl Cache {
    /// Tells of changes from [`Listen::open`] on.
    pub fn listen(&self) -> Listen<'_> {
        Listen { cache: self, kinds: EVERY_KIND, switches: ALL, flags: 0, glob: None }
    }
}

impl Listen<'_> {
    /// Only these kinds: an or of the constants of [`EventKinds`].
    pub fn kinds(self, kinds: u8) -> Self {
        Listen { kinds, ..self }
    }

    /// Only keys that match, as in [`super::Scan::glob`].
    pub fn glob(self, glob: &str) -> Self {
        Listen { glob: Some(glob.to_owned()), ..self }
    }

    /// Leaves the values out.
    pub fn keys_only(self) -> Self {
        Listen { switches: self.switches & !ReadOptions::VALUE, ..self }
    }

    /// Tells what an entry was before, too.
    pub fn with_prev(self) -> Self {
        Listen { flags: self.flags | ListenFlags::RETURN_PREV, ..self }
    }

    /// Begins with all that is there, as [`Change::Created`].
    pub fn initial_state(self) -> Self {
        Listen { flags: self.flags | ListenFlags::INITIAL_STATE, ..self }
    }

    /// Leaves out what this client changes.
    pub fn not_mine(self) -> Self {
        Listen { flags: self.flags | ListenFlags::NO_LOOP, ..self }
    }

    /// Begins to listen: all changes from now on are told.
    ///
    /// # Errors
    ///
    /// The server refused, or cannot be reached.
    pub async fn open(self) -> Result<Listener, Error> {
        let Listen { cache, kinds, switches, flags, glob } = self;
        let cache = cache.clone();
        let (stream, again, ready) = (None, false, VecDeque::new());
        let mut listener = Listener { cache, kinds, switches, flags, glob, stream, again, ready };
        listener.begin().await?;
        listener.confirm().await?;
        Ok(listener)
    }
}

impl Listener {
    /// The next change. It may be dropped while it waits, and nothing is lost.
    ///
    /// # Errors
    ///
    /// The server refused to let it listen, or the cache was dropped
    /// ([`Cause::NoSuchObject`]). A connection that is lost is no error but a
    /// [`Change::Resync`].
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            let Some(stream) = &mut self.stream else {
                stream::again(self.begin()).await?;
                continue;
            };
            let piece = stream.next().await;
            self.receive(piece)?;
        }
    }

    /// Waits until the server has taken the request: it answers in the order of the connection
    /// what is asked behind it.
    async fn confirm(&mut self) -> Result<(), Error> {
        let handle = self.cache.object.handle.clone();
        handle.call(handle.request(&conn::Ping {})).await?;
        while let Some(piece) = self.stream.as_mut().and_then(Stream::now) {
            self.receive(piece)?;
        }
        Ok(())
    }

    fn receive(&mut self, piece: Piece) -> Result<(), Error> {
        match piece {
            Piece::Opened => {
                if std::mem::replace(&mut self.again, true) {
                    self.ready.push_back(Change::Resync);
                }
                Ok(())
            }
            Piece::Items(payload) => self.take(&payload),
            Piece::Ended(end) => {
                self.stream = None;
                stream::over(end, self.cache.name())
            }
        }
    }

    async fn begin(&mut self) -> Result<(), Error> {
        let object = &self.cache.object;
        let listen = cache::Listen {
            events: EventKinds::of(self.kinds),
            read: ReadOptions { switches: self.switches, ..ReadOptions::default() },
            glob: self.glob.as_deref(),
            flags: ListenFlags { switches: self.flags },
            credit: CREDIT,
        };
        let mut request = object.handle.request(&listen);
        request.credit = CREDIT;
        let deadline = Instant::now() + object.handle.timeout;
        self.stream = Some(Stream::open(object, deadline, request).await?);
        Ok(())
    }

    fn take(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut input = Reader::new(payload, &UNBOUNDED);
        let events = List::<Event<'_>>::decode(&mut input)
            .map_err(|malformed| Error::failed(Cause::Malformed(malformed)))?;
        let is_lost = |event: &Event<'_>| event.event == EventKinds::RESYNC;
        if self.flags & ListenFlags::INITIAL_STATE != 0
            && events.iter().any(|event| is_lost(&event))
        {
            // Who has begun with what there is begins so again: with a new stream it is told anew.
            let whole = events.iter().take_while(|event| !is_lost(event));
            self.ready.extend(whole.filter_map(|event| change(&event)));
            self.stream = None;
            return Ok(());
        }
        self.ready.extend(events.iter().filter_map(|event| change(&event)));
        if let Some(stream) = &self.stream {
            stream.credit(events.len());
        }
        Ok(())
    }
}

/// `None` for kinds of a later release.
fn change(event: &Event<'_>) -> Option<Change> {
    let key = event.entry.key.map(|key| key.0.to_vec()).unwrap_or_default();
    let (entry, prev) = (Entry::of(&event.entry), event.prev.as_ref().map(Entry::of));
    let gone = |why| Change::Gone { key: key.clone(), why, prev: prev.clone() };
    Some(match event.event {
        EventKinds::CREATE => Change::Created { key, entry },
        EventKinds::UPDATE => Change::Updated { key, entry, prev },
        EventKinds::REMOVE => gone(Gone::Removed),
        EventKinds::EXPIRE => gone(Gone::Expired),
        EventKinds::EVICT => gone(Gone::Evicted),
        EventKinds::RESYNC => Change::Resync,
        _ => return None,
    })
}
