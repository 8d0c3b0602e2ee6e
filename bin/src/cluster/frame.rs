//! What goes over the lanes between members.

use isogrid_grid::message::Envelope;
use isogrid_grid::replica::OpId;

/// What a frame is; its first byte. Numbers are never given out anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// An envelope of the cores.
    Core(&'a [u8]),
    /// What processes say that may be no members.
    Hello(&'a [u8]),
    /// Requests of clients, passed on to who serves their keys.
    Requests {
        /// The sender's number of all of them together.
        id: u64,
        /// The cache.
        cache: &'a str,
        /// Each as the client sent it.
        requests: Items<'a>,
    },
    /// Answers to some of them.
    Replies {
        /// The number of the requests.
        id: u64,
        /// Each is a [`Reply`].
        replies: Items<'a>,
    },
}

/// What became of a request that was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was executed.
    Executed,
    /// It was surely not: another member serves the key, or nobody does now.
    Elsewhere,
    /// Nobody knows.
    Unknown,
}

const CORE: u8 = 0;
const HELLO: u8 = 1;
const REQUESTS: u8 = 4;
const REPLIES: u8 = 5;

impl Done {
    fn of(code: u8) -> Option<Done> {
        [Done::Executed, Done::Elsewhere, Done::Unknown].get(usize::from(code)).copied()
    }
}

/// Strings of bytes, each behind its length in four bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// Those of a frame, of which these are the bytes.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Items(bytes)
    }

    /// All that are left, with their lengths.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    /// The next one; what is cut off is none.
    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (item, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(item)
    }
}

/// Adds an item to a frame that ends with some.
pub fn put_item(bytes: &[u8], out: &mut Vec<u8>) {
    put_len(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn put_len(len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

/// The first byte of a request that may come again (R35); no other one begins so.
const NAMED: u8 = 3;

/// A request under what it may come again: the bytes that are passed on.
#[must_use]
pub fn named(id: OpId, request: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + 16 + 8 + request.len());
    bytes.push(NAMED);
    bytes.extend_from_slice(&id.client);
    bytes.extend_from_slice(&id.number.to_le_bytes());
    bytes.extend_from_slice(request);
    bytes
}

/// A request that was passed on, and under what it may come again.
#[must_use]
pub fn unnamed(bytes: &[u8]) -> (Option<OpId>, &[u8]) {
    split_name(bytes).map_or((None, bytes), |(id, request)| (Some(id), request))
}

fn split_name(bytes: &[u8]) -> Option<(OpId, &[u8])> {
    let (client, rest) = bytes.strip_prefix(&[NAMED])?.split_first_chunk()?;
    let (number, request) = rest.split_first_chunk()?;
    Some((OpId { client: *client, number: u64::from_le_bytes(*number) }, request))
}

/// The answer to one of the requests of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Which one, from 0 on.
    pub number: u32,
    /// What became of it.
    pub done: Done,
    /// What the client reads, when it was executed.
    pub bytes: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Adds it to a frame, as an item.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_len(self.bytes.len() + 5, out);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.push(self.done as u8);
        out.extend_from_slice(self.bytes);
    }

    /// The answer that an item is.
    #[must_use]
    pub fn decode(item: &'a [u8]) -> Option<Self> {
        let (number, rest) = item.split_first_chunk()?;
        let (done, bytes) = rest.split_first()?;
        Some(Reply { number: u32::from_le_bytes(*number), done: Done::of(*done)?, bytes })
    }
}

impl<'a> Frame<'a> {
    /// Adds its bytes to `out`. Items may be put behind those that it has.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Frame::Core(bytes) => put(out, CORE, bytes),
            Frame::Hello(bytes) => put(out, HELLO, bytes),
            Frame::Requests { id, cache, requests } => {
                put(out, REQUESTS, &id.to_le_bytes());
                out.push(u8::try_from(cache.len()).unwrap_or(u8::MAX));
                out.extend_from_slice(cache.as_bytes());
                out.extend_from_slice(requests.0);
            }
            Frame::Replies { id, replies } => {
                put(out, REPLIES, &id.to_le_bytes());
                out.extend_from_slice(replies.0);
            }
        }
    }

    /// The frame of these bytes; `None` when they are none.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            CORE => Some(Frame::Core(rest)),
            HELLO => Some(Frame::Hello(rest)),
            REQUESTS => {
                let (id, rest) = rest.split_first_chunk()?;
                let (len, rest) = rest.split_first()?;
                let (cache, requests) = rest.split_at_checked(usize::from(*len))?;
                let cache = std::str::from_utf8(cache).ok()?;
                let id = u64::from_le_bytes(*id);
                Some(Frame::Requests { id, cache, requests: Items(requests) })
            }
            REPLIES => {
                let (id, replies) = rest.split_first_chunk()?;
                Some(Frame::Replies { id: u64::from_le_bytes(*id), replies: Items(replies) })
            }
            _ => None,
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(bytes);
}

/// Begins a frame of an envelope, in short for who knows that.
pub fn put_core(envelope: &Envelope, is_short: bool, out: &mut Vec<u8>) {
    out.push(CORE);
    match is_short {
        true => envelope.encode_short_to(out),
        false => envelope.encode_to(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_what_they_were() {
        let items = b"\x03\0\0\0abc\0\0\0\0";
        for frame in [
            Frame::Core(b"core"),
            Frame::Hello(b""),
            Frame::Requests { id: 7, cache: "default", requests: Items(items) },
            Frame::Replies { id: 7, replies: Items(items) },
            Frame::Replies { id: 8, replies: Items(b"") },
        ] {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            assert_eq!(Frame::decode(&bytes), Some(frame));
        }
        for wrong in [&b""[..], b"\x09", b"\x04\0\0\0\0\0\0\0\0\x05abc", b"\x05\0\0\0\0\0\0\0"] {
            assert_eq!(Frame::decode(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn items_are_what_they_were_wherever_they_are_cut() {
        let mut bytes = Vec::new();
        for item in [&b"get a\r\n"[..], b"", b"x"] {
            put_item(item, &mut bytes);
        }
        assert_eq!(Items(&bytes).collect::<Vec<_>>(), [&b"get a\r\n"[..], b"", b"x"]);
        for len in 0..bytes.len() {
            assert!(Items(&bytes[..len]).count() < 3, "cut at {len}");
        }
        assert_eq!(Items(&u32::MAX.to_le_bytes()).next(), None);
    }

    #[test]
    fn named_requests_are_what_they_were() {
        let id = OpId { client: [7; 16], number: 9 };
        for request in [&b"incr a 1\r\n"[..], b"\0\x01\x0f", b""] {
            assert_eq!(unnamed(&named(id, request)), (Some(id), request));
            assert_eq!(unnamed(request), (None, request));
        }
    }

    #[test]
    fn replies_are_what_they_were() {
        for (number, done) in [(0, Done::Executed), (9, Done::Elsewhere), (7, Done::Unknown)] {
            let (reply, mut frame) = (Reply { number, done, bytes: b"END\r\n" }, Vec::new());
            reply.put(&mut frame);
            assert_eq!(Items(&frame).next().and_then(Reply::decode), Some(reply));
        }
        for wrong in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x03"] {
            assert_eq!(Reply::decode(wrong), None, "{wrong:?}");
        }
    }
}
