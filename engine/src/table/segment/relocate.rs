//! Entries that move in memory, unchanged.

use super::{Draft, Locked, Version, VersionPtr};
use crate::sync::Ordering;

impl<'t> Locked<'t> {
    /// One step of giving entries new memory, from `from` on: where to go on, and the bytes moved.
    pub fn relocate(&mut self, from: u64) -> (Option<u64>, usize) {
        let mut found = Vec::new();
        let next = self.scan(from, |version| found.push(version));
        let moved = found.into_iter().filter(|version| self.may_move(*version));
        let bytes =
            moved.collect::<Vec<_>>().into_iter().map(|version| self.move_it(version)).sum();
        self.settle();
        (next, bytes)
    }

    /// Not what may be taken back, nor what readers write to: a note in the old place would be lost.
    /// A large value has pages of its own.
    fn may_move(&self, version: Version<'_>) -> bool {
        let published = version.seq() <= self.segment.committed.load(Ordering::Relaxed);
        let fixed = version.max_idle().is_some() || version.shared().is_some();
        published && !fixed && self.is_alive(version) && version.older().is_none()
    }

    /// The same number, slot and place in every order; the bytes that it takes.
    fn move_it(&mut self, old: Version<'t>) -> usize {
        let hash = self.hash_of(old.key());
        let Some((place, _)) = self.find(hash, old.key()) else { return 0 };
        let draft = Draft {
            key: old.key(),
            value: [old.value(), b""],
            flags: old.flags(),
            deadline: old.deadline(),
            max_idle: None,
            version: old.version(),
            marks: old.marks(),
            linked: old.is_linked(),
        };
        let pointer = VersionPtr::new(&draft, old.slot(), old.seq(), self.now);
        let charge = old.charge(self.shared.allocator);
        self.w.grower.replace(hash.index, place, pointer.to_bits());
        self.w.slots.relocate(old.slot(), pointer.to_bits());
        self.retire(place.pointer, charge);
        charge
    }
}
