//! How the replies to a request look on its connection.

use super::Reply;
use super::binary::Binary;
use super::meta::Meta;
use super::text::Text;
use crate::Output;

/// What a request's protocol, opcode and flags say about its replies. The decoder makes one with
/// each request; it borrows from the same input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing<'a> {
    /// Classic text.
    Text(Text),
    /// Text with meta flags.
    Meta(Meta<'a>),
    /// Binary.
    Binary(Binary),
}

impl Framing<'_> {
    /// Appends `reply` to `out`, or nothing where the client asked for silence.
    pub fn encode(&self, reply: &Reply<'_>, out: &mut Output) {
        match self {
            Framing::Text(text) => text.encode(reply, out),
            Framing::Meta(meta) => meta.encode(reply, out),
            Framing::Binary(binary) => binary.encode(reply, out),
        }
    }

    /// How a refusal of the request looks: the same, but nothing that was said with the request is
    /// needed any more.
    #[must_use]
    pub fn of_refusals(&self) -> Framing<'static> {
        match *self {
            Framing::Text(text) => Framing::Text(text),
            Framing::Meta(_) => Framing::Meta(Meta::plain()),
            Framing::Binary(binary) => Framing::Binary(binary),
        }
    }

    /// Whether the connection is to be closed once `reply` is written.
    #[must_use]
    pub fn closes(&self, reply: &Reply<'_>) -> bool {
        match self {
            Framing::Binary(binary) => binary.closes(reply),
            _ => self.ends_connection(),
        }
    }

    /// Whether the client speaks binary, which answers some requests in another shape (the
    /// arguments of `stats`, a refused flush).
    #[must_use]
    pub fn is_binary(&self) -> bool {
        matches!(self, Framing::Binary(_))
    }

    /// Whether the decoder takes nothing more behind this request.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Framing::Text(text) => text.ends_connection(),
            Framing::Meta(_) => false,
            Framing::Binary(binary) => binary.ends_connection(),
        }
    }
}
