//! Upkeep: what goes with each write, so that account, index and policies stay right.

use super::{Locked, Pending, Slot, View, Wheel, Writer, signed, version_at};
use crate::sync::Ordering;

/// Older versions looked at for trimming with each write.
const TRIM_BUDGET: usize = 4;

impl Locked<'_> {
    /// The small work that goes with each write: resizing, trimming, and keeping the account of
    /// the structures exact.
    pub(super) fn settle(&mut self) {
        self.settle_step(true);
    }

    /// As [`Locked::settle`]; when a write only put one version in another's place and no resize
    /// is under way, no structure can have changed its size.
    pub(super) fn settle_step(&mut self, resized: bool) {
        let resized = resized || self.w.grower.is_growing(&self.segment.index);
        let shared = self.shared;
        let Writer { grower, bag, .. } = &mut *self.w;
        grower.grow(
            &self.segment.index,
            |pointer| version_at(pointer).map_or(0, |v| shared.hasher.index_hash(v.key())),
            |retired, size| bag.lines(retired, size, shared),
        );
        self.trim(TRIM_BUDGET);
        if resized {
            self.charge_structures();
            self.note_due();
        }
    }

    /// Charges a change of `bytes` and `entries` to a region of this segment.
    pub(super) fn charge(&mut self, region: u8, bytes: i64, entries: i64) {
        self.w.entry_bytes += bytes;
        self.account().charge(region, bytes, entries);
    }

    pub(super) fn charge_structures(&mut self) {
        let w = &mut *self.w;
        let memory = w.grower.memory()
            + w.slots.memory()
            + w.access_memory
            + w.pending.capacity() * size_of::<Pending>()
            + w.linked.capacity() * size_of::<(u64, Slot)>()
            + w.policies.iter().map(|policy| policy.memory()).sum::<usize>()
            + w.wheel.as_ref().map_or(0, |wheel| size_of::<Wheel>() + wheel.memory());
        self.shared.account.charge_structures(signed(memory) - signed(w.charged));
        w.charged = memory;
    }

    pub(super) fn note_due(&self) {
        let wheel = self.w.wheel.as_ref().and_then(|wheel| wheel.next_due());
        let busy = self.w.sweep.is_some()
            || !self.w.linked.is_empty()
            || self.w.grower.is_growing(&self.segment.index);
        let due = if busy { 0 } else { wheel.unwrap_or(u64::MAX) };
        self.segment.due.store(due, Ordering::Relaxed);
    }

    /// Empties the ring of reads into the policies.
    pub fn drain_reads(&mut self) {
        let Some(buffer) = &self.segment.buffer else { return };
        let Writer { slots, policies, drained, .. } = &mut *self.w;
        let pushed = buffer.pushed();
        if std::mem::replace(drained, pushed) == pushed {
            return;
        }
        let view = View { slots, accesses: &self.segment.accesses, shared: self.shared };
        buffer.drain(|slot, hash| {
            let region = slots.ordered_in(slot).map(usize::from);
            if let Some(policy) = region.and_then(|region| policies.get_mut(region)) {
                policy.touch(slot, hash, &view);
            }
        });
    }
}
