//! A request as it is kept until it is answered.

use std::time::Duration;

use crate::client::error::Refusal;
use crate::native::frame::{EXT, Header};
use crate::native::schema::Repeat;
use crate::native::topology::is_of_cluster;
use crate::native::{Codec, Fence, Key, Kind, RequestExt, Sink, put_fragments};

/// Names a request among all of this client.
pub type CallId = u64;
/// Names a connection among all of this client.
pub type LinkId = u64;
/// Time since the client began.
pub type Moment = Duration;
/// Counts the lives of the server: the server forgets tags, and may forget objects, between them.
pub type Life = u32;

/// What to ask, with the body encoded.
#[derive(Debug, Clone)]
pub struct Request {
    /// The opcode.
    pub op: u16,
    /// What may be done when nobody knows whether it was executed.
    pub repeat: Repeat,
    /// What it is routed by, if its object is a cache of the cluster.
    pub by: By,
    /// The only connection that it means anything on; where that is gone, it was not executed.
    pub over: Option<LinkId>,
    /// Gives it an idempotency tag although its class does not need one.
    pub tagged: bool,
    /// The object's number; 0 for none.
    pub object: u32,
    /// The life that numbers in the request are of: in another one it is not sent.
    pub life: Option<Life>,
    /// An attempt before this one may have been executed.
    pub doubt: bool,
    /// The lease that what is made hangs on.
    pub lease: Option<u64>,
    /// The lock that must still be held.
    pub fence: Option<Fencing>,
    /// The transaction that it belongs to, which is of one connection.
    pub tx: Option<u64>,
    /// The operation's own fields.
    pub body: Vec<u8>,
    /// Credit for items, as in the body.
    pub credit: u32,
    /// How long the caller waits; `None` for a stream, which has no end in time.
    pub timeout: Option<Duration>,
}

/// What decides which member a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Any member takes it.
    Nothing,
    /// The key that its body begins with.
    Key,
    /// The hash of a key.
    Hash(u64),
    /// Any member takes it: a transaction over caches of the cluster, of which the copies of a key
    /// that it writes keep the answer.
    Shared,
}

/// [`Fence`] that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fencing {
    /// The lock space.
    pub object: u32,
    /// The lock.
    pub key: Vec<u8>,
    /// The token.
    pub token: u64,
}

/// What is around a request when it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Around {
    pub stream: u32,
    pub epoch: u32,
    pub tag: Option<u64>,
    pub timeout_ms: u32,
    /// Longer payloads are cut.
    pub fragment_len: usize,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// For a connection, or for a free stream on it.
    Waiting,
    /// Until it is sent again.
    Resting(Moment),
    /// Sent.
    Sent(LinkId, u32),
}

/// A request that has no answer yet.
#[derive(Debug)]
pub struct Call {
    pub request: Request,
    pub deadline: Option<Moment>,
    pub state: State,
    /// Whether an attempt may have been executed that has no answer.
    pub doubt: bool,
    /// The idempotency tag.
    pub tag: Option<u64>,
    /// When it was sent first.
    pub first: Option<Moment>,
    /// The life that it was sent to last. All that is in doubt was sent to this one, but for what
    /// copies keep.
    pub life: Life,
    /// Times that it was refused, for the pauses.
    pub refused: u32,
    /// Times that it was sent to another member.
    pub hops: u32,
    /// Whether items have come.
    pub begun: bool,
    /// What was said against it last.
    pub refusal: Option<Refusal>,
}

impl Call {
    /// Whether it has a tag, was sent, and only the server that it was sent to knows what became
    /// of it.
    pub fn doubt_is_of_one_server(&self) -> bool {
        self.doubt && self.tag.is_some() && !self.request.is_kept_by_copies()
    }
}

impl Request {
    /// Whether doing it twice, or not knowing whether it was done, changes nothing.
    pub fn reads(&self) -> bool {
        matches!(self.repeat, Repeat::Read | Repeat::Stream)
    }

    pub fn streams(&self) -> bool {
        self.repeat == Repeat::Stream
    }

    /// Whether it has to have a tag.
    pub fn wants_tag(&self) -> bool {
        self.repeat == Repeat::Dedup || self.tagged && self.repeat == Repeat::Idempotent
    }

    /// Whether the copies of its key keep the answer under its tag, for whoever is asked next. Else
    /// the server that executes it does.
    pub fn is_kept_by_copies(&self) -> bool {
        self.by == By::Shared || self.by == By::Key && is_of_cluster(self.object)
    }

    /// Appends the frames of the request.
    pub fn encode(&self, around: &Around, out: &mut Vec<u8>) {
        let fence = self.fence.as_ref().map(|fence| Fence {
            object: fence.object,
            key: Key(&fence.key),
            token: fence.token,
        });
        let (idem, lease, tx) = (around.tag, self.lease, self.tx);
        let ext = RequestExt { idem, tx, lease, fence, ..RequestExt::default() };
        let flags = if ext.is_empty() { 0 } else { EXT };
        let header =
            Header { flags, ..Header::new(Kind::Req, self.op, around.stream, around.epoch) };
        let prelude_len = ext.encoded_len() + 8;
        if prelude_len + self.body.len() <= around.fragment_len {
            header.encode(prelude_len + self.body.len(), out);
            self.encode_payload(&ext, around.timeout_ms, out);
        } else {
            let mut payload = Vec::with_capacity(prelude_len + self.body.len());
            self.encode_payload(&ext, around.timeout_ms, &mut payload);
            put_fragments(header, &payload, around.fragment_len, out);
        }
    }

    fn encode_payload(&self, ext: &RequestExt<'_>, timeout_ms: u32, out: &mut Vec<u8>) {
        ext.encode(out);
        timeout_ms.encode(out);
        self.object.encode(out);
        out.put(&self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::frame::MORE;
    use crate::native::{Assembled, FRAGMENT_LEN, Frame, Limits, Reassembly, RequestFrame};

    fn request(body: Vec<u8>) -> Request {
        Request {
            op: 0x0102,
            repeat: Repeat::Dedup,
            by: By::Nothing,
            over: None,
            tagged: false,
            object: 42,
            life: None,
            doubt: false,
            lease: Some(9),
            fence: Some(Fencing { object: 3, key: b"lock".to_vec(), token: 17 }),
            tx: Some(23),
            body,
            credit: 0,
            timeout: None,
        }
    }

    #[test]
    fn what_is_sent_is_what_was_asked_whole_or_in_pieces() {
        for len in [0, 1, FRAGMENT_LEN - 50, FRAGMENT_LEN, 5 * FRAGMENT_LEN + 3] {
            let body: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut bytes = Vec::new();
            let around = Around {
                stream: 7,
                epoch: 5,
                tag: Some(11),
                timeout_ms: 250,
                fragment_len: FRAGMENT_LEN,
            };
            request(body.clone()).encode(&around, &mut bytes);
            let limits = Limits::default();
            let (mut all, mut rest, mut whole) = (Reassembly::new(&limits), &bytes[..], None);
            while let Some(frame) = Frame::decode(rest, &limits).unwrap() {
                assert!(frame.payload.len() <= FRAGMENT_LEN && frame.header.stream == 7);
                rest = &rest[frame.encoded_len()..];
                match all.push(frame) {
                    Assembled::Frame(frame) => whole = Some((frame.header, frame.payload.to_vec())),
                    Assembled::Message(header, payload) => whole = Some((header, payload)),
                    other => {
                        assert_eq!((other, frame.header.has(MORE)), (Assembled::Incomplete, true))
                    }
                }
            }
            let (header, payload) = whole.unwrap();
            let frame = Frame { header, payload: &payload };
            let decoded = RequestFrame::decode(&frame, &limits).unwrap();
            assert_eq!((decoded.timeout_ms, decoded.object), (250, 42), "{len}");
            let numbers = (decoded.ext.idem, decoded.ext.lease, decoded.ext.tx);
            assert_eq!(numbers, (Some(11), Some(9), Some(23)));
            let fence = Fence { object: 3, key: Key(b"lock"), token: 17 };
            assert_eq!(decoded.ext.fence, Some(fence));
            assert_eq!(decoded.body.rest(), body);
        }
    }
}
