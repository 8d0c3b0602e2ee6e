//! What members say to each other about the cluster itself, and its bytes.

use isogrid_engine::Timestamp;

use crate::bytes::{Input, put_many, put_u8, put_u32, put_u64, put_varint, whole};
use crate::id::{Boot, ClusterId, Copy, Epoch, GroupId, Incarnation, NodeId, SegmentId};
use crate::invalidation::{self, Silence};
use crate::metadata::Command;
use crate::raft::RaftMessage;
use crate::replica::Peer;
use crate::segment::{GiveUp, Request, Wish};

/// A message, and between whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Of which cluster: one of another is not for us, whatever it says (R69).
    pub cluster: ClusterId,
    /// Who sent it.
    pub from: NodeId,
    /// Which process of it.
    pub boot: Boot,
    /// Whom it is for.
    pub to: NodeId,
    /// What it says.
    pub message: Message,
}

/// What it says.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Raft's own.
    Raft(RaftMessage),
    /// To the leader: the process is there, and asks for a lease (R6).
    Beat {
        /// Which process of the member.
        incarnation: Incarnation,
        /// The number of the beat.
        n: u64,
        /// The sender's wall clock, ms.
        wall: Timestamp,
    },
    /// From the leader: a lease that counts from when that beat was sent.
    Grant {
        /// The process that sent it: another one counts its beats from 1 as well.
        incarnation: Incarnation,
        /// The number of the beat.
        n: u64,
        /// How far the leader's metadata were.
        index: u64,
    },
    /// To the leader: to be put into the log.
    Propose(Command),
    /// To the leader: what a member wishes for a segment.
    Ask(Request),
    /// From the leader: a role is to be given up (R33).
    GiveUp(GiveUp),
    /// From the leader: the sender of something is no member any more.
    NoMember,
    /// Between the copies of some segments, in their order.
    Copies(Vec<ToCopy>),
    /// Between members that have invalidated caches.
    Invalidation(invalidation::Peer),
    /// To the leader: whether that member's lease is over.
    Silent(Silence),
    /// From the leader: it was, at a moment after it was asked.
    Over(Silence),
}

/// To the copy of a segment that the receiver has.
pub type ToCopy = (GroupId, SegmentId, Peer);

/// The version of these bytes.
const VERSION: u32 = 1;
/// With this byte begin shorter ones, which not everybody knows.
const SHORT: u8 = 2;
/// The kind of what copies say where that is one thing.
const ONE_COPY: u8 = 12;
/// What most messages come to at most: they are encoded without growing.
const TYPICAL_BYTES: usize = 256;

impl Envelope {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TYPICAL_BYTES);
        self.encode_to(&mut out);
        out
    }

    /// Adds its bytes to `out`.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        put_u32(out, VERSION);
        self.cluster.encode(out);
        self.from.encode(out);
        self.boot.encode(out);
        self.to.encode(out);
        self.message.encode(out);
    }

    /// Adds shorter bytes of it to `out`, for who is known to know them.
    pub fn encode_short_to(&self, out: &mut Vec<u8>) {
        put_u8(out, SHORT);
        self.cluster.encode(out);
        put_varint(out, self.from.0);
        self.boot.encode(out);
        put_varint(out, self.to.0);
        match &self.message {
            Message::Copies(all) if all.len() == 1 => {
                put_u8(out, ONE_COPY);
                all.iter().for_each(|one| put_copy(out, one));
            }
            message => message.encode(out),
        }
    }

    fn decode_short(bytes: &[u8]) -> Option<Self> {
        whole(bytes, |input| {
            Some(Envelope {
                cluster: ClusterId::decode(input)?,
                from: NodeId(input.varint()?),
                boot: Boot::decode(input)?,
                to: NodeId(input.varint()?),
                message: Message::decode(input)?,
            })
        })
    }

    /// The message of these bytes; `None` when they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if let Some(short) = bytes.strip_prefix(&[SHORT]) {
            return Envelope::decode_short(short);
        }
        whole(bytes, |input| {
            (input.u32()? == VERSION).then_some(())?;
            Some(Envelope {
                cluster: ClusterId::decode(input)?,
                from: NodeId::decode(input)?,
                boot: Boot::decode(input)?,
                to: NodeId::decode(input)?,
                message: Message::decode(input)?,
            })
        })
    }
}

impl Message {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Message::Raft(message) => {
                put_u8(out, 1);
                message.encode(out);
            }
            Message::Beat { incarnation, n, wall } => {
                put_u8(out, 2);
                incarnation.encode(out);
                put_u64(out, *n);
                put_u64(out, *wall);
            }
            Message::Grant { incarnation, n, index } => {
                put_u8(out, 3);
                incarnation.encode(out);
                put_u64(out, *n);
                put_u64(out, *index);
            }
            Message::Propose(command) => {
                put_u8(out, 4);
                command.encode(out);
            }
            Message::Ask(request) => {
                put_u8(out, 5);
                request.encode(out);
            }
            Message::GiveUp(GiveUp { node, group, segment, epoch }) => {
                put_u8(out, 6);
                node.encode(out);
                group.encode(out);
                segment.encode(out);
                epoch.encode(out);
            }
            Message::NoMember => put_u8(out, 8),
            Message::Copies(all) => {
                put_u8(out, 7);
                put_many(out, all.iter(), put_copy);
            }
            Message::Invalidation(peer) => {
                put_u8(out, 9);
                peer.encode(out);
            }
            Message::Silent(silence) => {
                put_u8(out, 10);
                silence.encode(out);
            }
            Message::Over(silence) => {
                put_u8(out, 11);
                silence.encode(out);
            }
        }
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(match input.u8()? {
            1 => Message::Raft(RaftMessage::decode(input)?),
            2 => Message::Beat {
                incarnation: Incarnation::decode(input)?,
                n: input.u64()?,
                wall: input.u64()?,
            },
            3 => Message::Grant {
                incarnation: Incarnation::decode(input)?,
                n: input.u64()?,
                index: input.u64()?,
            },
            4 => Message::Propose(Command::decode(input)?),
            5 => Message::Ask(Request::decode(input)?),
            6 => Message::GiveUp(GiveUp {
                node: NodeId::decode(input)?,
                group: GroupId::decode(input)?,
                segment: SegmentId::decode(input)?,
                epoch: Epoch::decode(input)?,
            }),
            7 => Message::Copies(input.many(copy)?),
            8 => Message::NoMember,
            9 => Message::Invalidation(invalidation::Peer::decode(input)?),
            10 => Message::Silent(Silence::decode(input)?),
            11 => Message::Over(Silence::decode(input)?),
            ONE_COPY => Message::Copies(vec![copy(input)?]),
            _ => return None,
        })
    }
}

fn put_copy(out: &mut Vec<u8>, (group, segment, peer): &ToCopy) {
    group.encode(out);
    segment.encode(out);
    peer.encode(out);
}

fn copy(input: &mut Input<'_>) -> Option<ToCopy> {
    let (group, segment) = (GroupId::decode(input)?, SegmentId::decode(input)?);
    Some((group, segment, Peer::decode(input)?))
}

impl Request {
    fn encode(&self, out: &mut Vec<u8>) {
        self.group.encode(out);
        self.segment.encode(out);
        self.epoch.encode(out);
        match self.wish {
            Wish::Shrink(node) => {
                put_u8(out, 1);
                node.encode(out);
            }
            Wish::Expand(copy, since) => {
                put_u8(out, 2);
                copy.encode(out);
                put_u64(out, since);
            }
            Wish::GaveUp(node) => {
                put_u8(out, 3);
                node.encode(out);
            }
            Wish::Abandon(copy, since) => {
                put_u8(out, 4);
                copy.encode(out);
                put_u64(out, since);
            }
        }
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Request {
            group: GroupId::decode(input)?,
            segment: SegmentId::decode(input)?,
            epoch: Epoch::decode(input)?,
            wish: match input.u8()? {
                1 => Wish::Shrink(NodeId::decode(input)?),
                2 => Wish::Expand(Copy::decode(input)?, input.u64()?),
                3 => Wish::GaveUp(NodeId::decode(input)?),
                4 => Wish::Abandon(Copy::decode(input)?, input.u64()?),
                _ => return None,
            },
        })
    }
}

#[cfg(test)]
mod tests;
