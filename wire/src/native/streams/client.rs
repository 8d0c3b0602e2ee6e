//! The client's side.

use std::collections::BTreeMap;

use crate::native::error::ErrorCode;
use crate::native::frame::{Header, Kind};

/// The streams of a client's connection, each with what the caller keeps of it.
#[derive(Debug)]
pub struct ClientStreams<T> {
    open: BTreeMap<u32, Open<T>>,
    next: u32,
    max: usize,
}

#[derive(Debug)]
struct Open<T> {
    kept: T,
    op: u16,
    credit: u32,
}

/// What a frame of the server is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a, T> {
    /// Items of an open stream.
    Items(&'a mut T),
    /// The end of a stream; its id is free again.
    Ended(T),
}

impl<T> ClientStreams<T> {
    /// No streams, of at most `max` (`max_streams` in `WELCOME`).
    #[must_use]
    pub fn new(max: usize) -> Self {
        ClientStreams { open: BTreeMap::new(), next: 1, max }
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

    /// Opens a stream for a request of this opcode, with the credit of its body (0 if it has no
    /// items); `None` when as many as allowed are open. Ids are taken in turn, so that one is not
    /// used again at once.
    pub fn open(&mut self, op: u16, credit: u32, kept: T) -> Option<u32> {
        if self.open.len() >= self.max {
            return None;
        }
        while self.next == 0 || self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let stream = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(stream, Open { kept, op, credit });
        Some(stream)
    }

    /// What is kept of a stream.
    pub fn get_mut(&mut self, stream: u32) -> Option<&mut T> {
        self.open.get_mut(&stream).map(|open| &mut open.kept)
    }

    /// Gives the server credit for more items; `false`, and nothing is to be sent, when the stream
    /// has ended or would have more than 32 bits of credit.
    #[must_use]
    pub fn grant(&mut self, stream: u32, items: u32) -> bool {
        let open = self.open.get_mut(&stream);
        let sum = open.and_then(|open| Some((open.credit.checked_add(items)?, open)));
        match sum {
            Some((credit, open)) => {
                open.credit = credit;
                true
            }
            None => false,
        }
    }

    /// Takes a `RES`, an `ERR` or an `ITEM` of `items` items.
    ///
    /// # Errors
    ///
    /// `PROTOCOL_ERROR`: the stream is not open, carries another operation, or has no credit for
    /// so many items. The server has a fault; the connection is to be closed.
    pub fn receive(&mut self, header: &Header, items: usize) -> Result<Received<'_, T>, ErrorCode> {
        let broken = ErrorCode::ProtocolError;
        let open = self.open.get_mut(&header.stream).ok_or(broken)?;
        if open.op != header.op {
            return Err(broken);
        }
        match header.kind {
            Kind::Item => {
                let items = u32::try_from(items).map_err(|_| broken)?;
                open.credit = open.credit.checked_sub(items).ok_or(broken)?;
                let open = self.open.get_mut(&header.stream).ok_or(broken)?;
                Ok(Received::Items(&mut open.kept))
            }
            Kind::Res | Kind::Err => {
                let ended = self.open.remove(&header.stream).ok_or(broken)?;
                Ok(Received::Ended(ended.kept))
            }
            _ => Err(broken),
        }
    }

    /// Ends all streams, for a connection that is lost; what was kept of them.
    pub fn end_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.open).into_values().map(|open| open.kept)
    }
}
