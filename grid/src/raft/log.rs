//! The Raft log: in memory whole, as raft-rs wants to read it, and on disk as the records of
//! [`Save`], from which it is made again (R52, R68, R70).

use std::collections::VecDeque;

use ::raft::prelude::{ConfState, Entry, HardState, Snapshot};
use ::raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::Voting;
use super::codec::{put_entry, put_hard_state, take_entry, take_hard_state};
use crate::bytes::{Input, put_bytes, put_many, put_option, put_u64, whole};
use crate::id::NodeId;

/// Everything that was applied up to one entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSnapshot {
    /// The last entry that it has.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Who voted then.
    pub voting: Voting,
    /// The state.
    pub state: Vec<u8>,
}

/// Something to be saved: one record of the log on disk, whole or not there.
#[derive(Debug, Clone, PartialEq)]
pub struct Save {
    number: u64,
    must_sync: bool,
    snapshot: Option<LogSnapshot>,
    entries: Vec<Entry>,
    hard_state: Option<HardState>,
    begins_anew: bool,
}

impl Save {
    /// What [`super::Raft::saved`] is to be told; 0 when it does not wait for it.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether it has to be durable before [`super::Raft::saved`], and not only written.
    #[must_use]
    pub fn must_sync(&self) -> bool {
        self.must_sync
    }

    /// Whether there is nothing in it to be saved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.snapshot.is_none() && self.entries.is_empty() && self.hard_state.is_none()
    }

    /// Whether the records before it are needed no more, once it is durable.
    #[must_use]
    pub fn begins_anew(&self) -> bool {
        self.begins_anew
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_option(&mut out, self.snapshot.as_ref(), |out, snapshot| snapshot.encode(out));
        put_many(&mut out, self.entries.iter(), put_entry);
        put_option(&mut out, self.hard_state.as_ref(), put_hard_state);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        whole(bytes, |input| {
            Some(Save {
                number: 0,
                must_sync: false,
                snapshot: input.option(LogSnapshot::decode)?,
                entries: input.many(take_entry)?,
                hard_state: input.option(take_hard_state)?,
                begins_anew: false,
            })
        })
    }
}

/// The log of one member.
#[derive(Debug, Clone, Default)]
pub struct Log {
    hard_state: HardState,
    /// Who votes, as far as entries are applied.
    voting: Voting,
    snapshot: LogSnapshot,
    /// The entry ahead of the first, and its term.
    base: (u64, u64),
    entries: VecDeque<Entry>,
}

/// What is on the disk as a record of the log cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotARecord {
    /// It does not mean anything.
    #[error("a record of the Raft log is not one")]
    Bytes,
    /// Its entries do not follow those before it.
    #[error(
        "a record of the Raft log begins with entry {first}, and the log ends with entry {end}"
    )]
    Gap {
        /// Its first entry.
        first: u64,
        /// The last one before it.
        end: u64,
    },
}

impl Log {
    /// The log of a founder: all founders begin with the same state, as if it were an entry.
    #[must_use]
    pub fn found(state: Vec<u8>, voters: Vec<NodeId>) -> (Self, Save) {
        let voting = Voting { voters, learners: Vec::new() };
        let mut log = Log::default();
        let snapshot = LogSnapshot { index: 1, term: 1, voting, state };
        let hard_state = HardState { term: 1, commit: 1, ..HardState::default() };
        let save = log.save(0, Some(snapshot), Vec::new(), Some(hard_state), true);
        (log, save)
    }

    /// Takes in a record from the disk; they come in order.
    ///
    /// # Errors
    /// [`NotARecord`].
    pub fn replay(&mut self, record: &[u8]) -> Result<(), NotARecord> {
        let Save { snapshot, entries, hard_state, .. } =
            Save::decode(record).ok_or(NotARecord::Bytes)?;
        let end = snapshot.as_ref().map_or(self.end(), |snapshot| snapshot.index);
        if let Some(first) = entries.first().map(|entry| entry.index).filter(|at| *at > end + 1) {
            return Err(NotARecord::Gap { first, end });
        }
        self.take_in(snapshot, entries, hard_state);
        Ok(())
    }

    /// The state to begin with after all records are replayed; what follows it is applied again.
    #[must_use]
    pub fn snapshot(&self) -> &LogSnapshot {
        &self.snapshot
    }

    pub(super) fn snapshot_index(&self) -> u64 {
        self.snapshot.index
    }

    pub(super) fn voting(&self) -> &Voting {
        &self.voting
    }

    pub(super) fn set_voting(&mut self, state: ConfState) {
        self.voting = Voting::of_raft(&state);
    }

    /// Takes in what raft-rs has to have saved, and gives the record for the disk.
    pub(super) fn save(
        &mut self,
        number: u64,
        snapshot: Option<LogSnapshot>,
        entries: Vec<Entry>,
        hard_state: Option<HardState>,
        must_sync: bool,
    ) -> Save {
        self.take_in(snapshot.clone(), entries.clone(), hard_state.clone());
        Save { number, must_sync, snapshot, entries, hard_state, begins_anew: false }
    }

    fn take_in(
        &mut self,
        snapshot: Option<LogSnapshot>,
        entries: Vec<Entry>,
        hard_state: Option<HardState>,
    ) {
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state;
        }
        if let Some(snapshot) = snapshot {
            self.restore(snapshot);
        }
        if let Some(first) = entries.first() {
            // What stood there was never committed.
            let keep = first.index.saturating_sub(self.base.0 + 1);
            self.entries.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            self.entries.extend(entries);
        }
        // A snapshot was committed, whatever the record of that says (R68).
        self.hard_state.commit = self.hard_state.commit.max(self.snapshot.index);
    }
}

impl Log {
    /// A state that came whole: nothing from before it is needed.
    fn restore(&mut self, snapshot: LogSnapshot) {
        self.entries.clear();
        self.base = (snapshot.index, snapshot.term);
        self.voting = snapshot.voting.clone();
        self.snapshot = snapshot;
    }

    /// Makes `state`, that of the entry `index`, the snapshot, and keeps so many entries of those
    /// before it. The record makes all that were saved before needless.
    pub(super) fn compact(&mut self, index: u64, state: &[u8], keep: u64) -> Option<Save> {
        let term = self.term_of(index)?;
        let (voting, state) = (self.voting.clone(), state.to_vec());
        self.snapshot = LogSnapshot { index, term, voting, state };
        let base = index.saturating_sub(keep).max(self.base.0);
        self.base = (base, self.term_of(base)?);
        self.entries.drain(..self.entries.partition_point(|entry| entry.index <= base));
        Some(Save {
            number: 0,
            must_sync: true,
            snapshot: Some(self.snapshot.clone()),
            entries: self.entries.iter().filter(|entry| entry.index > index).cloned().collect(),
            hard_state: Some(self.hard_state.clone()),
            begins_anew: true,
        })
    }

    fn at(&self, index: u64) -> Option<&Entry> {
        let behind = index.checked_sub(self.base.0 + 1)?;
        self.entries.get(usize::try_from(behind).ok()?)
    }

    fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            Some(self.base.1)
        } else {
            self.at(index).map(|entry| entry.term)
        }
    }

    fn end(&self) -> u64 {
        self.entries.back().map_or(self.base.0, |entry| entry.index)
    }
}

impl Storage for Log {
    fn initial_state(&self) -> ::raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.snapshot.voting.to_raft()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> ::raft::Result<Vec<Entry>> {
        if low <= self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        let mut entries: Vec<Entry> = Vec::new();
        let (mut size, limit) = (0, max_size.into().unwrap_or(u64::MAX));
        for entry in (low..high).map_while(|index| self.at(index)) {
            size += (entry.data.len() + entry.context.len()) as u64 + ENTRY_OVERHEAD;
            if size > limit && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        if entries.is_empty() { Err(StorageError::Unavailable.into()) } else { Ok(entries) }
    }

    fn term(&self, index: u64) -> ::raft::Result<u64> {
        let missing =
            if index < self.base.0 { StorageError::Compacted } else { StorageError::Unavailable };
        self.term_of(index).ok_or_else(|| missing.into())
    }

    fn first_index(&self) -> ::raft::Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> ::raft::Result<u64> {
        Ok(self.end())
    }

    fn snapshot(&self, request_index: u64, _: u64) -> ::raft::Result<Snapshot> {
        if self.snapshot.index < request_index {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(self.snapshot.to_raft())
    }
}

/// What an entry takes beside its bytes, roughly.
const ENTRY_OVERHEAD: u64 = 24;

impl LogSnapshot {
    pub(super) fn to_raft(&self) -> Snapshot {
        let mut snapshot = Snapshot { data: self.state.clone().into(), ..Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (self.index, self.term);
        metadata.set_conf_state(self.voting.to_raft());
        snapshot
    }

    pub(super) fn of_raft(snapshot: &Snapshot) -> Option<Self> {
        let metadata = snapshot.get_metadata();
        (metadata.index != 0).then(|| LogSnapshot {
            index: metadata.index,
            term: metadata.term,
            voting: Voting::of_raft(metadata.get_conf_state()),
            state: snapshot.data.to_vec(),
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.index);
        put_u64(out, self.term);
        self.voting.encode(out);
        put_bytes(out, &self.state);
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(LogSnapshot {
            index: input.u64()?,
            term: input.u64()?,
            voting: Voting::decode(input)?,
            state: input.bytes()?.to_vec(),
        })
    }
}
