//! Entries that come back from a file: as they were, versions included.

use super::entry::{NewEntry, check, draft};
use super::segment::Segment;
use super::version::SEQ_BITS;
use super::{Change, Table};
use crate::env::Timestamp;
use crate::error::Error;

/// Sequence numbers that a segment may have given out and lost with a crash, at the most: more
/// than it can write between two syncs of a log. 2^20 lives fit into the 40 bits.
const LIFE_GAP: u64 = 1 << 20;

/// The least that an entry takes, for a guess how many there is room for.
const ENTRY_BYTES_MIN: u64 = 48;

/// An entry as it was when it was written to a file.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// What was stored; its version only where the writer chose it.
    pub entry: NewEntry<'a>,
    /// The epoch in which the table wrote that it was in; not above this table's.
    pub epoch: u32,
    /// Its sequence number there.
    pub seq: u64,
    /// When it was read last, ms; counts where there is a max-idle time.
    pub accessed: Timestamp,
}

/// What became of an entry that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// It is in the table.
    Stored,
    /// It has expired.
    Expired,
    /// The table has a newer version of the key, or was cleared since.
    Newer,
}

impl Saved<'_> {
    pub(super) fn order(&self) -> u64 {
        u64::from(self.epoch) << SEQ_BITS | self.seq
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        let idle = self.entry.max_idle.map(|max| self.accessed.saturating_add(u64::from(max)));
        self.entry.deadline.is_some_and(|at| at <= now) || idle.is_some_and(|at| at <= now)
    }
}

impl Table {
    /// The next write of a segment gets a sequence number above `seq`: to be called for each
    /// segment before entries come back that were written in this table's epoch.
    pub fn raise_seq(&self, segment: usize, seq: u64) {
        if let Some(segment) = self.segments.get(segment) {
            segment.lock(&self.shared, self.shared.origin).raise_seq(seq);
        }
    }

    /// Leaves a gap in the sequence numbers of all segments, when everything has come back: what
    /// was given out before and lost is not given out again.
    ///
    /// # Errors
    /// When the gap cannot be recorded in the journal, if there is one.
    pub fn begin_life(&self) -> Result<(), Error> {
        let lock = |segment: &Segment| segment.lock(&self.shared, self.shared.origin).seq();
        let highest = self.segments.iter().map(lock).max().unwrap_or(0);
        self.skip_to(highest + LIFE_GAP)
    }

    /// No segment gives out a sequence number up to this one any more, not after a restart either.
    ///
    /// # Errors
    /// When that cannot be recorded in the journal, if there is one.
    pub fn skip_to(&self, seq: u64) -> Result<(), Error> {
        self.raise_all(seq);
        let life = Change::Life { seq };
        self.shared.journal.get().map_or(Ok(0), |journal| journal.record(&life))?;
        Ok(())
    }

    /// No segment gives out a sequence number up to this one any more.
    pub fn raise_all(&self, seq: u64) {
        (0..self.segments.len()).for_each(|at| self.raise_seq(at, seq));
    }

    /// So many entries are about to come: the indexes grow to their size in one step instead of
    /// many, as far as the limit in bytes lets them. To be set to 0 when they have come: until then
    /// no index shrinks below.
    pub fn reserve(&self, entries: u64) {
        let entries = entries.min(self.shared.account.max_bytes() / ENTRY_BYTES_MIN);
        let each = usize::try_from(entries).unwrap_or(0).div_ceil(self.segments.len());
        // Segments get more or fewer than their share; the index grows for those with many more.
        let slack = if each == 0 { 0 } else { each / 16 + 8 };
        for segment in &self.segments {
            segment.lock(&self.shared, self.shared.origin).reserve(each + slack);
        }
    }

    /// Gives an entry back with the version that it had. Never replaces a newer one; an older one
    /// it does.
    ///
    /// In the epoch that it was written in it gets its own sequence number back and costs what it
    /// cost; in a later one its version is kept as one that was chosen, which takes 8 bytes more.
    ///
    /// # Errors
    /// [`Error`] says why not; the table is as it was.
    pub fn restore(&self, saved: &Saved<'_>, now: Timestamp) -> Result<Restored, Error> {
        self.put_back(saved, now, false)
    }

    /// As [`Table::restore`] for a change that a journal recorded: its number is raised first, and
    /// one of the same number, whose deadline or marks it changed, is replaced.
    ///
    /// # Errors
    /// As [`Table::restore`].
    pub fn replay(&self, saved: &Saved<'_>, now: Timestamp) -> Result<Restored, Error> {
        let done = self.put_back(saved, now, true);
        if !matches!(done, Ok(Restored::Stored)) {
            // Memory does not have it, so nothing else says that what the backing has is void.
            let hash = self.hash(saved.key);
            let segment = self.segments.get(hash.segment as usize);
            segment.into_iter().for_each(|s| s.lock(&self.shared, now).forget(hash, saved.key));
        }
        done
    }

    /// Removes an entry as it was removed under this number in this table's epoch.
    pub fn replay_remove(&self, key: &[u8], seq: u64, now: Timestamp) {
        let hash = self.hash(key);
        if let Some(segment) = self.segments.get(hash.segment as usize) {
            let mut locked = segment.lock(&self.shared, now);
            locked.raise_seq(seq);
            locked.forget(hash, key);
            let found = locked.find(hash, key);
            locked.remove_again(found, seq);
        }
    }

    /// Removes everything, as a clear did that a journal recorded.
    ///
    /// Not by a watermark of sequence numbers: what has come back may be newer than the clear (its
    /// record comes again later), and keys need not be in the segments that they were in then.
    pub fn replay_clear(&self, now: Timestamp) {
        self.segments.iter().for_each(|segment| segment.lock(&self.shared, now).remove_all());
        if let Some(backing) = self.shared.backing.get() {
            backing.forget_all();
        }
    }

    fn put_back(&self, saved: &Saved<'_>, now: Timestamp, again: bool) -> Result<Restored, Error> {
        check(saved.key, &saved.entry)?;
        let expired = saved.is_expired(now);
        if expired && !again {
            return Ok(Restored::Expired);
        }
        let hash = self.hash(saved.key);
        let mut locked = match self.segments.get(hash.segment as usize) {
            Some(segment) => segment.lock(&self.shared, now),
            // A hash names one of the segments that there are.
            None => return Ok(Restored::Newer),
        };
        let is_ours = locked.own_version(saved.seq) == saved.order();
        if again {
            locked.forget_replayed(hash, saved.key);
        }
        if again && is_ours {
            locked.raise_seq(saved.seq);
        }
        let found = locked.find(hash, saved.key);
        let there = found.map(|(_, version)| locked.own_version(version.seq()));
        if there.is_some_and(|there| there > saved.order() || there == saved.order() && !again) {
            return Ok(Restored::Newer);
        }
        let draft = draft(saved.key, &saved.entry);
        let dead = expired || is_ours && locked.was_cleared(saved.seq);
        let own = is_ours && locked.was_published(saved.seq);
        if let Some(older) = found.filter(|_| again) {
            // What a log changes is there already: most changes of a long one are of that kind.
            if own && !dead && locked.replace_again(hash, older, draft, saved.seq, saved.accessed) {
                return Ok(Restored::Stored);
            }
            // To make room for it may have taken the older one.
            let found = locked.find(hash, saved.key);
            locked.remove_again(found, saved.seq + 1);
        }
        if dead {
            return Ok(if expired { Restored::Expired } else { Restored::Newer });
        }
        let found = found.filter(|_| !again);
        if own && found.is_none() {
            locked.put_back(hash, draft, saved.seq, saved.accessed)?;
        } else {
            let version = Some(saved.entry.version.unwrap_or(saved.order()));
            locked.put_anew(
                hash,
                found,
                super::version::Draft { version, ..draft },
                saved.accessed,
            )?;
        }
        Ok(Restored::Stored)
    }
}
