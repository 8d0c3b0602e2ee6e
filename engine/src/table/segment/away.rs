//! What a segment knows of entries that are not in memory.

use super::super::NewEntry;
use super::super::away::Leaving;
use super::{Backing, Found, KeyHash, Locked, Version, version_at};
use crate::sync::Ordering;

impl<'t> Locked<'t> {
    pub fn backing(&self) -> Option<&dyn Backing> {
        self.shared.backing.get().map(|backing| &**backing)
    }

    /// The entry that the backing has of a key is void: the key was changed.
    #[inline]
    pub fn forget(&self, hash: KeyHash, key: &[u8]) {
        if let Some(backing) = self.backing() {
            backing.forget(hash, key);
        }
    }

    /// As [`Locked::forget`], for what a journal brings into memory.
    pub fn forget_replayed(&self, hash: KeyHash, key: &[u8]) {
        if let Some(backing) = self.backing() {
            backing.forget_replayed(hash, key);
        }
    }

    /// As [`Locked::forget`], of the key behind a slot.
    pub(super) fn forget_published(&self, version: Option<Version<'_>>) {
        if let Some((backing, version)) = self.backing().zip(version) {
            backing.forget(self.hash_of(version.key()), version.key());
        }
    }

    pub fn hash_of(&self, key: &[u8]) -> KeyHash {
        self.shared.hasher.hash(key)
    }

    /// Whether a version that was published has expired.
    pub fn has_expired(&self, version: Version<'_>) -> bool {
        version.is_expired(self.now) && version.seq() <= self.published()
    }

    /// Whether nobody would miss it.
    pub fn is_dead(&self, version: Version<'_>) -> bool {
        version.is_tombstone() || version.is_expired(self.now) || self.was_cleared(version.seq())
    }

    /// The highest number that is published.
    pub fn published(&self) -> u64 {
        self.segment.committed.load(Ordering::Relaxed)
    }

    /// Remembers that the backing has an equal copy of the newest version of a key. What is written
    /// over it takes the mark away.
    pub fn mark_copied(&mut self, hash: KeyHash, key: &[u8]) {
        let found: Found<'_> = self.find(hash, key);
        if let Some((_, version)) = found {
            self.w.slots.mark_copied(version.slot());
        }
    }

    pub fn is_copied(&self, version: Version<'_>) -> bool {
        self.w.slots.is_copied(version.slot())
    }

    /// Whether what was `found` in memory is nothing although the key may have an entry.
    #[inline]
    pub fn is_away(&self, hash: KeyHash, found: Found<'t>, key: &[u8]) -> bool {
        let Some(backing) = self.backing() else { return false };
        found.is_none() && backing.may_hold(hash, key, &mut || false)
    }

    /// Whether memory has the last word on a key: not where what was `found` is expired.
    pub fn is_there(&mut self, found: Found<'t>) -> bool {
        let Some((_, version)) = found else { return false };
        if version.is_tombstone() || !self.has_expired(version) {
            return true;
        }
        self.take_out(version, true);
        false
    }

    /// Hands an entry that is about to be evicted to the backing, if there is one; false when it
    /// must stay.
    pub(super) fn hand_over(&self, version: Version<'t>) -> bool {
        let Some(backing) = self.backing() else { return true };
        if self.is_saved() {
            if !backing.has_room() {
                return false;
            }
            // Ahead of the backing having it: a save that meets it there must know that it came.
            self.save_leaving(version);
        }
        if self.is_dead(version) || self.is_copied(version) {
            return true;
        }
        backing.take(self.hash_of(version.key()), &self.leaving(version))
    }

    /// Whether a save is under way.
    fn is_saved(&self) -> bool {
        self.shared.snapshots.any_open()
            && self.backing().is_some_and(|b| b.saves(self.number()).is_some())
    }

    /// Whether a save would have to be handed what an expired version was written over, and has no
    /// room for it.
    pub(super) fn must_stay(&self, expired: Version<'_>) -> bool {
        expired.older().is_some()
            && self.backing().is_some_and(|backing| !backing.has_room())
            && self.is_saved()
    }

    /// Tells a save that is under way of the version that it sees of a key, before all of its
    /// versions leave memory.
    pub(super) fn save_leaving(&self, newest: Version<'t>) {
        if !self.shared.snapshots.any_open() {
            return;
        }
        let Some(backing) = self.backing() else { return };
        let Some(seen) = backing.saves(self.number()) else { return };
        let mut next = Some(newest);
        while let Some(version) = next {
            if version.seq() <= *seen.end() && !version.is_withdrawn() {
                let seen = seen.contains(&version.seq()) && !version.is_tombstone();
                if seen && !version.is_expired(self.now) {
                    backing.save(self.hash_of(version.key()), &self.leaving(version));
                }
                return;
            }
            next = version.older().and_then(|older| version_at(older.to_bits()));
        }
    }

    /// Tells the backing, and a save that is under way, of an entry that came back.
    pub fn tell_back(&self, hash: KeyHash, key: &[u8]) {
        let Some(backing) = self.backing() else { return };
        backing.is_back(hash, key);
        if self.is_saved() {
            backing.came_back(hash, key);
        }
    }

    fn leaving(&self, version: Version<'t>) -> Leaving<'t> {
        let (deadline, max_idle) = (version.deadline(), version.max_idle());
        let entry = NewEntry {
            value: [version.value(), b""],
            flags: version.flags(),
            deadline,
            max_idle,
            version: version.version(),
            marks: version.marks(),
        };
        let age = version.idle_age(self.now).map_or(0, u64::from);
        Leaving {
            key: version.key(),
            entry,
            epoch: self.epoch_of(version.seq()),
            seq: version.seq(),
            accessed: self.now.saturating_sub(age),
        }
    }
}
