//! Group 0x01: named caches.

mod records;

use super::blob::{Key, Value};
use super::declare::group;
use super::list::List;
use super::options::{Entry, ReadOptions, WriteOptions};

pub use records::{
    ALL_SEGMENTS, Event, EventKinds, FieldChange, FieldOp, KeyStatus, KeyValue, KeyVersion,
    ListenFlags, MapField, MapMode, ReadItem, ScanTrailer, SegmentSeq, TrackFlags, TrackMode,
    Tracked, TrackedKind,
};

group! {
    /// Named caches: keys and values, versions, lifetimes, scans and listeners. The object is the
    /// cache.
    0x01 "cache";
    reserved { 0x010b "COMPUTE", }

    /// Reads an entry.
    0x0101 GET Get<'a> (Read, Read, key) {
        /// Which one.
        key: Key<'a>,
        /// What to return.
        read: ReadOptions,
    } => GetReply<'a> {
        /// It is there.
        Ok {
            /// The parts that were asked for.
            entry: Entry<'a>,
        }
        /// It is not.
        NotFound {}
        /// It still has the version of `IF_CHANGED`.
        Unchanged {}
    }

    /// Writes an entry: put, put-if-absent, replace, replace-if-version and get-and-put in one.
    0x0102 PUT Put<'a> (Idempotent, Write, key) {
        /// Which one.
        key: Key<'a>,
        /// Its value.
        value: Value<'a>,
        /// Conditions, lifetimes and the rest. With EXPECT, IF_ABSENT, IF_PRESENT or RETURN_PREV
        /// the request is of repeat class D.
        write: WriteOptions,
    } => PutReply<'a> {
        /// It is stored.
        Ok {
            /// Its version.
            version: u64,
            /// What was there, if RETURN_PREV asked for it.
            prev: Option<Entry<'a>>,
        }
        /// IF_ABSENT and it is there, or IF_PRESENT and it is not.
        NotStored {
            /// The version that is there; 0 if none is.
            version: u64,
            /// What is there, if RETURN_PREV asked for it.
            prev: Option<Entry<'a>>,
        }
        /// EXPECT named another version.
        VersionMismatch {
            /// The version that is there; 0 if none is.
            version: u64,
            /// What is there, if RETURN_PREV asked for it.
            prev: Option<Entry<'a>>,
        }
    }

    /// Removes an entry.
    0x0103 REMOVE Remove<'a> (Idempotent, Write, key) {
        /// Which one.
        key: Key<'a>,
        /// EXPECT, RETURN_PREV, NO_NOTIFY, NO_STORE, LOCAL_ONLY and the acknowledgement apply.
        write: WriteOptions,
    } => RemoveReply<'a> {
        /// It is gone.
        Ok {
            /// What was there, if RETURN_PREV asked for it.
            prev: Option<Entry<'a>>,
        }
        /// It was not there.
        NotFound {}
        /// EXPECT named another version.
        VersionMismatch {
            /// The version that is there.
            version: u64,
            /// What is there, if RETURN_PREV asked for it.
            prev: Option<Entry<'a>>,
        }
    }

    /// Gives an entry new lifetimes.
    0x0105 TOUCH Touch<'a> (Idempotent, Write, key) {
        /// Which one.
        key: Key<'a>,
        /// TTL and IDLE; without both, those of the cache. EXPECT applies.
        write: WriteOptions,
    } => TouchReply {
        /// Done. The version stays as it is.
        Ok {
            /// The version.
            version: u64,
        }
        /// It is not there.
        NotFound {}
        /// EXPECT named another version.
        VersionMismatch {
            /// The version that is there.
            version: u64,
        }
    }

    /// Reads an entry and gives it new lifetimes.
    0x0106 GET_TOUCH GetTouch<'a> (Idempotent, Write, key) {
        /// Which one.
        key: Key<'a>,
        /// What to return.
        read: ReadOptions,
        /// TTL and IDLE; without both, those of the cache.
        write: WriteOptions,
    } => GetTouchReply<'a> {
        /// It is there.
        Ok {
            /// The parts that were asked for.
            entry: Entry<'a>,
        }
        /// It is not.
        NotFound {}
        /// It still has the version of `IF_CHANGED`; its lifetimes are new.
        Unchanged {}
    }

    /// Counts with an entry whose value is a decimal number of 64 bits, unsigned. Below 0 it stays
    /// at 0, above 2^64 - 1 it starts again from 0, as in memcached.
    0x0108 INCR Incr<'a> (Dedup, Write, key) {
        /// Which one.
        key: Key<'a>,
        /// Added; may be negative.
        delta: i64,
        /// The value of an entry that is not there; without it that is `NOT_FOUND`.
        initial: Option<u64>,
        /// Lifetimes (without both, the entry keeps its own), EXPECT and the rest.
        write: WriteOptions,
    } => IncrReply {
        /// Counted.
        Ok {
            /// The new number.
            value: u64,
            /// The new version.
            version: u64,
        }
        /// It is not there, and there was no `initial`.
        NotFound {}
        /// EXPECT named another version.
        VersionMismatch {
            /// The version that is there; 0 if none is.
            version: u64,
        }
    }

    /// Puts bytes behind the value of an entry; `WRONG_TYPE` if that is a map.
    0x0109 APPEND Append<'a> (Dedup, Write, key) {
        /// Which one.
        key: Key<'a>,
        /// The bytes.
        value: Value<'a>,
        /// EXPECT, lifetimes (without both, the entry keeps its own) and the rest.
        write: WriteOptions,
    } => AppendReply {
        /// Done.
        Ok {
            /// The new version.
            version: u64,
        }
        /// It is not there.
        NotFound {}
        /// EXPECT named another version.
        VersionMismatch {
            /// The version that is there; 0 if none is.
            version: u64,
        }
    }

    /// Puts bytes before the value of an entry; `WRONG_TYPE` if that is a map.
    0x010a PREPEND Prepend<'a> (Dedup, Write, key) {
        /// Which one.
        key: Key<'a>,
        /// The bytes.
        value: Value<'a>,
        /// As in APPEND.
        write: WriteOptions,
    } => PrependReply {
        /// Done.
        Ok {
            /// The new version.
            version: u64,
        }
        /// It is not there.
        NotFound {}
        /// EXPECT named another version.
        VersionMismatch {
            /// The version that is there; 0 if none is.
            version: u64,
        }
    }

    /// Reads fields of an entry that is a map; `WRONG_TYPE` if it is none. GET of such an entry
    /// answers with its bytes, whose format is in STORAGE.md.
    0x010c MAP_GET MapGet<'a> (Read, Read, key) {
        /// Which entry.
        key: Key<'a>,
        /// Which fields; none: all of them.
        fields: List<'a, &'a str>,
        /// NO_TOUCH, STALE_OK, LOCAL_ONLY, NO_LOAD, TRACK and IF_CHANGED apply.
        read: ReadOptions,
    } => MapGetReply<'a> {
        /// It is there.
        Ok {
            /// The version of the entry.
            version: u64,
            /// The fields that there are, of those asked for.
            fields: List<'a, MapField<'a>>,
        }
        /// The entry is not there.
        NotFound {}
        /// It still has the version of `IF_CHANGED`.
        Unchanged {}
    }

    /// Changes fields of an entry that is a map, all or none: the changes in their order, then the
    /// removals. `WRONG_TYPE` if it is no map; `NOT_A_NUMBER`, `OUT_OF_RANGE` or
    /// `INVALID_ARGUMENT` if a field does not take a change. All names together are at most
    /// `max_keys`.
    0x010d MAP_UPDATE MapUpdate<'a> (Dedup, Write, key) {
        /// Which entry; it is made if it is not there, unless IF_PRESENT is set.
        key: Key<'a>,
        /// What becomes of the other fields, and of the whole if the entry has another version than
        /// that of EXPECT. Only STRICT asks for that version, and needs it: to the others it is
        /// what the changes build upon, and tells conflicts.
        mode: MapMode,
        /// Fields to change.
        changes: List<'a, FieldChange<'a>>,
        /// Fields to remove.
        removals: List<'a, &'a str>,
        /// EXPECT, IF_ABSENT, IF_PRESENT, FLAGS and lifetimes: without these an entry that is there
        /// keeps its own.
        write: WriteOptions,
    } => MapUpdateReply<'a> {
        /// Done.
        Ok {
            /// The new version of the entry.
            version: u64,
            /// Fields of these that somebody had changed since the version of EXPECT; these changes
            /// won. With REPLACE also those that it dropped. Who removed a field is not known.
            conflicts: List<'a, &'a str>,
        }
        /// IF_PRESENT and the entry is not there, or IF_ABSENT and it is.
        NotStored {
            /// The version that is there; 0 if none is.
            version: u64,
        }
        /// The mode was STRICT and EXPECT named another version.
        VersionMismatch {
            /// The version that is there; 0 if none is.
            version: u64,
            /// Fields that were changed since.
            conflicts: List<'a, &'a str>,
        }
    }

    /// Reads many entries.
    0x0110 GET_MANY GetMany<'a> (Read, Read, keys) {
        /// Which ones: at most `max_keys`.
        keys: List<'a, Key<'a>>,
        /// What to return of each.
        read: ReadOptions,
    } => GetManyReply<'a> {
        /// One item a key, in the order of the request.
        Ok {
            /// OK, NOT_FOUND or UNCHANGED, and the entry.
            entries: List<'a, ReadItem<'a>>,
        }
        /// Some could not be read, in a cluster: nobody serves them now.
        Partial {
            /// The same, or FAILED.
            entries: List<'a, ReadItem<'a>>,
        }
    }

    /// Writes many entries, each on its own.
    0x0111 PUT_MANY PutMany<'a> (Idempotent, Write, entries) {
        /// For all of them. EXPECT and RETURN_PREV are refused.
        write: WriteOptions,
        /// Keys and values: at most `max_keys`.
        entries: List<'a, KeyValue<'a>>,
    } => PutManyReply<'a> {
        /// All are stored.
        Ok {
            /// One a key, in the order of the request.
            results: List<'a, KeyVersion>,
        }
        /// Some are not.
        Partial {
            /// One a key, in the order of the request.
            results: List<'a, KeyVersion>,
        }
    }

    /// Removes many entries, each on its own.
    0x0112 REMOVE_MANY RemoveMany<'a> (Idempotent, Write, keys) {
        /// Which ones: at most `max_keys`.
        keys: List<'a, Key<'a>>,
        /// For all of them. EXPECT and RETURN_PREV are refused.
        write: WriteOptions,
    } => RemoveManyReply<'a> {
        /// All were there and are gone.
        Ok {
            /// One a key, in the order of the request.
            results: List<'a, KeyStatus>,
        }
        /// Some were not there.
        Partial {
            /// One a key, in the order of the request.
            results: List<'a, KeyStatus>,
        }
    }

    /// Gives many entries new lifetimes, each on its own.
    0x0113 TOUCH_MANY TouchMany<'a> (Idempotent, Write, keys) {
        /// Which ones: at most `max_keys`.
        keys: List<'a, Key<'a>>,
        /// TTL and IDLE; without both, those of the cache. EXPECT is refused.
        write: WriteOptions,
    } => TouchManyReply<'a> {
        /// All are there.
        Ok {
            /// One a key, in the order of the request.
            results: List<'a, KeyStatus>,
        }
        /// Some are not there.
        Partial {
            /// One a key, in the order of the request.
            results: List<'a, KeyStatus>,
        }
    }

    /// How many entries there are.
    0x0118 SIZE Size (Read, Read, none) {
        /// Count them one by one, those that have expired left out; else an estimate will do. In a
        /// cluster each entry counts once, however many copies it has.
        exact: bool,
    } => SizeReply {
        /// Counted.
        Ok {
            /// Entries.
            entries: u64,
        }
    }

    /// Removes all entries.
    0x0119 CLEAR Clear (Idempotent, Admin, none) {
        /// In so many milliseconds from now.
        delay_ms: u32,
        /// Tell listeners of each entry, and not only that everything is gone.
        notify: bool,
    } => ClearReply {
        /// Done, or to be done.
        Ok {
            /// How often the cache was cleared since the node's start; 0 for a cache of the cluster.
            generation: u64,
        }
    }

    /// Walks over a snapshot of all entries; in a cluster, over what each member has when it is asked.
    0x0120 SCAN Scan<'a> (Stream, Read, none) {
        /// What to return of each entry.
        read: ReadOptions,
        /// Only these segments: bit s of the bytes, the lowest bit of the first byte being
        /// segment 0.
        segments: Option<&'a [u8]>,
        /// Only keys that match: `*`, `?` and `[..]`; at most 256 bytes and 16 stars.
        glob: Option<&'a str>,
        /// Most entries in one ITEM frame; 0 is the server's own choice.
        batch: u32,
        /// Goes on behind the frame that this cursor came with. It is of no meaning to a client.
        cursor: Option<&'a [u8]>,
        /// How many entries may be sent before CREDIT comes.
        credit: u32,
    } => ScanReply {
        /// That was all.
        Ended {}
    }
    items Entry<'a>, trailer ScanTrailer<'a>;

    /// Tells of changes as they happen. Changes of the same key may be told as one.
    0x0121 LISTEN Listen<'a> (Stream, Listen, none) {
        /// Which kinds of change.
        events: EventKinds,
        /// What to return of the entry: its parts behind the change, and before it with
        /// RETURN_PREV in `flags`. The key always is.
        read: ReadOptions,
        /// Only keys that match, as in SCAN.
        glob: Option<&'a str>,
        /// How.
        flags: ListenFlags,
        /// How many events may be sent before CREDIT comes.
        credit: u32,
    } => ListenReply {
        /// The cache was dropped.
        Ended {}
    }
    items Event<'a>;

    /// Tells which keys of a near cache are out of date.
    0x0122 TRACK Track<'a> (Stream, Listen, none) {
        /// Which keys.
        mode: TrackMode,
        /// With PREFIXES: the beginnings of keys.
        prefixes: List<'a, &'a [u8]>,
        /// How.
        flags: TrackFlags,
        /// How many items may be sent before CREDIT comes.
        credit: u32,
    } => TrackReply {
        /// The cache was dropped.
        Ended {}
    }
    items Tracked<'a>;

    /// How far segments have come, to find invalidations that were missed.
    0x0123 PART_SEQ PartSeq<'a> (Read, Listen, none) {
        /// Which ones; none: all.
        segments: List<'a, u16>,
    } => PartSeqReply<'a> {
        /// One item a segment.
        Ok {
            /// In the order of the request, or ascending.
            segments: List<'a, SegmentSeq>,
        }
    }
}
