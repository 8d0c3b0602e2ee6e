//! Room: limits and eviction.

use super::super::observer::EventKind;
use super::{
    Draft, Error, Found, KeyHash, Lack, Locked, Version, View, Writer, count, policy_hash,
    version_at, weight, with_policy,
};
use crate::sync::Ordering;

/// Expired entries that a write takes out itself where nothing may be evicted.
const MAKE_ROOM_BUDGET: usize = 64;

/// A victim whose newest write is not published yet stays, and one that nobody can take over; so
/// many of them are passed over.
const KEPT_VICTIMS_MAX: usize = 8;

impl<'t> Locked<'t> {
    /// Refuses a write that does not fit where nothing may be evicted for it. What was found may
    /// be elsewhere afterwards.
    pub(super) fn make_room(
        &mut self,
        hash: KeyHash,
        region: u8,
        found: Found<'t>,
        draft: &Draft<'_>,
    ) -> Result<Found<'t>, Error> {
        if self.replays {
            // Whoever took it first had room for it.
            return Ok(found);
        }
        let more = draft.charge(self.shared.allocator);
        if more as u64 > self.account().max_bytes() {
            return Err(self.full());
        }
        if self.shared.evicts(region) {
            return if self.is_stuck(region, more as u64) { Err(Error::Behind) } else { Ok(found) };
        }
        let old = found.map_or(0, |(_, old)| old.charge(self.shared.allocator));
        let more = more.saturating_sub(old) as u64;
        let over = |locked: &Self| {
            locked.account().is_over(0, more) || locked.account().is_region_over(region, more)
        };
        if more > 0 && over(self) {
            self.expire(MAKE_ROOM_BUDGET);
            if over(self) {
                return Err(self.full());
            }
            return Ok(self.find(hash, draft.key));
        }
        Ok(found)
    }

    /// Whether there is no room for `more` bytes, and nobody takes what would be evicted for them.
    fn is_stuck(&self, region: u8, more: u64) -> bool {
        let Some(backing) = self.shared.backing.get() else { return false };
        let account = self.account();
        let over =
            || account.is_over(account.leaving(), more) || account.is_region_over(region, more);
        !backing.has_room() && over()
    }

    /// Evicts from this segment until the table and the region are within their limits, or the
    /// segment has nothing more to give. `more` are the bytes of the write that asks: a segment
    /// with more than its share makes room for the next such write too, one with less takes that
    /// room. Otherwise the shares, which nothing holds together, would drift apart.
    pub(super) fn evict_surplus(&mut self, region: u8, more: usize) -> Option<Lack> {
        // What is leaving counts against the limit, but what this loop itself sends away must not
        // make it go on: it is as good as free.
        let leaving = self.account().leaving();
        while self.account().is_region_over(region, 0) && self.evict_one(region) {}
        while self.account().is_over(leaving, 0) || self.makes_way(leaving, more) {
            let victim = self.fullest_region();
            if !victim.is_some_and(|victim| self.evict_one(victim)) {
                return self.account().is_over(leaving, 0).then_some(Lack { leaving });
            }
        }
        None
    }

    /// Whether it has more than its share of the table's bytes, and the table no room for `more`.
    pub(super) fn makes_way(&self, leaving: u64, more: usize) -> bool {
        let live = self.account().live();
        let own = u64::try_from(self.w.entry_bytes).unwrap_or(0) + self.w.charged as u64;
        live + leaving + more as u64 > self.account().max_bytes()
            && own * self.shared.segments > live
    }

    /// Evicts on behalf of another segment that had nothing left to give.
    pub fn help_evict(&mut self) -> bool {
        self.drain_reads();
        self.fullest_region().is_some_and(|region| self.evict_one(region))
    }

    /// The region with the most bytes among those that may evict.
    pub(super) fn fullest_region(&self) -> Option<u8> {
        (0..=u8::MAX)
            .take(self.w.policies.len())
            .filter(|region| self.shared.evicts(*region))
            .max_by_key(|region| self.account().region(*region).0)
    }

    pub(super) fn evict_one(&mut self, region: u8) -> bool {
        if self.follows() {
            return false;
        }
        let mut kept = Vec::new();
        let mut evicted = false;
        while kept.len() < KEPT_VICTIMS_MAX {
            let victim = with_policy!(self, region, |policy, view| policy.evict(&view)).flatten();
            let Some(version) = victim.and_then(|slot| version_at(self.w.slots.pointer(slot)))
            else {
                break;
            };
            let published = version.seq() <= self.segment.committed.load(Ordering::Relaxed);
            if !published || !self.hand_over(version) || !self.record_drop(version) {
                kept.push(version);
                continue;
            }
            self.count_eviction(version);
            let kept = self.keep_for_telling();
            self.take_out(version, false);
            self.tell_gone(EventKind::Evict, version);
            drop(kept);
            self.settle_evicted();
            evicted = true;
            break;
        }
        for version in kept {
            let hash = policy_hash(self.shared.hasher.index_hash(version.key()));
            let bytes = weight(version.charge(self.shared.allocator));
            with_policy!(self, region, |p, view| p.insert(version.slot(), hash, bytes, &view));
        }
        evicted
    }

    pub(super) fn settle_evicted(&mut self) {
        self.charge_structures();
        self.note_due();
    }

    pub(super) fn count_eviction(&self, version: Version<'_>) {
        let metrics = &self.segment.metrics;
        count(&metrics.evicted);
        if !self.segment.accesses.get(version.slot()).fetched() {
            count(&metrics.evicted_unfetched);
        }
        if version.deadline().is_some() || version.max_idle().is_some() {
            count(&metrics.evicted_with_ttl);
        }
    }
}
