//! The parts of cache requests and answers.

use crate::native::blob::{Key, Value};
use crate::native::declare::{choices, options, record};
use crate::native::list::List;
use crate::native::options::Entry;
use crate::native::status::Status;

record! {
    /// A key and its value.
    KeyValue<'a> {
        /// The key.
        key: Key<'a>,
        /// The value.
        value: Value<'a>,
    }
}

record! {
    /// What became of one key of many.
    KeyVersion {
        /// OK or NOT_STORED; in a cluster, where each key has its own outcome, also FAILED or
        /// UNKNOWN.
        status: Status,
        /// The version that is there now; 0 if none is, or with FAILED or UNKNOWN.
        version: u64,
    }
}

record! {
    /// What became of one key of many.
    KeyStatus {
        /// OK or NOT_FOUND; in a cluster also FAILED or UNKNOWN.
        status: Status,
    }
}

record! {
    /// One entry of many.
    ReadItem<'a> {
        /// OK, NOT_FOUND or UNCHANGED; in a cluster also FAILED.
        status: Status,
        /// The parts that were asked for; an empty mask unless the status is OK.
        entry: Entry<'a>,
    }
}

record! {
    /// A field of an entry that is a map.
    MapField<'a> {
        /// Its name.
        name: &'a str,
        /// Its value.
        value: Value<'a>,
        /// The version of the entry that last changed it. Within a transaction 0 where that is
        /// the transaction itself.
        version: u64,
    }
}

choices! {
    /// What to do about changes of the same map by others.
    MapMode {
        /// Change these fields and leave all others as they are.
        0 Merge "MERGE",
        /// Refuse if the version is not the one of EXPECT.
        1 Strict "STRICT",
        /// Drop all other fields.
        2 Replace "REPLACE",
    }
}

choices! {
    /// How a field is changed.
    FieldOp {
        /// It gets this value.
        0 Set "SET",
        /// The value is an `i64`, 8 bytes, added to what is there (absent is 0).
        1 Add "ADD",
        /// The value is put behind what is there.
        2 Append "APPEND",
        /// The value is merged into the JSON document that is there (RFC 7396).
        3 JsonMerge "JSON_MERGE",
        /// It gets this value unless there is one.
        4 SetIfAbsent "SET_IF_ABSENT",
    }
}

record! {
    /// A change of a field.
    FieldChange<'a> {
        /// Its name.
        name: &'a str,
        /// How it is changed.
        op: FieldOp,
        /// With what.
        value: Value<'a>,
    }
}

record! {
    /// Behind the entries of each ITEM of a SCAN. Later releases may put more behind it: readers
    /// ignore that.
    ScanTrailer<'a> {
        /// Goes on from here, on any connection.
        cursor: &'a [u8],
        /// Segments that are finished with this frame.
        finished: List<'a, u16>,
    }
}

options! {
    /// Kinds of change: `u8`. Bits that a server does not know are ignored.
    EventKinds "events": u8, open {} switches {
        /// An entry was made.
        0x01 CREATE,
        /// An entry got another value.
        0x02 UPDATE,
        /// An entry was removed.
        0x04 REMOVE,
        /// An entry expired.
        0x08 EXPIRE,
        /// An entry had to make room.
        0x10 EVICT,
        /// Events were lost: read anew. Sent whether asked for or not.
        0x20 RESYNC,
    }
}

options! {
    /// How to listen: `u8`.
    ListenFlags "listen flags": u8, closed {} switches {
        /// First send what is there, as CREATE. In a cluster a RESYNC may come with it: what is there
        /// of that segment is to be read.
        0x01 INITIAL_STATE,
        /// Leave out what this connection changed; of a cache of a cluster, what this client did over
        /// any connection, if HELLO has its `instance`.
        0x02 NO_LOOP,
        /// Return the entry as it was, too.
        0x04 RETURN_PREV,
    }
}

record! {
    /// A change.
    Event<'a> {
        /// One of the bits of `events`. A reader ignores events of kinds that it does not know.
        event: u8,
        /// The segment of the key. With RESYNC: the one of which events were lost; 65535: all.
        segment: u16,
        /// The sequence number of the change within its segment. With RESYNC: all later ones are
        /// told again.
        seq: u64,
        /// The entry behind the change; the key alone when it is gone; empty with RESYNC.
        entry: Entry<'a>,
        /// The entry as it was.
        prev: Option<Entry<'a>>,
    }
}

choices! {
    /// Which keys a near cache is told of.
    TrackMode {
        /// Those that this connection read with TRACK in its read options, once each.
        0 Read "READ",
        /// Those that begin with one of the prefixes; an empty prefix is every key.
        1 Prefixes "PREFIXES",
    }
}

options! {
    /// How to track: `u8`.
    TrackFlags "track flags": u8, closed {} switches {
        /// Leave out what this connection changed, as in LISTEN.
        0x01 NO_LOOP,
    }
}

choices! {
    /// What an item of TRACK says.
    TrackedKind {
        /// Drop the key.
        0 Invalidate "INVALIDATE",
        /// Drop everything of the segment.
        1 Resync "RESYNC",
    }
}

record! {
    /// A key that is out of date.
    Tracked<'a> {
        /// What to drop.
        kind: TrackedKind,
        /// The segment of the key; 65535: all segments.
        segment: u16,
        /// The sequence number of the change within its segment.
        seq: u64,
        /// The key; empty with RESYNC.
        key: &'a [u8],
    }
}

record! {
    /// How far a segment has come.
    SegmentSeq {
        /// Which one.
        segment: u16,
        /// The high half of its identity, which changes when its history does not go on.
        uuid_high: u64,
        /// The low half.
        uuid_low: u64,
        /// The number of its last change.
        seq: u64,
    }
}

impl EventKinds {
    /// These kinds.
    #[must_use]
    pub const fn of(switches: u8) -> Self {
        EventKinds { switches }
    }
}

/// The segment that stands for all segments.
pub const ALL_SEGMENTS: u16 = u16::MAX;
