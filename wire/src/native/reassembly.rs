//! Puts messages together that came in fragments.

use std::collections::BTreeMap;

use super::error::ErrorCode;
use super::frame::{COMPRESSED, EXT, Frame, Header, Kind, MORE, NO_REPLY};
use super::limits::Limits;
use super::sink::Sink;

/// Fragments have at most this payload in bytes, so that other streams get their turn.
pub const FRAGMENT_LEN: usize = 64 << 10;

/// What has come of each message that is not whole yet.
///
/// All of them together hold at most one message's worth of bytes, and nothing is set aside before
/// it has come.
#[derive(Debug)]
pub struct Reassembly {
    message_len_max: usize,
    streams_max: usize,
    unfinished: BTreeMap<u32, Unfinished>,
    buffered: usize,
}

#[derive(Debug)]
struct Unfinished {
    header: Header,
    payload: Vec<u8>,
    /// The message is refused; what still comes of it is dropped.
    refused: bool,
}

/// What a frame came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Assembled<'a> {
    /// The message was one frame.
    Frame(Frame<'a>),
    /// The last fragment: header of the first one, without [`MORE`], and the whole payload.
    Message(Header, Vec<u8>),
    /// More fragments are to come, or the frame was the end of a message that was refused.
    Incomplete,
    /// The message cannot be taken. The stream is answered with an `ERR` of this code, now; the
    /// fragments that follow are dropped.
    Refused(Header, ErrorCode),
    /// The connection cannot go on: an `ERR` of this code on stream 0, then it is closed.
    Broken(ErrorCode),
}

impl Reassembly {
    /// For a connection with these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let Limits { message_len_max, streams_max, .. } = *limits;
        Reassembly { message_len_max, streams_max, unfinished: BTreeMap::new(), buffered: 0 }
    }

    /// Whether every message was whole.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Bytes held for messages that are not whole.
    #[must_use]
    pub fn buffered_len(&self) -> usize {
        self.buffered
    }

    /// Takes the next frame of the connection.
    #[inline]
    pub fn push<'a>(&mut self, frame: Frame<'a>) -> Assembled<'a> {
        if self.unfinished.is_empty() && !frame.header.has(MORE) {
            return Assembled::Frame(frame);
        }
        self.fragment(frame)
    }

    fn fragment<'a>(&mut self, frame: Frame<'a>) -> Assembled<'a> {
        let Frame { header, payload } = frame;
        if !carries_messages(header.kind) {
            let broken = header.has(MORE);
            let error = Assembled::Broken(ErrorCode::ProtocolError);
            return if broken { error } else { Assembled::Frame(frame) };
        }
        // Stream 0 has requests that nobody answers: no fragment could be told from the next.
        if header.has(MORE) && header.stream == 0 {
            return Assembled::Broken(ErrorCode::ProtocolError);
        }
        match self.unfinished.get(&header.stream).map(|first| first.header) {
            None if header.has(MORE) => self.begin(header, payload),
            None => Assembled::Frame(frame),
            Some(first) if continues(&first, &header) => self.go_on(header, payload),
            Some(_) => Assembled::Broken(ErrorCode::ProtocolError),
        }
    }

    fn begin<'a>(&mut self, header: Header, payload: &[u8]) -> Assembled<'a> {
        if self.unfinished.len() >= self.streams_max {
            return Assembled::Broken(ErrorCode::TooManyStreams);
        }
        let first = Header { flags: header.flags & !MORE, ..header };
        let unfinished = Unfinished { header: first, payload: Vec::new(), refused: false };
        self.unfinished.insert(header.stream, unfinished);
        self.go_on(header, payload)
    }

    fn go_on<'a>(&mut self, header: Header, payload: &[u8]) -> Assembled<'a> {
        let refusal = self.append(header.stream, payload);
        let last = !header.has(MORE);
        let ended = if last { self.unfinished.remove(&header.stream) } else { None };
        if let (Some(ended), true) = (&ended, last) {
            self.buffered -= ended.payload.len();
        }
        match (refusal, ended) {
            (Some((first, code)), _) => Assembled::Refused(first, code),
            (None, Some(ended)) if !ended.refused => {
                Assembled::Message(ended.header, ended.payload)
            }
            (None, _) => Assembled::Incomplete,
        }
    }

    /// Appends a fragment, unless that would be too much: then the message is refused once.
    fn append(&mut self, stream: u32, payload: &[u8]) -> Option<(Header, ErrorCode)> {
        let unfinished = self.unfinished.get_mut(&stream)?;
        if unfinished.refused {
            return None;
        }
        let code = if unfinished.payload.len() + payload.len() > self.message_len_max {
            ErrorCode::FrameTooLarge
        } else if self.buffered + payload.len() > self.message_len_max {
            ErrorCode::Overloaded
        } else {
            unfinished.payload.extend_from_slice(payload);
            self.buffered += payload.len();
            return None;
        };
        self.buffered -= unfinished.payload.len();
        unfinished.payload = Vec::new();
        unfinished.refused = true;
        Some((unfinished.header, code))
    }

    /// Forgets what has come on a stream that was given up.
    pub fn forget(&mut self, stream: u32) {
        if let Some(unfinished) = self.unfinished.remove(&stream) {
            self.buffered -= unfinished.payload.len();
        }
    }
}

/// Whether frames of this type may be fragments.
fn carries_messages(kind: Kind) -> bool {
    matches!(kind, Kind::Req | Kind::Res | Kind::Err | Kind::Item)
}

/// Whether a frame is of the same message as the first fragment. [`EXT`] and [`COMPRESSED`] are
/// said once, by the first one.
fn continues(first: &Header, next: &Header) -> bool {
    first.kind == next.kind
        && first.op == next.op
        && !next.has(EXT)
        && !next.has(COMPRESSED)
        && !next.has(NO_REPLY)
}

/// Appends a message as fragments of at most `len_max` bytes of payload; as one frame if it fits.
pub fn put_fragments<S: Sink>(header: Header, payload: &[u8], len_max: usize, out: &mut S) {
    let len_max = len_max.max(1);
    let mut header = header;
    let mut rest = payload;
    while let Some((piece, behind)) = rest.split_at_checked(len_max).filter(|(_, b)| !b.is_empty())
    {
        let more = Header { flags: header.flags | MORE, ..header };
        Frame { header: more, payload: piece }.encode(out);
        header.flags &= !(EXT | COMPRESSED);
        rest = behind;
    }
    Frame { header, payload: rest }.encode(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { message_len_max: 10, streams_max: 2, ..Limits::default() }
    }

    fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Frame<'_> {
        Frame { header: Header { flags, ..Header::new(kind, 0x0101, stream, 7) }, payload }
    }

    fn req(flags: u8, stream: u32, payload: &[u8]) -> Frame<'_> {
        frame(Kind::Req, flags, stream, payload)
    }

    #[test]
    fn fragments_of_several_streams_become_messages() {
        let mut all = Reassembly::new(&limits());
        let whole = req(0, 3, b"whole");
        assert_eq!(all.push(req(MORE | EXT, 1, b"abc")), Assembled::Incomplete);
        assert_eq!(all.push(req(MORE, 2, b"12")), Assembled::Incomplete);
        assert_eq!(all.push(whole), Assembled::Frame(whole), "others go between");
        let ping = frame(Kind::Ping, 0, 1, b"");
        assert_eq!(all.push(ping), Assembled::Frame(ping));
        assert_eq!(all.push(req(MORE, 1, b"")), Assembled::Incomplete);
        assert_eq!(all.buffered_len(), 5);
        let header = Header { flags: EXT, ..req(0, 1, b"").header };
        assert_eq!(all.push(req(0, 1, b"de")), Assembled::Message(header, b"abcde".to_vec()));
        all.forget(2);
        assert_eq!(all.buffered_len(), 0);
        for stream in [1, 2] {
            assert_eq!(all.push(req(MORE, stream, b"")), Assembled::Incomplete);
        }
        let broken = Assembled::Broken(ErrorCode::TooManyStreams);
        assert_eq!(all.push(req(MORE, 3, b"")), broken, "even of nothing");
    }

    #[test]
    fn a_message_too_large_is_refused_once_and_holds_nothing() {
        let mut all = Reassembly::new(&limits());
        assert_eq!(all.push(req(MORE, 1, b"0123456789")), Assembled::Incomplete);
        let header = req(0, 1, b"").header;
        let refused = Assembled::Refused(header, ErrorCode::FrameTooLarge);
        assert_eq!(all.push(req(MORE, 1, b"x")), refused);
        assert_eq!(all.buffered_len(), 0);
        assert_eq!(all.push(req(MORE, 1, b"0123456789")), Assembled::Incomplete);
        assert_eq!(all.push(req(0, 1, b"end")), Assembled::Incomplete);
        let again = req(0, 1, b"new");
        assert_eq!(all.push(again), Assembled::Frame(again));
        assert_eq!(all.push(req(MORE, 1, b"0123456")), Assembled::Incomplete);
        let refused = Assembled::Refused(req(0, 2, b"").header, ErrorCode::Overloaded);
        assert_eq!(all.push(req(MORE, 2, b"0123456")), refused, "both together are too much");
        assert_eq!(all.buffered_len(), 7);
    }

    #[test]
    fn fragments_that_do_not_fit_together_end_the_connection() {
        let broken = Assembled::Broken(ErrorCode::ProtocolError);
        for wrong in [
            frame(Kind::Res, 0, 1, b""),
            frame(Kind::Ping, MORE, 0, b""),
            frame(Kind::Hello, MORE, 1, b""),
            req(MORE | NO_REPLY, 0, b""),
            req(EXT, 1, b""),
            req(COMPRESSED, 1, b""),
            Frame { header: Header { op: 0x0102, ..req(0, 1, b"").header }, payload: b"" },
        ] {
            let mut all = Reassembly::new(&limits());
            assert_eq!(all.push(req(MORE, 1, b"a")), Assembled::Incomplete);
            assert_eq!(all.push(wrong), broken, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_cut_is_put_together_again() {
        let payload = b"0123456789";
        let header = Header { flags: EXT, ..req(0, 5, b"").header };
        for len_max in 1..12 {
            let mut bytes = Vec::new();
            put_fragments(header, payload, len_max, &mut bytes);
            let mut all = Reassembly::new(&limits());
            let (mut rest, mut frames) = (bytes.as_slice(), 0);
            let mut last = None;
            while let Some(frame) = Frame::decode(rest, &limits()).unwrap() {
                rest = &rest[frame.encoded_len()..];
                frames += 1;
                last = Some(all.push(frame));
            }
            assert_eq!(frames, payload.len().div_ceil(len_max));
            let expect = match frames {
                1 => Assembled::Frame(Frame { header, payload }),
                _ => Assembled::Message(header, payload.to_vec()),
            };
            assert_eq!((last, rest), (Some(expect), &b""[..]), "{len_max}");
        }
    }
}
