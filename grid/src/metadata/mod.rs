//! What all members agree on: who they are, and who has which segment. The state machine behind
//! the Raft log (DATA_PATH R1-R5, R76).
//!
//! [`Metadata::apply`] takes one committed entry after the other and is the only way to change
//! anything here. It reads no clock, draws no chance and iterates in order, so that all members
//! that applied the same entries have the same bytes ([`Metadata::encode`]). It does not trust
//! proposers either: a change that would break a rule does nothing and says so.

mod change;
mod command;
mod expel;
mod group;
mod node;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use isogrid_engine::Timestamp;

pub use self::change::{Change, Step};
pub use self::command::{Command, CreateGroup, Join, Proposal, Register, Ticket};
pub use self::group::{Acks, Filling, Group, GroupSettings, Owners, Persist, Segment, Stale};
pub use self::node::{Member, Role};
use crate::bytes::{Input, put_many, put_option, put_u32, put_u64, whole};
use crate::id::{Boot, ClusterId, Copy, Data, Epoch, GroupId, Incarnation, NodeId, StorageId};
use crate::mutant::is_planted;

/// What a cluster has for life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Its name, as configured.
    pub name: String,
    /// Segments of each group.
    pub segments: u16,
    /// How long a lease lasts, ms (L of R6).
    pub lease_ms: u32,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, or had been done before.
    Done,
    /// The process is a member, under these numbers.
    Registered(NodeId, Incarnation),
    /// Nothing was changed.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The segment has changed since the proposer looked (R3).
    #[error("the segment is in epoch {0} now")]
    Stale(Epoch),
    /// It would make somebody an owner whose copy may lack what was acknowledged (R28, I16).
    #[error("not an in-sync copy")]
    NotInSync,
    /// It names a process or a disk that is not there any more (R2).
    #[error("not the member's data of today")]
    NotCurrent,
    /// It would leave a segment without what it needs, or give it what it has.
    #[error("not what the segment's state allows")]
    NotAllowed,
    /// There is no such member.
    #[error("no such member")]
    NoMember,
    /// There is no such group, or no such segment.
    #[error("no such group or segment")]
    NoSegment,
    /// The name or number stands for something else.
    #[error("taken by something else")]
    Taken,
    /// The member has left: its disk cannot come back, only an empty one can.
    #[error("the member has left")]
    HasLeft,
    /// The member comes with another disk than it had (R65).
    #[error("the member had another disk")]
    OtherStorage,
}

/// Everything that the Raft log has said so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    settings: Settings,
    /// The entry that was applied last: `table_index` of the rules.
    index: u64,
    /// The entry that last changed where requests go.
    routes: u64,
    next_node: u64,
    members: BTreeMap<NodeId, Member>,
    groups: BTreeMap<GroupId, Group>,
    /// The disks of those that have left, the last [`LEFT_MAX`] of them: a wish to be let in that
    /// comes late, or twice, lets nobody in again.
    left: VecDeque<StorageId>,
    /// The entry with which the cluster was shut down, while no process has begun since.
    shut_down: Option<u64>,
}

/// What there is of a copy now.
fn today(members: &BTreeMap<NodeId, Member>, copy: Copy) -> Option<Copy> {
    let member = members.get(&copy.node).filter(|member| member.has_data())?;
    let data = copy.data.found_by(member.data, member.incarnation)?;
    Some(Copy { data, ..copy })
}

/// How many that have left are remembered.
const LEFT_MAX: usize = 1_024;
/// The format of [`Metadata::encode`].
const FORMAT: u32 = 5;

impl Metadata {
    /// A cluster at its birth: `founders` become the members 1, 2, ... in the order of their
    /// storages, so that all of them make the same of it.
    #[must_use]
    pub fn found(settings: Settings, mut founders: Vec<Join>) -> Self {
        founders.sort_by_key(|join| join.storage);
        let mut metadata = Metadata::unknown(settings);
        for join in founders {
            metadata.add_member(join);
        }
        metadata
    }

    /// What a process knows that has been let in and told nothing yet: the log brings the rest.
    #[must_use]
    pub fn unknown(settings: Settings) -> Self {
        Metadata {
            settings,
            index: 0,
            routes: 0,
            next_node: 1,
            members: BTreeMap::new(),
            groups: BTreeMap::new(),
            left: VecDeque::new(),
            shut_down: None,
        }
    }

    /// What the cluster has for life.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The index of the entry that was applied last.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The topology epoch of clients: the index of the entry that last changed where requests go,
    /// that is who serves a segment, or who is a member and where clients reach it. The same on all
    /// members that know the same.
    #[must_use]
    pub fn routes(&self) -> u64 {
        self.routes
    }

    /// The members, by their numbers.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The groups, by their numbers.
    #[must_use]
    pub fn groups(&self) -> &BTreeMap<GroupId, Group> {
        &self.groups
    }

    /// With which entry the cluster was shut down, while no process has begun since: nobody serves.
    #[must_use]
    pub fn shut_down(&self) -> Option<u64> {
        self.shut_down
    }

    /// Which member has this storage.
    #[must_use]
    pub fn member_of(&self, storage: StorageId) -> Option<NodeId> {
        self.members.iter().find(|(_, member)| member.storage == storage).map(|(node, _)| *node)
    }

    /// The copy that a member has of a group's segments, if its process is registered; a witness has
    /// none.
    #[must_use]
    pub fn copy_of(&self, node: NodeId, persist: Persist) -> Option<Copy> {
        let member = self.members.get(&node).filter(|member| member.has_data())?;
        let incarnation = member.incarnation?;
        let data = match persist {
            Persist::None => Data::Memory(incarnation),
            Persist::Async => Data::Behind(member.data, incarnation),
            Persist::Sync => Data::Disk(member.data),
        };
        Some(Copy { node, data })
    }

    /// Whether these are the data that the member has today (R2).
    #[must_use]
    pub fn is_current(&self, copy: Copy) -> bool {
        self.today(copy) == Some(copy)
    }

    /// What there is of a copy now: of one that is written behind its process, when that is over, what
    /// the next one finds.
    #[must_use]
    pub fn today(&self, copy: Copy) -> Option<Copy> {
        today(&self.members, copy)
    }

    /// Applies the entry `index`. Entries come in order, each once.
    ///
    /// # Panics
    /// When an entry comes again or out of order: what follows would differ between members.
    pub fn apply(&mut self, index: u64, command: &Command) -> Outcome {
        self.advance(index);
        let done = match command {
            Command::Register(register) => return self.register(register),
            Command::Join(join) => return self.join(join),
            Command::Change(changes) => self.change(changes),
            Command::CreateGroup(create) => self.create_group(create),
            Command::Leave(node) => self.leave(*node),
            Command::Remove(node) => self.remove(*node),
            Command::Stop(node, boot) => self.stop(*node, *boot),
            Command::Expel(node, accepts_loss) => self.expel(*node, *accepts_loss),
            Command::ShutDown => {
                self.shut_down.get_or_insert(index);
                Ok(())
            }
        };
        done.map_or_else(Outcome::Refused, |()| Outcome::Done)
    }

    /// Notes that the entry `index` was applied, one without a command as well.
    ///
    /// # Panics
    /// As [`Metadata::apply`].
    pub fn advance(&mut self, index: u64) {
        assert!(index > self.index, "entry {index} comes after {}", self.index);
        self.index = index;
    }

    /// Requests go elsewhere from the entry that is being applied on.
    fn reroute(&mut self) {
        self.routes = self.index;
    }

    fn join(&mut self, join: &Join) -> Outcome {
        if join.cluster != self.settings.name {
            return Outcome::Refused(Refusal::Taken);
        }
        if self.left.contains(&join.storage) && !is_planted("left-returns") {
            return Outcome::Refused(Refusal::HasLeft);
        }
        let node = self.member_of(join.storage).unwrap_or_else(|| self.add_member(join.clone()));
        // One that was let in and started again before it heard so may have another address.
        self.start(node, (join.boot, join.storage), &join.address, &join.endpoint)
    }

    fn add_member(&mut self, join: Join) -> NodeId {
        let node = NodeId(self.next_node);
        self.next_node += 1;
        self.members.insert(node, Member::new(join));
        node
    }

    fn register(&mut self, register: &Register) -> Outcome {
        let Some(member) = self.members.get_mut(&register.node) else {
            return Outcome::Refused(Refusal::NoMember);
        };
        if member.storage != register.storage {
            return Outcome::Refused(Refusal::OtherStorage);
        }
        let Register { node, boot, data, address, endpoint, .. } = register;
        self.start(*node, (*boot, *data), address, endpoint)
    }

    /// A process runs for a member: a new incarnation, unless it said so before. The one before
    /// it had to let go of its data directory, so it is over, and so are its roles.
    fn start(
        &mut self,
        node: NodeId,
        (boot, data): (Boot, StorageId),
        address: &str,
        endpoint: &str,
    ) -> Outcome {
        let Some(member) = self.members.get_mut(&node) else {
            return Outcome::Refused(Refusal::NoMember);
        };
        if let Some(incarnation) = member.incarnation.filter(|_| member.boot == boot) {
            return Outcome::Registered(node, incarnation);
        }
        // What a process said that is over may come late. It must not end the one that runs, which
        // may hold a lease.
        if boot < member.boot {
            return Outcome::Refused(Refusal::NotCurrent);
        }
        address.clone_into(&mut member.address);
        endpoint.clone_into(&mut member.endpoint);
        let incarnation = Incarnation(self.index);
        (member.boot, member.data, member.incarnation) = (boot, data, Some(incarnation));
        member.stopping = false;
        self.shut_down = None;
        let members = &self.members;
        let today = |copy: Copy| today(members, copy);
        for group in self.groups.values_mut().filter(|_| !is_planted("keep-roles")) {
            let local_reads = group.settings.local_reads;
            group.segments.iter_mut().for_each(|one| one.end_of(node, local_reads, &today));
        }
        self.reroute();
        Outcome::Registered(node, incarnation)
    }

    fn create_group(&mut self, create: &CreateGroup) -> Result<(), Refusal> {
        if let Some(group) = self.groups.get(&create.group) {
            return if group.settings == create.settings { Ok(()) } else { Err(Refusal::Taken) };
        }
        if create.owners.len() != usize::from(self.settings.segments) {
            return Err(Refusal::NotAllowed);
        }
        let segments: Result<Vec<Segment>, Refusal> =
            create.owners.iter().map(|owners| self.new_segment(create, owners)).collect();
        let settings = create.settings.clone();
        self.groups.insert(create.group, Group { settings, segments: segments? });
        self.reroute();
        Ok(())
    }

    /// A segment without entries: who owns it is in sync.
    fn new_segment(&self, create: &CreateGroup, owners: &[NodeId]) -> Result<Segment, Refusal> {
        if !are_distinct(owners.iter().copied()) {
            return Err(Refusal::NotAllowed);
        }
        let copy = |node: &NodeId| self.copy_of(*node, create.settings.persist);
        let insync: Option<Vec<Copy>> = owners.iter().map(copy).collect();
        let insync = insync.filter(|insync| !insync.is_empty()).ok_or(Refusal::NotCurrent)?;
        Ok(Segment::new(create.epoch, insync, create.now))
    }

    /// Somebody has to take what it has, so the last one with data that has not said so cannot leave:
    /// witnesses take nothing.
    fn leave(&mut self, node: NodeId) -> Result<(), Refusal> {
        let stays = |(other, member): (&NodeId, &Member)| {
            *other != node && !member.leaving && member.has_data()
        };
        let is_last = !self.members.iter().any(stays);
        let member = self.members.get_mut(&node).ok_or(Refusal::NoMember)?;
        if is_last && !member.leaving {
            return Err(Refusal::NotAllowed);
        }
        member.leaving = true;
        Ok(())
    }

    /// What a process said that is over may come when the next one runs, which goes on.
    fn stop(&mut self, node: NodeId, boot: Boot) -> Result<(), Refusal> {
        let member = self.members.get_mut(&node).ok_or(Refusal::NoMember)?;
        if member.boot != boot {
            return Err(Refusal::NotCurrent);
        }
        member.stopping = true;
        Ok(())
    }

    /// Forgets a member that has nothing any more.
    fn remove(&mut self, node: NodeId) -> Result<(), Refusal> {
        if !self.members.get(&node).ok_or(Refusal::NoMember)?.leaving {
            return Err(Refusal::NotAllowed);
        }
        let mut segments = self.groups.values().flat_map(|group| &group.segments);
        if segments.any(|segment| segment.names(node)) {
            return Err(Refusal::NotAllowed);
        }
        self.forget(node)
    }

    /// Its disk is that of nobody from here on.
    fn forget(&mut self, node: NodeId) -> Result<(), Refusal> {
        let member = self.members.remove(&node).ok_or(Refusal::NoMember)?;
        let segments = self.groups.values_mut().flat_map(|group| &mut group.segments);
        segments.for_each(|segment| segment.stale.retain(|stale| stale.copy.node != node));
        self.left.push_back(member.storage);
        if self.left.len() > LEFT_MAX {
            self.left.pop_front();
        }
        self.reroute();
        Ok(())
    }

    /// The whole state as bytes, the same on all members that applied the same entries.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_u32(&mut out, FORMAT);
        self.settings.encode(&mut out);
        put_u64(&mut out, self.index);
        put_u64(&mut out, self.routes);
        put_u64(&mut out, self.next_node);
        put_many(&mut out, self.members.iter(), |out, (node, member)| {
            node.encode(out);
            member.encode(out);
        });
        put_many(&mut out, self.groups.iter(), |out, (id, group)| {
            id.encode(out);
            group.encode(out);
        });
        put_many(&mut out, self.left.iter(), |out, storage| storage.encode(out));
        put_option(&mut out, self.shut_down, put_u64);
        out
    }

    /// The state of a snapshot; `None` when the bytes are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        whole(bytes, |input| {
            (input.u32()? == FORMAT).then_some(())?;
            let settings = Settings::decode(input)?;
            let (index, routes, next_node) = (input.u64()?, input.u64()?, input.u64()?);
            let members =
                input.many(|input| Some((NodeId::decode(input)?, Member::decode(input)?)))?;
            let groups =
                input.many(|input| Some((GroupId::decode(input)?, Group::decode(input)?)))?;
            let left = input.many(StorageId::decode)?.into();
            let shut_down = input.option(Input::u64)?;
            let (members, groups) = (members.into_iter().collect(), groups.into_iter().collect());
            Some(Metadata { settings, index, routes, next_node, members, groups, left, shut_down })
        })
    }
}

impl Settings {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.cluster.encode(out);
        crate::bytes::put_bytes(out, self.name.as_bytes());
        crate::bytes::put_u16(out, self.segments);
        put_u32(out, self.lease_ms);
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Settings {
            cluster: ClusterId::decode(input)?,
            name: input.text()?,
            segments: input.u16()?,
            lease_ms: input.u32()?,
        })
    }
}

/// Whether nobody is named twice: a member has one copy of a segment.
fn are_distinct(mut nodes: impl Iterator<Item = NodeId>) -> bool {
    let mut seen = BTreeSet::new();
    nodes.all(|node| seen.insert(node))
}

/// The epoch that the segments of a new group begin with: one that is made again after all was
/// lost repeats no version (DATA_PATH section 0).
#[must_use]
pub fn first_epoch(now: Timestamp) -> Epoch {
    /// 2025-01-01, ms.
    const YEAR_2025: Timestamp = 1_735_689_600_000;
    let minutes = now.saturating_sub(YEAR_2025) / 60_000;
    Epoch(u32::try_from(minutes).unwrap_or(u32::MAX).clamp(1, 1 << 23))
}

#[cfg(test)]
mod tests;
