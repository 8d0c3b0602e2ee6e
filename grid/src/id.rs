//! The numbers by which members, copies and segments are known (DATA_PATH section 0).

use std::fmt;

use crate::bytes::{Input, put_u8, put_u16, put_u32, put_u64, put_u128};

macro_rules! numbers {
    ($($(#[doc = $doc:literal])+ $name:ident($inner:ty) $put:ident $take:ident $format:literal;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl $name {
            pub(crate) fn encode(self, out: &mut Vec<u8>) {
                $put(out, self.0);
            }

            pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
                input.$take().map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    )+};
}

numbers! {
    /// A cluster, for ever: made from the storages of those who founded it.
    ClusterId(u128) put_u128 u128 "{:032x}";
    /// A member's disk, or its memory when it has none: random, made once.
    StorageId(u128) put_u128 u128 "{:032x}";
    /// A member: given out by Raft, never used twice, never 0.
    NodeId(u64) put_u64 u64 "n{}";
    /// One start of a process: how many there were on its storage, this one included. Counted up
    /// on the disk before anything is said, so that of two the later is known.
    Boot(u64) put_u64 u64 "b{}";
    /// One start of a process, as the metadata know it: the index of the entry that registered it.
    Incarnation(u64) put_u64 u64 "i{}";
    /// Caches that share owners: one segment table each.
    GroupId(u16) put_u16 u16 "g{}";
    /// A part of the keys: the unit of lock, log, snapshot and move.
    SegmentId(u16) put_u16 u16 "s{}";
    /// How often a segment's primary or in-sync copies have changed. 24 bits are used.
    Epoch(u32) put_u32 u32 "e{}";
}

/// Which data a copy is: those in the memory of one process, or those on a disk (R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// In memory: they end with this incarnation.
    Memory(Incarnation),
    /// On a disk: they are there after a restart.
    Disk(StorageId),
    /// On a disk, which gets them a moment later: they are whole as long as this incarnation runs.
    /// What the next one finds may lack the last of them.
    Behind(StorageId, Incarnation),
}

impl Data {
    /// What is there of them when this process runs on this disk, if anything is.
    pub(crate) fn found_by(self, storage: StorageId, process: Option<Incarnation>) -> Option<Data> {
        match self {
            Data::Memory(of) => (process == Some(of)).then_some(self),
            Data::Disk(of) => (of == storage).then_some(self),
            Data::Behind(of, _) if of == storage => process.map(|it| Data::Behind(of, it)),
            Data::Behind(..) => None,
        }
    }
}

/// One copy of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// Who has it.
    pub node: NodeId,
    /// Which data those are.
    pub data: Data,
}

impl Copy {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        self.node.encode(out);
        match self.data {
            Data::Memory(incarnation) => {
                put_u8(out, 0);
                incarnation.encode(out);
            }
            Data::Disk(storage) => {
                put_u8(out, 1);
                storage.encode(out);
            }
            Data::Behind(storage, incarnation) => {
                put_u8(out, 2);
                storage.encode(out);
                incarnation.encode(out);
            }
        }
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let node = NodeId::decode(input)?;
        let data = match input.u8()? {
            0 => Data::Memory(Incarnation::decode(input)?),
            1 => Data::Disk(StorageId::decode(input)?),
            2 => Data::Behind(StorageId::decode(input)?, Incarnation::decode(input)?),
            _ => return None,
        };
        Some(Copy { node, data })
    }
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.data {
            Data::Memory(incarnation) => write!(f, "{}/{incarnation}", self.node),
            Data::Disk(storage) => write!(f, "{}/{storage}", self.node),
            Data::Behind(storage, process) => write!(f, "{}/{storage}/{process}", self.node),
        }
    }
}
