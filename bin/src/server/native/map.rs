//! MAP_GET and MAP_UPDATE: what is asked of them beside what is asked of every read and write, and
//! their answers.

use isogrid_engine::Entry;
use isogrid_grid::Cache;
use isogrid_grid::catalog::Object;
use isogrid_grid::structure::cache::{Map, MapEdit, Refusal};
use isogrid_wire::native::cache::{
    FieldOp, MapField, MapGet, MapGetReply, MapMode, MapUpdate, MapUpdateReply,
};
use isogrid_wire::native::{ErrorCode, List, ReadOptions, Value};

use super::edit::Outcome;
use super::entry::View;
use super::failure::Failure;
use super::reply::Reply;
use super::session::Session;

/// Why an entry that is there cannot be worked on.
pub const WRONG_TYPE: &str = "maps have MAP_GET and MAP_UPDATE, other values all the rest";

impl Session {
    /// MAP_GET.
    ///
    /// # Errors
    /// Too many fields, or TRACK without a stream.
    pub fn map_get(
        &mut self,
        object: &Object,
        cache: &Cache,
        get: &MapGet<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        self.check_keys(get.fields.len())?;
        let (key, batch) = (get.key.0, cache.batch(self.now));
        let hash = cache.hash(key);
        if get.read.has(ReadOptions::TRACK) {
            // Ahead of the read: a change that the read does not see finds the registration.
            self.tracker(object)?.register(key);
        }
        let entry = if get.read.has(ReadOptions::NO_TOUCH) {
            batch.peek(hash, key)
        } else {
            let entry = batch.get(hash, key);
            self.count_get(object, entry.is_some());
            entry
        };
        let shared = entry.as_ref().and_then(Entry::shared);
        say_get(get, entry.as_ref().map(|entry| View::of(entry, shared.as_ref())), reply);
        Ok(())
    }
}

/// Answers MAP_GET.
pub fn say_get(get: &MapGet<'_>, found: Option<View<'_>>, reply: &mut Reply<'_>) {
    let Some(found) = found else { return reply.say(&MapGetReply::NotFound {}) };
    let Some(map) = Map::parse(found.value, found.version) else {
        return reply.fail(&Failure::new(ErrorCode::WrongType, WRONG_TYPE));
    };
    if get.read.if_changed == Some(found.version) {
        return reply.say(&MapGetReply::Unchanged {});
    }
    let field = |name, (version, value)| MapField { name, value: Value::Inline(value), version };
    let fields: Vec<MapField<'_>> = if get.fields.is_empty() {
        map.0.iter().map(|(name, one)| field(&**name, (one.version, &*one.value))).collect()
    } else {
        let one = |name| map.0.get(name).map(|one| field(name, (one.version, &*one.value)));
        get.fields.iter().filter_map(one).collect()
    };
    reply.say(&MapGetReply::Ok { version: found.version, fields: List::of(&fields) });
}

/// Refuses what no entry could make right.
///
/// # Errors
/// Why.
pub fn check(update: &MapUpdate<'_>) -> Result<(), Failure> {
    if update.mode == MapMode::Strict && update.write.expect.is_none() {
        return Err(Failure::invalid("STRICT needs EXPECT"));
    }
    for change in update.changes {
        let (value, name) = (change.value.bytes(), change.name);
        if change.op == FieldOp::Add && value.len() != 8 {
            return Err(Failure::invalid(format!("ADD to {name:?} takes 8 bytes")));
        }
    }
    Ok(())
}

/// Answers MAP_UPDATE.
pub fn say(update: &MapUpdate<'_>, outcome: &Outcome<'_>, reply: &mut Reply<'_>) {
    let (mode, changes, removals) = (update.mode, update.changes, update.removals);
    let edit = MapEdit { mode, changes, removals };
    let there = outcome.before.and_then(|before| Map::parse(before.value, before.version));
    let there = there.unwrap_or_default();
    let conflicts = update.write.expect.map(|base| edit.conflicts(&there, base));
    let conflicts = conflicts.unwrap_or_default();
    let conflicts = List::of(&conflicts);
    let version = outcome.before.map_or(0, |before| before.version);
    reply.say(&match outcome.version {
        Ok(version) => MapUpdateReply::Ok { version, conflicts },
        Err(Refusal::Version) => MapUpdateReply::VersionMismatch { version, conflicts },
        Err(_) => MapUpdateReply::NotStored { version },
    });
}
