//! What copies of a segment say to each other, and its bytes.

use std::sync::Arc;

use super::{Patch, Record};
use crate::bytes::{Input, put_bytes, put_many, put_short, put_u8, put_u64, put_varint};
use crate::id::Epoch;

/// One operation of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Its number: without gaps, running on over epochs.
    pub seq: u64,
    /// The epoch in which it was decided.
    pub epoch: Epoch,
    /// What it does: bytes that mean something to the base alone. Empty where only the patch came,
    /// and the record is to be made of that.
    pub record: Record,
    /// The same as what differs from an entry that is there, where that is worth it. It is for copies
    /// that have all that was before; everybody else gets the record.
    pub patch: Option<Arc<Patch>>,
}

/// A message between copies of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// From the primary: these follow `prev`, and everything up to `committed` is committed (R16).
    Repl {
        /// The primary's epoch.
        epoch: Epoch,
        /// The number before the first.
        prev: u64,
        /// The operations; none when there is only something to commit.
        ops: Vec<Op>,
        /// Up to where.
        committed: u64,
    },
    /// To the primary: everything up to `last` is here, and up to `committed` in the base.
    Ack {
        /// The epoch.
        epoch: Epoch,
        /// The last number.
        last: u64,
        /// Up to where it is known to be committed.
        committed: u64,
        /// Since which entry of the metadata this copy is being filled; 0: it is not. So what was
        /// said of a filling that was given up does not count for the next one.
        since: u64,
    },
    /// To the primary: what came does not follow what is here.
    Lacks {
        /// The epoch.
        epoch: Epoch,
        /// The last number that is here.
        last: u64,
    },
    /// From a new primary: what is your last?
    Ask {
        /// The new epoch.
        epoch: Epoch,
    },
    /// To a new primary: this is it.
    Has {
        /// The new epoch.
        epoch: Epoch,
        /// The last number that is here.
        last: u64,
    },
    /// From a new primary: send what follows this.
    Fetch {
        /// The new epoch.
        epoch: Epoch,
        /// The last number that the primary has.
        after: u64,
    },
    /// To a new primary: these follow.
    Tail {
        /// The new epoch.
        epoch: Epoch,
        /// The operations.
        ops: Vec<Op>,
    },
    /// From the primary, to a copy that is to be filled: what do you have?
    Probe {
        /// The epoch.
        epoch: Epoch,
        /// Which filling.
        fill: FillId,
    },
    /// To the primary: this (R43).
    Holds {
        /// The epoch.
        epoch: Epoch,
        /// Which filling.
        fill: FillId,
        /// The epoch of the last operation that is here, and its number; 0 where nothing is.
        end: (Epoch, u64),
    },
    /// From the primary, to a copy that is to be filled: so it begins.
    Fill {
        /// The epoch.
        epoch: Epoch,
        /// Which filling.
        fill: FillId,
        /// How.
        begin: Begin,
    },
    /// From the primary, to a copy that is being filled: entries of the base (R41).
    Chunk {
        /// The epoch.
        epoch: Epoch,
        /// Which filling.
        fill: FillId,
        /// Which chunk of it, from 1 on.
        number: u64,
        /// The entries.
        bytes: Vec<u8>,
    },
    /// To the primary: this chunk is here; number 0: the filling has begun.
    Took {
        /// The epoch.
        epoch: Epoch,
        /// Which filling.
        fill: FillId,
        /// Which chunk.
        number: u64,
    },
    /// From the primary: are you still in this epoch (R25)?
    Confirm {
        /// The epoch.
        epoch: Epoch,
        /// In which round it asks.
        round: u64,
    },
    /// To the primary: yes.
    Confirmed {
        /// The epoch.
        epoch: Epoch,
        /// Which round.
        round: u64,
    },
}

/// How a filling begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// What follows this comes as operations.
    pub after: u64,
    /// Its epoch.
    pub of: Epoch,
    /// Up to where the copy's log is that of its primary, as far as is known.
    pub same: u64,
    /// The copy keeps what it has, which ends with `after`. Else it forgets all of it, and what was
    /// before comes in chunks.
    pub keeps: bool,
}

/// One attempt to fill a copy. Another primary begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillId {
    /// The entry of the metadata that asks for it.
    pub since: u64,
    /// In which epoch the primary began.
    pub begun: Epoch,
}

impl FillId {
    fn encode(self, out: &mut Vec<u8>) {
        put_u64(out, self.since);
        self.begun.encode(out);
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(FillId { since: input.u64()?, begun: Epoch::decode(input)? })
    }
}

impl Begin {
    fn encode(self, out: &mut Vec<u8>) {
        put_u64(out, self.after);
        self.of.encode(out);
        put_u64(out, self.same);
        put_u8(out, u8::from(self.keeps));
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (after, of) = (input.u64()?, Epoch::decode(input)?);
        Some(Begin { after, of, same: input.u64()?, keeps: input.bool()? })
    }
}

/// How an operation stands among those with patches.
const WHOLE: u8 = 0;
const PATCH: u8 = 1;

impl Op {
    /// One that is told as it is.
    #[must_use]
    pub fn whole(seq: u64, epoch: Epoch, record: Record) -> Self {
        Op { seq, epoch, record, patch: None }
    }

    /// Bytes of what is told of it.
    fn told_len(&self) -> usize {
        self.patch.as_ref().map_or(self.record.len(), |patch| patch.cost())
    }

    /// As one of those behind `prev`, told in this epoch: as a patch where it has one.
    fn encode_short(&self, prev: u64, epoch: Epoch, out: &mut Vec<u8>) {
        put_varint(out, self.seq.wrapping_sub(prev));
        put_varint(out, u64::from(epoch.0.wrapping_sub(self.epoch.0)));
        put_u8(out, if self.patch.is_some() { PATCH } else { WHOLE });
        match &self.patch {
            Some(patch) => patch.encode(out),
            None => put_short(out, &self.record),
        }
    }

    fn decode_short(prev: u64, epoch: Epoch, input: &mut Input<'_>) -> Option<Self> {
        let seq = prev.wrapping_add(input.varint()?);
        let older = u32::try_from(input.varint()?).ok()?;
        let epoch = Epoch(epoch.0.wrapping_sub(older));
        match input.u8()? {
            WHOLE => Some(Op::whole(seq, epoch, input.short()?.into())),
            PATCH => {
                let patch = Some(Arc::new(Patch::decode(input)?));
                Some(Op { seq, epoch, record: Record::default(), patch })
            }
            _ => None,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.seq);
        self.epoch.encode(out);
        put_bytes(out, &self.record);
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (seq, epoch) = (input.u64()?, Epoch::decode(input)?);
        Some(Op::whole(seq, epoch, input.bytes()?.into()))
    }
}

impl Peer {
    /// The epoch in which it was said.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Peer::Repl { epoch, .. }
            | Peer::Ack { epoch, .. }
            | Peer::Lacks { epoch, .. }
            | Peer::Ask { epoch }
            | Peer::Has { epoch, .. }
            | Peer::Fetch { epoch, .. }
            | Peer::Tail { epoch, .. }
            | Peer::Fill { epoch, .. }
            | Peer::Probe { epoch, .. }
            | Peer::Holds { epoch, .. }
            | Peer::Chunk { epoch, .. }
            | Peer::Took { epoch, .. }
            | Peer::Confirm { epoch, .. }
            | Peer::Confirmed { epoch, .. } => *epoch,
        }
    }

    /// Bytes of the records or entries that it has.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        match self {
            Peer::Repl { ops, .. } | Peer::Tail { ops, .. } => ops.iter().map(Op::told_len).sum(),
            Peer::Chunk { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    /// Whether it has patches, which not everybody knows.
    #[must_use]
    pub fn has_patches(&self) -> bool {
        matches!(self, Peer::Repl { ops, .. } if ops.iter().any(|op| op.patch.is_some()))
    }

    /// The same for who knows no patches.
    pub fn make_whole(&mut self) {
        if let Peer::Repl { ops, .. } = self {
            ops.iter_mut().for_each(|op| op.patch = None);
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Peer::Repl { .. } if self.has_patches() => 15,
            Peer::Repl { .. } => 1,
            Peer::Ack { .. } => 2,
            Peer::Lacks { .. } => 3,
            Peer::Ask { .. } => 4,
            Peer::Has { .. } => 5,
            Peer::Fetch { .. } => 6,
            Peer::Tail { .. } => 7,
            Peer::Chunk { .. } => 8,
            Peer::Took { .. } => 9,
            Peer::Fill { .. } => 10,
            Peer::Probe { .. } => 11,
            Peer::Holds { .. } => 12,
            Peer::Confirm { .. } => 13,
            Peer::Confirmed { .. } => 14,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u8(out, self.kind());
        self.epoch().encode(out);
        match self {
            Peer::Repl { epoch, prev, ops, committed } if self.has_patches() => {
                put_varint(out, *prev);
                put_varint(out, *committed);
                put_varint(out, ops.len() as u64);
                ops.iter().for_each(|op| op.encode_short(*prev, *epoch, out));
            }
            Peer::Repl { prev, ops, committed, .. } => {
                put_u64(out, *prev);
                put_many(out, ops.iter(), |out, op| op.encode(out));
                put_u64(out, *committed);
            }
            Peer::Ack { last, committed, since, .. } => {
                put_u64(out, *last);
                put_u64(out, *committed);
                put_u64(out, *since);
            }
            Peer::Lacks { last, .. } | Peer::Has { last, .. } => {
                put_u64(out, *last);
            }
            Peer::Ask { .. } => {}
            Peer::Fetch { after, .. } => put_u64(out, *after),
            Peer::Tail { ops, .. } => put_many(out, ops.iter(), |out, op| op.encode(out)),
            Peer::Chunk { fill, number, bytes, .. } => {
                fill.encode(out);
                put_u64(out, *number);
                put_bytes(out, bytes);
            }
            Peer::Took { fill, number, .. } => {
                fill.encode(out);
                put_u64(out, *number);
            }
            Peer::Probe { fill, .. } => fill.encode(out),
            Peer::Confirm { round, .. } | Peer::Confirmed { round, .. } => put_u64(out, *round),
            Peer::Holds { fill, end: (of, last), .. } => {
                fill.encode(out);
                of.encode(out);
                put_u64(out, *last);
            }
            Peer::Fill { fill, begin, .. } => {
                fill.encode(out);
                begin.encode(out);
            }
        }
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (kind, epoch) = (input.u8()?, Epoch::decode(input)?);
        Some(match kind {
            1 => {
                let (prev, ops) = (input.u64()?, input.many(Op::decode)?);
                Peer::Repl { epoch, prev, ops, committed: input.u64()? }
            }
            2 => {
                let (last, committed) = (input.u64()?, input.u64()?);
                Peer::Ack { epoch, last, committed, since: input.u64()? }
            }
            3 => Peer::Lacks { epoch, last: input.u64()? },
            4 => Peer::Ask { epoch },
            5 => Peer::Has { epoch, last: input.u64()? },
            6 => Peer::Fetch { epoch, after: input.u64()? },
            7 => Peer::Tail { epoch, ops: input.many(Op::decode)? },
            8 => {
                let (fill, number) = (FillId::decode(input)?, input.u64()?);
                Peer::Chunk { epoch, fill, number, bytes: input.bytes()?.to_vec() }
            }
            9 => Peer::Took { epoch, fill: FillId::decode(input)?, number: input.u64()? },
            10 => {
                let fill = FillId::decode(input)?;
                Peer::Fill { epoch, fill, begin: Begin::decode(input)? }
            }
            11 => Peer::Probe { epoch, fill: FillId::decode(input)? },
            12 => {
                let fill = FillId::decode(input)?;
                Peer::Holds { epoch, fill, end: (Epoch::decode(input)?, input.u64()?) }
            }
            13 => Peer::Confirm { epoch, round: input.u64()? },
            14 => Peer::Confirmed { epoch, round: input.u64()? },
            15 => {
                let (prev, committed) = (input.varint()?, input.varint()?);
                let mut ops = Vec::new();
                for _ in 0..input.varint()? {
                    ops.push(Op::decode_short(prev, epoch, input)?);
                }
                Peer::Repl { epoch, prev, ops, committed }
            }
            _ => return None,
        })
    }
}
