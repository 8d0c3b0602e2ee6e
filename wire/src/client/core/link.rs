//! One connection: where it is in its life, and what is open on it.

use super::call::{CallId, Life, Moment};
use super::login::Proving;
use crate::native::{ClientStreams, FRAGMENT_LEN, Limits, Reassembly};

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The socket is being connected.
    Connecting,
    /// Preface and `HELLO` are sent, the server's preface is awaited.
    Preface,
    /// `WELCOME` is awaited.
    Hello,
    /// The proof is sent, the server's own is awaited.
    Login,
    /// Requests are served.
    Ready,
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    pub stage: Stage,
    /// When it is given up if it is not ready by then.
    pub give_up: Moment,
    /// Whether the server or this client wants to be rid of it: another one is being made.
    pub leaving: bool,
    /// The login that is not over.
    pub proving: Option<Box<Proving>>,
    /// Whether it has answered a request.
    pub proven: bool,
    /// When something came over it.
    pub heard: Moment,
    /// When a `PING` was sent last.
    pub pinged: Moment,
    /// The number of the member behind it in its cluster.
    pub member: Option<u64>,
    /// The life of the server behind it.
    pub life: Life,
    /// Requests under way; `None`: nobody waits for the answer any more.
    pub streams: ClientStreams<Option<CallId>>,
    /// Messages that are not whole.
    pub fragments: Reassembly,
    /// Bytes that are no whole frame yet.
    pub input: Vec<u8>,
    /// What is taken from the server.
    pub limits: Limits,
    /// Payloads are cut into pieces of at most this.
    pub fragment_len: usize,
}

impl Link {
    pub fn new(now: Moment, give_up: Moment) -> Self {
        // What an application stored it must be able to read: the server's own limits are what
        // bounds keys and values.
        let limits =
            Limits { key_len_max: usize::MAX, value_len_max: usize::MAX, ..Limits::default() };
        Link {
            stage: Stage::Connecting,
            give_up,
            leaving: false,
            proving: None,
            proven: false,
            heard: now,
            pinged: now,
            member: None,
            life: 0,
            streams: ClientStreams::new(limits.streams_max),
            fragments: Reassembly::new(&limits),
            input: Vec::new(),
            limits,
            fragment_len: FRAGMENT_LEN,
        }
    }

    /// Takes what the server announced.
    pub fn welcome(&mut self, announced: Limits, life: Life) {
        self.stage = Stage::Ready;
        self.life = life;
        self.limits.message_len_max = announced.message_len_max.max(self.limits.message_len_max);
        self.fragments = Reassembly::new(&self.limits);
        self.streams = ClientStreams::new(announced.streams_max);
        self.fragment_len = announced.frame_len_max.min(FRAGMENT_LEN);
    }

    /// Whether requests are to be sent over it.
    pub fn is_usable(&self) -> bool {
        self.is_ready() && !self.leaving
    }

    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }
}
