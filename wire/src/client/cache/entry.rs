//! What a read answers with.

use std::sync::Arc;
use std::time::Duration;

use crate::native::{self, Ms, ReadOptions};

/// An entry as it was when the server read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value; empty if it was not asked for.
    pub value: Arc<[u8]>,
    /// The version: unique for the key for ever.
    pub version: u64,
    /// The client's flags.
    pub flags: u32,
    /// What was left to live; `None`: for ever.
    pub ttl: Option<Duration>,
    /// How long it may be idle; `None`: for ever.
    pub idle: Option<Duration>,
    /// When it was created: time since 1970.
    pub created: Duration,
}

/// Everything but the key.
pub const ALL: u16 = ReadOptions::VALUE
    | ReadOptions::VERSION
    | ReadOptions::FLAGS
    | ReadOptions::TTL
    | ReadOptions::IDLE
    | ReadOptions::CREATED;

impl Entry {
    pub(in crate::client) fn of(entry: &native::Entry<'_>) -> Self {
        let span = |ms: Option<Ms>| ms.filter(|ms| ms.0 != 0).map(|ms| Duration::from_millis(ms.0));
        Entry {
            value: entry.value.map_or_else(Arc::default, |value| value.bytes().into()),
            version: entry.version.unwrap_or(0),
            flags: entry.flags.unwrap_or(0),
            ttl: span(entry.ttl),
            idle: span(entry.idle),
            created: Duration::from_millis(entry.created_ms.unwrap_or(0)),
        }
    }
}
