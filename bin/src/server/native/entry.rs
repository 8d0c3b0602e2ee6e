//! An entry as a reader asked for it.

use std::sync::Arc;

use isogrid_engine::table::OwnedEntry;
use isogrid_engine::{Entry, Timestamp};
use isogrid_wire::native::{self, Key, Ms, ReadOptions, Value};

/// An entry, whoever holds it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Its value.
    pub value: &'a [u8],
    /// Its value again, if others share it.
    pub shared: Option<&'a Arc<[u8]>>,
    /// Its version.
    pub version: u64,
    /// The client's 32 bits.
    pub flags: u32,
    /// When it expires.
    pub deadline: Option<Timestamp>,
    /// Its idle time, ms.
    pub max_idle: Option<u32>,
}

/// All parts that an entry of before is told with.
pub const ALL: u16 = ReadOptions::VALUE
    | ReadOptions::VERSION
    | ReadOptions::FLAGS
    | ReadOptions::TTL
    | ReadOptions::IDLE;

impl<'a> View<'a> {
    /// An entry of a cache; `shared` is what [`Entry::shared`] answered.
    pub fn of(entry: &Entry<'a>, shared: Option<&'a Arc<[u8]>>) -> Self {
        View {
            value: entry.value(),
            shared,
            version: entry.version(),
            flags: entry.flags(),
            deadline: entry.deadline(),
            max_idle: entry.max_idle(),
        }
    }

    /// An entry of somebody's own.
    pub fn owned(entry: &'a OwnedEntry) -> Self {
        View {
            value: &entry.value,
            shared: None,
            version: entry.version.unwrap_or(0),
            flags: entry.flags,
            deadline: entry.deadline,
            max_idle: entry.max_idle,
        }
    }

    /// The parts of it that are in `parts`, of the bits of [`ReadOptions`].
    pub fn parts(&self, parts: u16, key: &'a [u8], now: Timestamp) -> native::Entry<'a> {
        let wants = |part: u16| parts & part != 0;
        let value = self.shared.map_or(Value::Inline(self.value), Value::Shared);
        native::Entry {
            key: wants(ReadOptions::KEY).then_some(Key(key)),
            value: wants(ReadOptions::VALUE).then_some(value),
            version: wants(ReadOptions::VERSION).then_some(self.version),
            flags: wants(ReadOptions::FLAGS).then_some(self.flags),
            ttl: wants(ReadOptions::TTL).then_some(left(self.deadline, now)),
            idle: wants(ReadOptions::IDLE).then_some(Ms(self.max_idle.unwrap_or(0).into())),
            ..native::Entry::default()
        }
    }
}

/// As [`View::of`] and its parts, for who looks at no more of the entry than is asked for. Nothing
/// here remembers when an entry was made.
#[inline(always)]
pub fn parts<'a>(
    entry: &Entry<'a>,
    shared: Option<&'a Arc<[u8]>>,
    parts: u16,
    key: &'a [u8],
    now: Timestamp,
) -> native::Entry<'a> {
    let wants = |part: u16| parts & part != 0;
    let value = || shared.map_or_else(|| Value::Inline(entry.value()), Value::Shared);
    native::Entry {
        key: wants(ReadOptions::KEY).then_some(Key(key)),
        value: wants(ReadOptions::VALUE).then(value),
        version: wants(ReadOptions::VERSION).then(|| entry.version()),
        flags: wants(ReadOptions::FLAGS).then(|| entry.flags()),
        ttl: wants(ReadOptions::TTL).then(|| left(entry.deadline(), now)),
        idle: wants(ReadOptions::IDLE).then(|| Ms(entry.max_idle().unwrap_or(0).into())),
        ..native::Entry::default()
    }
}

/// The time that is left to live; 0 is for ever.
fn left(deadline: Option<Timestamp>, now: Timestamp) -> Ms {
    Ms(deadline.map_or(0, |at| at.saturating_sub(now).max(1)))
}

/// The key alone, or nothing if that is empty.
pub fn key_alone(key: &[u8]) -> native::Entry<'_> {
    let key = Some(Key(key)).filter(|key| !key.0.is_empty());
    native::Entry { key, ..native::Entry::default() }
}
