//! Operations on entries, at one moment; conditional ones decide under the lock of the entry's
//! segment.

use isogrid_engine::{Entry, EntryMut, Error, Hint, KeyHash, Marks, NewEntry, Pinned, Timestamp};

use super::{Cache, Counted, Hit, Lifespan, Mode, Put, Read, Removal, Step, Written};
use crate::events::Tracker;
use crate::structure::number::{self, Digits};

/// Operations at one moment. What it reads stays valid while it lives.
///
/// Where the cache keeps what memory has no room for, an operation on an entry that is not in memory
/// is refused as [`Error::Away`] and has done nothing: load the entry, then do it again. After a
/// [`Batch::get`] that found nothing [`Batch::is_away`] says so.
pub struct Batch<'c> {
    pub(super) cache: &'c Cache,
    pub(super) pinned: Pinned<'c>,
    pub(super) now: Timestamp,
}

impl<'c> Batch<'c> {
    /// The time of the batch.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The same batch with writes of this origin: consumers that ask for it are not told of their
    /// own.
    #[must_use]
    #[inline(always)]
    pub fn by(mut self, origin: u64) -> Self {
        self.pinned = self.pinned.by(origin);
        self
    }

    /// As [`Batch::get`]; the tracker will be told when the entry is another one than was read.
    #[must_use]
    pub fn get_tracked(&self, tracker: &Tracker, hash: KeyHash, key: &[u8]) -> Option<Entry<'_>> {
        // Ahead of the read: a change that the read does not see finds the registration.
        tracker.register(key);
        self.get(hash, key)
    }

    /// The first of three steps ahead of a batch of lookups: the index line of a key is fetched
    /// while other work goes on.
    #[inline]
    pub fn prefetch_line(&self, hash: KeyHash) {
        self.pinned.prefetch_line(hash);
    }

    /// The second, for when the line has had time to arrive: its entry is fetched.
    #[inline]
    pub fn hint(&self, hash: KeyHash) -> Hint<'_> {
        self.pinned.hint(hash)
    }

    /// The third, for when the entry has had time to arrive: what a read leaves traces on is
    /// fetched.
    #[inline]
    pub fn prefetch_access(&self, hash: KeyHash, hint: Hint<'_>) {
        self.pinned.prefetch_access(hash, hint);
    }

    /// As [`Batch::get`], beginning where the hint says.
    #[must_use]
    #[inline]
    pub fn get_hinted<'b>(
        &'b self,
        hash: KeyHash,
        key: &[u8],
        hint: Hint<'b>,
    ) -> Option<Entry<'b>> {
        self.pinned.get_hinted(hash, key, hint, self.now)
    }

    /// Reads an entry; the read counts for eviction and idle time.
    #[must_use]
    #[inline]
    pub fn get(&self, hash: KeyHash, key: &[u8]) -> Option<Entry<'_>> {
        self.pinned.get(hash, key, self.now)
    }

    /// Reads an entry and leaves no trace.
    #[must_use]
    pub fn peek(&self, hash: KeyHash, key: &[u8]) -> Option<Entry<'_>> {
        self.pinned.peek(hash, key, self.now).map(Entry::with_access)
    }

    /// Reads an entry with everything that a read may do beside.
    ///
    /// # Errors
    /// When there is no room for the entry that the read creates; [`Error::Away`].
    pub fn read(&self, hash: KeyHash, key: &[u8], how: &Read) -> Result<Option<Hit<'_>>, Error> {
        let entry = if how.quiet { self.peek(hash, key) } else { self.get(hash, key) };
        let Some(entry) = entry else {
            if self.is_away(hash, key) {
                return Err(Error::Away);
            }
            return how.or_create.map(|span| self.create_for(hash, key, span, how)).transpose();
        };
        let mut hit = Hit::from(entry);
        let deadline = match how.touch.filter(|_| how.win_after_touch) {
            Some(lifespan) => self.cache.deadline(lifespan, self.now),
            None => entry.deadline(),
        };
        let left = deadline.map(|at| at.saturating_sub(self.now));
        let short = how.win_below.zip(left).is_some_and(|(below, left)| left < below);
        let wins = !hit.leased && !how.unaware && (hit.stale || short);
        if wins || how.touch.is_some() {
            self.rewrite_for(hash, key, how, wins, &mut hit)?;
        }
        Ok(Some(hit))
    }

    /// On a miss: an empty entry that tells others that somebody is at work.
    fn create_for(
        &self,
        hash: KeyHash,
        key: &[u8],
        lifespan: Lifespan,
        how: &Read,
    ) -> Result<Hit<'_>, Error> {
        let mut slot = self.entry(hash, key)?;
        if let Some(there) = slot.get() {
            return Ok(Hit::from(there));
        }
        let deadline = self.cache.deadline(lifespan, self.now);
        let dead = deadline.is_some_and(|at| at <= self.now);
        let new = NewEntry {
            deadline: deadline.filter(|_| !dead),
            version: how.version,
            marks: Marks::LEASED,
            ..NewEntry::default()
        };
        slot.put(&new)?;
        let Some(entry) = slot.get() else { return Err(Error::Full { used: 0, limit: 0 }) };
        if dead {
            // Its reader sees it, nobody else.
            slot.rewrite(&NewEntry { deadline, ..new })?;
        } else if !how.quiet {
            slot.note_read(&entry);
        }
        Ok(Hit {
            won: true,
            leased: false,
            created: true,
            deadline_before: None,
            ..Hit::from(entry)
        })
    }

    /// Gives the entry its new lifespan, and this reader the lease if nobody was faster.
    fn rewrite_for<'b>(
        &'b self,
        hash: KeyHash,
        key: &[u8],
        how: &Read,
        wins: bool,
        hit: &mut Hit<'b>,
    ) -> Result<(), Error> {
        let mut slot = self.entry(hash, key)?;
        let Some(there) = slot.get() else { return Ok(()) };
        let leased = there.marks().has(Marks::LEASED);
        let mut new = same(&there);
        if wins && !leased {
            new.marks = new.marks.with(Marks::LEASED);
            hit.won = true;
        }
        hit.leased = leased;
        if let Some(lifespan) = how.touch {
            new.deadline = self.cache.deadline(lifespan, self.now);
        }
        slot.rewrite(&new)?;
        if let Some(entry) = slot.get() {
            hit.entry = entry.with_access_of(&hit.entry);
        }
        Ok(())
    }

    /// Stores a value.
    ///
    /// # Errors
    /// When there is no room; the entry is as it was.
    pub fn put(&self, hash: KeyHash, key: &[u8], put: &Put<'_>) -> Result<Written, Error> {
        let mut slot = self.slot(hash, key)?;
        let blind = put.mode == Mode::Set && put.expected.is_none();
        if !blind && slot.is_away() {
            return Err(Error::Away);
        }
        if blind {
            let new = self.new_entry(put);
            return done(slot.put(&new)?, &new);
        }
        let there = slot.get();
        let Some(there) = there else { return self.put_absent(&mut slot, put) };
        if put.mode == Mode::Add {
            return Ok(Written::Refused);
        }
        let joins = matches!(put.mode, Mode::Append | Mode::Prepend);
        let mut new = self.new_entry(put);
        if let Some(expected) = put.expected.filter(|expected| *expected != there.version()) {
            if !put.stale_if_older || joins || expected > there.version() {
                return Ok(Written::Conflict);
            }
            // As memcached: a stale value takes the old one's place, its lifespan and its lease.
            let leased = there.marks().has(Marks::LEASED);
            let marks = if leased { new.marks.with(Marks::LEASED) } else { new.marks };
            (new.marks, new.deadline) = (marks.with(Marks::STALE), there.deadline());
        }
        // As memcached: what is joined is a new item, neither stale nor known by a base64 key.
        let joined = NewEntry { marks: Marks::default(), ..same(&there) };
        match put.mode {
            Mode::Append => new = NewEntry { value: [there.value(), put.value], ..joined },
            Mode::Prepend => new = NewEntry { value: [put.value, there.value()], ..joined },
            Mode::Set | Mode::Add | Mode::Replace => {}
        }
        let len = new.value[0].len() + new.value[1].len();
        if len > put.len_max {
            return Err(Error::ValueLength { len });
        }
        new.version = put.version;
        done(slot.put(&new)?, &new)
    }

    fn put_absent(&self, slot: &mut EntryMut<'_, '_>, put: &Put<'_>) -> Result<Written, Error> {
        let mut new = self.new_entry(put);
        match (put.mode, put.or_create) {
            (Mode::Set, _) if put.expected.is_some() => return Ok(Written::Absent),
            (Mode::Set | Mode::Add, _) => {}
            (Mode::Append | Mode::Prepend, Some(lifespan)) => {
                new.deadline = self.cache.deadline(lifespan, self.now);
            }
            (Mode::Replace, _) if put.expected.is_some() => return Ok(Written::Absent),
            (Mode::Replace | Mode::Append | Mode::Prepend, _) => return Ok(Written::Refused),
        }
        done(slot.put(&new)?, &new)
    }

    fn new_entry<'a>(&self, put: &Put<'a>) -> NewEntry<'a> {
        NewEntry {
            value: [put.value, b""],
            flags: put.flags,
            deadline: self.cache.deadline(put.lifespan, self.now),
            max_idle: put.max_idle.or_else(|| self.cache.default_max_idle()),
            version: put.version,
            marks: put.marks,
        }
    }

    /// Gives an entry a new lifespan, which counts as a read; the entry, if there is one.
    ///
    /// # Errors
    /// When the change cannot be kept; the entry is as it was.
    pub fn touch(
        &self,
        hash: KeyHash,
        key: &[u8],
        lifespan: Lifespan,
    ) -> Result<Option<Entry<'_>>, Error> {
        let _ = self.get(hash, key);
        let mut slot = self.entry(hash, key)?;
        let Some(there) = slot.get() else { return Ok(None) };
        let deadline = self.cache.deadline(lifespan, self.now);
        slot.rewrite(&NewEntry { deadline, ..same(&there) })?;
        Ok(Some(there))
    }

    /// Deletes an entry, or keeps it without its value or marked stale.
    ///
    /// # Errors
    /// When there is no room for the entry that is kept.
    pub fn remove(&self, hash: KeyHash, key: &[u8], how: &Removal) -> Result<Written, Error> {
        let mut slot = self.entry(hash, key)?;
        let Some(there) = slot.get() else { return Ok(Written::Absent) };
        if how.expected.is_some_and(|expected| expected != there.version()) {
            return Ok(Written::Conflict);
        }
        if !how.mark_stale && !how.drop_value {
            slot.remove()?;
            return Ok(Written::Done { version: 0, len: 0 });
        }
        let mut new = NewEntry { version: how.version, ..same(&there) };
        if how.drop_value {
            new.value = [b"", b""];
            new.flags = 0;
        }
        if how.mark_stale {
            new.marks = new.marks.with(Marks::STALE).without(Marks::LEASED);
            if let Some(lifespan) = how.lifespan {
                new.deadline = self.cache.deadline(lifespan, self.now);
            }
        }
        let version = slot.put(&new)?;
        if !how.drop_value {
            slot.keep_access(&there);
        }
        done(version, &new)
    }

    /// Counts.
    ///
    /// # Errors
    /// When there is no room for the counter.
    pub fn count(&self, hash: KeyHash, key: &[u8], step: &Step) -> Result<Counted, Error> {
        let mut slot = self.entry(hash, key)?;
        let Some(there) = slot.get() else { return self.count_absent(&mut slot, step) };
        // As memcached: nothing at all is no number, whatever the version.
        if there.value().is_empty() {
            return Ok(Counted::NotANumber);
        }
        if step.expected.is_some_and(|expected| expected != there.version()) {
            return Ok(Counted::Conflict);
        }
        let Some(before) = number::parse(there.value()) else { return Ok(Counted::NotANumber) };
        let value = if step.up {
            before.wrapping_add(step.delta)
        } else {
            before.saturating_sub(step.delta)
        };
        let digits = Digits::of(value);
        let padding = number::padding(there.value().len(), digits.as_bytes().len());
        let mut new = NewEntry {
            value: [digits.as_bytes(), &padding],
            version: step.version,
            ..same(&there)
        };
        // As memcached: a number that outgrows its text is a new item.
        let outgrown = digits.as_bytes().len() > there.value().len();
        if outgrown {
            new.marks = Marks::default();
        }
        if let Some(lifespan) = step.touch {
            new.deadline = self.cache.deadline(lifespan, self.now);
        }
        let version = slot.put(&new)?;
        if there.was_fetched() && !outgrown {
            slot.note_read(&there);
        }
        let (deadline, deadline_before) = (new.deadline, there.deadline());
        Ok(Counted::Value { value, version, deadline, deadline_before, created: false })
    }

    fn count_absent(&self, slot: &mut EntryMut<'_, '_>, step: &Step) -> Result<Counted, Error> {
        let Some((value, lifespan)) = step.or_create else { return Ok(Counted::Absent) };
        let digits = Digits::of(value);
        let new = NewEntry {
            value: [digits.as_bytes(), b""],
            deadline: self.cache.deadline(lifespan, self.now),
            max_idle: self.cache.default_max_idle(),
            version: step.version,
            ..NewEntry::default()
        };
        let version = slot.put(&new)?;
        let deadline = new.deadline;
        Ok(Counted::Value { value, version, deadline, deadline_before: None, created: true })
    }

    /// After a read that found nothing: whether the key may have an entry that is not in memory, so
    /// that it must be loaded before anything can be said of it.
    #[must_use]
    pub fn is_away(&self, hash: KeyHash, key: &[u8]) -> bool {
        self.pinned.is_away(hash, key, self.now)
    }

    /// The entry of a key, for a change that depends on what it is: refused while it is not in memory.
    pub(super) fn entry<'k>(
        &self,
        hash: KeyHash,
        key: &'k [u8],
    ) -> Result<EntryMut<'_, 'k>, Error> {
        let mut slot = self.slot(hash, key)?;
        if slot.is_away() { Err(Error::Away) } else { Ok(slot) }
    }

    pub(super) fn slot<'k>(&self, hash: KeyHash, key: &'k [u8]) -> Result<EntryMut<'_, 'k>, Error> {
        self.pinned.entry(hash, key, self.now).ok_or(Error::KeyLength { len: key.len() })
    }
}

/// A new entry that differs in nothing from the one that is there.
pub(super) fn same<'a>(there: &Entry<'a>) -> NewEntry<'a> {
    NewEntry {
        value: [there.value(), b""],
        flags: there.flags(),
        deadline: there.deadline(),
        max_idle: there.max_idle(),
        version: there.chosen_version(),
        marks: there.marks(),
    }
}

fn done(version: u64, new: &NewEntry<'_>) -> Result<Written, Error> {
    Ok(Written::Done { version, len: new.value[0].len() + new.value[1].len() })
}
