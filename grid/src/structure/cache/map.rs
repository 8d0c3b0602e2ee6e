//! Entries that are maps: fields with values and versions of their own, in the bytes of one entry.
//! Events, near caches, expiry, eviction and disk know of no maps: to them it is a value.
//!
//! A map is a value that looks like this from its first byte to its last; numbers are big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `f7 6d 61 70` |
//! | 1 | version of the format: 1 |
//! | 4 | fields; they follow in ascending order of their names, no name twice |
//! | 4, .. | length and bytes of a field's name, UTF-8 |
//! | 8 | the version of the entry that last changed the field; 0: the one that the entry has |
//! | 4, .. | length and bytes of its value |
//!
//! The version that a write makes is known when it is done, and so what it changed has 0; the next
//! write puts the number in its place.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use isogrid_wire::native::List;
use isogrid_wire::native::cache::{FieldChange, FieldOp, MapMode};
use serde_json::Value as Json;

use super::Refusal;

/// What every map begins with: the mark and the version of the format.
pub(super) const MAGIC: [u8; 5] = [0xf7, b'm', b'a', b'p', 1];

/// A field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    /// The version of the entry that last changed it; 0: of a write that is not done yet.
    pub version: u64,
    /// Its value.
    pub value: Cow<'a, [u8]>,
}

/// The fields of an entry that is a map, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Map<'a>(pub BTreeMap<Cow<'a, str>, Field<'a>>);

/// What is to become of a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MapEdit<'a> {
    /// What to do about fields that are not named, and about another version than was expected.
    pub mode: MapMode,
    /// Fields to change, in this order.
    pub changes: List<'a, FieldChange<'a>>,
    /// Fields to remove then.
    pub removals: List<'a, &'a str>,
}

impl<'a> Map<'a> {
    /// The map of an entry of this value and version (0: it has none yet); `None` when it is none.
    #[must_use]
    pub fn parse(value: &'a [u8], version: u64) -> Option<Map<'a>> {
        let mut rest = Rest(value);
        if rest.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let mut fields = BTreeMap::new();
        for _ in 0..rest.u32()? {
            let name = std::str::from_utf8(rest.piece()?).ok()?;
            let changed = match rest.u64()? {
                0 => version,
                changed => changed,
            };
            let last = fields.last_key_value().map(|(last, _): (&Cow<'_, str>, _)| &**last);
            if last.is_some_and(|last| last >= name) {
                return None;
            }
            let value = Cow::Borrowed(rest.piece()?);
            fields.insert(Cow::Borrowed(name), Field { version: changed, value });
        }
        rest.0.is_empty().then_some(Map(fields))
    }

    /// The bytes of an entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_len(self.0.len(), &mut out);
        for (name, field) in &self.0 {
            put_piece(name.as_bytes(), &mut out);
            out.extend_from_slice(&field.version.to_be_bytes());
            put_piece(&field.value, &mut out);
        }
        out
    }

    /// The names of fields that were changed after the version `base` of the entry.
    pub fn changed_since(&self, base: u64) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(_, field)| field.version > base).map(|(name, _)| &**name)
    }

    /// Changes one field.
    ///
    /// # Errors
    /// [`Refusal`]: it is as it was.
    pub fn change(&mut self, change: &FieldChange<'a>) -> Result<(), Refusal> {
        let name = Cow::Borrowed(change.name);
        let there = self.0.get(&name).map(|field| &*field.value);
        let value: Cow<'a, [u8]> = match (change.op, there) {
            (FieldOp::SetIfAbsent, Some(_)) => return Ok(()),
            (FieldOp::Set | FieldOp::SetIfAbsent, _) => change.value.bytes().into(),
            (FieldOp::Append, there) => {
                [there.unwrap_or_default(), change.value.bytes()].concat().into()
            }
            (FieldOp::Add, there) => {
                let delta = number(change.value.bytes())?;
                let sum = there.map_or(Ok(0), number)?.checked_add(delta);
                sum.ok_or(Refusal::OutOfRange)?.to_be_bytes().to_vec().into()
            }
            (FieldOp::JsonMerge, there) => {
                let before = there.map_or(Ok(Json::Null), json)?;
                merge(before, json(change.value.bytes())?).to_string().into_bytes().into()
            }
        };
        self.0.insert(name, Field { version: 0, value });
        Ok(())
    }
}

impl<'a> MapEdit<'a> {
    /// The value of the entry behind the change. `before` is its value and its version, which is 0
    /// if it has none yet.
    ///
    /// # Errors
    /// [`Refusal`]: nothing is changed.
    pub fn apply(&self, before: Option<(&'a [u8], u64)>) -> Result<Vec<u8>, Refusal> {
        let parse = |(value, version)| Map::parse(value, version).ok_or(Refusal::WrongType);
        let mut map = before.map(parse).transpose()?.unwrap_or_default();
        self.changes.iter().try_for_each(|change| map.change(&change))?;
        for name in self.removals {
            map.0.remove(name);
        }
        if self.mode == MapMode::Replace {
            let named: BTreeSet<&str> = self.changes.iter().map(|change| change.name).collect();
            map.0.retain(|name, _| named.contains(&**name));
        }
        Ok(map.encode())
    }

    /// What others have changed since the version `base`, in the entry that is there: all of it
    /// where nothing is done or nothing else stays, else what this changes too.
    #[must_use]
    pub fn conflicts<'m>(&self, there: &'m Map<'_>, base: u64) -> Vec<&'m str> {
        let wins = |change: &FieldChange<'_>| change.op != FieldOp::SetIfAbsent;
        let changes = self.changes.iter().filter(wins).map(|change| change.name);
        let own: BTreeSet<&str> = changes.chain(self.removals).collect();
        let all = self.mode != MapMode::Merge;
        there.changed_since(base).filter(|name| all || own.contains(name)).collect()
    }
}

fn number(bytes: &[u8]) -> Result<i64, Refusal> {
    bytes.try_into().map(i64::from_be_bytes).map_err(|_| Refusal::NotANumber)
}

fn json(bytes: &[u8]) -> Result<Json, Refusal> {
    serde_json::from_slice(bytes).map_err(|_| Refusal::NotJson)
}

/// RFC 7396, section 2.
fn merge(target: Json, patch: Json) -> Json {
    let Json::Object(patch) = patch else { return patch };
    let mut target = match target {
        Json::Object(fields) => fields,
        _ => serde_json::Map::new(),
    };
    for (name, patch) in patch {
        if patch.is_null() {
            target.remove(&name);
        } else {
            let before = target.remove(&name).unwrap_or(Json::Null);
            target.insert(name, merge(before, patch));
        }
    }
    Json::Object(target)
}

fn put_len(len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_piece(piece: &[u8], out: &mut Vec<u8>) {
    put_len(piece.len(), out);
    out.extend_from_slice(piece);
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().map(u32::from_be_bytes).ok()
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().map(u64::from_be_bytes).ok()
    }

    fn piece(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.take(len)
    }
}

#[cfg(test)]
mod tests;
