//! The control core of one member: Raft, its lease, what it knows of the cluster, and, while it
//! leads, everything that is proposed (DATA_PATH sections 1, 2 and 5).
//!
//! [`Control::step`] takes one [`Event`] and says what is to be done; it does no I/O, reads no
//! clock and waits for nothing. What members agree on is [`Control::metadata`]; whether this one
//! may serve a segment is [`Control::serves`], to be asked with each answer.

mod event;
mod leading;
mod settle;
mod voters;

use std::collections::BTreeSet;

use crate::founding::{Hello, Promise};
use crate::id::{Boot, ClusterId, Epoch, GroupId, Incarnation, NodeId, SegmentId, StorageId};
use crate::membership::{Lease, Monotonic, Now};
use crate::message::{Envelope, Message};
use crate::metadata::{Command, Join, Metadata, Register, Segment, Settings};
use crate::mutant::is_planted;
use crate::raft::{Log, Raft, RaftConfig, Ready};
use crate::segment::{GiveUp, Request, Wish};

pub use self::event::{Action, Event};
use self::leading::Leading;

/// How a member's control core runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlConfig {
    /// Where peers reach this member.
    pub address: String,
    /// Where clients reach it over GNP; empty where they do not.
    pub endpoint: String,
    /// Which copies are on its disk; `None`: those that it began with, or none.
    pub data: Option<StorageId>,
    /// How Raft runs. A tick of it is one of [`Event::Tick`], which comes each [`tick_ms`].
    ///
    /// [`tick_ms`]: crate::membership::tick_ms
    pub raft: RaftConfig,
    /// How often the member asks for its lease, ms: a fifth of a shorter one.
    pub beat_ms: u64,
    /// How long a member that is gone keeps its place before others are filled, ms.
    pub rejoin_ms: u64,
    /// How long after its election a leader declares no segment lost, ms; `None`: ever. A segment
    /// of which every copy in memory is gone for sure then begins anew, empty (`on_loss`, R29).
    /// Default: 0, because what is gone for sure does not come back by waiting.
    pub reset_ms: Option<u64>,
    /// Entries that are applied before a snapshot makes older ones needless.
    pub compact_entries: u64,
}

impl Default for ControlConfig {
    fn default() -> Self {
        ControlConfig {
            address: String::new(),
            endpoint: String::new(),
            data: None,
            raft: RaftConfig::default(),
            beat_ms: 300,
            rejoin_ms: 10_000,
            reset_ms: Some(0),
            compact_entries: 1_000,
        }
    }
}

/// Who a process is. All but the boot is kept with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// Which member it is.
    pub node: NodeId,
    /// Its disk.
    pub storage: StorageId,
    /// This process.
    pub boot: Boot,
}

/// The control core.
pub struct Control {
    config: ControlConfig,
    identity: Identity,
    raft: Raft,
    metadata: Metadata,
    lease: Lease,
    leading: Option<Leading>,
    beat_at: Monotonic,
    given_up: BTreeSet<(GroupId, SegmentId, Epoch)>,
    /// When we heard that the cluster was shut down.
    shut_down_at: Option<Monotonic>,
    /// What our segments wish, for as long as their epochs are the current ones.
    wishes: BTreeSet<Request>,
}

impl Control {
    /// A member with the log that its disk has, or that it was founded with. One that was just
    /// let in has an empty log.
    #[must_use]
    pub fn new(config: ControlConfig, identity: Identity, settings: Settings, log: Log) -> Self {
        let unknown = || Metadata::unknown(settings);
        let mut metadata = Metadata::decode(&log.snapshot().state).unwrap_or_else(unknown);
        if log.snapshot().index > metadata.index() {
            metadata.advance(log.snapshot().index);
        }
        let lease = Lease::new(u64::from(metadata.settings().lease_ms));
        let raft = Raft::new(identity.node, config.raft, log);
        Control {
            config,
            identity,
            raft,
            metadata,
            lease,
            leading: None,
            beat_at: 0,
            given_up: BTreeSet::new(),
            shut_down_at: None,
            wishes: BTreeSet::new(),
        }
    }

    /// Does what an event asks for; `out` gets what is to be done, in this order.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        let mut ready = Ready::default();
        match event {
            Event::Tick => self.tick(now, out),
            Event::Received(envelope) => self.receive(now, envelope, out),
            Event::Hello(Hello::Stranger(join, _, accepted)) => self.meet(join, accepted, out),
            // Only members say the rest, and to strangers.
            Event::Hello(_) => {}
            Event::Unreachable(node) => self.raft.unreachable(node),
            Event::Saved(number) => self.raft.saved(number, &mut ready),
            Event::Ask(request) => self.ask(request, out),
            Event::Silent(silence) => self.tell_leader(Message::Silent(silence), out),
            Event::Propose(command) => self.tell_leader(Message::Propose(command), out),
        }
        self.settle(now, ready, out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        self.raft.tick();
        if now.monotonic >= self.beat_at {
            let often = u64::from(self.metadata.settings().lease_ms) / 5;
            self.beat_at = now.monotonic + self.config.beat_ms.min(often);
            self.beat(now, out);
            let wishes: Vec<Request> = self.wishes.iter().copied().collect();
            wishes.into_iter().for_each(|wish| self.tell_leader(Message::Ask(wish), out));
        }
        if let Some(leading) = &mut self.leading {
            leading.is_due = true;
        }
    }

    /// A process that is registered asks for its lease, another one to be registered.
    fn beat(&mut self, now: Now, out: &mut Vec<Action>) {
        let message = match self.incarnation() {
            Some(incarnation) => {
                let n = self.lease.beat(now.monotonic);
                Message::Beat { incarnation, n, wall: now.wall }
            }
            None => Message::Propose(Command::Register(Register {
                node: self.identity.node,
                storage: self.identity.storage,
                data: self.config.data.unwrap_or(self.identity.storage),
                boot: self.identity.boot,
                address: self.config.address.clone(),
                endpoint: self.config.endpoint.clone(),
            })),
        };
        self.tell_leader(message, out);
    }

    /// Whatever goes to the leader goes through here, also when we lead: `settle` hands on what
    /// we tell ourselves.
    fn tell_leader(&mut self, message: Message, out: &mut Vec<Action>) {
        let Some(leader) = self.raft.leader() else { return };
        if leader != self.identity.node {
            self.send(leader, message, out);
        } else if let Some(leading) = &mut self.leading {
            leading.receive(self.identity.node, self.identity.boot, message, None);
        }
    }

    fn send(&self, to: NodeId, message: Message, out: &mut Vec<Action>) {
        let Identity { cluster, node, boot, .. } = self.identity;
        out.push(Action::Send(Envelope { cluster, from: node, boot, to, message }));
    }

    fn receive(&mut self, now: Now, envelope: Envelope, out: &mut Vec<Action>) {
        let Envelope { cluster, from, boot, to, message } = envelope;
        if cluster != self.identity.cluster || to != self.identity.node {
            return;
        }
        match message {
            Message::Raft(message) if message.from() == from => self.raft.receive(message),
            Message::NoMember => out.push(Action::Removed),
            // Copies are the data plane's.
            Message::Raft(_) | Message::Copies(_) | Message::Invalidation(_) => {}
            Message::Over(silence) => out.push(Action::Over(silence)),
            Message::Grant { incarnation, n, index }
                if self.incarnation() == Some(incarnation) || is_planted("old-grant") =>
            {
                self.lease.granted(n, index, self.metadata.index());
            }
            // It was granted to the process before this one.
            Message::Grant { .. } => {}
            Message::GiveUp(give_up) if give_up.node == self.identity.node => {
                self.give_up(give_up, out);
            }
            Message::GiveUp(_) => {}
            Message::Beat { .. } | Message::Propose(_) | Message::Ask(_) | Message::Silent(_) => {
                if let Some(leading) = &mut self.leading {
                    leading.receive(from, boot, message, Some(now.wall));
                }
            }
        }
    }

    /// A stranger tells of itself. One that helped to found this cluster learns that it is there;
    /// another one is let in, and knocks until it is.
    fn meet(&mut self, join: Join, accepted: Option<Promise>, out: &mut Vec<Action>) {
        if join.cluster != self.metadata.settings().name {
            return;
        }
        let address = join.address.clone();
        let member = self.metadata.member_of(join.storage);
        let is_in = |node: &NodeId| {
            self.metadata.members().get(node).is_some_and(|member| member.boot == join.boot)
        };
        let hello = if accepted.is_some_and(|ours| ours.cluster == self.identity.cluster) {
            Hello::Begun(self.identity.cluster)
        } else if accepted.is_some() {
            Hello::Wait
        } else if let Some(node) = member.filter(is_in) {
            Hello::Welcome(node, self.metadata.settings().clone())
        } else {
            self.tell_leader(Message::Propose(Command::Join(join)), out);
            Hello::Wait
        };
        out.push(Action::Hello(address, hello));
    }

    /// The leader wants a role back. From here on it is not served, so it is safe to say so.
    fn give_up(&mut self, give_up: GiveUp, out: &mut Vec<Action>) {
        let GiveUp { group, segment, epoch, .. } = give_up;
        if self.segment(group, segment).is_some_and(|now| now.epoch == epoch) {
            if !is_planted("serve-after-giving-up") {
                self.given_up.insert((group, segment, epoch));
            }
            out.push(Action::GiveUp(give_up));
        }
    }

    /// What a segment wishes is said again with each beat until its epoch is over.
    fn ask(&mut self, request: Request, out: &mut Vec<Action>) {
        if let Wish::GaveUp(_) = request.wish
            && !is_planted("serve-after-giving-up")
        {
            self.given_up.insert((request.group, request.segment, request.epoch));
        }
        if self.wishes.insert(request) {
            self.tell_leader(Message::Ask(request), out);
        }
    }

    /// What all members agree on, as far as this one knows.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Who this is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Who leads, and in which term, as far as this member knows.
    #[must_use]
    pub fn leader(&self) -> (u64, Option<NodeId>) {
        (self.raft.term(), self.raft.leader())
    }

    /// Whether this member leads, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.raft.leads()
    }

    /// Who votes.
    #[must_use]
    pub fn voting(&self) -> &crate::raft::Voting {
        self.raft.voting()
    }

    /// The process as the metadata know it; `None` until it is registered.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        let member = self.metadata.members().get(&self.identity.node)?;
        member.incarnation.filter(|_| member.boot == self.identity.boot)
    }

    /// This member's lease.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    fn segment(&self, group: GroupId, segment: SegmentId) -> Option<&Segment> {
        find(&self.metadata, group, segment)
    }

    /// Whether this member may answer for a segment now, as its primary in this epoch. To be
    /// asked after the answer was read, and before it goes out (R23).
    #[must_use]
    pub fn serves(&self, now: Now, group: GroupId, at: SegmentId) -> Option<Epoch> {
        let segment = self.segment(group, at).filter(|_| self.metadata.shut_down().is_none())?;
        let is_ours = segment.primary == Some(self.identity.node) && self.incarnation().is_some();
        let given_up = || self.given_up.contains(&(group, at, segment.epoch));
        (is_ours && self.lease.holds(now.monotonic) && !given_up()).then_some(segment.epoch)
    }

    /// Whether this member's copy may answer reads now (R24).
    #[must_use]
    pub fn may_read(&self, now: Now, group: GroupId, at: SegmentId) -> Option<Epoch> {
        let settings = &self.metadata.groups().get(&group)?.settings;
        let segment = self.segment(group, at).filter(|_| self.metadata.shut_down().is_none())?;
        let ours = self.metadata.copy_of(self.identity.node, settings.persist)?;
        let is_insync = segment.insync.contains(&ours) && self.incarnation().is_some();
        let given_up = self.given_up.contains(&(group, at, segment.epoch));
        let holds = self.lease.holds(now.monotonic);
        (settings.local_reads && is_insync && segment.primary.is_some() && !given_up && holds)
            .then_some(segment.epoch)
    }
}

fn find(metadata: &Metadata, group: GroupId, segment: SegmentId) -> Option<&Segment> {
    metadata.groups().get(&group)?.segments.get(usize::from(segment.0))
}
