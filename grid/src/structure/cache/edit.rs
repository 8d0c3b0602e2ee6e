//! One write with its conditions: decided in one place, whether under the lock of an entry or
//! within a transaction.

use std::cell::OnceCell;

use isogrid_engine::table::OwnedEntry;
use isogrid_engine::{
    Entry, Error, KeyHash, Marks, NewEntry, Timestamp, Transaction, TransactionError,
};

use isogrid_wire::native::cache::MapMode;

use super::batch::same;
use super::map::{MAGIC, MapEdit};
use super::{Batch, Cache, Lifespan};
use crate::structure::number::{self, Digits};

/// What to do to an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action<'a> {
    /// It gets this value.
    Put(&'a [u8]),
    /// It goes.
    Remove,
    /// It gets new lifetimes; the version stays.
    Touch,
    /// This is put behind its value.
    Append(&'a [u8]),
    /// This is put before its value.
    Prepend(&'a [u8]),
    /// Its value is a decimal number of 64 bits: below 0 it stays at 0, above the largest it
    /// starts again from 0.
    Add {
        /// Added.
        delta: i64,
        /// The number of an entry that is not there.
        initial: Option<u64>,
    },
    /// Fields of it change; its value is a map.
    Map(MapEdit<'a>),
}

/// A write and its conditions.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'a> {
    /// What to do.
    pub action: Action<'a>,
    /// Only when the entry has this version; 0 = only when there is none.
    pub expect: Option<u64>,
    /// Only when there is none.
    pub if_absent: bool,
    /// Only when there is one.
    pub if_present: bool,
    /// Lifespan in ms from now; 0 = for ever. `None` = the cache's own with a put and a touch that
    /// names no idle time either, else as it is.
    pub ttl: Option<u64>,
    /// Idle time in ms; 0 = for ever. `None` as with the lifespan.
    pub idle: Option<u64>,
    /// A put keeps the lifespan that the entry has.
    pub keep_ttl: bool,
    /// The client's 32 bits; `None` = 0 with a put, else as they are.
    pub flags: Option<u32>,
    /// The entry as it was is wanted.
    pub returns: bool,
    /// Longest value in bytes.
    pub len_max: usize,
}

impl Edit<'_> {
    /// Whether it does the same whatever the entry is, so that nobody needs to look.
    #[must_use]
    #[inline]
    pub fn is_blind(&self) -> bool {
        let conditions = self.expect.is_some() || self.if_absent || self.if_present;
        matches!(self.action, Action::Put(_)) && !conditions && !self.keep_ttl && !self.returns
    }
}

/// Why a write was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The entry is there, or is not, against the condition.
    Present,
    /// The entry has another version than was expected.
    Version,
    /// There is no entry to work on.
    Absent,
    /// The value is no number.
    NotANumber,
    /// The number would be too large.
    OutOfRange,
    /// The value is no JSON document.
    NotJson,
    /// The value is a map, or is none.
    WrongType,
}

/// What a write comes to.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'a> {
    /// A new version.
    Put(NewEntry<'a>),
    /// The same version with other lifetimes.
    Rewrite(NewEntry<'a>),
    /// No entry.
    Remove,
    /// Nothing.
    Refuse(Refusal),
}

/// What is there before a write.
#[derive(Debug, Clone, Copy)]
pub struct There<'a> {
    /// Its version; 0 if it has none yet.
    pub version: u64,
    /// The entry.
    pub entry: NewEntry<'a>,
}

/// A place for what is computed and the decision borrows: the digits of a number, or a map.
#[derive(Default)]
pub struct Scratch {
    digits: OnceCell<Digits>,
    map: OnceCell<Vec<u8>>,
}

/// What a write did.
pub struct Edited<'b> {
    /// The entry as it was; nobody looks for it where the write is blind.
    pub before: Option<Entry<'b>>,
    /// The version now, 0 after a removal; or why nothing was done.
    pub version: Result<u64, Refusal>,
    /// The number that an addition came to.
    pub number: Option<u64>,
    /// When the entry expires now.
    pub deadline: Option<Timestamp>,
    /// Its idle time now, ms.
    pub max_idle: Option<u32>,
}

impl Cache {
    /// What `edit` comes to for the entry that is there.
    ///
    /// # Errors
    /// [`Error::ValueLength`].
    pub fn decide<'a>(
        &self,
        there: Option<There<'a>>,
        edit: &Edit<'a>,
        now: Timestamp,
        scratch: &'a Scratch,
    ) -> Result<Decision<'a>, Error> {
        if let Some(refusal) = refusal(there.as_ref(), edit) {
            return Ok(Decision::Refuse(refusal));
        }
        let before = there.map(|there| there.entry);
        let mut new = match (edit.action, before) {
            (Action::Remove, _) => return Ok(Decision::Remove),
            (Action::Put(value), before) => self.fresh(value, before, edit, now),
            (Action::Touch, Some(before)) => {
                let new = self.relive(before, edit, now, edit.ttl.is_none() && edit.idle.is_none());
                return Ok(Decision::Rewrite(new));
            }
            (Action::Append(_) | Action::Prepend(_), Some(before)) if is_map(before) => {
                return Ok(Decision::Refuse(Refusal::WrongType));
            }
            (Action::Append(value), Some(before)) => {
                let value = [before.value[0], value];
                self.relive(NewEntry { value, ..joined(before) }, edit, now, false)
            }
            (Action::Prepend(value), Some(before)) => {
                let value = [value, before.value[0]];
                self.relive(NewEntry { value, ..joined(before) }, edit, now, false)
            }
            (Action::Add { delta, .. }, Some(before)) => {
                let Some(number) = number::parse(before.value[0]) else {
                    return Ok(Decision::Refuse(Refusal::NotANumber));
                };
                let value = [scratch.digits(step(number, delta)), b""];
                self.relive(NewEntry { value, ..joined(before) }, edit, now, false)
            }
            (Action::Add { initial: Some(initial), .. }, None) => {
                self.fresh(scratch.digits(initial), None, edit, now)
            }
            (Action::Map(map), before) => {
                let version = there.map(|there| there.version).filter(|version| *version != OWN);
                let before_map = before.map(|before| (before.value[0], version.unwrap_or(0)));
                let value = match map.apply(before_map) {
                    Ok(value) => scratch.map.get_or_init(|| value),
                    Err(refusal) => return Ok(Decision::Refuse(refusal)),
                };
                match before {
                    Some(before) => {
                        let value = [&**value, b""];
                        self.relive(NewEntry { value, ..joined(before) }, edit, now, false)
                    }
                    None => self.fresh(value, None, edit, now),
                }
            }
            (_, None) => return Ok(Decision::Refuse(Refusal::Absent)),
        };
        let len = new.value[0].len() + new.value[1].len();
        if len > edit.len_max {
            return Err(Error::ValueLength { len });
        }
        new.flags = edit.flags.unwrap_or(new.flags);
        Ok(Decision::Put(new))
    }

    /// An entry that has nothing of the one before, but for the lifespan if that is kept.
    fn fresh<'a>(
        &self,
        value: &'a [u8],
        before: Option<NewEntry<'a>>,
        edit: &Edit<'_>,
        now: Timestamp,
    ) -> NewEntry<'a> {
        let kept = before.filter(|_| edit.keep_ttl).map(|before| before.deadline);
        let empty = NewEntry { value: [value, b""], ..NewEntry::default() };
        let new = self.relive(empty, edit, now, true);
        NewEntry { deadline: kept.unwrap_or(new.deadline), ..new }
    }

    /// The entry with the lifetimes of the edit; those that it does not name are the cache's, or
    /// as they are.
    fn relive<'a>(
        &self,
        entry: NewEntry<'a>,
        edit: &Edit<'_>,
        now: Timestamp,
        defaults: bool,
    ) -> NewEntry<'a> {
        let deadline = match edit.ttl {
            Some(0) => None,
            Some(ttl) => Some(now.saturating_add(ttl)),
            None if defaults => self.deadline(Lifespan::Default, now),
            None => entry.deadline,
        };
        let max_idle = match edit.idle {
            Some(0) => None,
            Some(idle) => Some(u32::try_from(idle).unwrap_or(u32::MAX)),
            None if defaults => self.default_max_idle(),
            None => entry.max_idle,
        };
        NewEntry { deadline, max_idle, ..entry }
    }
}

/// Why the conditions do not hold, if they do not.
fn refusal(there: Option<&There<'_>>, edit: &Edit<'_>) -> Option<Refusal> {
    let needs_entry = matches!(edit.action, Action::Remove | Action::Touch);
    // To others than a strict one the version is where the client began.
    let expect = match edit.action {
        Action::Map(map) if map.mode != MapMode::Strict => None,
        _ => edit.expect,
    };
    match (expect, there) {
        (None, None) if needs_entry => Some(Refusal::Absent),
        (Some(1..), None) if needs_entry => Some(Refusal::Absent),
        (Some(expect), there) if there.map_or(0, |there| there.version) != expect => {
            Some(Refusal::Version)
        }
        (_, there) => {
            let refused = if there.is_some() { edit.if_absent } else { edit.if_present };
            refused.then_some(Refusal::Present)
        }
    }
}

fn is_map(entry: NewEntry<'_>) -> bool {
    entry.value[0].starts_with(&MAGIC)
}

/// What of an entry stays when its value becomes another one.
fn joined(before: NewEntry<'_>) -> NewEntry<'_> {
    NewEntry { marks: Marks::default(), version: None, ..before }
}

fn step(number: u64, delta: i64) -> u64 {
    let by = delta.unsigned_abs();
    if delta < 0 { number.saturating_sub(by) } else { number.wrapping_add(by) }
}

impl Scratch {
    fn digits(&self, number: u64) -> &[u8] {
        self.digits.get_or_init(|| Digits::of(number)).as_bytes()
    }

    /// The number, if one was decided on.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.digits.get().and_then(|digits| number::parse(digits.as_bytes()))
    }
}

impl Batch<'_> {
    /// Does a write, deciding under the entry's lock.
    ///
    /// # Errors
    /// When there is no room, or the change cannot be kept; or the entry is not in memory
    /// ([`Error::Away`]). It is as it was.
    pub fn edit(&self, hash: KeyHash, key: &[u8], edit: &Edit<'_>) -> Result<Edited<'_>, Error> {
        if edit.action == Action::Touch {
            // A new lifespan counts as a read.
            let _ = self.get(hash, key);
        }
        if let Action::Put(value) = edit.action
            && edit.is_blind()
        {
            return self.put_blind(hash, key, value, edit);
        }
        let mut slot = self.entry(hash, key)?;
        let before = slot.get();
        let there = before.map(|entry| There { version: entry.version(), entry: same(&entry) });
        let scratch = Scratch::default();
        let decision = self.cache.decide(there, edit, self.now, &scratch)?;
        let (version, new) = match decision {
            Decision::Put(new) => (Ok(slot.put(&new)?), Some(new)),
            Decision::Rewrite(new) => {
                slot.rewrite(&new)?;
                (Ok(there.map_or(0, |there| there.version)), Some(new))
            }
            Decision::Remove => {
                slot.remove()?;
                (Ok(0), None)
            }
            Decision::Refuse(refusal) => (Err(refusal), None),
        };
        let (deadline, max_idle) = new.map_or((None, None), |new| (new.deadline, new.max_idle));
        Ok(Edited { before, version, number: scratch.number(), deadline, max_idle })
    }

    fn put_blind(
        &self,
        hash: KeyHash,
        key: &[u8],
        value: &[u8],
        edit: &Edit<'_>,
    ) -> Result<Edited<'_>, Error> {
        let mut slot = self.slot(hash, key)?;
        if value.len() > edit.len_max {
            return Err(Error::ValueLength { len: value.len() });
        }
        let fresh = self.cache.fresh(value, None, edit, self.now);
        let new = NewEntry { flags: edit.flags.unwrap_or(0), ..fresh };
        let (version, NewEntry { deadline, max_idle, .. }) = (slot.put(&new)?, new);
        Ok(Edited { before: None, version: Ok(version), number: None, deadline, max_idle })
    }
}

/// A write within a transaction that was decided on.
pub struct Pending {
    /// The entry as the transaction saw it; without a version if it wrote it itself.
    pub before: Option<OwnedEntry>,
    /// Why nothing is written, if so.
    pub refused: Option<Refusal>,
    /// The number that an addition came to.
    pub number: Option<u64>,
    /// When the entry will expire.
    pub deadline: Option<Timestamp>,
    /// Its idle time then, ms.
    pub max_idle: Option<u32>,
}

/// The version of what a transaction wrote itself: no entry has it.
const OWN: u64 = u64::MAX;

impl Cache {
    /// Does a write within a transaction over this cache, as far as it goes before the commit.
    ///
    /// # Errors
    /// [`TransactionError`]; the transaction goes on without this write.
    pub fn edit_in(
        &self,
        transaction: &mut Transaction<'_>,
        key: &[u8],
        edit: &Edit<'_>,
        now: Timestamp,
    ) -> Result<Pending, TransactionError> {
        let before = transaction.get(key, now)?;
        let there = before.as_ref().map(|entry| {
            let version = entry.version.unwrap_or(OWN);
            There { version, entry: entry.as_new() }
        });
        let scratch = Scratch::default();
        let decision = self.decide(there, edit, now, &scratch)?;
        let (new, refused) = match decision {
            Decision::Put(new) => (Some(new), None),
            // The same version, as seen from outside.
            Decision::Rewrite(new) => {
                let version = before.as_ref().and_then(|before| before.version);
                (Some(NewEntry { version, ..new }), None)
            }
            Decision::Remove => {
                transaction.remove(key)?;
                (None, None)
            }
            Decision::Refuse(refusal) => (None, Some(refusal)),
        };
        if let Some(new) = &new {
            transaction.put(key, new)?;
        }
        let (deadline, max_idle) = new.map_or((None, None), |new| (new.deadline, new.max_idle));
        let number = scratch.number();
        Ok(Pending { before, refused, number, deadline, max_idle })
    }
}
