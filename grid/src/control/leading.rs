//! What a member does while it leads: it grants leases, hears what the others wish, and proposes
//! one change after the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use isogrid_engine::Timestamp;

use super::{Action, Control, Message, ticket};
use crate::id::{Boot, NodeId};
use crate::membership::{Beat, Grant, Grants, Monotonic, Now};
use crate::metadata::{Command, Metadata, Proposal, Ticket};
use crate::segment::{Health, Request, WALL_SKEW_MAX, plan};

/// Messages of members that wait until the leader knows what holds; others are said again.
const ARRIVED_MAX: usize = 4_096;
/// Proposals of members that wait; what does not fit is asked for again.
const PENDING_MAX: usize = 1_024;
/// Wishes of members that are remembered.
const REQUESTS_MAX: usize = 65_536;

/// The state of a leader, for as long as it leads in one term.
pub(super) struct Leading {
    pub(super) term: u64,
    pub(super) grants: Grants,
    /// Something has changed that may call for a proposal.
    pub(super) is_due: bool,
    pub(super) requests: BTreeSet<Request>,
    pub(super) members_at: u64,
    since: Monotonic,
    seen: BTreeMap<NodeId, Monotonic>,
    arrived: Vec<(NodeId, Boot, Message, Option<Timestamp>)>,
    pending: VecDeque<Command>,
    in_flight: Option<Ticket>,
    proposals: u64,
}

impl Leading {
    pub(super) fn new(term: u64, lease: u64, now: Monotonic) -> Self {
        Leading {
            term,
            grants: Grants::new(lease, now),
            is_due: true,
            requests: BTreeSet::new(),
            members_at: 0,
            since: now,
            seen: BTreeMap::new(),
            arrived: Vec::new(),
            pending: VecDeque::new(),
            in_flight: None,
            proposals: 0,
        }
    }

    /// A member, maybe the leader itself, says something; `wall` is our clock when it came from
    /// another one.
    pub(super) fn receive(
        &mut self,
        from: NodeId,
        boot: Boot,
        message: Message,
        wall: Option<Timestamp>,
    ) {
        if self.arrived.len() < ARRIVED_MAX {
            self.arrived.push((from, boot, message, wall));
        }
    }

    /// An entry was applied. When it is the one that we wait for, the next may be proposed.
    pub(super) fn applied(&mut self, ticket: Ticket) {
        self.in_flight.take_if(|ours| *ours == ticket);
    }

    /// Takes in what has arrived. Those who are no members any more are to be told so.
    fn hear(&mut self, metadata: &Metadata, now: Monotonic) -> BTreeSet<NodeId> {
        let mut strangers = BTreeSet::new();
        for (from, boot, message, wall) in std::mem::take(&mut self.arrived) {
            if !metadata.members().contains_key(&from) {
                strangers.insert(from);
                continue;
            }
            match message {
                Message::Beat { incarnation, n, wall: theirs } => {
                    let member = metadata.members().get(&from);
                    let is_known =
                        member.is_some_and(|member| member.incarnation == Some(incarnation));
                    let skew = wall.map_or(0, |ours| ours.abs_diff(theirs));
                    if is_known && skew <= WALL_SKEW_MAX {
                        self.seen.insert(from, now);
                        self.grants.beat(Beat { node: from, incarnation, n });
                    }
                }
                Message::Propose(command) => self.enqueue(command),
                Message::Ask(request) => {
                    // A process that is over says nothing more for its member.
                    let is_of_today = metadata.members().get(&from).is_some_and(|m| m.boot == boot);
                    if is_of_today && self.requests.len() < REQUESTS_MAX {
                        self.is_due |= self.requests.insert(request);
                    }
                }
                Message::Raft(_)
                | Message::Grant { .. }
                | Message::GiveUp(_)
                | Message::NoMember
                | Message::Copy(..) => {}
            }
        }
        strangers
    }

    fn enqueue(&mut self, command: Command) {
        if self.pending.len() < PENDING_MAX && !self.pending.contains(&command) {
            self.pending.push_back(command);
        }
    }

    fn health(&self, control: &ControlView<'_>, now: Now) -> Health {
        let nodes = || control.metadata.members().keys().copied();
        let seen = |node: &NodeId| self.seen.get(node).copied().unwrap_or(0).max(self.since);
        let is_expected = |node: &NodeId| now.monotonic < seen(node) + control.rejoin_ms;
        let reset_at = control.reset_ms.map(|reset| self.since + reset);
        Health {
            alive: nodes().filter(|node| self.grants.holds(*node, now.monotonic)).collect(),
            gone: nodes().filter(|node| self.grants.is_over(*node, now.monotonic)).collect(),
            expected: nodes().filter(is_expected).collect(),
            requests: self.requests.clone(),
            now: now.wall,
            reset_lost: reset_at.is_some_and(|at| now.monotonic >= at),
        }
    }
}

/// What [`Leading`] has to know of the rest.
struct ControlView<'a> {
    metadata: &'a Metadata,
    rejoin_ms: u64,
    reset_ms: Option<u64>,
}

impl Control {
    /// Does what a leader has to do now. Whether Raft has to be looked at again.
    pub(super) fn lead(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        let Some(mut leading) = self.leading.take() else { return false };
        if self.raft.is_settled(self.metadata.index()) {
            for node in leading.hear(&self.metadata, now.monotonic) {
                self.send(node, Message::NoMember, out);
            }
        }
        let grants = leading.grants.grant(now.monotonic, self.metadata.index());
        grants.into_iter().for_each(|grant| self.grant(grant, out));
        let mut goes_on = false;
        // Before its first entry is applied the leader does not know what holds, and Raft would
        // not answer.
        if self.raft.is_settled(self.metadata.index()) {
            if let Some(round) = leading.grants.begin_round(now.monotonic) {
                self.raft.confirm(round);
                goes_on = true;
            }
            goes_on |= self.propose_next(&mut leading, now, out);
        }
        self.leading = Some(leading);
        goes_on
    }

    fn grant(&mut self, grant: Grant, out: &mut Vec<Action>) {
        let Grant { beat: Beat { node, n, .. }, index } = grant;
        if node == self.identity.node {
            self.lease.granted(n, index, self.metadata.index());
        } else {
            self.send(node, Message::Grant { n, index }, out);
        }
    }

    /// Proposes what members asked for, then what the plan says, one entry at a time: the next is
    /// decided from what the one before has made of the metadata.
    fn propose_next(&mut self, leading: &mut Leading, now: Now, out: &mut Vec<Action>) -> bool {
        if leading.in_flight.is_some() {
            return false;
        }
        while let Some(command) = leading.pending.pop_front() {
            if !self.is_done(&command) {
                return self.propose(leading, command);
            }
        }
        if !std::mem::take(&mut leading.is_due) {
            return false;
        }
        if self.change_voters(leading, now) {
            return true;
        }
        self.propose_plan(leading, now, out)
    }

    fn propose_plan(&mut self, leading: &mut Leading, now: Now, out: &mut Vec<Action>) -> bool {
        let (rejoin_ms, reset_ms) = (self.config.rejoin_ms, self.config.reset_ms);
        let view = ControlView { metadata: &self.metadata, rejoin_ms, reset_ms };
        let health = leading.health(&view, now);
        let plan = plan(&self.metadata, &health);
        for give_up in plan.give_up {
            if give_up.node == self.identity.node {
                self.give_up(give_up, out);
            } else {
                self.send(give_up.node, Message::GiveUp(give_up), out);
            }
        }
        leading.grants.withhold(plan.withhold);
        !plan.changes.is_empty() && self.propose(leading, Command::Change(plan.changes))
    }

    pub(super) fn propose(&mut self, leading: &mut Leading, command: Command) -> bool {
        leading.proposals += 1;
        // A term has one leader, and a leader counts on: no two proposals share a ticket.
        let n = (leading.term << 24) | (leading.proposals & 0xff_ffff);
        let ticket = ticket(self.identity.boot, n);
        let taken = self.raft.propose(Proposal { ticket, command }.encode()).is_ok();
        leading.in_flight = taken.then_some(ticket);
        taken
    }

    /// Whether the metadata show that it was done already.
    fn is_done(&self, command: &Command) -> bool {
        let members = self.metadata.members();
        match command {
            Command::Register(register) => members
                .get(&register.node)
                .is_some_and(|member| member.boot == register.boot && member.incarnation.is_some()),
            Command::Leave(node) => members.get(node).is_none_or(|member| member.leaving),
            Command::Remove(node) => !members.contains_key(node),
            Command::CreateGroup(create) => self.metadata.groups().contains_key(&create.group),
            Command::Join(_) | Command::Change(_) => false,
        }
    }

    /// When the member was heard of last, for as long as this one leads.
    pub(super) fn is_expected(&self, leading: &Leading, node: NodeId, now: Now) -> bool {
        let seen = leading.seen.get(&node).copied().unwrap_or(0).max(leading.since);
        now.monotonic < seen + self.config.rejoin_ms
    }
}
