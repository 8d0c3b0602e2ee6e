//! Entries that are not in memory: where a table puts what it evicts, so that it is not lost.
//!
//! An entry is in memory or *away*, in the table's [`Backing`]. It leaves memory by
//! [`Backing::take`], ahead of being taken out of the index, and it comes back by
//! [`Table::bring_back`]. A copy that stays behind then is as good as the entry until that changes:
//! each change of a key tells the backing to [`forget`](Backing::forget) it.
//!
//! Whoever decides by what a key holds must have it in memory: such operations are refused as
//! [`Error::Away`] while it is not.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::entry::{check, draft};
use super::version::{Draft, Version};
use super::{Account, KeyHash, NewEntry, Pinned, Saved, Table};
use crate::env::Timestamp;
use crate::error::Error;

/// An entry on its way out of memory.
#[derive(Debug, Clone, Copy)]
pub struct Leaving<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// What was stored; its version only where the writer chose it.
    pub entry: NewEntry<'a>,
    /// The epoch of its sequence number.
    pub epoch: u32,
    /// Its sequence number.
    pub seq: u64,
    /// When it was read last, ms; counts where there is a max-idle time.
    pub accessed: Timestamp,
}

/// Where the entries of a table are that it had no room for. All calls come under the lock of the
/// key's segment, unless said otherwise, and must not wait for anything but short locks.
pub trait Backing: Send + Sync {
    /// Takes an entry that is about to leave memory; false when there is no room, and the entry
    /// stays.
    fn take(&self, hash: KeyHash, entry: &Leaving<'_>) -> bool;

    /// Whether [`Backing::take`] has room. May be called without a lock.
    fn has_room(&self) -> bool;

    /// Whether an entry of the key may be here, or `in_memory` says that it is there. Both are asked
    /// at one moment: no entry is on its way between the two. May be called without a lock.
    fn may_hold(&self, hash: KeyHash, key: &[u8], in_memory: &mut dyn FnMut() -> bool) -> bool;

    /// The entry of a key that is here, if any, is void: the key was changed.
    fn forget(&self, hash: KeyHash, key: &[u8]);

    /// As [`Backing::forget`], for an entry of a journal that is about to be in memory, before anybody
    /// is served. It is [told](Backing::left) when the entry leaves memory.
    fn forget_replayed(&self, hash: KeyHash, key: &[u8]) {
        self.forget(hash, key);
    }

    /// Memory has nothing of a key any more, whatever it had.
    fn left(&self, _hash: KeyHash, _key: &[u8]) {}

    /// All that is here is void. The locks of all segments are held.
    fn forget_all(&self);

    /// The sequence numbers of a segment that a save sees which is under way, if one is: it is told
    /// of what leaves memory and of what comes back.
    fn saves(&self, _segment: u32) -> Option<RangeInclusive<u64>> {
        None
    }

    /// The entry that a save sees of a key is about to leave memory with all that the key has there.
    /// May be told twice, and of an entry that stays after all.
    fn save(&self, _hash: KeyHash, _entry: &Leaving<'_>) {}

    /// An entry came back into memory.
    fn is_back(&self, _hash: KeyHash, _key: &[u8]) {}

    /// An entry came back into memory while a save is under way.
    fn came_back(&self, _hash: KeyHash, _key: &[u8]) {}
}

/// What became of an entry that was to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// It is in memory.
    Stored,
    /// Memory has an entry of the key.
    There,
    /// Memory has an entry of the key that is not published yet: what it replaces is still here, and
    /// to be seen if it is taken back.
    Unpublished,
    /// It is not what the key holds any more.
    Void,
    /// Its time is over.
    Expired,
}

impl Table {
    /// From now on what is evicted goes to `backing`. Only the first call counts.
    pub fn set_backing(&self, backing: Arc<dyn Backing>) {
        let _ = self.shared.backing.set(backing);
    }

    /// Gives an entry back that had left memory, with the version that it had. `valid` is asked
    /// under the lock of its segment whether it is still what the key holds. Where the backing `keeps`
    /// its copy, the entry leaves memory again without a word while it is not changed.
    ///
    /// # Errors
    /// [`Error`] says why not; the table is as it was.
    pub fn bring_back(
        &self,
        saved: &Saved<'_>,
        now: Timestamp,
        keeps: bool,
        valid: &mut dyn FnMut() -> bool,
    ) -> Result<Back, Error> {
        check(saved.key, &saved.entry)?;
        let hash = self.hash(saved.key);
        let Some(segment) = self.segments.get(hash.segment as usize) else { return Ok(Back::Void) };
        let mut locked = segment.lock(&self.shared, now);
        let found = locked.find(hash, saved.key);
        if let Some((_, version)) = found.filter(|(_, version)| version.seq() > locked.published())
        {
            return Ok(if version.older().is_some() { Back::There } else { Back::Unpublished });
        }
        if locked.is_there(found) {
            return Ok(Back::There);
        }
        if !valid() {
            return Ok(Back::Void);
        }
        if saved.is_expired(now) {
            return Ok(Back::Expired);
        }
        let mut draft = draft(saved.key, &saved.entry);
        // Another epoch's number means nothing here: the version stays as a chosen one.
        let own = saved.order() == locked.own_version(saved.seq) && locked.was_published(saved.seq);
        let seq = if own { saved.seq } else { locked.published() };
        if !own {
            draft = Draft { version: Some(saved.entry.version.unwrap_or(saved.order())), ..draft };
        }
        locked.bring_back(hash, draft, seq, saved.accessed)?;
        locked.tell_back(hash, saved.key);
        if keeps && own && saved.entry.max_idle.is_none() {
            locked.mark_copied(hash, saved.key);
        }
        Ok(Back::Stored)
    }

    /// Compares what memory holds of a key, if anything, with `saved` that the backing holds of it.
    /// `judge` hears the result under the lock of the segment, so that no entry comes or goes before it
    /// has acted on it, and says whether the copy stays and is the same: that is remembered.
    pub(crate) fn compare(
        &self,
        saved: &Saved<'_>,
        now: Timestamp,
        judge: &mut dyn FnMut(Compared) -> bool,
    ) {
        let hash = self.hash(saved.key);
        let Some(segment) = self.segments.get(hash.segment as usize) else { return };
        let mut locked = segment.lock(&self.shared, now);
        let Some((_, version)) = locked.find(hash, saved.key) else { return };
        let compared = saved.compare(version, u64::from(locked.epoch_of(saved.seq)));
        if judge(compared) {
            locked.mark_copied(hash, saved.key);
        }
    }

    /// The account, for what the backing holds on the table's behalf.
    pub(crate) fn account(&self) -> Arc<Account> {
        Arc::clone(&self.shared.account)
    }

    /// Waits until nobody is within a change that was begun before.
    pub(crate) fn pass_all_locks(&self, now: Timestamp) {
        self.segments.iter().for_each(|segment| drop(segment.lock(&self.shared, now)));
    }
}

/// The entry that memory has of a key that its backing holds too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// It is the same.
    Same,
    /// It came from there, but if it left memory now it would have to be written once more: it was
    /// read meanwhile, or its version is kept in another way.
    Alike,
    /// It is another one.
    Other,
}

impl Saved<'_> {
    /// What this is beside a version of its key in memory.
    fn compare(&self, version: Version<'_>, epoch: u64) -> Compared {
        let entry = &self.entry;
        let own = version.seq() == self.seq
            && u64::from(self.epoch) == epoch
            && version.version() == entry.version;
        // As `bring_back` keeps the version of another epoch.
        let chosen = version.version() == Some(entry.version.unwrap_or(self.order()));
        let alike = version.max_idle() == entry.max_idle
            && version.flags() == entry.flags
            && version.deadline() == entry.deadline
            && version.marks() == entry.marks;
        match alike {
            true if own && entry.max_idle.is_none() => Compared::Same,
            true if own || chosen => Compared::Alike,
            _ => Compared::Other,
        }
    }
}

impl Pinned<'_> {
    /// After a read that found nothing: whether the entry may be away. Then it must be loaded before
    /// anything can be said of the key.
    #[must_use]
    pub fn is_away(&self, hash: KeyHash, key: &[u8], now: Timestamp) -> bool {
        let Some(backing) = self.table().shared.backing.get() else { return false };
        backing.may_hold(hash, key, &mut || self.peek(hash, key, now).is_some())
    }
}
