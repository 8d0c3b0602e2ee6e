//! Versions that come back with the sequence numbers that they had.

use super::super::observer::EventKind;
use super::{
    Draft, Error, Found, KeyHash, Locked, Place, Version, VersionPtr, Visible, version_at,
};
use crate::env::Timestamp;
use crate::sync::Ordering;

impl<'t> Locked<'t> {
    /// The next write gets a higher sequence number than `seq`. All up to it counts as published,
    /// unless there are prepared writes: then it will with the write after these.
    pub fn raise_seq(&mut self, seq: u64) {
        self.w.seq = self.w.seq.max(seq);
        if self.w.pending.is_empty() {
            self.segment.committed.store(self.w.seq, Ordering::Release);
        }
    }

    /// The sequence number of the last write.
    pub fn seq(&self) -> u64 {
        self.w.seq
    }

    /// So many entries are about to come.
    pub fn reserve(&mut self, entries: usize) {
        self.w.grower.reserve(entries);
    }

    /// Whether a sequence number can be given again: it was published, and not cleared since.
    pub fn was_published(&self, seq: u64) -> bool {
        seq <= self.segment.committed.load(Ordering::Relaxed)
    }

    /// Whether a clear came after a sequence number.
    pub fn was_cleared(&self, seq: u64) -> bool {
        seq <= self.segment.cleared.load(Ordering::Relaxed)
    }

    /// Stores a version that was published before, under its old number, where the key has none.
    /// Readers see it at once: its number is below the watermark. It hides nothing and nothing
    /// can take it back, so it links to none and waits for none.
    pub fn put_back(
        &mut self,
        hash: KeyHash,
        draft: Draft<'_>,
        seq: u64,
        accessed: Timestamp,
    ) -> Result<(), Error> {
        let region = self.shared.region_of(draft.key);
        self.put_back_over(hash, draft, seq, accessed)?;
        self.evict_surplus(region, 0);
        Ok(())
    }

    /// As [`Locked::put_back`], for an entry that somebody waits for: nothing is evicted after it,
    /// since that could be the entry itself. What is too much goes ahead of it, and with later writes.
    pub fn bring_back(
        &mut self,
        hash: KeyHash,
        draft: Draft<'_>,
        seq: u64,
        accessed: Timestamp,
    ) -> Result<(), Error> {
        let region = self.shared.region_of(draft.key);
        self.evict_surplus(region, draft.charge(self.shared.allocator));
        self.put_back_over(hash, draft, seq, accessed)
    }

    fn put_back_over(
        &mut self,
        hash: KeyHash,
        draft: Draft<'_>,
        seq: u64,
        accessed: Timestamp,
    ) -> Result<(), Error> {
        self.drain_reads();
        let region = self.shared.region_of(draft.key);
        self.make_room(hash, region, None, &draft)?;
        let slot = self.take_slot(region)?;
        let pointer = VersionPtr::new(&Draft { linked: false, ..draft }, slot, seq, accessed);
        self.w.grower.insert(&self.segment.index, hash.index, pointer.to_bits());
        self.order(hash, slot, region, None, pointer);
        if let Some(version) = version_at(pointer.to_bits()) {
            self.tell_write(version, None);
        }
        self.settle();
        self.shared.watch_pressure(region);
        Ok(())
    }

    /// Stores a version that was published before in the place of an older one, which it replaced
    /// before; false where it has no such place. What has no room for it goes all the same: it is not
    /// what the key holds.
    pub fn replace_again(
        &mut self,
        hash: KeyHash,
        older: (Place<'t>, Version<'t>),
        draft: Draft<'_>,
        seq: u64,
        accessed: Timestamp,
    ) -> bool {
        let (_, old) = older;
        if old.seq() > seq || self.is_dead(old) || old.is_linked() {
            return false;
        }
        self.drain_reads();
        let (slot, region) = (old.slot(), self.w.slots.region(old.slot()));
        let room = self.make_room(hash, region, Some(older), &draft);
        let Ok(Some((place, old))) = room else { return false };
        let charge = old.charge(self.shared.allocator);
        let pointer = VersionPtr::new(&Draft { linked: false, ..draft }, slot, seq, accessed);
        self.w.grower.replace(hash.index, place, pointer.to_bits());
        self.order(hash, slot, region, Some((old, charge)), pointer);
        if let Some(version) = version_at(pointer.to_bits()) {
            self.tell_write(version, Some(old));
        }
        self.retire(place.pointer, charge);
        self.settle();
        self.shared.watch_pressure(region);
        self.evict_surplus(region, 0);
        true
    }

    /// Removes what was `found` as it was removed under this number before.
    pub fn remove_again(&mut self, found: Found<'t>, seq: u64) {
        if let Some((_, old)) = found
            && old.seq() < seq
            && !old.is_tombstone()
        {
            let kept = self.keep_for_telling();
            self.take_out(old, true);
            self.tell_gone(EventKind::Remove, old);
            drop(kept);
            self.settle();
        }
    }

    /// Removes every entry. Only while nobody reads or writes.
    pub fn remove_all(&mut self) {
        let mut from = Some(0);
        while let Some(at) = from {
            let mut gone = Vec::new();
            from = self.scan(at, |version| gone.push(version));
            gone.into_iter().for_each(|version| self.take_out(version, true));
        }
        self.settle();
    }

    /// Stores a version under a new number; its idle time goes on from `accessed`.
    pub fn put_anew(
        &mut self,
        hash: KeyHash,
        found: Found<'t>,
        draft: Draft<'_>,
        accessed: Timestamp,
    ) -> Result<(), Error> {
        let (key, idles) = (draft.key, draft.max_idle.is_some());
        self.put(hash, found, draft, Visible::Now)?;
        if idles && let Some((_, version)) = self.find(hash, key) {
            version.touch_idle(accessed);
            self.schedule(version.slot(), version);
            self.note_due();
        }
        Ok(())
    }
}
