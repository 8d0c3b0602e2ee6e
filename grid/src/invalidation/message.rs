//! What members say to each other about invalidated caches, and its bytes.

use crate::bytes::{Input, put_bytes, put_many, put_option, put_u8, put_u16, put_u64};
use crate::id::{Boot, GroupId, NodeId};

/// What is not to be served any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Of which cache.
    pub cache: GroupId,
    /// This key; `None`: all of them.
    pub key: Option<Box<[u8]>>,
}

/// From one member to another. A `session` is the listener's: it begins with an empty cache, and the
/// numbers of each sender count from 1 in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// The sender has cleared its cache and wants to be told of all that is written from now on.
    Hello {
        /// Its session.
        session: u64,
    },
    /// It will be.
    Welcome {
        /// The session of the one that is answered.
        session: u64,
        /// The sender's own, in which it wants to be told in turn; `None` as long as it serves nothing.
        ours: Option<u64>,
    },
    /// These were written to.
    Invalid {
        /// The receiver's session.
        session: u64,
        /// The number of this message.
        n: u64,
        /// What was.
        items: Vec<Item>,
    },
    /// So many were sent and are not confirmed: who lacks one has to begin anew.
    Check {
        /// The receiver's session.
        session: u64,
        /// The number of the last one.
        n: u64,
    },
    /// All of them up to this one were carried out.
    Confirm {
        /// The process that sent them.
        to: Boot,
        /// The sender's session.
        session: u64,
        /// The number.
        n: u64,
    },
    /// The sender's process ends, and serves nothing any more.
    Bye {
        /// Its session.
        session: u64,
    },
}

/// A member that does not answer. Whether its lease is over is asked of the leader, which says so with
/// the same words: they name what the asker knew, so that an answer that comes late means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Silence {
    /// Who.
    pub node: NodeId,
    /// The asker's session.
    pub ours: u64,
    /// The silent member's, as the asker knows it; 0: none.
    pub theirs: u64,
}

impl Item {
    fn encode(&self, out: &mut Vec<u8>) {
        put_u16(out, self.cache.0);
        put_option(out, self.key.as_deref(), put_bytes);
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let cache = GroupId(input.u16()?);
        Some(Item { cache, key: input.option(|input| input.bytes().map(Into::into))? })
    }
}

impl Peer {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Peer::Hello { session } => {
                put_u8(out, 1);
                put_u64(out, *session);
            }
            Peer::Welcome { session, ours } => {
                put_u8(out, 2);
                put_u64(out, *session);
                put_option(out, *ours, put_u64);
            }
            Peer::Invalid { session, n, items } => {
                put_u8(out, 3);
                put_u64(out, *session);
                put_u64(out, *n);
                put_many(out, items.iter(), |out, item| item.encode(out));
            }
            Peer::Check { session, n } => {
                put_u8(out, 4);
                put_u64(out, *session);
                put_u64(out, *n);
            }
            Peer::Confirm { to, session, n } => {
                put_u8(out, 5);
                put_u64(out, to.0);
                put_u64(out, *session);
                put_u64(out, *n);
            }
            Peer::Bye { session } => {
                put_u8(out, 6);
                put_u64(out, *session);
            }
        }
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(match input.u8()? {
            1 => Peer::Hello { session: input.u64()? },
            2 => Peer::Welcome { session: input.u64()?, ours: input.option(Input::u64)? },
            3 => Peer::Invalid {
                session: input.u64()?,
                n: input.u64()?,
                items: input.many(Item::decode)?,
            },
            4 => Peer::Check { session: input.u64()?, n: input.u64()? },
            5 => Peer::Confirm { to: Boot(input.u64()?), session: input.u64()?, n: input.u64()? },
            6 => Peer::Bye { session: input.u64()? },
            _ => return None,
        })
    }
}

impl Silence {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        put_u64(out, self.node.0);
        put_u64(out, self.ours);
        put_u64(out, self.theirs);
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Silence { node: NodeId(input.u64()?), ours: input.u64()?, theirs: input.u64()? })
    }
}
