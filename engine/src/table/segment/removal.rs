//! Removal: deletions, tombstones, and what of an entry becomes garbage.

use super::super::observer::EventKind;
use super::{
    Change, Draft, Error, Found, KeyHash, Locked, Marks, NO_RECORD, Place, Version, VersionPtr,
    View, Visible, Writer, count, signed, version_at, weight, with_policy,
};
use crate::sync::Ordering;

impl<'t> Locked<'t> {
    /// Deletes what was `found`; gives the sequence number of the deletion when it was alive.
    pub fn remove(
        &mut self,
        hash: KeyHash,
        found: Found<'t>,
        visible: Visible,
    ) -> Result<Option<u64>, Error> {
        self.drain_reads();
        let Some((place, old)) = found else { return Ok(None) };
        let alive = self.is_alive(old);
        // What is dead already needs no deletion that somebody would have to publish, or would
        // take for a change.
        if old.is_tombstone() || (!alive && self.keeps_older(visible)) {
            return Ok(None);
        }
        let (visible, record) = if alive {
            self.record(visible, None, |epoch, seq| Change::Remove { key: old.key(), epoch, seq })?
        } else {
            (visible, NO_RECORD)
        };
        if self.keeps_older(visible) {
            let seq = self.bury(hash, place, old, visible, record);
            self.settle();
            return Ok(alive.then_some(seq));
        }
        let kept = self.keep_for_telling();
        self.forget(hash, old.key());
        self.take_out(old, true);
        self.w.seq += 1;
        self.segment.committed.store(self.w.seq, Ordering::Release);
        self.tell_gone(EventKind::Remove, old);
        drop(kept);
        self.settle();
        Ok(alive.then_some(self.w.seq))
    }

    /// Puts a tombstone over a version that somebody may still read.
    pub(super) fn bury(
        &mut self,
        hash: KeyHash,
        place: Place<'t>,
        old: Version<'t>,
        visible: Visible,
        record: u64,
    ) -> u64 {
        let (slot, region) = (old.slot(), self.w.slots.region(old.slot()));
        let draft = Draft {
            key: old.key(),
            value: [b"", b""],
            flags: 0,
            deadline: None,
            max_idle: None,
            version: None,
            marks: Marks::TOMBSTONE,
            linked: true,
        };
        self.w.seq += 1;
        let seq = self.w.seq;
        let pointer = VersionPtr::new(&draft, slot, seq, self.now);
        self.install(hash, Some((place, old)), pointer, true, visible, record);
        self.w.slots.set(slot, pointer.to_bits(), region, false);
        let charge = old.charge(self.shared.allocator);
        with_policy!(self, region, |policy, _view| policy.remove(slot, weight(charge)));
        let tombstone = draft.charge(self.shared.allocator);
        self.charge(region, -signed(charge), -1);
        // From here on both versions count as structure: no policy can evict them.
        self.account().charge_structures(signed(charge + tombstone));
        self.unschedule(slot);
        count(&self.segment.metrics.removed);
        seq
    }

    /// Takes an entry with all its versions out of the table at once. `ordered` says whether the
    /// policy still has it.
    pub(super) fn take_out(&mut self, newest: Version<'t>, ordered: bool) {
        let (slot, region) = (newest.slot(), self.w.slots.region(newest.slot()));
        let hash = self.shared.hasher.index_hash(newest.key());
        let pointer = self.w.slots.pointer(slot);
        let charge = newest.charge(self.shared.allocator);
        self.save_leaving(newest);
        if newest.is_tombstone() {
            self.account().charge_structures(-signed(charge));
        } else {
            if ordered {
                with_policy!(self, region, |p, _view| p.remove(slot, weight(charge)));
            }
            self.charge(region, -signed(charge), -1);
            count(&self.segment.metrics.removed);
        }
        if let Some(place) = self.segment.index.find(hash, |p| p == pointer) {
            self.w.grower.remove(hash, place);
        }
        // What was never seen says nothing of what the key holds elsewhere.
        if let Some(backing) = self.backing().filter(|_| !newest.is_withdrawn()) {
            backing.left(KeyHash { index: hash, segment: self.number() }, newest.key());
        }
        self.unschedule(slot);
        self.w.slots.free(slot);
        self.retire_chain(newest.older());
        self.retire(pointer, charge);
    }

    pub(super) fn retire_chain(&mut self, older: Option<VersionPtr>) {
        let mut next = older;
        while let Some(version) = next {
            let bits = version.to_bits();
            let Some(v) = version_at(bits) else { return };
            next = v.older();
            let charge = v.charge(self.shared.allocator);
            self.account().charge_structures(-signed(charge));
            self.retire(bits, charge);
        }
    }

    /// Hands a version to the garbage; its bytes left the live account before.
    pub(super) fn retire(&mut self, pointer: u64, charge: usize) {
        let shared = self.shared;
        self.w.bag.version(VersionPtr::from_bits(pointer), charge, shared);
    }
}
