//! The options of reads and writes, and the entry that a read answers with.

use super::blob::{Key, Value};
use super::codec::Ms;
use super::declare::options;

options! {
    /// What a read is to return, and how it is to be done: `u16` and the operand of `IF_CHANGED`.
    ReadOptions "ro": u16, closed {
        /// Answer `UNCHANGED` if the entry still has this version.
        0x2000 IF_CHANGED if_changed: u64,
    } switches {
        /// Return the value.
        0x0001 VALUE,
        /// Return the version.
        0x0002 VERSION,
        /// Return the client's flags.
        0x0004 FLAGS,
        /// Return the time that is left to live.
        0x0008 TTL,
        /// Return how long it may be idle.
        0x0010 IDLE,
        /// Return when it was created.
        0x0020 CREATED,
        /// Return the key.
        0x0040 KEY,
        /// Do not count the read: neither for eviction nor for idleness nor for statistics.
        0x0100 NO_TOUCH,
        /// A copy that lags behind will do.
        0x0200 STALE_OK,
        /// Fail with `NOT_OWNER` rather than forward the request.
        0x0400 LOCAL_ONLY,
        /// Do not fetch it from a store behind the cache.
        0x0800 NO_LOAD,
        /// Tell this connection's `TRACK` stream when the entry changes.
        0x1000 TRACK,
    }
}

options! {
    /// How a write is to be done: `u16`, then the operands of the bits 0 to 3 that are set.
    /// Without TTL and IDLE the cache's own apply. ACK_OWNER: the owner alone acknowledges;
    /// ACK_MAJORITY: more than half of the copies; both: all of them; neither: as the cache is
    /// configured.
    WriteOptions "wo": u16, closed {
        /// Time to live; 0 is for ever.
        0x0001 TTL ttl: Ms,
        /// Time that it may be idle; 0 is for ever.
        0x0002 IDLE idle: Ms,
        /// The client's flags, kept with the value.
        0x0004 FLAGS flags: u32,
        /// Only if the entry has this version; 0: only if it is absent.
        0x0008 EXPECT expect: u64,
    } switches {
        /// Only if it is absent.
        0x0010 IF_ABSENT,
        /// Only if it is present.
        0x0020 IF_PRESENT,
        /// Return the entry that was there before.
        0x0040 RETURN_PREV,
        /// Do not tell listeners.
        0x0080 NO_NOTIFY,
        /// Keep the time to live that the entry has.
        0x0100 KEEP_TTL,
        /// Do not write it to a store behind the cache.
        0x0200 NO_STORE,
        /// Fail with `NOT_OWNER` rather than forward the request.
        0x0400 LOCAL_ONLY,
        /// Acknowledged by the owner is enough.
        0x1000 ACK_OWNER,
        /// Acknowledged by more than half of the copies.
        0x2000 ACK_MAJORITY,
    }
}

options! {
    /// An entry, or the parts of it that were asked for: `u8` mask, then the parts, the key first.
    /// The mask says which parts are there, whatever was asked for.
    Entry<'a> "entry": u8, closed {
        /// The key.
        0x40 KEY key: Key<'a>,
        /// The value.
        0x01 VALUE value: Value<'a>,
        /// The version.
        0x02 VERSION version: u64,
        /// The client's flags.
        0x04 FLAGS flags: u32,
        /// Milliseconds left to live; 0 is for ever.
        0x08 TTL ttl: Ms,
        /// Milliseconds that it may be idle; 0 is for ever.
        0x10 IDLE idle: Ms,
        /// When it was created: milliseconds since 1970.
        0x20 CREATED created_ms: u64,
    } switches {}
}

/// Who has to acknowledge a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// As the cache is configured.
    Default,
    /// The owner.
    Owner,
    /// More than half of the copies.
    Majority,
    /// All copies.
    All,
}

impl WriteOptions {
    /// Who has to acknowledge the write.
    #[must_use]
    pub fn ack(&self) -> Ack {
        match (self.has(Self::ACK_OWNER), self.has(Self::ACK_MAJORITY)) {
            (false, false) => Ack::Default,
            (true, false) => Ack::Owner,
            (false, true) => Ack::Majority,
            (true, true) => Ack::All,
        }
    }
}
