//! How an answer gets into the output: as frames of its stream, or as bytes that belong into
//! another answer, or are kept to be given again.

use std::sync::Arc;

use isogrid_wire::Output;
use isogrid_wire::native::frame::Header;
use isogrid_wire::native::{
    Answer, Codec, FRAGMENT_LEN, Kind, ReplyExt, Status, SubKind, put_error, put_fragments,
    put_items, put_reply,
};

use super::failure::Failure;

/// Whom an answer goes to.
#[derive(Debug, Clone, Copy)]
pub struct To {
    /// The opcode of the request.
    pub op: u16,
    /// Its stream; 0 if it is not to be answered.
    pub stream: u32,
    /// Largest payload of a frame that the client takes, bytes.
    pub frame_max: usize,
    /// The topology epoch, low half.
    pub epoch: u32,
}

/// An answer as bytes.
#[derive(Debug, Clone)]
pub struct Given {
    /// What it is.
    pub kind: SubKind,
    /// Whether it says that all was done.
    pub is_ok: bool,
    /// Whether the request was surely not executed, and may be again.
    pub is_undone: bool,
    /// The payload, without extensions.
    pub payload: Arc<[u8]>,
}

impl Given {
    /// A failure.
    pub fn failure(failure: &Failure) -> Given {
        use isogrid_wire::native::Retry;
        let mut payload = Vec::new();
        failure.body(|body| body.encode(&mut payload));
        let is_undone = matches!(failure.code.retry(), Retry::Same | Retry::Other);
        Given { kind: SubKind::Err, is_ok: false, is_undone, payload: payload.into() }
    }

    /// An answer.
    pub fn answer<'a, A: Answer<'a>>(answer: &A) -> Given {
        let mut payload = Vec::with_capacity(answer.encoded_len());
        answer.encode(&mut payload);
        let is_ok = answer.status() == Status::Ok;
        Given { kind: SubKind::Res, is_ok, is_undone: false, payload: payload.into() }
    }
}

enum Place<'o> {
    Frames(&'o mut Output),
    Kept(&'o mut Vec<Given>),
}

/// The place of the one answer to a request.
pub struct Reply<'o> {
    to: To,
    place: Place<'o>,
    /// Whether a failure was said.
    pub failed: bool,
}

impl<'o> Reply<'o> {
    /// An answer that is sent.
    pub fn sent(to: To, out: &'o mut Output) -> Self {
        Reply { to, place: Place::Frames(out), failed: false }
    }

    /// An answer that is appended to others.
    pub fn kept(to: To, all: &'o mut Vec<Given>) -> Self {
        Reply { to, place: Place::Kept(all), failed: false }
    }

    /// Says the answer.
    pub fn say<'a, A: Answer<'a>>(&mut self, answer: &A) {
        match &mut self.place {
            Place::Frames(_) if self.to.stream == 0 => {}
            Place::Frames(out) if answer.encoded_len() <= self.to.frame_max => {
                put_reply(self.to.header(Kind::Res), &ReplyExt::default(), answer, *out);
            }
            Place::Frames(out) => self.to.give(&Given::answer(answer), out),
            Place::Kept(all) => all.push(Given::answer(answer)),
        }
    }

    /// Says a failure.
    pub fn fail(&mut self, failure: &Failure) {
        self.failed = true;
        match &mut self.place {
            Place::Frames(out) => self.to.fail(failure, out),
            Place::Kept(all) => all.push(Given::failure(failure)),
        }
    }

    /// Says an answer that is bytes already.
    pub fn give(&mut self, given: &Given) {
        self.failed |= given.kind == SubKind::Err;
        match &mut self.place {
            Place::Frames(out) => self.to.give(given, out),
            Place::Kept(all) => all.push(given.clone()),
        }
    }
}

impl To {
    fn header(self, kind: Kind) -> Header {
        Header::new(kind, self.op, self.stream, self.epoch)
    }

    /// Sends a failure.
    pub fn fail(self, failure: &Failure, out: &mut Output) {
        if self.stream != 0 {
            let header = self.header(Kind::Err);
            failure.body(|body| put_error(header, &ReplyExt::default(), body, out));
        }
    }

    /// Sends an answer that is bytes already.
    pub fn give(self, given: &Given, out: &mut Output) {
        if self.stream != 0 {
            let kind = if given.kind == SubKind::Res { Kind::Res } else { Kind::Err };
            self.put(self.header(kind), &given.payload, out);
        }
    }

    /// Sends items.
    pub fn items<'a, T: Codec<'a>, U: Codec<'a>>(self, items: &[T], trailer: &U, out: &mut Output) {
        let header = self.header(Kind::Item);
        let mark = out.mark();
        let before = out.len();
        put_items(header, items, trailer, out);
        if out.len() - before <= isogrid_wire::native::HEADER_LEN + self.frame_max {
            return;
        }
        out.truncate(mark);
        let mut frame = Vec::new();
        put_items(header, items, trailer, &mut frame);
        let payload = frame.get(isogrid_wire::native::HEADER_LEN..).unwrap_or_default();
        self.put(header, payload, out);
    }

    fn put(self, header: Header, payload: &[u8], out: &mut Output) {
        let whole = payload.len() <= self.frame_max;
        let len_max = if whole { payload.len() } else { FRAGMENT_LEN.min(self.frame_max) };
        put_fragments(header, payload, len_max, out);
    }
}
