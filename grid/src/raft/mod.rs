//! Our face of raft-rs (DATA_PATH R65-R75): the only place that names it.
//!
//! [`Raft`] does no I/O. It is told of time ([`Raft::tick`]), of messages and of what is on disk
//! by now ([`Raft::saved`]), and gives back what is to be saved, sent and applied ([`Ready`]).
//! Messages of a follower that say what it has are held back until it is on its disk (R68).

mod codec;
mod log;
mod members;

use std::collections::VecDeque;

use ::raft::prelude::{Config, EntryType, Message as Wire, RawNode};
use ::raft::{ReadOnlyOption, StateRole};
use isogrid_engine::env::split_mix;

pub use self::codec::RaftMessage;
pub use self::log::{Log, LogSnapshot, NotARecord, Save};
pub use self::members::{MemberChange, Voting};
use crate::id::NodeId;
use crate::mutant::is_planted;

/// How Raft runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftConfig {
    /// Ticks without a word from the leader before a member tries to be it; up to twice as many
    /// by chance.
    pub election_ticks: usize,
    /// Ticks between words from the leader.
    pub heartbeat_ticks: usize,
    /// Entries that are kept behind a snapshot, for members that were away.
    pub keep_entries: u64,
    /// What chance is drawn from.
    pub seed: u64,
}

impl Default for RaftConfig {
    fn default() -> Self {
        RaftConfig { election_ticks: 10, heartbeat_ticks: 2, keep_entries: 10_000, seed: 0 }
    }
}

/// The log takes no more now, or we do not lead: it surely will not be done (R74).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Raft log did not take the proposal")]
pub struct Dropped;

/// What has to be done, in this order: what is in `messages` at once, `save`, `apply`.
#[derive(Debug, Default)]
pub struct Ready {
    /// To be sent, to the members that they name.
    pub messages: Vec<RaftMessage>,
    /// To be saved; [`Raft::saved`] is to be told of each in turn.
    pub save: Vec<Save>,
    /// To be applied, in order.
    pub apply: Vec<Apply>,
    /// Rounds that the others have confirmed, and where the log stood then.
    pub confirmed: Vec<(u64, u64)>,
}

/// Something that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Apply {
    /// The state is this one from now on: a snapshot came from the leader.
    Restore(LogSnapshot),
    /// An entry with a proposal; one that Raft made for itself has no bytes.
    Entry(u64, Vec<u8>),
    /// Who votes has changed.
    Members(u64),
}

/// A member of the Raft group.
pub struct Raft {
    raw: RawNode<Log>,
    config: RaftConfig,
    /// What waits for a save: its number, and what may be sent after it.
    held: VecDeque<(u64, Vec<Wire>)>,
}

impl Raft {
    /// A member that has this log.
    ///
    /// # Panics
    /// When the configuration is not one that Raft can run with.
    #[must_use]
    pub fn new(node: NodeId, config: RaftConfig, log: Log) -> Self {
        let of_raft = Config {
            id: node.0,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            applied: log.snapshot_index(),
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            max_uncommitted_size: 16 << 20,
            max_committed_size_per_ready: 4 << 20,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            ..Config::default()
        };
        let silent = slog::Logger::root(slog::Discard, slog::o!());
        let raw = match RawNode::new(&of_raft, log, &silent) {
            Ok(raw) => raw,
            Err(why) => panic!("Raft does not begin: {why}"),
        };
        let mut raft = Raft { raw, config, held: VecDeque::new() };
        raft.draw();
        raft
    }

    /// raft-rs draws election timeouts from the thread's chance; ours come from the seed, so
    /// that a simulation can be replayed.
    fn draw(&mut self) {
        let ticks = self.config.election_ticks as u64;
        let mut state = self.config.seed ^ (self.raw.raft.id << 32) ^ self.raw.raft.term;
        let chance = split_mix(&mut state) % ticks.max(1);
        let timeout = usize::try_from(ticks + chance).unwrap_or(self.config.election_ticks);
        self.raw.raft.set_randomized_election_timeout(timeout);
    }

    /// A tick has passed.
    pub fn tick(&mut self) {
        self.raw.tick();
        self.draw();
    }

    /// A message from a peer. One that no peer may send does nothing (R69).
    pub fn receive(&mut self, message: RaftMessage) {
        if message.is_for_peers() && message.to() == self.node() {
            // What raft-rs refuses, it has not done.
            let _ = self.raw.step(message.into_wire());
            self.draw();
        }
    }

    /// Puts bytes into the log.
    ///
    /// # Errors
    /// [`Dropped`].
    pub fn propose(&mut self, data: Vec<u8>) -> Result<(), Dropped> {
        if !self.leads() {
            return Err(Dropped);
        }
        self.raw.propose(Vec::new(), data).map_err(|_| Dropped)
    }

    /// Puts a change of who votes into the log. One that comes while another is under way turns
    /// into nothing (R71): look at [`Raft::voting`] and ask again.
    ///
    /// # Errors
    /// [`Dropped`].
    pub fn propose_members(&mut self, change: MemberChange) -> Result<(), Dropped> {
        if !self.leads() {
            return Err(Dropped);
        }
        self.raw.propose_conf_change(change.encode(), change.to_raft()).map_err(|_| Dropped)
    }

    /// Finds out whether we still lead; the answer names `round`. It may get lost (R73).
    pub fn confirm(&mut self, round: u64) {
        self.raw.read_index(round.to_le_bytes().to_vec());
    }

    /// The save `number`, and all before it, is on disk.
    pub fn saved(&mut self, number: u64, out: &mut Ready) {
        self.raw.on_persist_ready(number);
        while let Some((_, messages)) = self.held.pop_front_if(|(save, _)| *save <= number) {
            out.messages.extend(messages.into_iter().map(RaftMessage::from_wire));
        }
        self.draw();
    }

    /// Takes what has to be done by now.
    pub fn take(&mut self, out: &mut Ready) {
        while self.raw.has_ready() {
            self.take_once(out);
        }
    }

    /// The order of R68. Entries and snapshot are in memory before raft-rs goes on; the disk
    /// follows, and what depends on it waits in `held`.
    fn take_once(&mut self, out: &mut Ready) {
        let mut ready = self.raw.ready();
        out.messages.extend(ready.take_messages().into_iter().map(RaftMessage::from_wire));
        let snapshot = LogSnapshot::of_raft(ready.snapshot());
        let hard_state = ready.hs().cloned().filter(|_| !is_planted("vote-forgotten"));
        let must_sync = ready.must_sync() && !is_planted("not-synced");
        let save = self.raw.mut_store().save(
            ready.number(),
            snapshot.clone(),
            ready.take_entries(),
            hard_state,
            must_sync,
        );
        let held = ready.take_persisted_messages();
        if is_planted("send-before-saved") {
            out.messages.extend(held.into_iter().map(RaftMessage::from_wire));
        } else {
            self.held.push_back((ready.number(), held));
        }
        out.save.push(save);
        for state in ready.take_read_states() {
            let round = <[u8; 8]>::try_from(state.request_ctx.as_slice());
            out.confirmed.extend(round.map(|round| (u64::from_le_bytes(round), state.index)));
        }
        let (number, committed) = (ready.number(), ready.take_committed_entries());
        self.raw.advance_append_async(ready);
        if let Some(snapshot) = snapshot {
            // raft-rs must not look for entries that the snapshot stands for, and it would,
            // until it has applied it. What says that it is on disk still waits in `held`.
            self.raw.on_persist_ready(number);
            self.raw.advance_apply_to(snapshot.index);
            out.apply.push(Apply::Restore(snapshot));
        }
        for entry in committed {
            self.commit(entry, out);
        }
    }

    fn commit(&mut self, entry: ::raft::prelude::Entry, out: &mut Ready) {
        let index = entry.index;
        match entry.get_entry_type() {
            EntryType::EntryNormal => out.apply.push(Apply::Entry(index, entry.data.to_vec())),
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                if let Some(change) = MemberChange::decode(&entry.context) {
                    // All members do the same with it: a change that cannot be done fails
                    // everywhere alike.
                    if let Ok(state) = self.raw.apply_conf_change(&change.to_raft()) {
                        self.raw.mut_store().set_voting(state);
                    }
                }
                out.apply.push(Apply::Members(index));
            }
        }
        self.raw.advance_apply_to(index);
    }

    /// Everything up to `index` was applied and is in `state`: older entries may go.
    pub fn compact(&mut self, index: u64, state: &[u8]) -> Option<Save> {
        let keep = self.config.keep_entries;
        self.raw.mut_store().compact(index, state, keep)
    }

    /// How many entries are applied that no snapshot has.
    #[must_use]
    pub fn uncompacted(&self, applied: u64) -> u64 {
        applied.saturating_sub(self.raw.store().snapshot_index())
    }

    /// Which member this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.raw.raft.id)
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// Whether this member leads, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Who leads, as far as this member knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        Some(NodeId(self.raw.raft.leader_id)).filter(|node| node.0 != 0)
    }

    /// Who votes.
    #[must_use]
    pub fn voting(&self) -> &Voting {
        self.raw.store().voting()
    }

    /// How far a member has the log, as the leader knows; 0 when it does not.
    #[must_use]
    pub fn matched(&self, node: NodeId) -> u64 {
        self.raw.raft.prs().get(node.0).map_or(0, |progress| progress.matched)
    }

    /// What a member knows to be committed, as the leader knows; 0 when it does not.
    #[must_use]
    pub fn knows_committed(&self, node: NodeId) -> u64 {
        self.raw.raft.prs().get(node.0).map_or(0, |progress| progress.committed_index)
    }

    /// Whether everything that leaders before this one committed is among the first `applied`
    /// entries: what this leader looks at then is what holds.
    #[must_use]
    pub fn is_settled(&self, applied: u64) -> bool {
        self.leads() && self.raw.raft.raft_log.term(applied).ok() == Some(self.term())
    }

    /// Lets another voter lead, if it has the whole log soon.
    pub fn transfer(&mut self, to: NodeId) {
        self.raw.transfer_leader(to.0);
    }

    /// Where the log ends.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    /// A message could not be sent to a member.
    pub fn unreachable(&mut self, node: NodeId) {
        self.raw.report_unreachable(node.0);
    }

    /// The snapshot for a member was sent, or could not be (R72).
    pub fn snapshot_sent(&mut self, node: NodeId, sent: bool) {
        use ::raft::SnapshotStatus::{Failure, Finish};
        self.raw.report_snapshot(node.0, if sent { Finish } else { Failure });
    }
}

#[cfg(test)]
mod tests;
