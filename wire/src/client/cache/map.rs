//! Entries that are maps: fields are read and changed by themselves.
//!
//! ```no_run
//! use isogrid_wire::client::cache::MapUpdated;
//! use isogrid_wire::client::{Cache, Error};
//!
//! # async fn example(carts: Cache) -> Result<(), Error> {
//! let cart = carts.map(b"ann");
//! cart.update().set("owner", b"Ann").add("apples", 2).await?;
//!
//! let Some(read) = cart.get().await? else { return Ok(()) };
//! // Others may have changed it meanwhile: what this writes over is said.
//! match cart.update().set("owner", b"Anna").since(read.version).await? {
//!     MapUpdated::Done { conflicts, .. } if conflicts.is_empty() => println!("nobody else did"),
//!     other => println!("{other:?}"),
//! }
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use super::Cache;
use super::write::{Kind, Write};
use crate::client::core::{Reply, Request};
use crate::client::error::Error;
use crate::client::handle::{Handle, decode};
use crate::native::cache::{
    self, FieldChange, FieldOp, MapGetReply, MapMode, MapUpdate, MapUpdateReply,
};
use crate::native::{Key, List, ReadOptions, Value, WriteOptions};

/// An entry of a cache that is a map, or is to become one.
#[derive(Debug, Clone, Copy)]
pub struct MapEntry<'c> {
    cache: &'c Cache,
    key: &'c [u8],
}

/// A map as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// The version of the entry.
    pub version: u64,
    /// The fields that there are, of those asked for.
    pub fields: BTreeMap<String, Field>,
}

/// A field of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its value.
    pub value: Vec<u8>,
    /// The version of the entry that last changed it.
    pub version: u64,
}

/// A read of fields; `.await` does it.
#[derive(Debug)]
#[must_use = "nothing is read before `.await`"]
pub struct MapGet<'c> {
    entry: MapEntry<'c>,
    fields: Vec<&'c str>,
    switches: u16,
    timeout: Duration,
}

/// A change of fields: all of it or nothing.
#[derive(Debug)]
pub struct Update<'c> {
    key: &'c [u8],
    mode: MapMode,
    changes: Vec<(&'c str, FieldOp, Vec<u8>)>,
    removals: Vec<&'c str>,
}

/// What came of a change of fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapUpdated {
    /// It is done.
    Done {
        /// The version of the entry now.
        version: u64,
        /// Fields that others had changed since the version that was named; this change won.
        conflicts: Vec<String>,
    },
    /// It was to be absent and is there, or to be present and is not.
    NotStored {
        /// The version that is there; 0 if none is.
        version: u64,
    },
    /// It was to have another version, and stays.
    Mismatch {
        /// The version that is there; 0 if none is.
        version: u64,
        /// Fields that others have changed since.
        conflicts: Vec<String>,
    },
}

impl Cache {
    /// The entry of a key as a map.
    #[must_use]
    pub fn map<'c>(&'c self, key: &'c [u8]) -> MapEntry<'c> {
        MapEntry { cache: self, key }
    }
}

impl<'c> MapEntry<'c> {
    /// Reads all fields, from the server; `None` if there is no entry.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`]; `WRONG_TYPE`: the entry is no map.
    pub fn get(self) -> MapGet<'c> {
        let timeout = self.cache.object.handle.timeout;
        MapGet { entry: self, fields: Vec::new(), switches: 0, timeout }
    }

    /// Changes fields; those that are not named stay. The entry is made if it is not there, and
    /// keeps the lifetimes that it has unless others are given.
    ///
    /// # Errors
    ///
    /// As [`Cache::put`]; `WRONG_TYPE`: the entry is no map. `NOT_A_NUMBER`, `OUT_OF_RANGE` and
    /// `INVALID_ARGUMENT` say that a field does not take what was to be done to it.
    pub fn update(self) -> Write<'c, Update<'c>> {
        let (changes, removals) = (Vec::new(), Vec::new());
        self.cache.write(Update { key: self.key, mode: MapMode::Merge, changes, removals })
    }
}

impl<'c> MapGet<'c> {
    /// Reads these fields only.
    pub fn fields(self, fields: &[&'c str]) -> Self {
        MapGet { fields: fields.to_vec(), ..self }
    }

    /// Does not count the read: neither for eviction nor for idleness nor for statistics.
    pub fn peek(self) -> Self {
        MapGet { switches: self.switches | ReadOptions::NO_TOUCH, ..self }
    }

    /// How long this may take, instead of the client's timeout.
    pub fn timeout(self, timeout: Duration) -> Self {
        MapGet { timeout, ..self }
    }

    async fn read(self) -> Result<Option<Fields>, Error> {
        let read = ReadOptions { switches: self.switches, ..ReadOptions::default() };
        let (key, fields) = (Key(self.entry.key), List::of(&self.fields));
        let get = cache::MapGet { key, fields, read };
        let object = &self.entry.cache.object;
        let reply = object.call_within(self.timeout, || object.handle.request(&get)).await?;
        Ok(match decode::<cache::MapGet<'_>>(&reply)? {
            MapGetReply::Ok { version, fields } => {
                let field = |field: cache::MapField<'_>| {
                    let (value, version) = (field.value.bytes().to_vec(), field.version);
                    (field.name.to_owned(), Field { value, version })
                };
                Some(Fields { version, fields: fields.iter().map(field).collect() })
            }
            MapGetReply::NotFound {} | MapGetReply::Unchanged {} => None,
        })
    }
}

impl<'c> IntoFuture for MapGet<'c> {
    type Output = Result<Option<Fields>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.read())
    }
}

impl<'c> Write<'c, Update<'c>> {
    fn change(mut self, field: &'c str, op: FieldOp, value: Vec<u8>) -> Self {
        self.what.changes.push((field, op, value));
        self
    }

    /// A field gets this value.
    pub fn set(self, field: &'c str, value: &[u8]) -> Self {
        self.change(field, FieldOp::Set, value.to_vec())
    }

    /// A field gets this value unless there is one.
    pub fn set_if_absent(self, field: &'c str, value: &[u8]) -> Self {
        self.change(field, FieldOp::SetIfAbsent, value.to_vec())
    }

    /// Adds to a field that holds an `i64` of 8 bytes, big-endian; absent is 0.
    pub fn add(self, field: &'c str, delta: i64) -> Self {
        self.change(field, FieldOp::Add, delta.to_be_bytes().to_vec())
    }

    /// Puts bytes behind the value of a field.
    pub fn append(self, field: &'c str, value: &[u8]) -> Self {
        self.change(field, FieldOp::Append, value.to_vec())
    }

    /// Merges a JSON document into the one in a field (RFC 7396).
    pub fn json_merge(self, field: &'c str, patch: &str) -> Self {
        self.change(field, FieldOp::JsonMerge, patch.into())
    }

    /// Removes a field.
    pub fn remove(mut self, field: &'c str) -> Self {
        self.what.removals.push(field);
        self
    }

    /// Says on which version of the entry the change builds: what others have changed since is
    /// told as a conflict, and written over.
    pub fn since(mut self, version: u64) -> Self {
        self.options.expect = Some(version);
        self
    }

    /// Only if the entry still has this version.
    pub fn strict(mut self, version: u64) -> Self {
        self.what.mode = MapMode::Strict;
        self.since(version)
    }

    /// Drops all fields that this change does not name.
    pub fn replace(mut self) -> Self {
        self.what.mode = MapMode::Replace;
        self
    }

    /// Only if the entry is there.
    pub fn if_present(mut self) -> Self {
        self.options.switches |= WriteOptions::IF_PRESENT;
        self
    }

    /// Only if the entry is not there.
    pub fn if_absent(mut self) -> Self {
        self.options.switches |= WriteOptions::IF_ABSENT;
        self
    }
}

impl Kind for Update<'_> {
    type Output = MapUpdated;

    fn key(&self) -> &[u8] {
        self.key
    }

    fn request(&self, handle: &Handle, write: &WriteOptions) -> Request {
        let changes: Vec<FieldChange<'_>> = self
            .changes
            .iter()
            .map(|(name, op, value)| FieldChange { name, op: *op, value: Value::Inline(value) })
            .collect();
        let (key, mode) = (Key(self.key), self.mode);
        let (changes, removals) = (List::of(&changes), List::of(&self.removals));
        handle.request(&MapUpdate { key, mode, changes, removals, write: *write })
    }

    fn output(reply: &Reply) -> Result<MapUpdated, Error> {
        let names = |names: List<'_, &str>| names.iter().map(str::to_owned).collect();
        Ok(match decode::<MapUpdate<'_>>(reply)? {
            MapUpdateReply::Ok { version, conflicts } => {
                MapUpdated::Done { version, conflicts: names(conflicts) }
            }
            MapUpdateReply::NotStored { version } => MapUpdated::NotStored { version },
            MapUpdateReply::VersionMismatch { version, conflicts } => {
                MapUpdated::Mismatch { version, conflicts: names(conflicts) }
            }
        })
    }
}
