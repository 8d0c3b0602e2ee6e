//! Publication: when prepared writes are seen, and how they are taken back.

use super::super::observer::Told;
use super::{
    Locked, NO_RECORD, Pending, Slot, Version, View, Writer, policy_hash, signed, version_at,
    weight, with_policy,
};
use crate::sync::Ordering;

impl<'t> Locked<'t> {
    /// Makes the writes visible that waited for records up to this one.
    pub fn publish_upto(&mut self, record: u64, told: &mut Told<'t>) {
        let waiting = self.w.pending.iter_mut().take_while(|p| p.done || p.record <= record);
        waiting.for_each(|pending| pending.done = true);
        self.publish_done(told);
        self.settle();
    }

    /// Takes back the writes that wait for records from this one on.
    pub fn abort_from(&mut self, record: u64) {
        let waits = |pending: &&Pending| pending.record != NO_RECORD && pending.record >= record;
        if let Some(first) = self.w.pending.iter().find(waits).map(|pending| pending.seq) {
            self.abort(first);
        }
    }

    pub(super) fn publish_done(&mut self, told: &mut Told<'t>) {
        while let Some(pending) = self.w.pending.front().copied().filter(|front| front.done) {
            self.w.pending.pop_front();
            self.segment.committed.store(pending.seq, Ordering::Release);
            self.note_published(&pending, told);
            self.forget_published(version_at(self.w.slots.pointer(pending.slot)));
        }
        self.note_unpublished();
    }

    /// Called before the journal is: it may say that a record is kept before the write that waits
    /// for it is noted, and must then come and wait for the lock.
    pub fn expect_record(&self) {
        self.segment.unpublished.store(0, Ordering::Release);
    }

    pub(super) fn note_unpublished(&self) {
        let oldest = self.w.pending.iter().find(|pending| pending.record != NO_RECORD);
        let record = oldest.map_or(NO_RECORD, |pending| pending.record);
        self.segment.unpublished.store(record, Ordering::Release);
    }

    /// Makes a prepared write visible, once all before it are.
    pub fn publish(&mut self, seq: u64, told: &mut Told<'t>) {
        if let Some(pending) = self.w.pending.iter_mut().find(|pending| pending.seq == seq) {
            pending.done = true;
        }
        self.publish_done(told);
        self.settle();
    }

    /// Takes prepared writes from `seq` on back: the commit failed, and what was prepared after it
    /// may have been decided by what it read of it.
    pub fn abort(&mut self, seq: u64) {
        while let Some(last) = self.w.pending.back().copied().filter(|last| last.seq >= seq) {
            self.w.pending.pop_back();
            self.w.linked.retain(|(linked, _)| *linked != last.seq);
            self.undo(last.slot);
        }
        self.note_unpublished();
        self.settle();
    }

    /// Puts the version before the newest one of a slot back in its place.
    pub(super) fn undo(&mut self, slot: Slot) {
        let pointer = self.w.slots.pointer(slot);
        let Some(newest) = version_at(pointer) else { return };
        newest.withdraw();
        let Some(older) = newest.older() else {
            self.take_out(newest, true);
            return;
        };
        let Some(old) = version_at(older.to_bits()) else { return };
        let (hash, region) =
            (self.shared.hasher.index_hash(newest.key()), self.w.slots.region(slot));
        let Some(place) = self.segment.index.find(hash, |p| p == pointer) else { return };
        self.w.grower.replace(hash, place, older.to_bits());
        self.w.slots.set(slot, older.to_bits(), region, !old.is_tombstone());
        self.reorder(hash, slot, region, newest, old);
        self.schedule(slot, old);
        self.look_again(slot, old);
        self.retire(pointer, newest.charge(self.shared.allocator));
    }

    /// Sweep and trim may have gone past a version while it was hidden: what is dead of it is
    /// noted for them once more.
    pub(super) fn look_again(&mut self, slot: Slot, old: Version<'_>) {
        let trimmed = self.w.linked.front().is_none_or(|(seq, _)| *seq > old.seq());
        if old.is_tombstone() && trimmed {
            self.w.linked.push_front((old.seq(), slot));
        }
        if old.seq() <= self.segment.cleared.load(Ordering::Relaxed) {
            self.w.sweep = Some(0);
        }
    }

    /// Turns what policy and account hold of `from` into what they hold of `to`.
    pub(super) fn reorder(
        &mut self,
        hash: u64,
        slot: Slot,
        region: u8,
        from: Version<'_>,
        to: Version<'_>,
    ) {
        let allocator = self.shared.allocator;
        let (was, is) = (from.charge(allocator), to.charge(allocator));
        let hash = policy_hash(hash);
        // An older version counts as structure while it is hidden.
        self.account().charge_structures(-signed(is));
        if from.is_tombstone() {
            self.account().charge_structures(-signed(was));
        } else {
            with_policy!(self, region, |p, _view| p.remove(slot, weight(was)));
            self.charge(region, -signed(was), -1);
        }
        if to.is_tombstone() {
            self.account().charge_structures(signed(is));
        } else {
            with_policy!(self, region, |p, view| p.insert(slot, hash, weight(is), &view));
            self.charge(region, signed(is), 1);
        }
    }
}
