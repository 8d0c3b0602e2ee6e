//! The keys of caches and of their regions.

use isogrid_engine::persist::{PersistMode, Preload};

use super::{CACHE_NAME, HOUR, KIB, TIB, YEAR};
use crate::config::field::{Form, field};
use crate::config::key::Key;
use crate::config::model::{CacheConfig, RegionConfig};
use crate::config::validate::EVICTION_POLICIES;

const PERSIST_MODES: [&str; 4] = {
    let [(none, _), (at_once, _), (safe, _), (behind, _)] = PersistMode::NAMES;
    [none, at_once, safe, behind]
};
const LIFE: Form = Form::OrOff(&Form::Span(1, 100 * YEAR));
const ENTRIES: Form = Form::OrOff(&Form::Count(1, 1 << 40));

/// Keys of `[[cache]]`.
pub static CACHE: [Key<CacheConfig>; 15] = [
    Key::new("name", CACHE_NAME, field!(CacheConfig, name), "The cache's name; each name once."),
    Key::new(
        "mode",
        Form::Choice(&["local", "distributed", "replicated", "invalidated"]),
        field!(CacheConfig, mode),
        "Where the entries are: local, on this node alone; distributed, spread over the members of \
         the cluster, each on `owners` of them; replicated, on every member; invalidated, each member \
         has entries of its own, and what is written on one is dropped on the others. Those of a \
         cluster are kept in memory alone, unless `persist` is said to be sync or async, which \
         invalidated caches cannot have. The same on each node.",
    ),
    Key::new(
        "owners",
        Form::Count(1, 7),
        field!(CacheConfig, owners),
        "With `mode` = distributed: on how many members each entry is.",
    ),
    Key::new(
        "ack",
        Form::Choice(&["sync", "async"]),
        field!(CacheConfig, ack),
        "With `mode` = distributed or replicated: when a write is acknowledged. sync, when all copies \
         in sync have it; async, at once, and they get it a moment later: should its member fail then, \
         the last writes of it are lost, at most those of 1 s, and 8 MiB, beyond which a write waits as \
         with sync. Reads of a replicated cache with async ask the member that serves the key. The same \
         on each node.",
    ),
    Key::new(
        "read_mode",
        Form::Choice(&["lease", "confirm"]),
        field!(CacheConfig, read_mode),
        "With `mode` = distributed or replicated: when a read is answered. lease, at once by the member \
         that serves the key, whose clock says that it still may, and of a replicated cache by any \
         member; confirm, by the member that serves the key when the other copies in sync have said \
         that it still does, all reads of a moment with one question: then a clock that stops or runs \
         wrong makes no read stale, and each read takes a round trip more. The same on each node.",
    ),
    Key::new(
        "memory",
        Form::Size(1 << 20, 64 * TIB),
        field!(CacheConfig, limits.max_bytes),
        "Bytes that the cache may take, everything counted.",
    )
    .alias("max_memory"),
    Key::new(
        "max_entries",
        ENTRIES,
        field!(CacheConfig, limits.max_entries),
        "Entries that the cache may hold; off means as many as fit.",
    ),
    Key::new(
        "eviction",
        Form::Choice(&EVICTION_POLICIES),
        field!(CacheConfig, eviction),
        "Which entry makes room when the cache is full; none refuses to store instead.",
    ),
    Key::new(
        "ttl",
        LIFE,
        field!(CacheConfig, default_ttl),
        "Expiry of entries that are stored without one.",
    ),
    Key::new(
        "max_idle",
        LIFE,
        field!(CacheConfig, default_max_idle),
        "Entries that nobody read for so long expire, unless stored with their own max-idle.",
    ),
    Key::new(
        "segments",
        Form::OrOff(&Form::Count(1, 65_536)),
        field!(CacheConfig, segments),
        "Into how many parts, each with its own lock, the cache is split: a power of two; off \
         lets the server choose by the memory.",
    ),
    Key::new(
        "persist",
        Form::Choice(&PERSIST_MODES),
        field!(CacheConfig, persist),
        "When a write is acknowledged: none, at once, and the cache is empty after a restart; \
         async, when it is in the log, which survives a kill, and a power cut after 100 ms, in a \
         cluster when all copies have it in memory, and their disks have it within 100 ms; sync, \
         when it is safe on the disk, in a cluster on those of all copies (there nothing but none, \
         async and sync, and none unless it is said); behind, at once, and it is written a moment later, the newest \
         change of each key: a crash takes what was not written yet.",
    ),
    Key::new(
        "behind_delay",
        Form::Span(0, HOUR),
        field!(CacheConfig, behind_delay),
        "With `persist` = behind: how long a change waits before it is written, if not many wait.",
    ),
    Key::new(
        "behind_queue",
        Form::Size(64 * KIB, TIB),
        field!(CacheConfig, behind_queue),
        "With `persist` = behind: how many bytes of changes may wait, about 200 a key beside key \
         and value; it is memory over `memory`. A write over it is refused with SERVER_ERROR busy.",
    ),
    Key::new(
        "preload",
        Form::Text("all, none, hot, or prefixes such as user:*,cart:*", is_preload),
        field!(CacheConfig, preload),
        "Which entries of a cache that persists are in memory after a start: all; none; hot, those \
         that had been read; or those whose keys begin with one of these prefixes. The others are \
         read from the disk when somebody asks for them.",
    ),
];

/// Keys of `[[cache.region]]`.
pub static REGION: [Key<RegionConfig>; 4] = [
    Key::new(
        "prefix",
        Form::Text("1 to 250 bytes without blanks", is_prefix),
        field!(RegionConfig, prefix),
        "Keys that begin with this belong to the region; the longest prefix wins.",
    )
    .default_is("none: it must be given"),
    Key::new(
        "max_bytes",
        Form::OrOff(&Form::Size(KIB, 64 * TIB)),
        field!(RegionConfig, max_bytes),
        "Bytes that the region may take; off leaves only the cache's limit.",
    ),
    Key::new(
        "max_entries",
        ENTRIES,
        field!(RegionConfig, max_entries),
        "Entries that the region may hold; off leaves only the cache's limit.",
    ),
    Key::new(
        "eviction",
        Form::Choice(&EVICTION_POLICIES),
        field!(RegionConfig, eviction),
        "Which entry of the region makes room.",
    )
    .default_is("the cache's"),
];

fn is_preload(text: &str) -> bool {
    Preload::parse(text).is_some()
}

fn is_prefix(text: &str) -> bool {
    (1..=250).contains(&text.len()) && !text.contains(|c: char| c.is_whitespace())
}
