//! A change of attributes. Each that is named wins over what was there, unless the save is STRICT;
//! the others stay, unless it is REPLACE. All of it is done or nothing.

use std::collections::BTreeSet;

use isogrid_engine::Timestamp;
use isogrid_wire::native::List;
use isogrid_wire::native::cache::{FieldChange, FieldOp};
use isogrid_wire::native::session::SaveMode;

use super::record::{Record, Stored};
use super::{Change, Decided, Refusal, SessionOp, SessionReply};
use crate::structure::cache::{Map, Refusal as Wrong};

/// What a save does to a session that is there.
pub fn save<'a>(now: Timestamp, op: &SessionOp<'a>, mut record: Record<'a>) -> Decided<'a> {
    let SessionOp::Save { base, mode, changes, removals } = *op else {
        return Err(Refusal::Unreadable);
    };
    let conflicts = conflicts(&record.attributes, base, mode, (changes, removals));
    if mode == SaveMode::Strict && !conflicts.is_empty() {
        return Ok((SessionReply::Differs { record, names: conflicts }, Change::Keep));
    }
    for change in changes {
        record.attributes.change(&change).map_err(|wrong| refusal(wrong, change.name))?;
    }
    removals.iter().for_each(|name| drop(record.attributes.0.remove(name)));
    if mode == SaveMode::Replace {
        let named: BTreeSet<&str> = changes.iter().map(|change| change.name).collect();
        record.attributes.0.retain(|name, _| named.contains(&**name));
    }
    record.check()?;
    let record = record.use_now(now);
    Ok((SessionReply::Saved { conflicts }, Change::Put(Stored::Live(record))))
}

/// The attributes that somebody else has changed since `base` and that this changes too; with REPLACE
/// also those that it drops.
fn conflicts<'a>(
    there: &Map<'a>,
    base: u64,
    mode: SaveMode,
    (changes, removals): (List<'a, FieldChange<'a>>, List<'a, &'a str>),
) -> Vec<&'a str> {
    let is_newer = |name: &str| there.0.get(name).is_some_and(|field| field.version > base);
    let wins = |change: &FieldChange<'_>| change.op != FieldOp::SetIfAbsent;
    let own = changes.iter().filter(wins).map(|change| change.name).chain(removals);
    let mut all: BTreeSet<&str> = own.filter(|name| is_newer(name)).collect();
    if mode == SaveMode::Replace {
        let borrowed = |name: &std::borrow::Cow<'a, str>| match name {
            std::borrow::Cow::Borrowed(name) => Some(*name),
            std::borrow::Cow::Owned(_) => None,
        };
        all.extend(there.0.keys().filter_map(borrowed).filter(|name| is_newer(name)));
    }
    all.into_iter().collect()
}

fn refusal(wrong: Wrong, name: &str) -> Refusal {
    let name = name.to_owned();
    match wrong {
        Wrong::NotJson => Refusal::NotJson(name),
        Wrong::OutOfRange => Refusal::OutOfRange(name),
        _ => Refusal::NotANumber(name),
    }
}
