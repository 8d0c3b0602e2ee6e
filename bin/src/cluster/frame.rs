//! What goes over the lanes between members.

/// What a frame is; its first byte. Numbers are never given out anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// An envelope of the cores.
    Core(&'a [u8]),
    /// What processes say that may be no members.
    Hello(&'a [u8]),
    /// A client's request, passed on to who serves its key.
    Request {
        /// The sender's number of it.
        id: u64,
        /// The cache.
        cache: &'a str,
        /// The request, as the client sent it.
        bytes: &'a [u8],
    },
    /// The answer to one.
    Reply {
        /// The number of the request.
        id: u64,
        /// What became of it.
        done: Done,
        /// What the client reads.
        bytes: &'a [u8],
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
const REQUEST: u8 = 2;
const REPLY: u8 = 3;

impl<'a> Frame<'a> {
    /// Adds its bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Frame::Core(bytes) => put(out, CORE, bytes),
            Frame::Hello(bytes) => put(out, HELLO, bytes),
            Frame::Request { id, cache, bytes } => {
                out.push(REQUEST);
                out.extend_from_slice(&id.to_le_bytes());
                out.push(u8::try_from(cache.len()).unwrap_or(u8::MAX));
                out.extend_from_slice(cache.as_bytes());
                out.extend_from_slice(bytes);
            }
            Frame::Reply { id, done, bytes } => {
                out.push(REPLY);
                out.extend_from_slice(&id.to_le_bytes());
                out.push(match done {
                    Done::Executed => 0,
                    Done::Elsewhere => 1,
                    Done::Unknown => 2,
                });
                out.extend_from_slice(bytes);
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
            REQUEST => {
                let (id, rest) = rest.split_first_chunk::<8>()?;
                let (len, rest) = rest.split_first()?;
                let (cache, bytes) = rest.split_at_checked(usize::from(*len))?;
                let cache = std::str::from_utf8(cache).ok()?;
                Some(Frame::Request { id: u64::from_le_bytes(*id), cache, bytes })
            }
            REPLY => {
                let (id, rest) = rest.split_first_chunk::<8>()?;
                let (done, bytes) = rest.split_first()?;
                let done = match *done {
                    0 => Done::Executed,
                    1 => Done::Elsewhere,
                    2 => Done::Unknown,
                    _ => return None,
                };
                Some(Frame::Reply { id: u64::from_le_bytes(*id), done, bytes })
            }
            _ => None,
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_what_they_were() {
        for frame in [
            Frame::Core(b"core"),
            Frame::Hello(b""),
            Frame::Request { id: 7, cache: "default", bytes: b"get a\r\n" },
            Frame::Reply { id: 7, done: Done::Executed, bytes: b"END\r\n" },
            Frame::Reply { id: 8, done: Done::Elsewhere, bytes: b"" },
            Frame::Reply { id: 9, done: Done::Unknown, bytes: b"" },
        ] {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            assert_eq!(Frame::decode(&bytes), Some(frame));
        }
        for wrong in
            [&b""[..], b"\x09", b"\x02\0\0\0\0\0\0\0\0\x05abc", b"\x03\0\0\0\0\0\0\0\0\x07"]
        {
            assert_eq!(Frame::decode(wrong), None, "{wrong:?}");
        }
    }
}
