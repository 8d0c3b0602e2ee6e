//! What the segment tells an observer, when there is one: each change after readers can see it.

use super::super::observer::{Event, EventKind, Told};
use super::{Locked, Pending, Slot, Version, version_at};
use crate::sync::{AtomicU64, Ordering};

impl<'t> Locked<'t> {
    /// Who writes, for the observer.
    #[must_use]
    pub fn by(mut self, origin: u64) -> Self {
        self.origin = origin;
        self
    }

    /// Its place among the table's segments.
    pub fn number(&self) -> u32 {
        u32::try_from(self.segment.number).unwrap_or(u32::MAX)
    }

    /// Tells of a write that was published as it was prepared. `old` is still what it replaced.
    #[inline]
    pub(super) fn tell_write(&self, new: Version<'t>, old: Option<Version<'t>>) {
        if self.shared.is_observed() {
            self.tell_write_now(new, old);
        } else {
            count(&self.segment.told);
        }
    }

    #[cold]
    fn tell_write_now(&self, new: Version<'t>, old: Option<Version<'t>>) {
        let mut told = Told::default();
        self.write_events(new, old, self.origin, &mut told);
        told.tell(self.shared);
    }

    /// Notes a prepared write that was published just now.
    pub(super) fn note_published(&self, pending: &Pending, told: &mut Told<'t>) {
        if !self.shared.is_observed() {
            return count(&self.segment.told);
        }
        // A clear came after it: readers never see it, and it may be gone already.
        if pending.seq <= self.segment.cleared.load(Ordering::Relaxed) {
            return;
        }
        if let Some(new) = self.version_of(pending.slot, pending.seq) {
            let old = new.older().and_then(|older| version_at(older.to_bits()));
            self.write_events(new, old, pending.origin, told);
        }
    }

    /// The version of a slot with this sequence number.
    fn version_of(&self, slot: Slot, seq: u64) -> Option<Version<'t>> {
        let mut version = version_at(self.w.slots.pointer(slot))?;
        while version.seq() > seq {
            version = version_at(version.older()?.to_bits())?;
        }
        (version.seq() == seq).then_some(version)
    }

    fn write_events(
        &self,
        new: Version<'t>,
        old: Option<Version<'t>>,
        origin: u64,
        told: &mut Told<'t>,
    ) {
        let cleared = self.segment.cleared.load(Ordering::Relaxed);
        let old = old.filter(|old| !old.is_tombstone() && old.seq() > cleared);
        if new.is_tombstone() {
            if let Some(old) = old {
                told.push(self.event(EventKind::Remove, None, Some(old), origin));
            }
            return;
        }
        // It was dead for readers already, but nobody has been told.
        let expired = old.filter(|old| old.is_expired(self.now));
        if expired.is_some() {
            told.push(self.event(EventKind::Expire, None, expired, 0));
        }
        let old = if expired.is_some() { None } else { old };
        let kind = if old.is_some() { EventKind::Update } else { EventKind::Create };
        told.push(self.event(kind, Some(new), old, origin));
    }

    /// Keeps an entry alive that is about to be taken out, until [`Locked::tell_gone`].
    #[inline]
    pub(super) fn keep_for_telling(&self) -> Option<crossbeam_epoch::Guard> {
        self.shared.is_observed().then(crossbeam_epoch::pin)
    }

    /// Tells that an entry is gone. `old` must have been kept.
    #[inline]
    pub(super) fn tell_gone(&self, kind: EventKind, old: Version<'t>) {
        if self.shared.is_observed() {
            self.tell_gone_now(kind, old);
        } else {
            count(&self.segment.told);
        }
    }

    #[cold]
    fn tell_gone_now(&self, kind: EventKind, old: Version<'t>) {
        if old.is_tombstone() || old.seq() <= self.segment.cleared.load(Ordering::Relaxed) {
            return;
        }
        let kind = if old.is_expired(self.now) { EventKind::Expire } else { kind };
        let origin = if kind == EventKind::Remove { self.origin } else { 0 };
        self.shared.tell(&[self.event(kind, None, Some(old), origin)]);
    }

    pub(super) fn tell_cleared(&self) {
        let event = self.event(EventKind::Clear, None, None, self.origin);
        if self.shared.is_observed() {
            self.shared.tell(&[event]);
        }
    }

    /// An event under the next number.
    fn event(
        &self,
        kind: EventKind,
        new: Option<Version<'t>>,
        old: Option<Version<'t>>,
        origin: u64,
    ) -> Event<'t> {
        count(&self.segment.told);
        let seq = self.segment.told.load(Ordering::Relaxed);
        Event { kind, segment: self.number(), seq, origin, new, old, epochs: &self.segment.epochs }
    }
}

/// The next number; whoever asks holds the lock.
fn count(numbers: &AtomicU64) {
    numbers.store(numbers.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}
