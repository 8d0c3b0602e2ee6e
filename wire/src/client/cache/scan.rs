//! Walks over all entries of a cache.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Cache;
use super::entry::{ALL, Entry};
use crate::client::error::{Cause, Error};
use crate::client::handle::UNBOUNDED;
use crate::client::stream::{Piece, Stream};
use crate::native::cache::{self, ScanTrailer};
use crate::native::{self, Codec, List, ReadOptions, Reader};

/// Entries that the server may send ahead of the reader.
const CREDIT: u32 = 1_024;

/// An entry that a scan came upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Its key.
    pub key: Vec<u8>,
    /// Its parts; the value is empty with [`Scan::keys_only`].
    pub entry: Entry,
}

/// A walk over a snapshot of all entries. It goes on by itself behind a lost connection.
#[derive(Debug)]
#[must_use = "entries come from `next`"]
pub struct Scan<'c> {
    cache: &'c Cache,
    glob: Option<String>,
    switches: u16,
    cursor: Option<Vec<u8>>,
    stream: Option<Stream>,
    ready: VecDeque<Scanned>,
    ended: bool,
}

impl Cache {
    /// Walks over all entries, as they are at the moment of the first [`Scan::next`] (but for what
    /// expires or is evicted meanwhile): each comes exactly once, in no order. Behind a restart of
    /// the server the scan goes on over what is there then, and entries may come twice; so they
    /// may in a cluster, where pages are of different moments.
    pub fn scan(&self) -> Scan<'_> {
        Scan {
            cache: self,
            glob: None,
            switches: ALL | ReadOptions::KEY | ReadOptions::NO_TOUCH,
            cursor: None,
            stream: None,
            ready: VecDeque::new(),
            ended: false,
        }
    }
}

impl Scan<'_> {
    /// Only keys that match: `*`, `?` and `[..]`; at most 256 bytes and 16 stars.
    pub fn glob(self, glob: &str) -> Self {
        Scan { glob: Some(glob.to_owned()), ..self }
    }

    /// Leaves the values out.
    pub fn keys_only(self) -> Self {
        Scan { switches: self.switches & !ReadOptions::VALUE, ..self }
    }

    /// The next entry; `None`: that was all.
    ///
    /// # Errors
    ///
    /// Nothing came within the client's timeout, or the server refused to go on. Calling it again
    /// goes on from where it was.
    pub async fn next(&mut self) -> Result<Option<Scanned>, Error> {
        let patience = self.cache.object.handle.timeout;
        let deadline = Instant::now() + patience;
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Some(entry));
            }
            if self.ended {
                return Ok(None);
            }
            let piece = match timeout_at(deadline, self.piece(deadline)).await {
                Ok(piece) => piece?,
                Err(_) => return Err(Error::failed(Cause::Timeout)),
            };
            match piece {
                Piece::Opened => {}
                Piece::Items(payload) => self.take(&payload)?,
                Piece::Ended(Ok(_)) => self.ended = true,
                Piece::Ended(Err(error)) => {
                    self.stream = None;
                    if !matches!(error.cause, Cause::Disconnected | Cause::OtherLife) {
                        return Err(error);
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    async fn piece(&mut self, deadline: Instant) -> Result<Piece, Error> {
        if self.stream.is_none() {
            self.stream = Some(self.open(deadline).await?);
        }
        match &mut self.stream {
            Some(stream) => Ok(stream.next().await),
            None => Err(Error::failed(Cause::Closed)),
        }
    }

    async fn open(&self, deadline: Instant) -> Result<Stream, Error> {
        let object = &self.cache.object;
        let scan = cache::Scan {
            read: ReadOptions { switches: self.switches, ..ReadOptions::default() },
            segments: None,
            glob: self.glob.as_deref(),
            batch: 0,
            cursor: self.cursor.as_deref(),
            credit: CREDIT,
        };
        let mut request = object.handle.request(&scan);
        request.credit = CREDIT;
        Stream::open(object, deadline, request).await
    }

    fn take(&mut self, payload: &[u8]) -> Result<(), Error> {
        let malformed = |malformed| Error::failed(Cause::Malformed(malformed));
        let mut input = Reader::new(payload, &UNBOUNDED);
        let items = List::<native::Entry<'_>>::decode(&mut input).map_err(malformed)?;
        let trailer = ScanTrailer::decode(&mut input).map_err(malformed)?;
        self.cursor = Some(trailer.cursor.to_vec());
        self.ready.extend(items.iter().map(|entry| Scanned {
            key: entry.key.map(|key| key.0.to_vec()).unwrap_or_default(),
            entry: Entry::of(&entry),
        }));
        if let Some(stream) = &self.stream {
            stream.credit(items.len());
        }
        Ok(())
    }
}
