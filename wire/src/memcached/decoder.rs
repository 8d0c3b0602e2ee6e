//! Takes requests off a connection's bytes, whatever pieces they arrive in.
//!
//! The decoder keeps no bytes. What it remembers between calls fits into a few words: how much of
//! a refused data block is still to be swallowed, how far a half line was searched for its end,
//! and which protocol the connection speaks.

use super::text::{Login, PlainGet, PlainSet};
use super::{Framing, Request, binary, text};
use crate::Limits;

/// Which protocols a port accepts (`-B`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocols {
    /// The first byte of a connection decides: 0x80 is binary, all else is text.
    #[default]
    Auto,
    /// Text and meta only.
    Ascii,
    /// Binary only.
    Binary,
}

/// What [`Decoder::decode`] made of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// These bytes of the input are done with, whatever the step is.
    pub consumed: usize,
    /// What to do now.
    pub step: Step<'a>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// Execute the request and encode its reply with the framing; then decode again.
    Request(Request<'a>, Framing<'a>),
    /// Nothing more to decode: call again when the input, counted from the first unconsumed byte,
    /// has at least `needed` bytes.
    Incomplete {
        /// Always more than there are, and never more than the limits allow.
        needed: usize,
    },
    /// Write what earlier requests answered, then close without another byte. The reason is for
    /// the log.
    Close(&'static str),
}

/// What a parser made of the bytes from the start of a command.
#[derive(Debug)]
pub(super) enum Parsed<'a> {
    /// A request, and how many bytes behind the line (the header, in binary) belong to it. They
    /// may be more than have arrived: a refused data block is swallowed as it comes.
    Request { request: Request<'a>, framing: Framing<'a>, block: u64 },
    /// The request needs so many bytes behind its line (its header).
    Incomplete { block: usize },
    /// See [`Step::Close`].
    Close(&'static str),
}

/// The decoder of one connection.
#[derive(Debug, Clone)]
pub struct Decoder {
    limits: Limits,
    protocols: Protocols,
    /// Bytes of a refused data block that have not arrived yet.
    skip: u64,
    /// The first so many bytes of the pending line hold no `\n`.
    scanned: usize,
    /// Set by `quit` and by errors that memcached closes the connection after.
    closed: Option<&'static str>,
}

impl Decoder {
    /// A decoder for a new connection.
    #[must_use]
    pub fn new(limits: Limits, protocols: Protocols) -> Self {
        Decoder { limits, protocols, skip: 0, scanned: 0, closed: None }
    }

    /// Decodes the next request of `input`, which starts at the first byte not consumed yet.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a> {
        if let Some(reason) = self.closed {
            return Decoded { consumed: input.len(), step: Step::Close(reason) };
        }
        let swallowed = self.swallow(input.len());
        let rest = input.get(swallowed..).unwrap_or_default();
        let Some(first) = rest.first() else {
            return Decoded { consumed: swallowed, step: Step::Incomplete { needed: 1 } };
        };
        let mut decoded = match self.chosen(*first) {
            Protocols::Binary => self.binary(rest),
            Protocols::Auto | Protocols::Ascii => self.text(rest),
        };
        decoded.consumed += swallowed;
        decoded
    }

    /// Whether the connection, whose first byte this is, speaks binary. The first answer holds for
    /// as long as it lives.
    pub fn speaks_binary(&mut self, first: u8) -> bool {
        self.chosen(first) == Protocols::Binary
    }

    /// Takes a login off the front of `input`, on a text connection that has not logged in, with
    /// how much of it is done with.
    pub fn login<'a>(&mut self, input: &'a [u8]) -> (usize, Login<'a>) {
        text::Login::parse(input, &self.limits)
    }

    /// The framing of the binary request that `input` begins with, once its header is there and
    /// when it is none that a client may send which has not logged in: to list the mechanisms, to
    /// log in, to ask for the version.
    #[must_use]
    pub fn beyond_login(input: &[u8]) -> Option<Framing<'static>> {
        binary::beyond_login(input).map(Framing::Binary)
    }

    /// Takes a plain get off the front of `input`, with the length of its line. `None` says
    /// nothing of the input: [`Decoder::decode`] is to look at it.
    #[inline]
    pub fn plain_get<'a>(&mut self, input: &'a [u8]) -> Option<(PlainGet<'a>, usize)> {
        if !self.at_line() {
            return None;
        }
        let parsed = PlainGet::parse(input, self.limits.key_len_max)?;
        self.scanned = 0;
        Some(parsed)
    }

    /// As [`Decoder::plain_get`], a plain set with the length of line and block.
    #[inline]
    pub fn plain_set<'a>(&mut self, input: &'a [u8]) -> Option<(PlainSet<'a>, usize)> {
        if !self.at_line() {
            return None;
        }
        let parsed = PlainSet::parse(input, &self.limits)?;
        self.scanned = 0;
        Some(parsed)
    }

    /// Whether the input begins with a command line.
    #[inline]
    fn at_line(&self) -> bool {
        self.protocols == Protocols::Ascii && self.skip == 0 && self.closed.is_none()
    }

    /// Takes what has arrived of a block to be skipped.
    #[inline]
    fn swallow(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.skip).unwrap_or(usize::MAX).min(available);
        self.skip -= taken as u64;
        taken
    }

    #[inline]
    fn chosen(&mut self, first: u8) -> Protocols {
        if self.protocols == Protocols::Auto {
            let binary = first == binary::MAGIC;
            self.protocols = if binary { Protocols::Binary } else { Protocols::Ascii };
        }
        self.protocols
    }

    #[inline]
    fn text<'a>(&mut self, rest: &'a [u8]) -> Decoded<'a> {
        let from = self.scanned.min(rest.len());
        let unseen = rest.get(from..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', unseen).map(|at| from + at) else {
            self.scanned = rest.len();
            return self.half_line(rest);
        };
        self.scanned = end;
        let (line, behind) = rest.split_at_checked(end).unwrap_or_default();
        let block = behind.get(1..).unwrap_or_default();
        let parsed = if text::too_long(line, &self.limits) {
            Parsed::Close("line too long")
        } else {
            text::parse(line.strip_suffix(b"\r").unwrap_or(line), block, self.limits)
        };
        self.finish(parsed, end + 1, block.len())
    }

    fn half_line<'a>(&mut self, rest: &[u8]) -> Decoded<'a> {
        if text::too_long(rest, &self.limits) {
            return self.finish(Parsed::Close("line too long"), 0, 0);
        }
        Decoded { consumed: 0, step: Step::Incomplete { needed: rest.len() + 1 } }
    }

    #[inline]
    fn binary<'a>(&mut self, rest: &'a [u8]) -> Decoded<'a> {
        if rest.first() != Some(&binary::MAGIC) {
            return self.finish(Parsed::Close("wrong magic"), 0, 0);
        }
        let Some((header, body)) = rest.split_at_checked(binary::HEADER_LEN) else {
            let step = Step::Incomplete { needed: binary::HEADER_LEN };
            return Decoded { consumed: 0, step };
        };
        let parsed = binary::parse(header, body, &self.limits);
        self.finish(parsed, header.len(), body.len())
    }

    /// `head` bytes of line or header and `available` bytes behind it: what goes, what stays.
    #[inline]
    fn finish<'a>(&mut self, parsed: Parsed<'a>, head: usize, available: usize) -> Decoded<'a> {
        match parsed {
            Parsed::Incomplete { block } => {
                Decoded { consumed: 0, step: Step::Incomplete { needed: head + block } }
            }
            Parsed::Close(reason) => {
                self.closed = Some(reason);
                Decoded { consumed: head + available, step: Step::Close(reason) }
            }
            Parsed::Request { request, framing, block } => {
                self.scanned = 0;
                self.skip = block;
                let consumed = head + self.swallow(available);
                if framing.ends_connection() {
                    self.closed = Some("the last reply of this connection is sent");
                }
                Decoded { consumed, step: Step::Request(request, framing) }
            }
        }
    }
}

impl<'a> Parsed<'a> {
    /// A request without a data block.
    #[inline]
    pub(super) fn whole(request: Request<'a>, framing: Framing<'a>) -> Self {
        Parsed::Request { request, framing, block: 0 }
    }
}

#[cfg(test)]
pub(super) mod tests;
