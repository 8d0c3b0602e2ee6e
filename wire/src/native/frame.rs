//! Frames: a header of sixteen bytes and a payload.

use super::declare::choices;
use super::error::ErrorCode;
use super::limits::Limits;
use super::sink::Sink;

/// Bytes of a header.
pub const HEADER_LEN: usize = 16;
/// The part of the header that the length counts: all behind the length itself.
const COUNTED_LEN: usize = HEADER_LEN - 4;

/// More frames of the same message follow.
pub const MORE: u8 = 0x01;
/// The payload begins with extensions.
pub const EXT: u8 = 0x02;
/// The payload is compressed. Only with a feature that both sides named.
pub const COMPRESSED: u8 = 0x04;
/// The request is not to be answered. Its stream is 0.
pub const NO_REPLY: u8 = 0x08;

/// Bits that must be 0.
const RESERVED: u8 = 0xf0;

choices! {
    /// The type of a frame.
    Kind {
        /// A request, client to server: `[ext]`, `u32` timeout in ms, `u32` object, the body.
        1 Req "REQ",
        /// The answer, server to client: `[ext]`, `u8` status, the result. Ends its stream.
        2 Res "RES",
        /// A failure, server to client: `[ext]` and the error. Ends its stream; on stream 0 it is
        /// about the connection, which is closed behind it.
        3 Err "ERR",
        /// Items of a stream, server to client: `[ext]`, varint n, n items, and what the operation
        /// adds behind them.
        4 Item "ITEM",
        /// Client to server: `u32` more items that the stream may send.
        5 Credit "CREDIT",
        /// Client to server, empty: stop this stream.
        6 Cancel "CANCEL",
        /// Both ways: `u64` to be echoed.
        7 Ping "PING",
        /// Both ways: the `u64` of a `PING`.
        8 Pong "PONG",
        /// Server to client: it will close this connection.
        9 GoAway "GOAWAY",
        /// Client to server, the first frame: `json`.
        10 Hello "HELLO",
        /// Server to client, the answer to `HELLO`: `json`.
        11 Welcome "WELCOME",
        /// Both ways, while authentication goes on: `json`.
        12 Auth "AUTH",
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// [`MORE`], [`EXT`], [`COMPRESSED`], [`NO_REPLY`].
    pub flags: u8,
    /// The opcode of the request that this belongs to; 0 in frames that belong to none.
    pub op: u16,
    /// The stream, chosen by the client; 0 is the connection itself.
    pub stream: u32,
    /// The low half of the sender's topology epoch; 0 when it knows none.
    pub epoch: u32,
}

impl Header {
    /// A header without flags.
    #[must_use]
    pub const fn new(kind: Kind, op: u16, stream: u32, epoch: u32) -> Self {
        Header { kind, flags: 0, op, stream, epoch }
    }

    /// A header of a frame that belongs to no request.
    #[must_use]
    pub const fn control(kind: Kind, stream: u32, epoch: u32) -> Self {
        Header::new(kind, 0, stream, epoch)
    }

    /// Whether all of these flags are set.
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Appends the header of a payload of `payload_len` bytes.
    ///
    /// A length beyond 4 GiB is written as the largest that there is; limits keep messages far
    /// below that.
    #[inline(always)]
    pub fn encode<S: Sink>(&self, payload_len: usize, out: &mut S) {
        let len = u32::try_from(COUNTED_LEN + payload_len).unwrap_or(u32::MAX);
        let [l0, l1, l2, l3] = len.to_be_bytes();
        let [o0, o1] = self.op.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        let [e0, e1, e2, e3] = self.epoch.to_be_bytes();
        let (kind, flags) = (self.kind as u8, self.flags);
        out.put(&[l0, l1, l2, l3, kind, flags, o0, o1, s0, s1, s2, s3, e0, e1, e2, e3]);
    }
}

/// A frame that has arrived whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What stands before the payload.
    pub header: Header,
    /// The payload.
    pub payload: &'a [u8],
}

/// A frame after which nothing of the connection can be understood: it is closed behind an `ERR`
/// on stream 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A length below 12.
    TooShort,
    /// A length above 12 + `max_frame`.
    TooLarge,
    /// A type that there is not.
    UnknownKind(u8),
    /// A reserved flag is set.
    ReservedFlag,
}

impl FrameError {
    /// The code of the `ERR`.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            FrameError::TooLarge => ErrorCode::FrameTooLarge,
            FrameError::TooShort | FrameError::UnknownKind(_) | FrameError::ReservedFlag => {
                ErrorCode::ProtocolError
            }
        }
    }
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::TooShort => f.write_str("a frame says that it ends within its header"),
            FrameError::TooLarge => f.write_str("a frame is larger than max_frame"),
            FrameError::UnknownKind(kind) => write!(f, "there is no frame of type {kind}"),
            FrameError::ReservedFlag => f.write_str("a reserved flag is set"),
        }
    }
}

impl std::error::Error for FrameError {}

impl<'a> Frame<'a> {
    /// Takes the first frame of `input`; `None`: it has not arrived whole, and
    /// [`Frame::needed`] says how many bytes it has. A bad header is refused before its payload
    /// comes.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: the connection cannot go on.
    #[inline]
    pub fn decode(input: &'a [u8], limits: &Limits) -> Result<Option<Frame<'a>>, FrameError> {
        let Some((fixed, behind)) = input.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, kind, flags, o0, o1, s0, s1, s2, s3, e0, e1, e2, e3] = *fixed;
        let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let payload_len = len.checked_sub(COUNTED_LEN).ok_or(FrameError::TooShort)?;
        if payload_len > limits.frame_len_max {
            return Err(FrameError::TooLarge);
        }
        let header = Header {
            kind: Kind::of(kind).ok_or(FrameError::UnknownKind(kind))?,
            flags,
            op: u16::from_be_bytes([o0, o1]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            epoch: u32::from_be_bytes([e0, e1, e2, e3]),
        };
        if flags & RESERVED != 0 {
            return Err(FrameError::ReservedFlag);
        }
        Ok(behind.get(..payload_len).map(|payload| Frame { header, payload }))
    }

    /// How many bytes the first frame of `input` has, as far as that can be said: a header's
    /// worth until there is one.
    #[must_use]
    pub fn needed(input: &[u8]) -> usize {
        let len = input.first_chunk().map_or(0, |len| u32::from_be_bytes(*len) as usize);
        (len + 4).max(HEADER_LEN)
    }

    /// How many bytes of the input the frame takes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.payload.len()
    }

    /// Appends the frame.
    pub fn encode<S: Sink>(&self, out: &mut S) {
        self.header.encode(self.payload.len(), out);
        out.put(self.payload);
    }
}
