//! What a member does while it leads: it grants leases, hears what the others wish, and proposes
//! one change after the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use isogrid_engine::Timestamp;

use super::{Action, Control, ControlConfig, Message, find};
use crate::id::{Boot, NodeId};
use crate::invalidation::Silence;
use crate::membership::{Beat, Grant, Grants, Monotonic, Now};
use crate::metadata::{Change, Command, Member, Metadata, Proposal, Step, Ticket};
use crate::mutant::is_planted;
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
    /// Something has changed, if only the time, that may call for a proposal.
    pub(super) is_due: bool,
    /// What members ask for, of epochs that are not over.
    requests: BTreeSet<Request>,
    /// How the members were when there was nothing to plan for them. While they are like that,
    /// and metadata and requests are the same, there still is nothing.
    calm: Option<Health>,
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
            calm: None,
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

    /// The metadata have changed: what was asked for in epochs that are over means nothing now.
    pub(super) fn changed(&mut self, is_current: impl Fn(&Request) -> bool) {
        (self.is_due, self.calm) = (true, None);
        self.requests.retain(|request| is_current(request) || is_planted("old-wishes"));
    }

    /// Takes in what has arrived. Those who are no members any more are to be told so.
    fn hear(&mut self, metadata: &Metadata, now: Monotonic) -> BTreeSet<NodeId> {
        let mut strangers = BTreeSet::new();
        for (from, boot, message, wall) in std::mem::take(&mut self.arrived) {
            match metadata.members().get(&from) {
                Some(member) => self.hear_one(from, member, (boot, message, wall), now),
                None => {
                    strangers.insert(from);
                }
            }
        }
        strangers
    }

    fn hear_one(
        &mut self,
        from: NodeId,
        member: &Member,
        (boot, message, wall): (Boot, Message, Option<Timestamp>),
        now: Monotonic,
    ) {
        match message {
            Message::Beat { incarnation, n, wall: theirs } => {
                let skew = wall.map_or(0, |ours| ours.abs_diff(theirs));
                if member.incarnation == Some(incarnation) && skew <= WALL_SKEW_MAX {
                    self.seen.insert(from, now);
                    self.grants.beat(Beat { node: from, incarnation, n });
                }
            }
            Message::Propose(command) => self.enqueue(command),
            // A process that is over says nothing more for its member.
            Message::Ask(request)
                if member.boot == boot
                    && self.requests.len() < REQUESTS_MAX
                    && self.requests.insert(request) =>
            {
                (self.is_due, self.calm) = (true, None);
            }
            Message::Silent(silence) if member.boot == boot && member.incarnation.is_some() => {
                self.grants.silent(from, silence, now);
            }
            // Nothing else is for the leader.
            Message::Ask(_)
            | Message::Raft(_)
            | Message::Grant { .. }
            | Message::GiveUp(_)
            | Message::NoMember
            | Message::Copies(_)
            | Message::Invalidation(_)
            | Message::Silent(_)
            | Message::Over(_) => {}
        }
    }

    fn enqueue(&mut self, command: Command) {
        if self.pending.len() < PENDING_MAX && !self.pending.contains(&command) {
            self.pending.push_back(command);
        }
    }

    /// Whether a command may be proposed now. Nobody is expelled that may serve something, and until
    /// that is applied it is granted nothing (R9).
    fn allows(
        &mut self,
        command: &Command,
        (metadata, config): (&Metadata, &ControlConfig),
        now: Monotonic,
    ) -> bool {
        match command {
            Command::Expel(node, _) => {
                let is_over = self.grants.is_over(*node, now) || is_planted("expel-serving");
                if is_over {
                    self.grants.withhold(BTreeSet::from([*node]));
                }
                is_over
            }
            Command::Change(changes) => {
                let forced = changes.iter().filter(|one| matches!(one.step, Step::Force(..)));
                let owners: BTreeSet<NodeId> =
                    forced.flat_map(|one| last_owners(metadata, one)).collect();
                self.gives_up(owners, config, now)
            }
            _ => true,
        }
    }

    /// Whether none of these, whose copies have everything, is there or may come back in time. Until
    /// what they have is declared lost they are granted nothing (R9, R63).
    fn gives_up(
        &mut self,
        owners: BTreeSet<NodeId>,
        config: &ControlConfig,
        now: Monotonic,
    ) -> bool {
        let is_gone =
            |node: &NodeId| self.grants.is_over(*node, now) && !self.expects(*node, now, config);
        let may = owners.iter().all(is_gone) || is_planted("force-early");
        if may && !owners.is_empty() {
            self.grants.withhold(owners);
        }
        may
    }

    /// Whether a member that may be away keeps its place.
    pub(super) fn expects(&self, node: NodeId, now: Monotonic, config: &ControlConfig) -> bool {
        let seen = self.seen.get(&node).copied().unwrap_or(0).max(self.since);
        now < seen + config.rejoin_ms
    }

    /// Whether a member has not been heard of since this one leads, and still may be.
    fn awaits(&self, node: NodeId, now: Monotonic, config: &ControlConfig) -> bool {
        !self.seen.contains_key(&node) && now < self.since + config.rejoin_ms
    }

    fn health(&self, metadata: &Metadata, now: Monotonic, config: &ControlConfig) -> Health {
        let nodes = || metadata.members().keys().copied();
        let reset_at = config.reset_ms.map(|reset| self.since + reset);
        Health {
            alive: nodes().filter(|node| self.grants.holds(*node, now)).collect(),
            gone: nodes().filter(|node| self.grants.is_over(*node, now)).collect(),
            expected: nodes().filter(|node| self.expects(*node, now, config)).collect(),
            awaited: nodes().filter(|node| self.awaits(*node, now, config)).collect(),
            reset_lost: reset_at.is_some_and(|at| now >= at),
        }
    }
}

/// Whose copies of a segment are in sync, and still there as far as anybody knows.
fn last_owners(metadata: &Metadata, change: &Change) -> Vec<NodeId> {
    let segment = find(metadata, change.group, change.segment);
    let copies = segment.into_iter().flat_map(|segment| &segment.insync);
    copies.filter(|copy| metadata.is_current(**copy)).map(|copy| copy.node).collect()
}

impl Control {
    /// Does what a leader has to do now. Whether Raft has to be looked at again.
    pub(super) fn lead(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        // Before its first entry is applied the leader does not know what holds, and Raft would
        // not answer.
        if !self.raft.is_settled(self.metadata.index()) {
            return false;
        }
        let Some(mut leading) = self.leading.take() else { return false };
        for node in leading.hear(&self.metadata, now.monotonic) {
            self.send(node, Message::NoMember, out);
        }
        let grants = leading.grants.grant(now.monotonic, self.metadata.index());
        grants.into_iter().for_each(|grant| self.grant(grant, out));
        for (node, silence) in leading.grants.take_over() {
            self.tell_over(node, silence, out);
        }
        let round = leading.grants.begin_round(now.monotonic);
        round.into_iter().for_each(|round| self.raft.confirm(round));
        let has_proposed = self.propose_next(&mut leading, now, out);
        self.leading = Some(leading);
        round.is_some() || has_proposed
    }

    fn grant(&mut self, grant: Grant, out: &mut Vec<Action>) {
        let Grant { beat: Beat { node, incarnation, n }, index } = grant;
        if node == self.identity.node {
            self.lease.granted(n, index, self.metadata.index());
        } else {
            self.send(node, Message::Grant { incarnation, n, index }, out);
        }
    }

    fn tell_over(&self, node: NodeId, silence: Silence, out: &mut Vec<Action>) {
        if node == self.identity.node {
            out.push(Action::Over(silence));
        } else {
            self.send(node, Message::Over(silence), out);
        }
    }

    /// Proposes what members asked for, then what the plan says, one entry at a time: the next is
    /// decided from what the one before has made of the metadata.
    fn propose_next(&mut self, leading: &mut Leading, now: Now, out: &mut Vec<Action>) -> bool {
        if leading.in_flight.is_some() {
            return false;
        }
        while let Some(command) = leading.pending.pop_front() {
            let known = (&self.metadata, &self.config);
            if !self.is_done(&command) && leading.allows(&command, known, now.monotonic) {
                return self.propose(leading, command);
            }
        }
        // Once all have been shut down everything stays as it is until the first process is back.
        if !std::mem::take(&mut leading.is_due) || self.metadata.shut_down().is_some() {
            return false;
        }
        if self.change_voters(leading, now) {
            return true;
        }
        self.propose_plan(leading, now, out)
    }

    fn propose_plan(&mut self, leading: &mut Leading, now: Now, out: &mut Vec<Action>) -> bool {
        let health = leading.health(&self.metadata, now.monotonic, &self.config);
        if leading.calm.as_ref() == Some(&health) {
            return false;
        }
        let plan = plan(&self.metadata, &health, &leading.requests, now.wall);
        let is_calm = plan.changes.is_empty() && plan.give_up.is_empty();
        leading.calm = is_calm.then_some(health);
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
        let ticket = Ticket { boot: self.identity.boot, n };
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
            Command::Remove(node) | Command::Expel(node, _) => !members.contains_key(node),
            Command::Stop(node, boot) => {
                members.get(node).is_none_or(|member| member.stopping || member.boot != *boot)
            }
            Command::ShutDown => self.metadata.shut_down().is_some(),
            Command::CreateGroup(create) => self.metadata.groups().contains_key(&create.group),
            Command::Join(_) | Command::Change(_) => false,
        }
    }
}
