//! Copies that have fallen behind, and how one of them serves again when an operator says so (R63).
//! The metadata know whose they are and since when; how far they are only their members know.

use std::collections::BTreeSet;
use std::time::Duration;

use isogrid_engine::Timestamp;
use isogrid_grid::id::NodeId;
use isogrid_grid::metadata::{Metadata, Segment, Stale};
use isogrid_grid::segment::WALL_SKEW_MAX;
use serde::Serialize;

use super::driver::Input;
use super::frame::Done;
use super::transport::Lane;
use super::{Answer, CacheStatus, Cluster, MemberStatus, Status};

/// What a question stands for in the place of a cache's name: how far the copies of a cache are that
/// the member has. No cache has this name.
pub(super) const HOW_FAR: &str = "$how-far";
/// How long a member may take to answer a question.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// A copy that was in sync once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StaleStatus {
    /// Whose it is.
    pub member: u64,
    /// The last epoch in which it was in sync.
    pub epoch: u32,
    /// The number of the last write that it has; none while its member has not said so.
    pub seq: Option<u64>,
    /// How long ago it was in sync, ms.
    pub age_ms: u64,
}

/// A copy that is to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promoted {
    /// Of which segment.
    pub segment: usize,
    /// In which epoch that is: in another one nothing is done.
    pub epoch: u32,
    /// Whose copy.
    pub member: u64,
}

impl StaleStatus {
    pub(super) fn of(stale: &Stale, now: Timestamp) -> StaleStatus {
        let since = stale.at.saturating_sub(WALL_SKEW_MAX);
        StaleStatus {
            member: stale.copy.node.0,
            epoch: stale.epoch.0,
            seq: None,
            age_ms: now.saturating_sub(since),
        }
    }
}

/// The members whose copies are in sync, and still there as far as anybody knows.
pub(super) fn awaited(metadata: &Metadata, segment: &Segment) -> Vec<u64> {
    let there = segment.insync.iter().filter(|copy| metadata.is_current(**copy));
    there.map(|copy| copy.node.0).collect()
}

impl Cluster {
    /// What a member answers to a question, if it does.
    pub(super) async fn ask_member(
        &self,
        member: &MemberStatus,
        (question, about): (&str, &str),
    ) -> Option<Answer> {
        let transport = self.transport.get()?;
        let to = (NodeId(member.member), &*member.address);
        let (asked, frame) = self.requests.question(to, question, about.as_bytes());
        let is_sent = transport.send(&member.address, Lane::Requests, &frame.frame).is_ok();
        let limit = if is_sent { ANSWERS_WITHIN } else { Duration::ZERO };
        let answer = tokio::time::timeout(limit, asked).await;
        self.requests.not_sent(&frame);
        answer.ok().filter(|answer| answer.done != Done::Unknown)
    }

    /// Asks the members that have stale copies of what nobody serves how far these are.
    pub async fn ask_how_far(&self, status: &mut Status) {
        let (us, members) = (status.member, status.members.clone());
        for cache in &mut status.caches {
            let having: BTreeSet<u64> = cache.stale().map(|stale| stale.member).collect();
            for member in members.iter().filter(|one| having.contains(&one.member)) {
                let bytes = if us == Some(member.member) {
                    self.how_far(&cache.cache)
                } else if member.lost {
                    continue;
                } else {
                    let answer = self.ask_member(member, (HOW_FAR, &cache.cache)).await;
                    answer.map(|answer| answer.bytes.to_vec()).unwrap_or_default()
                };
                cache.note_how_far(member.member, &bytes);
            }
        }
    }

    /// The numbers of the last writes that this member's copies have, by their segments: 8 bytes each.
    pub(super) fn how_far(&self, cache: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(copies) = self.cache(cache).and_then(|shared| shared.copies()) {
            copies.each(|_, replica| bytes.extend_from_slice(&replica.last().to_le_bytes()));
        }
        bytes
    }

    /// Asks the leader to have these copies of a cache serve: stale ones, or empty ones where nobody
    /// has one any more. It does so when none in sync can come back in time; whether it was done
    /// shows in the status.
    pub fn force_promote(&self, cache: &str, all: &[Promoted]) {
        let Some(shared) = self.cache(cache) else { return };
        let _ = self.inputs.send(Input::Promote(shared.group, all.to_vec()));
    }
}

impl CacheStatus {
    /// The stale copies of what nobody serves.
    pub fn stale(&self) -> impl Iterator<Item = &StaleStatus> {
        self.map.iter().filter(|one| one.primary.is_none()).flat_map(|one| &one.stale)
    }

    fn note_how_far(&mut self, member: u64, bytes: &[u8]) {
        for (segment, seq) in self.map.iter_mut().zip(bytes.as_chunks().0) {
            let stale = segment.stale.iter_mut().filter(|stale| stale.member == member);
            stale.for_each(|stale| stale.seq = Some(u64::from_le_bytes(*seq)));
        }
    }
}
