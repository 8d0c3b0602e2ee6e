//! Three members in memory, their logs as records on disks, and what must wait for what.

use std::collections::BTreeMap;

use ::raft::GetEntriesContext;
use ::raft::prelude::{Entry, HardState, MessageType, Storage};

use super::log::NotARecord;
use super::*;
use crate::bytes::whole;
use crate::random::{assert_calm, assert_strict};

const CONFIG: RaftConfig =
    RaftConfig { election_ticks: 5, heartbeat_ticks: 1, keep_entries: 3, seed: 7 };

/// A member: what it runs, what its disk has, and what it applied.
struct Member {
    raft: Raft,
    disk: Vec<Vec<u8>>,
    /// Handed out to be saved, and not saved yet.
    saves: Vec<Save>,
    state: Vec<u8>,
    applied: u64,
    confirmed: Vec<(u64, u64)>,
}

struct World {
    members: BTreeMap<u64, Member>,
    net: Vec<RaftMessage>,
}

impl Member {
    fn begin(node: u64, disk: Vec<Vec<u8>>) -> Self {
        let mut log = Log::default();
        disk.iter().for_each(|record| log.replay(record).unwrap());
        let (state, applied) = (log.snapshot().state.clone(), log.snapshot().index);
        let raft = Raft::new(NodeId(node), CONFIG, log);
        Member { raft, disk, saves: Vec::new(), state, applied, confirmed: Vec::new() }
    }

    /// Does what is to be done, but leaves the disk for later.
    fn run(&mut self, net: &mut Vec<RaftMessage>) {
        let mut ready = Ready::default();
        self.raft.take(&mut ready);
        self.take_in(ready, net);
    }

    fn take_in(&mut self, ready: Ready, net: &mut Vec<RaftMessage>) {
        net.extend(ready.messages);
        self.saves.extend(ready.save);
        self.confirmed.extend(ready.confirmed);
        for apply in ready.apply {
            match apply {
                Apply::Restore(snapshot) => {
                    (self.state, self.applied) = (snapshot.state, snapshot.index);
                }
                Apply::Entry(index, bytes) => {
                    self.state.extend(bytes);
                    self.applied = index;
                }
                Apply::Members(index) => {
                    self.applied = index;
                    // A member takes a snapshot only if that names it.
                    self.saves.extend(self.raft.compact(index, &self.state));
                }
            }
        }
    }

    fn save(&mut self, net: &mut Vec<RaftMessage>) {
        for save in std::mem::take(&mut self.saves) {
            if save.begins_anew() {
                self.disk.clear();
            }
            if !save.is_empty() {
                self.disk.push(save.encode());
            }
            if save.number() != 0 {
                let mut ready = Ready::default();
                self.raft.saved(save.number(), &mut ready);
                self.take_in(ready, net);
            }
        }
    }
}

impl World {
    fn founded(count: u64) -> Self {
        let founders: Vec<NodeId> = (1..=count).map(NodeId).collect();
        let begin = |node: &NodeId| {
            let (_, save) = Log::found(b"0".to_vec(), founders.clone());
            (node.0, Member::begin(node.0, vec![save.encode()]))
        };
        World { members: founders.iter().map(begin).collect(), net: Vec::new() }
    }

    /// Until nothing is to be done any more.
    fn settle(&mut self) {
        loop {
            for member in self.members.values_mut() {
                member.run(&mut self.net);
                member.save(&mut self.net);
            }
            if self.net.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.net) {
                // As it goes over a wire.
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                let to = self.members.get_mut(&message.to().0);
                let message = whole(&bytes, RaftMessage::decode).unwrap();
                to.into_iter().for_each(|member| member.raft.receive(message.clone()));
            }
        }
    }

    fn tick(&mut self, times: usize) {
        for _ in 0..times {
            self.members.values_mut().for_each(|member| member.raft.tick());
            self.settle();
        }
    }

    fn leader(&mut self) -> u64 {
        for _ in 0..100 {
            self.tick(1);
            let leaders: Vec<u64> = self
                .members
                .iter()
                .filter(|(_, one)| one.raft.leads() && one.raft.is_settled(one.applied))
                .map(|(node, _)| *node)
                .collect();
            if let [leader] = leaders[..] {
                return leader;
            }
        }
        panic!("nobody leads after 100 ticks");
    }

    fn at(&mut self, node: u64) -> &mut Member {
        self.members.get_mut(&node).unwrap()
    }

    fn propose(&mut self, leader: u64, text: &str) {
        for byte in text.bytes() {
            self.at(leader).raft.propose(vec![byte]).unwrap();
        }
        self.settle();
    }

    fn change(&mut self, leader: u64, change: MemberChange) {
        self.at(leader).raft.propose_members(change).unwrap();
        self.settle();
        self.tick(3);
    }
}

#[test]
fn a_group_elects_commits_and_goes_on_after_the_end_of_its_leader() {
    let mut world = World::founded(3);
    let first = world.leader();
    world.propose(first, "abc");
    world.tick(2);
    assert!(world.members.values().all(|member| member.state == b"0abc"));
    let follower = if first == 1 { 2 } else { 1 };
    assert_eq!(world.at(follower).raft.propose(vec![1]), Err(Dropped));
    assert_eq!(world.at(follower).raft.leader(), Some(NodeId(first)));
    let ended = world.members.remove(&first).unwrap();
    let second = world.leader();
    assert!(world.at(second).raft.term() > ended.raft.term());
    world.propose(second, "d");
    // Its disk brings the old one back to where it was, and the rest comes.
    world.members.insert(first, Member::begin(first, ended.disk));
    world.tick(10);
    assert!(world.members.values().all(|member| member.state == b"0abcd"));
}

/// R7: a round is confirmed by a majority, or not at all.
#[test]
fn rounds_are_confirmed_by_others() {
    let mut world = World::founded(3);
    let leader = world.leader();
    world.at(leader).raft.confirm(77);
    world.settle();
    let last = world.at(leader).raft.last_index();
    assert_eq!(world.at(leader).confirmed, [(77, last)]);
    let member = world.members.remove(&leader).unwrap();
    world.members = [(leader, member)].into();
    world.at(leader).raft.confirm(78);
    world.settle();
    assert_eq!(world.at(leader).confirmed, [(77, last)]);
}

#[test]
fn voters_change_and_a_new_member_comes_up_by_a_snapshot() {
    let mut world = World::founded(3);
    let leader = world.leader();
    world.propose(leader, "abcdefgh");
    world.tick(2);
    let member = world.at(leader);
    let (applied, state) = (member.applied, member.state.clone());
    let save = member.raft.compact(applied, &state).unwrap();
    assert!(save.begins_anew() && save.must_sync());
    member.disk = vec![save.encode()];
    assert_eq!(member.raft.uncompacted(applied), 0);
    // An empty one, that follows first.
    world.members.insert(4, Member::begin(4, Vec::new()));
    world.tick(20);
    assert!(!world.at(4).raft.leads(), "one that knows nobody elects nobody");
    world.change(leader, MemberChange::Follow(NodeId(4)));
    world.tick(5);
    assert_eq!(world.at(4).state, b"0abcdefgh");
    let voting = world.at(leader).raft.voting().clone();
    assert_eq!((voting.voters.len(), voting.learners), (3, vec![NodeId(4)]));
    let matched = world.at(leader).raft.matched(NodeId(4));
    assert_eq!(matched, world.at(leader).raft.last_index());
    world.change(leader, MemberChange::Vote(NodeId(4)));
    let gone = if leader == 1 { 2 } else { 1 };
    world.change(leader, MemberChange::Remove(NodeId(gone)));
    world.members.remove(&gone);
    let voting = world.at(4).raft.voting().clone();
    assert_eq!((voting.voters.len(), voting.learners.len()), (3, 0));
    assert!(!voting.voters.contains(&NodeId(gone)) && voting.voters.contains(&NodeId(4)));
    world.propose(leader, "i");
    // The leader's compacted disk and the one that came up by a snapshot begin as they ended.
    for node in [leader, 4] {
        let ended = world.members.remove(&node).unwrap();
        world.members.insert(node, Member::begin(node, ended.disk));
        assert_eq!(world.at(node).raft.term(), ended.raft.term());
        world.leader();
        world.tick(10);
        assert_eq!(world.at(node).state, b"0abcdefghi", "{node}");
        let voting = world.at(node).raft.voting().clone();
        assert!(voting.voters.contains(&NodeId(4)), "{node}: {voting:?}");
    }
}

/// R68: what a follower says it has, or whom it voted for, is on its disk when it says so.
#[test]
fn answers_wait_for_the_disk() {
    let kinds = |net: &[RaftMessage]| -> Vec<MessageType> {
        net.iter().map(|message| message.clone().into_wire().get_msg_type()).collect()
    };
    let mut world = World::founded(3);
    let leader = world.leader();
    let follower = if leader == 1 { 2 } else { 1 };
    let mut net = Vec::new();
    let member = world.at(leader);
    member.raft.propose(b"x".to_vec()).unwrap();
    member.run(&mut net);
    let to_it: Vec<RaftMessage> =
        net.into_iter().filter(|one| one.to() == NodeId(follower)).collect();
    assert_eq!(kinds(&to_it), [MessageType::MsgAppend], "a leader need not wait for its own disk");
    let (member, mut net) = (world.at(follower), Vec::new());
    to_it.into_iter().for_each(|message| member.raft.receive(message));
    member.run(&mut net);
    assert_eq!(kinds(&net), [], "the entry is not saved");
    assert!(member.saves.iter().any(Save::must_sync));
    member.save(&mut net);
    assert_eq!(kinds(&net), [MessageType::MsgAppendResponse]);
    // A vote.
    let term = member.raft.term();
    let mut wish = Wire::default();
    wish.set_msg_type(MessageType::MsgRequestVote);
    (wish.to, wish.from, wish.term, wish.index) = (follower, leader, term + 1, 1_000);
    wish.log_term = term + 1;
    wish.context = b"CampaignTransfer".to_vec().into();
    let mut net = Vec::new();
    member.raft.receive(RaftMessage::from_wire(wish));
    member.run(&mut net);
    assert_eq!(kinds(&net), [], "the vote is not saved");
    member.save(&mut net);
    assert_eq!(kinds(&net), [MessageType::MsgRequestVoteResponse]);
    let again = Member::begin(follower, member.disk.clone());
    assert_eq!(again.raft.raw.raft.vote, leader);
}

fn entry(index: u64, term: u64) -> Entry {
    let mut entry = Entry::default();
    (entry.index, entry.term) = (index, term);
    entry.data = vec![u8::try_from(index).unwrap(); 3].into();
    entry
}

fn terms(log: &Log) -> Vec<(u64, u64)> {
    let (first, end) = (log.first_index().unwrap(), log.last_index().unwrap());
    (first..=end).map(|index| (index, log.term(index).unwrap())).collect()
}

/// Whatever is saved: the records make the same log again.
#[test]
fn records_make_the_log_again() {
    let (mut log, save) = Log::found(b"0".to_vec(), vec![NodeId(1)]);
    let mut disk = vec![save.encode()];
    let state = |term, commit| HardState { term, commit, ..HardState::default() };
    let steps: [(&[Entry], Option<HardState>); 4] = [
        (&[entry(2, 1), entry(3, 1), entry(4, 1)], Some(state(1, 2))),
        (&[entry(5, 1)], None),
        // A new leader overwrites what was never committed.
        (&[entry(3, 2), entry(4, 2)], Some(state(2, 2))),
        (&[entry(5, 2), entry(6, 3)], Some(state(3, 5))),
    ];
    for (number, (entries, hard_state)) in (1..).zip(steps) {
        disk.push(log.save(number, None, entries.to_vec(), hard_state, true).encode());
        assert_same(&log, &disk);
    }
    let expect = [(2, 1), (3, 2), (4, 2), (5, 2), (6, 3)];
    assert_eq!(terms(&log), expect);
    // Compacted: in memory two are kept for those who lag, on the disk none is needed.
    let save = log.compact(5, b"state", 2).unwrap();
    assert_eq!(terms(&log), [(4, 2), (5, 2), (6, 3)]);
    assert!(log.entries(3, 7, None, GetEntriesContext::empty(false)).is_err(), "compacted");
    assert_eq!(log.term(3).ok(), Some(2), "of the one ahead of the first");
    let mut again = Log::default();
    again.replay(&save.encode()).unwrap();
    assert_eq!((terms(&again), again.snapshot()), (vec![(6, 3)], log.snapshot()));
    assert_eq!(again.initial_state().unwrap().hard_state, log.initial_state().unwrap().hard_state);
    assert!(log.compact(99, b"state", 2).is_none(), "of an entry that is not there");
    // At least one entry comes, however large, and as many as fit.
    let count = |max: u64| log.entries(4, 7, max, GetEntriesContext::empty(false)).unwrap().len();
    assert_eq!([count(0), count(54), count(1_000)], [1, 2, 3]);
}

fn assert_same(log: &Log, disk: &[Vec<u8>]) {
    let mut again = Log::default();
    disk.iter().for_each(|record| again.replay(record).unwrap());
    assert_eq!(terms(&again), terms(log));
    assert_eq!(again.snapshot(), log.snapshot());
    assert_eq!(again.initial_state().unwrap().hard_state, log.initial_state().unwrap().hard_state);
    for record in disk {
        for end in 0..record.len() {
            assert_eq!(Log::default().replay(&record[..end]), Err(NotARecord::Bytes));
        }
        assert_eq!(Log::default().replay(&[record, &[0][..]].concat()), Err(NotARecord::Bytes));
    }
}

/// Saves that were written in another order than they were made in: a power cut that lets the first
/// of them alone survive left a hole, and the library panicked at the next start.
#[test]
fn a_log_with_a_hole_is_not_opened() {
    let (mut log, begin) = Log::found(b"state".to_vec(), vec![NodeId(1)]);
    let mut save = |at| log.save(1, None, vec![entry(at, 1)], None, true).encode();
    let [two, three] = [2, 3].map(&mut save);
    let mut again = Log::default();
    again.replay(&begin.encode()).unwrap();
    assert_eq!(again.replay(&three), Err(NotARecord::Gap { first: 3, end: 1 }));
    assert_eq!(again.replay(&two), Ok(()));
    assert_eq!(again.replay(&three), Ok(()));
    assert_eq!(terms(&again), [(2, 1), (3, 1)]);
}

/// R69: what no peer may send is refused, whether it comes as bytes or not.
#[test]
fn only_what_peers_may_send_comes_through() {
    let decode = |bytes: &[u8]| whole(bytes, RaftMessage::decode);
    for kind in [
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgPropose,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
        MessageType::MsgCheckQuorum,
        MessageType::MsgTransferLeader,
        MessageType::MsgReadIndex,
        MessageType::MsgReadIndexResp,
    ] {
        let mut message = Wire { term: 3, to: 1, from: 2, ..Wire::default() };
        message.set_msg_type(kind);
        let message = RaftMessage::from_wire(message);
        assert!(!message.is_for_peers(), "{kind:?}");
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(decode(&bytes), None, "{kind:?}");
    }
    let mut world = World::founded(3);
    let leader = world.leader();
    let (term, follower) = (world.at(leader).raft.term(), leader % 3 + 1);
    // Without a term raft-rs would take it for its own, and commit what nobody has.
    for (of_term, to) in [(0, follower), (term + 9, 9)] {
        let mut message =
            Wire { term: of_term, to, from: leader, commit: 1 << 40, ..Wire::default() };
        message.set_msg_type(MessageType::MsgHeartbeat);
        world.at(follower).raft.receive(RaftMessage::from_wire(message));
        assert_eq!(world.at(follower).raft.term(), term, "of term {of_term}, for {to}");
    }
    world.propose(leader, "a");
}

#[test]
fn messages_come_as_they_were_sent_or_not_at_all() {
    let decode = |bytes: &[u8]| whole(bytes, RaftMessage::decode);
    let voting = Voting { voters: vec![NodeId(1), NodeId(2)], learners: vec![NodeId(3)] };
    let snapshot = LogSnapshot { index: 5, term: 2, voting, state: b"state".to_vec() };
    let kinds = [
        MessageType::MsgAppend,
        MessageType::MsgAppendResponse,
        MessageType::MsgRequestVote,
        MessageType::MsgRequestVoteResponse,
        MessageType::MsgSnapshot,
        MessageType::MsgHeartbeat,
        MessageType::MsgHeartbeatResponse,
        MessageType::MsgTimeoutNow,
        MessageType::MsgRequestPreVote,
        MessageType::MsgRequestPreVoteResponse,
    ];
    for kind in kinds {
        let mut wire =
            Wire { to: 1, from: 2, term: 3, log_term: 4, index: 5, commit: 6, ..Wire::default() };
        (wire.commit_term, wire.request_snapshot, wire.reject_hint) = (7, 8, 9);
        (wire.priority, wire.reject, wire.context) = (-1, true, b"why".to_vec().into());
        wire.set_entries(vec![entry(6, 3), entry(7, 3)].into());
        wire.set_msg_type(kind);
        if kind == MessageType::MsgSnapshot {
            wire.set_snapshot(snapshot.to_raft());
        }
        let message = RaftMessage::from_wire(wire);
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_strict(&message, &bytes, decode);
        assert!(
            message.is_for_peers() && message.is_snapshot() == (kind == MessageType::MsgSnapshot)
        );
        let front = bytes.len().min(90);
        assert_calm(&bytes[..front], decode);
    }
    assert_calm(&[], decode);
    for change in [
        MemberChange::Follow(NodeId(1)),
        MemberChange::Vote(NodeId(2)),
        MemberChange::Remove(NodeId(3)),
    ] {
        assert_strict(&change, &change.encode(), MemberChange::decode);
    }
}
