//! Messages, entries and hard state in our own bytes. The protobuf of raft-rs never parses what
//! came from a peer or a disk (RUSTSEC-2024-0437).

use ::raft::prelude::{Entry, EntryType, HardState, Message as Wire, MessageType, Snapshot};

use super::log::LogSnapshot;
use crate::bytes::{Input, put_bytes, put_many, put_option, put_u8, put_u64};
use crate::id::NodeId;

/// A message between members of the Raft group.
#[derive(Debug, Clone, PartialEq)]
pub struct RaftMessage(Wire);

/// The kinds that peers may send, by their numbers in our bytes (R69). Proposals are not
/// forwarded by raft-rs, and what it tells itself comes from nobody else.
const KINDS: [(u8, MessageType); 10] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgSnapshot),
    (6, MessageType::MsgHeartbeat),
    (7, MessageType::MsgHeartbeatResponse),
    (8, MessageType::MsgTimeoutNow),
    (9, MessageType::MsgRequestPreVote),
    (10, MessageType::MsgRequestPreVoteResponse),
];

impl RaftMessage {
    pub(super) fn from_wire(message: Wire) -> Self {
        RaftMessage(message)
    }

    pub(super) fn into_wire(self) -> Wire {
        self.0
    }

    /// Whom it is for.
    #[must_use]
    pub fn to(&self) -> NodeId {
        NodeId(self.0.to)
    }

    /// Who sent it.
    #[must_use]
    pub fn from(&self) -> NodeId {
        NodeId(self.0.from)
    }

    /// Whether it carries a snapshot: [`super::Raft::snapshot_sent`] wants to know what became
    /// of it.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.0.get_msg_type() == MessageType::MsgSnapshot
    }

    /// Whether a peer may send it. Without a term it would count as the member's own.
    pub(super) fn is_for_peers(&self) -> bool {
        let kind = self.0.get_msg_type();
        self.0.term != 0 && KINDS.iter().any(|(_, known)| *known == kind)
    }

    /// Its bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let message = &self.0;
        let kind = message.get_msg_type();
        let number =
            KINDS.iter().find(|(_, known)| *known == kind).map_or(0, |(number, _)| *number);
        put_u8(out, number);
        let numbers = [
            message.to,
            message.from,
            message.term,
            message.log_term,
            message.index,
            message.commit,
            message.commit_term,
            message.request_snapshot,
            message.reject_hint,
        ];
        numbers.iter().for_each(|number| put_u64(out, *number));
        put_u64(out, message.priority.cast_unsigned());
        put_u8(out, u8::from(message.reject));
        put_bytes(out, &message.context);
        put_many(out, message.entries.iter(), put_entry);
        let snapshot = LogSnapshot::of_raft(message.get_snapshot());
        put_option(out, snapshot, |out, snapshot| snapshot.encode(out));
    }

    /// A message of a peer; `None` when the bytes are none that a peer may send.
    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let mut message = Wire::default();
        let number = input.u8()?;
        let kind = KINDS.iter().find(|(known, _)| *known == number)?.1;
        message.set_msg_type(kind);
        for place in [
            &mut message.to,
            &mut message.from,
            &mut message.term,
            &mut message.log_term,
            &mut message.index,
            &mut message.commit,
            &mut message.commit_term,
            &mut message.request_snapshot,
            &mut message.reject_hint,
        ] {
            *place = input.u64()?;
        }
        message.priority = input.u64()?.cast_signed();
        message.reject = input.bool()?;
        message.context = input.bytes()?.to_vec().into();
        message.set_entries(input.many(take_entry)?.into());
        if let Some(snapshot) = input.option(LogSnapshot::decode)? {
            message.set_snapshot(snapshot.to_raft());
        }
        let has_snapshot = *message.get_snapshot() != Snapshot::default();
        (has_snapshot == (kind == MessageType::MsgSnapshot)).then_some(RaftMessage(message))
    }
}

pub(super) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    put_u8(out, u8::from(entry.get_entry_type() != EntryType::EntryNormal));
    put_u64(out, entry.term);
    put_u64(out, entry.index);
    // What raft-rs made of a change of members stays here; ours is the context.
    let is_normal = entry.get_entry_type() == EntryType::EntryNormal;
    put_bytes(out, if is_normal { &entry.data } else { &[] });
    put_bytes(out, &entry.context);
}

pub(super) fn take_entry(input: &mut Input<'_>) -> Option<Entry> {
    let mut entry = Entry::default();
    let is_change = input.bool()?;
    entry.set_entry_type(if is_change {
        EntryType::EntryConfChangeV2
    } else {
        EntryType::EntryNormal
    });
    entry.term = input.u64()?;
    entry.index = input.u64()?;
    entry.data = input.bytes()?.to_vec().into();
    entry.context = input.bytes()?.to_vec().into();
    Some(entry)
}

pub(super) fn put_hard_state(out: &mut Vec<u8>, state: &HardState) {
    [state.term, state.vote, state.commit].iter().for_each(|number| put_u64(out, *number));
}

pub(super) fn take_hard_state(input: &mut Input<'_>) -> Option<HardState> {
    let mut state = HardState::default();
    (state.term, state.vote, state.commit) = (input.u64()?, input.u64()?, input.u64()?);
    Some(state)
}
