//! What the catalog knows of one object.

use std::sync::Arc;

use isogrid_engine::table::Usage;

use super::options::CacheOptions;
use crate::structure::cache::Cache;

/// What an object is. The numbers are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A named cache.
    Cache = 1,
    /// A space of named counters.
    Counters = 2,
    /// A space of leases, locks and semaphores.
    Locks = 3,
    /// A queue, or a group of a topic.
    Queue = 4,
    /// A topic.
    Topic = 5,
    /// A space of sessions.
    Sessions = 6,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] =
        [Kind::Cache, Kind::Counters, Kind::Locks, Kind::Queue, Kind::Topic, Kind::Sessions];

    /// The kind's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cache => "cache",
            Kind::Counters => "counters",
            Kind::Locks => "locks",
            Kind::Queue => "queue",
            Kind::Topic => "topic",
            Kind::Sessions => "sessions",
        }
    }

    /// The kind of this number.
    #[must_use]
    pub fn of(number: u8) -> Option<Kind> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Who asked for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The server has it always.
    BuiltIn,
    /// The configuration declares it: its options are set anew at each start.
    Declared,
    /// It was made while the server ran.
    Created,
}

impl Origin {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Origin::BuiltIn => "built-in",
            Origin::Declared => "declared",
            Origin::Created => "created",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Origin> {
        [Origin::Declared, Origin::Created].into_iter().find(|origin| origin.name() == word)
    }
}

/// An object at one moment. One that was altered is another of the same id; the cache is the same.
#[derive(Clone)]
pub struct Object {
    /// Its number, never another object's.
    pub id: u32,
    /// What it is.
    pub kind: Kind,
    /// Its name, one of its kind.
    pub name: String,
    /// Who asked for it.
    pub origin: Origin,
    /// The options of a cache.
    pub options: CacheOptions,
    /// The cache, if it is one.
    pub cache: Option<Arc<Cache>>,
}

/// What there is to say of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Its number.
    pub id: u32,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Who asked for it.
    pub origin: Origin,
    /// Each option as text; none for what is no cache.
    pub options: Vec<(&'static str, String)>,
    /// Entries and bytes of a cache.
    pub usage: Option<Usage>,
    /// Segments of a cache.
    pub segments: Option<usize>,
}

impl Object {
    /// What there is to say of it now.
    #[must_use]
    pub fn describe(&self) -> Description {
        let options = self.cache.iter().flat_map(|_| self.options.texts()).collect();
        let table = self.cache.as_ref().map(|cache| cache.table());
        Description {
            id: self.id,
            kind: self.kind,
            name: self.name.clone(),
            origin: self.origin,
            options,
            usage: table.map(|table| table.usage()),
            segments: table.map(|table| table.segment_count()),
        }
    }
}
