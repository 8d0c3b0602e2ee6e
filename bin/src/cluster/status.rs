//! What there is to say of the cluster, as one member sees it.

use std::collections::BTreeSet;

use isogrid_engine::Timestamp;
use isogrid_grid::control::Control;
use isogrid_grid::id::{NodeId, SegmentId};
use isogrid_grid::metadata::{Member, Metadata, Segment};
use serde::Serialize;

use super::Cluster;
use super::balance::Speed;
use super::stale::{StaleStatus, awaited};

/// The cluster, as one member sees it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// The cluster's name.
    pub cluster: String,
    /// Its number; empty when the node belongs to none yet.
    pub id: String,
    /// Which member answers.
    pub member: Option<u64>,
    /// Whether the member may serve now.
    pub has_lease: bool,
    /// Whether members speak TLS with each other.
    pub peer_tls: bool,
    /// Whether the cluster was shut down, and its processes are about to end.
    pub shut_down: bool,
    /// Who leads.
    pub leader: Option<u64>,
    /// Raft's term.
    pub term: u64,
    /// How far the metadata are.
    pub index: u64,
    /// All members.
    pub members: Vec<MemberStatus>,
    /// The caches of the cluster.
    pub caches: Vec<CacheStatus>,
    /// How fast copies are filled.
    #[serde(skip)]
    pub speed: Speed,
}

/// A member.
#[derive(Debug, Clone, Serialize)]
pub struct MemberStatus {
    /// Its number.
    pub member: u64,
    /// Where peers reach it.
    pub address: String,
    /// What it is there for: data, or witness, which has none; empty while it is no member.
    pub role: &'static str,
    /// voter or learner; empty when it is neither yet.
    pub raft: &'static str,
    /// Whether a process has registered for it.
    pub registered: bool,
    /// Whether the member that answers has lost its connection to it, and heard nothing since.
    pub lost: bool,
    /// Whether it is about to leave.
    pub leaving: bool,
    /// Whether its process is about to end, to be started again.
    pub stopping: bool,
    /// Segments that it serves, of all caches.
    pub primaries: usize,
    /// Copies in sync that it has beside.
    pub backups: usize,
    /// Copies of it that are being filled.
    pub filling: usize,
}

/// A cache.
#[derive(Debug, Clone, Serialize)]
pub struct CacheStatus {
    /// Its name.
    pub cache: String,
    /// How many segments it has.
    pub segments: usize,
    /// How many of them somebody serves.
    pub served: usize,
    /// How many nobody serves because every copy that was in sync is gone for good: its process
    /// has ended, or its disk is lost or damaged.
    pub lost: usize,
    /// How many have as many copies in sync as they should.
    pub complete: usize,
    /// How many copies are being filled.
    pub filling: usize,
    /// Segments for which this member has a primary that takes writes.
    pub active_here: usize,
    /// Copies in sync without which a primary refuses writes.
    pub min_insync: usize,
    /// What is on the disks of members, as the cluster has it: none, async or sync; empty while it is
    /// not there yet.
    pub persist: &'static str,
    /// About how many bytes a copy of a segment has: the average of this member's; 0 without any.
    #[serde(skip)]
    pub segment_bytes: u64,
    /// Who has which segment, by their numbers.
    #[serde(skip)]
    pub map: Vec<SegmentStatus>,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentStatus {
    /// Its epoch: it rises when somebody else serves it, or another copy is in sync.
    pub epoch: u32,
    /// Who serves it.
    pub primary: Option<u64>,
    /// The members whose copies have everything, the primary's among them.
    pub insync: Vec<u64>,
    /// The members whose copies are being filled.
    pub syncing: Vec<u64>,
    /// The members that should have it, the one that should serve it first.
    pub target: Vec<u64>,
    /// The members whose copies are in sync and not gone for good: those that may serve it yet.
    pub awaited: Vec<u64>,
    /// Copies that were in sync once, and have what they had then.
    pub stale: Vec<StaleStatus>,
}

impl Status {
    /// Of a node that belongs to no cluster yet.
    pub(super) fn stranger(cluster: &str, address: &str) -> Status {
        let us = MemberStatus {
            member: 0,
            address: address.to_owned(),
            role: "",
            raft: "",
            registered: false,
            lost: false,
            leaving: false,
            stopping: false,
            primaries: 0,
            backups: 0,
            filling: 0,
        };
        Status { cluster: cluster.to_owned(), members: vec![us], ..Status::default() }
    }

    /// Of a member.
    pub(super) fn of(control: &Control, cluster: &Cluster) -> Status {
        let metadata = control.metadata();
        let (term, leader) = control.leader();
        let members = metadata.members().iter();
        let wall = cluster.now().wall;
        let members =
            members.map(|(node, member)| MemberStatus::of(control, cluster, *node, member));
        Status {
            cluster: metadata.settings().name.clone(),
            id: metadata.settings().cluster.to_string(),
            member: Some(control.identity().node.0),
            has_lease: cluster.may_serve(),
            peer_tls: cluster.peer_tls().is_some(),
            shut_down: control.was_shut_down(),
            leader: leader.map(|leader| leader.0),
            term,
            index: metadata.index(),
            members: members.collect(),
            caches: cluster.caches.iter().map(|one| CacheStatus::of(control, one, wall)).collect(),
            speed: Speed::default(),
        }
    }

    /// Whether every cache of the cluster is served whole.
    #[must_use]
    pub fn is_served_whole(&self) -> bool {
        self.member.is_some() && self.caches.iter().all(CacheStatus::is_served_whole)
    }

    /// The member of this number (`2`, `n2`) or address.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<&MemberStatus> {
        let number = text.strip_prefix('n').unwrap_or(text).parse().ok();
        self.members.iter().find(|one| number == Some(one.member) || one.address == text)
    }

    /// Why the cluster is not as it should be, a sentence each; empty when it is.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.leader.is_none() {
            all.push("no leader is known".to_owned());
        }
        let lost = self.members.iter().filter(|member| member.lost);
        all.extend(lost.map(|one| format!("the connection to the member {} is lost", one.member)));
        for one in &self.caches {
            let CacheStatus { cache, segments, served, complete, .. } = one;
            if *segments == 0 {
                all.push(format!("the cache {cache} is not there yet"));
            } else if served < segments {
                let missing = segments - served;
                let why = one.why_unserved();
                all.push(format!(
                    "nobody serves {missing} of {segments} segments of {cache}: {why}"
                ));
            } else if complete < segments {
                let missing = segments - complete;
                all.push(format!(
                    "copies are missing of {missing} of {segments} segments of {cache}"
                ));
            }
        }
        all
    }

    /// Why a member must not be stopped now, a sentence each; empty when nothing is lost by it: each
    /// segment that it has is in sync on enough others, and they are a majority of the voters.
    #[must_use]
    pub fn dangers_of_stopping(&self, member: u64) -> Vec<String> {
        let mut all = Vec::new();
        let gone = |other: &&MemberStatus| other.lost || other.member == member;
        let gone: BTreeSet<u64> = self.members.iter().filter(gone).map(|one| one.member).collect();
        for cache in &self.caches {
            let has_few = |segment: &&SegmentStatus| {
                let left = segment.insync.iter().filter(|other| !gone.contains(other)).count();
                segment.insync.contains(&member) && left < cache.min_insync.max(1)
            };
            let few = cache.map.iter().filter(has_few).count();
            if few > 0 {
                let name = &cache.cache;
                all.push(format!("{few} segments of {name} would have too few copies in sync"));
            }
        }
        let voters = || self.members.iter().filter(|one| one.raft == "voter");
        let (total, left) = (voters().count(), voters().filter(|one| !gone.contains(&one.member)));
        let left = left.count();
        let is_voter = voters().any(|one| one.member == member);
        if is_voter && left * 2 <= total {
            all.push(format!("{left} of {total} voters would be left, which is no majority"));
        }
        all
    }
}

impl MemberStatus {
    /// How it is, in a word: joining, up, stopping, lost or leaving.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            MemberStatus { leaving: true, .. } => "leaving",
            MemberStatus { registered: false, .. } => "joining",
            MemberStatus { lost: true, .. } => "lost",
            MemberStatus { stopping: true, .. } => "stopping",
            _ => "up",
        }
    }

    fn of(control: &Control, cluster: &Cluster, node: NodeId, member: &Member) -> MemberStatus {
        let metadata = control.metadata();
        let segments = || metadata.groups().values().flat_map(|group| &group.segments);
        let primaries = segments().filter(|segment| segment.primary == Some(node)).count();
        let insync = segments().filter(|segment| segment.is_insync(node)).count();
        let fills = segments().flat_map(|segment| &segment.syncing);
        let voting = control.voting();
        MemberStatus {
            member: node.0,
            address: member.address.clone(),
            role: member.role.name(),
            raft: match node {
                node if voting.voters.contains(&node) => "voter",
                node if voting.learners.contains(&node) => "learner",
                _ => "",
            },
            registered: member.incarnation.is_some(),
            lost: node != control.identity().node && cluster.requests.is_away(&member.address),
            leaving: member.leaving,
            stopping: member.stopping,
            primaries,
            backups: insync.saturating_sub(primaries),
            filling: fills.filter(|filling| filling.copy.node == node).count(),
        }
    }
}

impl CacheStatus {
    fn of(control: &Control, shared: &super::Shared, now: Timestamp) -> CacheStatus {
        let group = control.metadata().groups().get(&shared.group);
        let segments = group.map_or(&[][..], |group| &group.segments);
        let members = control.metadata().members().values();
        let has_data =
            |member: &&Member| member.incarnation.is_some() && member.has_data() && !member.leaving;
        let running = members.filter(has_data).count();
        let copies = shared.settings.copies(running);
        let us = control.identity().node;
        let copies_here = segments.iter().filter(|segment| segment.is_insync(us)).count() as u64;
        let is_lost = |segment: &&Segment| {
            let mut insync = segment.insync.iter();
            segment.primary.is_none() && !insync.any(|copy| control.metadata().is_current(*copy))
        };
        let mut active_here = 0;
        if let Some(copies) = shared.copies() {
            copies.each(|_: SegmentId, replica| active_here += usize::from(replica.is_active()));
        }
        let map = segments.iter().map(|one| SegmentStatus::of(one, control.metadata(), now));
        let map: Vec<SegmentStatus> = map.collect();
        CacheStatus {
            cache: shared.name.clone(),
            segments: segments.len(),
            served: segments.iter().filter(|segment| segment.primary.is_some()).count(),
            lost: segments.iter().filter(is_lost).count(),
            complete: map.iter().filter(|segment| segment.insync.len() >= copies).count(),
            filling: segments.iter().map(|segment| segment.syncing.len()).sum(),
            active_here,
            min_insync: usize::from(shared.settings.min_insync),
            persist: group.map_or("", |group| group.settings.persist.name()),
            segment_bytes: shared.table.usage().bytes.checked_div(copies_here).unwrap_or(0),
            map,
        }
    }

    /// R63: who could serve what nobody serves.
    fn why_unserved(&self) -> String {
        let unserved = self.map.iter().filter(|segment| segment.primary.is_none());
        let last: BTreeSet<u64> = unserved.flat_map(|segment| &segment.insync).copied().collect();
        let last: Vec<String> = last.iter().map(u64::to_string).collect();
        let mut why = format!("the last copies in sync are those of {}", last.join(", "));
        if self.lost > 0 {
            why += &format!("; of {} segments they are gone", self.lost);
        }
        let of: BTreeSet<u64> = self.stale().map(|stale| stale.member).collect();
        if let Some(age) = self.stale().map(|stale| stale.age_ms).min() {
            let of: Vec<String> = of.iter().map(u64::to_string).collect();
            why += &format!(
                "; stale copies have {}, the newest in sync {} s ago, which serve if you accept the loss \
                 (`isogrid cluster force-promote`)",
                of.join(", "),
                age / 1_000
            );
        }
        why
    }

    fn is_served_whole(&self) -> bool {
        self.segments > 0 && self.served == self.segments
    }
}

impl SegmentStatus {
    fn of(segment: &Segment, metadata: &Metadata, now: Timestamp) -> SegmentStatus {
        let awaited = awaited(metadata, segment);
        // Where one is there, others that are listed still are what processes have left that are over.
        let listed = || segment.insync.iter().map(|copy| copy.node.0).collect();
        SegmentStatus {
            epoch: segment.epoch.0,
            primary: segment.primary.map(|node| node.0),
            insync: if awaited.is_empty() { listed() } else { awaited.clone() },
            syncing: segment.syncing.iter().map(|filling| filling.copy.node.0).collect(),
            target: segment.target.iter().map(|node| node.0).collect(),
            awaited,
            stale: segment.stale.iter().map(|stale| StaleStatus::of(stale, now)).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
