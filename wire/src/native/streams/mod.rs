//! The account of a connection's open streams: which ids are taken, how many items each may still
//! send, and that each ends exactly once.

mod client;

use std::collections::BTreeMap;

use super::error::ErrorCode;

pub use client::{ClientStreams, Received};

/// The server's side.
///
/// A request that is answered before the next frame is looked at needs no entry: [`Streams::check`]
/// is enough. All others are opened, and finished with their terminal frame.
#[derive(Debug)]
pub struct Streams {
    open: BTreeMap<u32, Open>,
    max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    /// Items that may be sent; `None` for a request that has none.
    credit: Option<u32>,
    cancelled: bool,
}

/// What a `CANCEL` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// Stop the request. Its terminal frame is whatever happens first: its own answer, or
    /// `CANCELLED`.
    Stop,
    /// Nothing: the stream is not open (any more), or is being cancelled already.
    Ignore,
}

impl Streams {
    /// No streams, of at most `max`.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Streams { open: BTreeMap::new(), max }
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a request may come on this stream.
    ///
    /// # Errors
    ///
    /// `PROTOCOL_ERROR` for stream 0, `STREAM_IN_USE`, `TOO_MANY_STREAMS`. The first two end the
    /// connection: an `ERR` on the stream itself would be taken for the answer to the request that
    /// is open. `TOO_MANY_STREAMS` answers the request.
    #[inline]
    pub fn check(&self, stream: u32) -> Result<(), ErrorCode> {
        if stream == 0 {
            return Err(ErrorCode::ProtocolError);
        }
        if self.open.contains_key(&stream) {
            return Err(ErrorCode::StreamInUse);
        }
        if self.open.len() >= self.max { Err(ErrorCode::TooManyStreams) } else { Ok(()) }
    }

    /// Notes a request that is under way. `credit` is that of its body if it has items.
    ///
    /// # Errors
    ///
    /// As [`Streams::check`].
    pub fn open(&mut self, stream: u32, credit: Option<u32>) -> Result<(), ErrorCode> {
        self.check(stream)?;
        self.open.insert(stream, Open { credit, cancelled: false });
        Ok(())
    }

    /// Adds credit. For a stream that is not open, or has no items, that is nothing: the `CREDIT`
    /// may have crossed the terminal frame.
    ///
    /// # Errors
    ///
    /// `PROTOCOL_ERROR` for stream 0: the connection ends. `OUT_OF_RANGE` when the sum has more
    /// than 32 bits: the stream ends with an `ERR`.
    pub fn credit(&mut self, stream: u32, items: u32) -> Result<(), ErrorCode> {
        if stream == 0 {
            return Err(ErrorCode::ProtocolError);
        }
        let Some(credit) = self.open.get_mut(&stream).and_then(|open| open.credit.as_mut()) else {
            return Ok(());
        };
        *credit = credit.checked_add(items).ok_or(ErrorCode::OutOfRange)?;
        Ok(())
    }

    /// Items that the stream may send now.
    #[must_use]
    pub fn available(&self, stream: u32) -> u32 {
        self.open.get(&stream).and_then(|open| open.credit).unwrap_or(0)
    }

    /// Takes the right to send up to `items`; returns how many.
    pub fn take(&mut self, stream: u32, items: u32) -> u32 {
        let Some(credit) = self.open.get_mut(&stream).and_then(|open| open.credit.as_mut()) else {
            return 0;
        };
        let taken = items.min(*credit);
        *credit -= taken;
        taken
    }

    /// What a `CANCEL` on this stream asks for.
    pub fn cancel(&mut self, stream: u32) -> Cancel {
        match self.open.get_mut(&stream) {
            Some(open) if !open.cancelled => {
                open.cancelled = true;
                Cancel::Stop
            }
            _ => Cancel::Ignore,
        }
    }

    /// Ends a stream. Only who gets `true` sends its terminal frame.
    #[must_use]
    pub fn finish(&mut self, stream: u32) -> bool {
        self.open.remove(&stream).is_some()
    }

    /// Ends all streams, for a connection that is closed; their ids.
    pub fn finish_all(&mut self) -> impl Iterator<Item = u32> + use<> {
        std::mem::take(&mut self.open).into_keys()
    }
}

#[cfg(test)]
mod tests;
