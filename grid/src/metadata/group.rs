//! Groups of caches that share owners, and their segments.

use isogrid_engine::Timestamp;

use crate::bytes::{Input, put_many, put_option, put_u8, put_u64};
use crate::id::{Copy, Epoch, NodeId};
use crate::mutant::is_planted;

/// How many copies a segment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// So many, the primary included. At least 1: bytes have no other.
    Count(u8),
    /// One on each member that has data.
    All,
}

/// When a primary answers a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// When every copy in sync has it (R17).
    #[default]
    Sync,
    /// At once; the copies get it behind that, so a failover may lose the last of it (R37).
    Async,
}

/// What a member's disk has of its copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Persist {
    /// Nothing: a copy ends with its process.
    #[default]
    None,
    /// Everything, a moment after it is acknowledged: a copy counts as long as its process lives,
    /// and what the next one finds counts when no such process is left.
    Async,
    /// Everything, before it is acknowledged: a copy is what is on the disk, and outlives its process.
    Sync,
}

impl Persist {
    /// Whether there is a disk.
    #[must_use]
    pub fn is_kept(self) -> bool {
        self != Persist::None
    }

    /// As the configuration has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Persist::None => "none",
            Persist::Async => "async",
            Persist::Sync => "sync",
        }
    }

    fn encode(self, out: &mut Vec<u8>) {
        put_u8(
            out,
            match self {
                Persist::None => 0,
                Persist::Sync => 1,
                Persist::Async => 2,
            },
        );
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        match input.u8()? {
            0 => Some(Persist::None),
            1 => Some(Persist::Sync),
            2 => Some(Persist::Async),
            _ => None,
        }
    }
}

/// What the caches of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// How many copies a segment has.
    pub owners: Owners,
    /// What is on disks.
    pub persist: Persist,
    /// Backups answer reads as well (R24), so that one may be dropped only when its lease is over.
    pub local_reads: bool,
    /// A primary refuses writes with fewer copies in sync, its own included.
    pub min_insync: u8,
    /// When a primary answers a write.
    pub acks: Acks,
}

impl GroupSettings {
    /// How many copies a segment should have where so many members have data.
    #[must_use]
    pub fn copies(&self, members: usize) -> usize {
        match self.owners {
            Owners::Count(count) => usize::from(count).min(members),
            Owners::All => members,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u8(
            out,
            match self.owners {
                Owners::Count(count) => count,
                Owners::All => 0,
            },
        );
        self.persist.encode(out);
        put_u8(out, u8::from(self.local_reads));
        put_u8(out, self.min_insync);
        put_u8(out, u8::from(self.acks == Acks::Async));
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let owners = match input.u8()? {
            0 => Owners::All,
            count => Owners::Count(count),
        };
        let persist = Persist::decode(input)?;
        let (local_reads, min_insync) = (input.bool()?, input.u8()?);
        let acks = if input.bool()? { Acks::Async } else { Acks::Sync };
        Some(GroupSettings { owners, persist, local_reads, min_insync, acks })
    }
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What its caches have in common.
    pub settings: GroupSettings,
    /// Who has which segment.
    pub segments: Vec<Segment>,
}

impl Group {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.settings.encode(out);
        put_many(out, self.segments.iter(), |out, segment| segment.encode(out));
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let settings = GroupSettings::decode(input)?;
        Some(Group { settings, segments: input.many(Segment::decode)? })
    }
}

/// A copy that is being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filling {
    /// Which copy.
    pub copy: Copy,
    /// The entry that began it. A copy that was given up and is filled anew is another one: what
    /// was said of the first does not count for it.
    pub since: u64,
}

/// A copy that was in sync once, and may lack what was acknowledged since (R63).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    /// Which copy.
    pub copy: Copy,
    /// The last epoch in which it was in sync.
    pub epoch: Epoch,
    /// When it ceased to be, by the leader's clock and never before that, ms; of one that ended with its
    /// process ([`Data::Behind`](crate::id::Data)) the last time that is known before.
    pub at: Timestamp,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Rises by one whenever `primary` or `insync` changes, and only then (R3).
    pub epoch: Epoch,
    /// Who serves it; nobody, when no copy can.
    pub primary: Option<NodeId>,
    /// The copies that have everything that was acknowledged. Never empty: where all are lost,
    /// these are the last that had it (R29).
    pub insync: Vec<Copy>,
    /// The copies that are being filled (R41).
    pub syncing: Vec<Filling>,
    /// Who should have it.
    pub target: Vec<NodeId>,
    /// The time below which its clock does not begin in this epoch (R47), ms.
    pub clock_floor: Timestamp,
    /// Everything of a lower version may be lost: it was declared empty once (R29); else 0.
    pub lost_before: u64,
    /// What was acknowledged of a lower version may be lost, and what it had replaced may be there
    /// again: an operator has had a stale copy serve (R63); else 0.
    pub forced_before: u64,
    /// The copies that are in sync no more, and still have what they had then: one of each member at
    /// most. Nobody serves from one unless an operator says so.
    pub stale: Vec<Stale>,
}

impl Stale {
    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (copy, epoch) = (Copy::decode(input)?, Epoch::decode(input)?);
        Some(Stale { copy, epoch, at: input.u64()? })
    }
}

impl Filling {
    fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Filling { copy: Copy::decode(input)?, since: input.u64()? })
    }
}

impl Segment {
    /// One without entries.
    pub(super) fn new(epoch: Epoch, insync: Vec<Copy>, clock_floor: Timestamp) -> Self {
        let target: Vec<NodeId> = insync.iter().map(|copy| copy.node).collect();
        let primary = target.first().copied();
        let (syncing, stale) = (Vec::new(), Vec::new());
        let (lost_before, forced_before) = (0, 0);
        Segment {
            epoch,
            primary,
            insync,
            syncing,
            target,
            clock_floor,
            lost_before,
            forced_before,
            stale,
        }
    }

    /// Whether this member's copy is in sync.
    #[must_use]
    pub fn is_insync(&self, node: NodeId) -> bool {
        self.insync.iter().any(|copy| copy.node == node)
    }

    /// Whether the member is named anywhere.
    #[must_use]
    pub fn names(&self, node: NodeId) -> bool {
        let filling = self.syncing.iter().map(|filling| &filling.copy);
        let mut copies = self.insync.iter().chain(filling);
        copies.any(|copy| copy.node == node) || self.target.contains(&node)
    }

    /// A process of the member is over, or the member is: it serves nothing any more, and is not being
    /// filled. `today` says what there is of a copy now. The last copies stay listed, so that nobody
    /// takes an older one for them.
    pub(super) fn end_of(
        &mut self,
        node: NodeId,
        local_reads: bool,
        today: &impl Fn(Copy) -> Option<Copy>,
    ) {
        let was = (self.primary, self.insync.clone());
        let is_gone = |copy: &Copy| copy.node == node && today(*copy).is_none();
        self.primary = self.primary.filter(|primary| *primary != node);
        self.syncing.retain(|filling| filling.copy.node != node);
        self.stale.retain(|stale| !is_gone(&stale.copy));
        if !self.insync.iter().all(is_gone) {
            self.insync.retain(|copy| !is_gone(copy));
        }
        self.lag(node, today);
        self.come_back(local_reads, today);
        if was != (self.primary, self.insync.clone()) {
            self.epoch.0 += 1;
        }
    }

    /// What is on the member's disk may lack the end of what its process had: it is a stale copy.
    fn lag(&mut self, node: NodeId, today: &impl Fn(Copy) -> Option<Copy>) {
        let of_node = self.stale.iter_mut().filter(|stale| stale.copy.node == node);
        of_node.for_each(|stale| stale.copy = today(stale.copy).unwrap_or(stale.copy));
        let ended = self.insync.iter().filter(|copy| copy.node == node);
        let left = ended.filter_map(|copy| today(*copy).filter(|left| left != copy));
        let left: Vec<Copy> = left.collect();
        left.into_iter().for_each(|copy| self.fall_behind(copy));
    }

    fn fall_behind(&mut self, copy: Copy) {
        self.stale.retain(|stale| stale.copy.node != copy.node);
        self.stale.push(Stale { copy, epoch: self.epoch, at: self.clock_floor });
    }

    /// When no process is left that may have had everything, what is on the disks of those in sync
    /// counts: each has the front part of one log, and the longest of them is taken up (R30, R62).
    /// Where backups answer reads it is one of them: another one could show what is older.
    fn come_back(&mut self, local_reads: bool, today: &impl Fn(Copy) -> Option<Copy>) {
        let is_there = |copy: &Copy| today(*copy) == Some(*copy);
        if self.insync.iter().any(is_there) && !is_planted("first-back") {
            return;
        }
        let mut left: Vec<Copy> = self.insync.iter().filter_map(|copy| today(*copy)).collect();
        let others = left.split_off(if local_reads { left.len().min(1) } else { left.len() });
        if !left.is_empty() {
            self.stale.retain(|stale| !left.contains(&stale.copy));
            self.insync = left;
            others.into_iter().for_each(|copy| self.fall_behind(copy));
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.epoch.encode(out);
        put_option(out, self.primary, |out, node| node.encode(out));
        put_many(out, self.insync.iter(), |out, copy| copy.encode(out));
        put_many(out, self.syncing.iter(), |out, filling| {
            filling.copy.encode(out);
            put_u64(out, filling.since);
        });
        put_many(out, self.target.iter(), |out, node| node.encode(out));
        put_u64(out, self.clock_floor);
        put_u64(out, self.lost_before);
        put_u64(out, self.forced_before);
        put_many(out, self.stale.iter(), |out, stale| {
            stale.copy.encode(out);
            stale.epoch.encode(out);
            put_u64(out, stale.at);
        });
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Segment {
            epoch: Epoch::decode(input)?,
            primary: input.option(NodeId::decode)?,
            insync: input.many(Copy::decode)?,
            syncing: input.many(Filling::decode)?,
            target: input.many(NodeId::decode)?,
            clock_floor: input.u64()?,
            lost_before: input.u64()?,
            forced_before: input.u64()?,
            stale: input.many(Stale::decode)?,
        })
    }
}
