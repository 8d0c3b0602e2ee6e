//! Reading and writing one entry.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::index;
use super::segment::{Found, Locked, Segment, Visible};
use super::slots::Access;
use super::snapshot::Watermark;
use super::version::{Draft, Marks, Version, VersionPtr};
use super::{KEY_LEN_MAX, KeyHash, Table, VALUE_LEN_MAX};
use crate::env::Timestamp;
use crate::error::Error;
use crate::metrics::count_shared;
use crate::sync::Ordering;

/// A batch of reads and writes. Everything read through it stays valid while it lives.
pub struct Pinned<'t> {
    table: &'t Table,
    /// Who writes, for the observer.
    origin: u64,
    /// Keeps every version that can be reached now from being freed.
    _guard: Guard,
}

/// Where a batch's lookup of a key begins.
#[derive(Clone, Copy)]
pub struct Hint<'g>(Option<index::Hint<'g>>);

impl Hint<'_> {
    /// No hint: a lookup begins in the index.
    pub const NONE: Hint<'static> = Hint(None);
}

/// An entry as one version of it.
#[derive(Clone, Copy)]
pub struct Entry<'g> {
    version: Version<'g>,
    access: Access,
    table: &'g Table,
}

impl<'t> Pinned<'t> {
    pub(super) fn new(table: &'t Table) -> Self {
        Pinned { table, origin: 0, _guard: crossbeam_epoch::pin() }
    }

    /// The same batch, with writes that the table's observer hears to be of this origin.
    #[must_use]
    #[inline(always)]
    pub fn by(mut self, origin: u64) -> Self {
        self.origin = origin;
        self
    }

    pub(super) fn table(&self) -> &'t Table {
        self.table
    }

    fn segment(&self, hash: KeyHash) -> Option<&'t Segment> {
        self.table.segments.get(hash.segment as usize)
    }

    /// The first of two hints before a batch of lookups: fetch the index lines of a key.
    #[inline]
    pub fn prefetch_line(&self, hash: KeyHash) {
        if let Some(segment) = self.segment(hash) {
            segment.index.prefetch_line(hash.index);
        }
    }

    /// The second, when the lines of the whole batch are on their way: finds the key's likely
    /// place and has the entry fetched.
    #[inline]
    pub fn hint(&self, hash: KeyHash) -> Hint<'_> {
        Hint(self.segment(hash).and_then(|segment| segment.index.hint(hash.index)))
    }

    /// The third, when the entries of the whole batch are on their way: fetch what a read leaves
    /// its traces on.
    #[inline]
    pub fn prefetch_access(&self, hash: KeyHash, hint: Hint<'_>) {
        let version = hint.0.and_then(|hint| self.version(hint.pointer()));
        if let (Some(segment), Some(version)) = (self.segment(hash), version) {
            segment.accesses.prefetch(version.slot());
        }
    }

    #[inline]
    fn newest<'g>(&'g self, segment: &Segment, hash: KeyHash, key: &[u8]) -> Option<Version<'g>> {
        let is = |pointer| self.version(pointer).is_some_and(|v| v.key() == key);
        self.version(segment.index.get(hash.index, is)?)
    }

    #[inline]
    #[expect(unsafe_code, reason = "the guard keeps every version that is read under it alive")]
    fn version(&self, pointer: u64) -> Option<Version<'_>> {
        // SAFETY: the pointer was read from the index after the guard was pinned, and the result
        // lives no longer than the guard.
        VersionPtr::from_bits(pointer).map(|version| unsafe { version.get() })
    }

    /// The entry of a key; the read counts for eviction and idle time. Takes no lock.
    #[must_use]
    #[inline]
    pub fn get(&self, hash: KeyHash, key: &[u8], now: Timestamp) -> Option<Entry<'_>> {
        self.get_hinted(hash, key, Hint::NONE, now)
    }

    /// As [`Pinned::get`], beginning where the hint says.
    #[must_use]
    #[inline]
    pub fn get_hinted<'g>(
        &'g self,
        hash: KeyHash,
        key: &[u8],
        hint: Hint<'g>,
        now: Timestamp,
    ) -> Option<Entry<'g>> {
        let segment = self.segment(hash)?;
        let hinted = hint.0.filter(|hint| hint.holds());
        let newest = match hinted.and_then(|hint| self.version(hint.pointer())) {
            Some(version) if version.key() == key => version,
            _ => self.newest(segment, hash, key)?,
        };
        let mut entry = self.look(segment, hash, newest, now)?;
        entry.access = self.touch(segment, hash, entry.version, now);
        Some(entry)
    }

    /// The entry of a key; leaves no trace of the read.
    #[must_use]
    #[inline]
    pub fn peek(&self, hash: KeyHash, key: &[u8], now: Timestamp) -> Option<Entry<'_>> {
        let segment = self.segment(hash)?;
        self.look(segment, hash, self.newest(segment, hash, key)?, now)
    }

    #[inline]
    fn look<'g>(
        &'g self,
        segment: &Segment,
        hash: KeyHash,
        newest: Version<'g>,
        now: Timestamp,
    ) -> Option<Entry<'g>> {
        // Loaded after the version: a write that is published at once raises the watermark first.
        let mark = watermark(segment);
        if newest.is_plain() && newest.seq() <= mark.committed && newest.seq() > mark.cleared {
            let access = Access::default();
            return Some(Entry { version: newest, access, table: self.table });
        }
        self.look_closer(segment, hash, newest.key(), now)
    }

    /// The entry of a key whose newest version may be hidden from readers.
    fn look_closer(
        &self,
        segment: &Segment,
        hash: KeyHash,
        key: &[u8],
        now: Timestamp,
    ) -> Option<Entry<'_>> {
        loop {
            let newest = self.newest(segment, hash, key)?;
            let mark = watermark(segment);
            if let Some(version) = self.below(newest, mark) {
                let alive = self.alive(version, now, mark);
                return alive.or_else(|| dead(segment, version, mark));
            }
            // Nothing below: that is the truth unless a write was published meanwhile, and what
            // was before it cut off, or taken back or written anew.
            let same = self.newest(segment, hash, key)?.is_same(newest);
            if same && watermark(segment).committed == mark.committed {
                return None;
            }
        }
    }

    pub(crate) fn get_at<'g>(
        &'g self,
        hash: KeyHash,
        key: &[u8],
        now: Timestamp,
        mark: Watermark,
    ) -> Option<Entry<'g>> {
        let newest = self.newest(self.segment(hash)?, hash, key)?;
        self.visible(newest, now, mark)
    }

    /// The newest version at or below a watermark, if it is alive.
    #[inline]
    pub(super) fn visible<'g>(
        &'g self,
        newest: Version<'g>,
        now: Timestamp,
        mark: Watermark,
    ) -> Option<Entry<'g>> {
        self.alive(self.below(newest, mark)?, now, mark)
    }

    /// The newest version at or below a watermark.
    #[inline]
    fn below<'g>(&'g self, newest: Version<'g>, mark: Watermark) -> Option<Version<'g>> {
        let mut version = newest;
        while version.seq() > mark.committed || version.is_withdrawn() {
            version = self.version(version.older()?.to_bits())?;
        }
        Some(version)
    }

    #[inline]
    fn alive<'g>(
        &'g self,
        version: Version<'g>,
        now: Timestamp,
        mark: Watermark,
    ) -> Option<Entry<'g>> {
        let alive =
            version.seq() > mark.cleared && !version.is_expired(now) && !version.is_tombstone();
        alive.then_some(Entry { version, access: Access::default(), table: self.table })
    }

    /// Leaves the traces of a read of `entry`, which came from here or from a snapshot.
    pub(super) fn note_read(&self, hash: KeyHash, entry: &Entry<'_>, now: Timestamp) {
        if let Some(segment) = self.segment(hash) {
            self.touch(segment, hash, entry.version, now);
        }
    }

    /// Leaves the traces of a read: on the access word, the idle clock and for the policy.
    #[inline]
    fn touch(
        &self,
        segment: &Segment,
        hash: KeyHash,
        version: Version<'_>,
        now: Timestamp,
    ) -> Access {
        version.touch_idle(now);
        let slot = version.slot();
        let before = segment.accesses.read(slot, self.table.shared.seconds(now));
        if self.table.shared.under_pressure()
            && let Some(buffer) = &segment.buffer
            && buffer.push(slot, hash.index)
            && let Some(mut locked) = segment.try_lock(&self.table.shared, now)
        {
            locked.drain_reads();
        }
        before
    }

    /// The entry of a key for writing: takes the segment's lock until the result is dropped, so
    /// only one may be held at a time.
    #[must_use]
    pub fn entry<'g, 'k>(
        &'g self,
        hash: KeyHash,
        key: &'k [u8],
        now: Timestamp,
    ) -> Option<EntryMut<'g, 'k>> {
        let locked = self.segment(hash)?.lock(&self.table.shared, now).by(self.origin);
        Some(EntryMut { locked, table: self.table, hash, key, found: None, now })
    }
}

/// Counts a read that came too late: nothing but a miss to its reader.
#[cold]
fn dead<'g>(segment: &Segment, version: Version<'_>, mark: Watermark) -> Option<Entry<'g>> {
    if version.seq() <= mark.cleared {
        count_shared(&segment.metrics.read_cleared);
    } else if !version.is_tombstone() {
        count_shared(&segment.metrics.read_expired);
    }
    None
}

#[inline]
fn watermark(segment: &Segment) -> Watermark {
    Watermark {
        committed: segment.committed.load(Ordering::Acquire),
        cleared: segment.cleared.load(Ordering::Relaxed),
    }
}

impl<'g> Entry<'g> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &'g [u8] {
        self.version.key()
    }

    /// The value.
    #[must_use]
    #[inline]
    pub fn value(&self) -> &'g [u8] {
        self.version.value()
    }

    /// The value as a shared one, when it has at least [`super::SHARED_VALUE_LEN_MIN`] bytes: it
    /// may be kept after the entry is gone.
    #[must_use]
    #[inline]
    pub fn shared(&self) -> Option<Arc<[u8]>> {
        self.version.shared()
    }

    /// The client's 32 bits.
    #[must_use]
    #[inline]
    pub fn flags(&self) -> u32 {
        self.version.flags()
    }

    /// The version, `epoch << 40 | seq` unless it was chosen by the writer; memcached's cas.
    #[must_use]
    #[inline]
    pub fn version(&self) -> u64 {
        let own = || self.table.own_version(self.key(), self.version.seq());
        self.version.version().unwrap_or_else(own)
    }

    /// The version, when it was chosen by the writer.
    #[must_use]
    pub fn chosen_version(&self) -> Option<u64> {
        self.version.version()
    }

    /// This entry with the access figures that `other` was read with.
    #[must_use]
    pub fn with_access_of(mut self, other: &Entry<'_>) -> Self {
        self.access = other.access;
        self
    }

    /// When it expires, whatever is read.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.version.deadline()
    }

    /// How long it lives without being read, ms.
    #[must_use]
    pub fn max_idle(&self) -> Option<u32> {
        self.version.max_idle()
    }

    /// How long ago the last access was, ms; only kept where there is a max-idle time.
    #[must_use]
    pub fn idle_age(&self, now: Timestamp) -> Option<u32> {
        self.version.idle_age(now)
    }

    /// Its segment and its sequence number there.
    pub(crate) fn place(&self) -> (u16, u64) {
        let segment = self.table.hash(self.key()).segment;
        (u16::try_from(segment).unwrap_or(u16::MAX), self.version.seq())
    }

    /// Its sequence number in its segment.
    pub(super) fn seq(&self) -> u64 {
        self.version.seq()
    }

    /// What it is marked with.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.version.marks()
    }

    /// Whether it had been read before this read.
    #[must_use]
    pub fn was_fetched(&self) -> bool {
        self.access.fetched()
    }

    /// Seconds from the access before this one to `now`.
    #[must_use]
    pub fn idle_seconds(&self, now: Timestamp) -> u32 {
        self.table.shared.seconds(now).saturating_sub(self.access.seconds())
    }

    /// Bytes charged to it.
    #[must_use]
    pub fn charge(&self) -> usize {
        self.version.charge(self.table.shared.allocator)
    }

    /// The same entry with the access figures as they are now, for reads that leave no trace.
    #[must_use]
    pub fn with_access(mut self) -> Self {
        let hash = self.table.hash(self.key());
        if let Some(segment) = self.table.segments.get(hash.segment as usize) {
            self.access = segment.accesses.get(self.version.slot());
        }
        self
    }
}

/// What a write stores.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewEntry<'a> {
    /// The value, as the concatenation of two pieces (one of them mostly empty).
    pub value: [&'a [u8]; 2],
    /// The client's 32 bits.
    pub flags: u32,
    /// When it expires.
    pub deadline: Option<Timestamp>,
    /// How long it lives without being read, ms; at most 2^31 - 1.
    pub max_idle: Option<u32>,
    /// The version to give it; `None` = the next of the table's own.
    pub version: Option<u64>,
    /// What to mark it with.
    pub marks: Marks,
}

/// A write that nobody sees before [`Table::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared {
    pub(super) segment: u32,
    pub(super) seq: u64,
    /// The version it will have.
    pub version: u64,
}

/// The entry of one key with its segment's lock held.
pub struct EntryMut<'g, 'k> {
    locked: Locked<'g>,
    table: &'g Table,
    hash: KeyHash,
    key: &'k [u8],
    /// What the last lookup found, until the next write.
    found: Option<Found<'g>>,
    now: Timestamp,
}

impl<'g> EntryMut<'g, '_> {
    /// Looks the key up, once for each write.
    #[inline]
    fn find(&mut self) -> Found<'g> {
        *self.found.get_or_insert_with(|| self.locked.find(self.hash, self.key))
    }

    /// What was found, for a write after which it is no longer true.
    #[inline]
    fn take_found(&mut self) -> Found<'g> {
        let found = self.find();
        self.found = None;
        found
    }

    /// The entry as writers see it: prepared writes included. Leaves no trace of the read.
    #[must_use]
    pub fn get(&mut self) -> Option<Entry<'g>> {
        let (_, version) = self.find().filter(|(_, version)| self.locked.is_alive(*version))?;
        let segment = self.table.segments.get(self.hash.segment as usize)?;
        let access = segment.accesses.get(version.slot());
        Some(Entry { version, access, table: self.table })
    }

    /// Stores a value; gives its version.
    ///
    /// # Errors
    /// [`Error`] says why not; the entry is as it was.
    pub fn put(&mut self, new: &NewEntry<'_>) -> Result<u64, Error> {
        Ok(self.write(new, Visible::Now)?.version)
    }

    /// Prepares to store a value: readers see it when it is published.
    ///
    /// # Errors
    /// As [`EntryMut::put`].
    pub fn prepare_put(&mut self, new: &NewEntry<'_>) -> Result<Prepared, Error> {
        self.write(new, Visible::Later)
    }

    fn write(&mut self, new: &NewEntry<'_>, visible: Visible) -> Result<Prepared, Error> {
        check(self.key, new)?;
        let found = self.take_found();
        let (seq, lack) = self.locked.put(self.hash, found, draft(self.key, new), visible)?;
        if let Some(lack) = lack {
            self.table.relieve(lack.leaving, self.now);
        }
        Ok(self.prepared(seq, new.version))
    }

    fn prepared(&self, seq: u64, version: Option<u64>) -> Prepared {
        let own = self.locked.own_version(seq);
        Prepared { segment: self.hash.segment, seq, version: version.unwrap_or(own) }
    }

    /// Changes what is not the value (deadline, idle time, marks, flags) of the newest version and
    /// keeps its number. Nothing happens when there is none.
    ///
    /// # Errors
    /// [`Error::Unrecorded`]; the entry is as it was.
    pub fn rewrite(&mut self, new: &NewEntry<'_>) -> Result<(), Error> {
        let found = self.take_found();
        self.locked.rewrite(self.hash, found, draft(self.key, new))
    }

    /// Notes a read of `entry`, which came from here: a write that is a read as well.
    pub fn note_read(&self, entry: &Entry<'_>) {
        let seconds = self.table.shared.seconds(self.now);
        if let Some(segment) = self.table.segments.get(self.hash.segment as usize) {
            segment.accesses.read(entry.version.slot(), seconds);
        }
    }

    /// After a write that is no access: the figures are those of `before`, which it replaced.
    pub fn keep_access(&self, before: &Entry<'_>) {
        if let Some(segment) = self.table.segments.get(self.hash.segment as usize) {
            segment.accesses.set(before.version.slot(), before.access);
        }
    }

    /// Deletes the entry; whether there was one.
    ///
    /// # Errors
    /// [`Error::Unrecorded`], [`Error::Away`]; the entry is as it was.
    pub fn remove(&mut self) -> Result<bool, Error> {
        let found = self.found_to_remove()?;
        Ok(self.locked.remove(self.hash, found, Visible::Now)?.is_some())
    }

    /// Prepares to delete the entry; `None` when there is none.
    ///
    /// # Errors
    /// As [`EntryMut::remove`].
    pub fn prepare_remove(&mut self) -> Result<Option<Prepared>, Error> {
        let found = self.found_to_remove()?;
        let seq = self.locked.remove(self.hash, found, Visible::Later)?;
        Ok(seq.map(|seq| self.prepared(seq, None)))
    }

    fn found_to_remove(&mut self) -> Result<Found<'g>, Error> {
        if self.is_away() { Err(Error::Away) } else { Ok(self.take_found()) }
    }

    /// Whether there may be an entry that is not in memory: then nothing can be said of the key
    /// before it is loaded.
    #[inline]
    pub fn is_away(&mut self) -> bool {
        let found = self.find();
        self.locked.is_away(self.hash, found, self.key)
    }

    /// The time that the lock was taken with.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

/// Refuses lengths that no version can have.
pub(super) fn check(key: &[u8], new: &NewEntry<'_>) -> Result<(), Error> {
    let len = key.len();
    if len == 0 || len > KEY_LEN_MAX {
        return Err(Error::KeyLength { len });
    }
    let len = new.value[0].len() + new.value[1].len();
    if len > VALUE_LEN_MAX { Err(Error::ValueLength { len }) } else { Ok(()) }
}

pub(super) fn draft<'a>(key: &'a [u8], new: &NewEntry<'a>) -> Draft<'a> {
    Draft {
        key,
        value: new.value,
        flags: new.flags,
        deadline: new.deadline,
        max_idle: new.max_idle,
        version: new.version,
        marks: new.marks,
        linked: false,
    }
}
