//! What the tests of the codec share: feeding a decoder in pieces, and a naive cache behind it.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

pub mod escape;
pub mod fuzzing;
pub mod model;

use isogrid_wire::Limits;
use isogrid_wire::memcached::{Decoder, Framing, LOGIN_LEN_MAX, Protocols, Reply, Request, Step};

const BINARY_HEADER_LEN: usize = 24;

/// What a decoder is asked to do with its input.
pub enum Event<'a> {
    Request(&'a Request<'a>, &'a Framing<'a>),
    Close(&'static str),
}

/// A connection's reading half: the bytes that are not consumed yet, and the decoder.
pub struct Reader {
    decoder: Decoder,
    limits: Limits,
    pending: Vec<u8>,
    needed: usize,
    /// Asks the decoder at every piece, even with less than it said it needs.
    eager: bool,
    closed: bool,
}

impl Reader {
    pub fn new(limits: Limits) -> Self {
        let decoder = Decoder::new(limits, Protocols::Auto);
        Reader { decoder, limits, pending: Vec::new(), needed: 1, eager: false, closed: false }
    }

    pub fn eager(limits: Limits) -> Self {
        Reader { eager: true, ..Reader::new(limits) }
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes a piece off the wire and decodes all that is whole.
    pub fn feed(&mut self, piece: &[u8], mut on: impl FnMut(Event<'_>)) {
        self.pending.extend_from_slice(piece);
        let mut done = 0;
        let mut first = self.eager;
        while !self.closed && (first || self.pending.len() - done >= self.needed) {
            first = false;
            let input = &self.pending[done..];
            let decoded = self.decoder.decode(input);
            assert!(decoded.consumed <= input.len(), "consumed more than there is");
            done += decoded.consumed;
            let left = input.len() - decoded.consumed;
            self.needed = 1;
            match decoded.step {
                Step::Request(request, framing) => {
                    assert!(decoded.consumed > 0, "no progress");
                    self.closed = framing.closes(&Reply::Ok);
                    on(Event::Request(&request, &framing));
                }
                Step::Close(reason) => {
                    self.closed = true;
                    on(Event::Close(reason));
                }
                Step::Incomplete { needed } => {
                    assert!(needed > left, "waits for what is there");
                    assert!(needed <= wait_max(&self.limits), "waits for {needed}");
                    self.needed = needed;
                }
            }
        }
        self.pending.drain(..done);
    }
}

/// The longest command: its line, its data and their line ends; or a login.
fn wait_max(limits: &Limits) -> usize {
    let command = limits.line_len_max.max(limits.get_line_len_max) + limits.item_size_max + 4;
    command.max(BINARY_HEADER_LEN + LOGIN_LEN_MAX)
}

/// All that a decoder makes of `pieces`, printed.
pub fn decode_all<'p>(
    mut reader: Reader,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Vec<String> {
    let mut events = Vec::new();
    for piece in pieces {
        reader.feed(piece, |event| {
            events.push(match event {
                Event::Request(request, framing) => format!("{request:?} {framing:?}"),
                Event::Close(reason) => format!("close: {reason}"),
            });
        });
    }
    events
}
