//! The one vocabulary of requests that the text, meta and binary protocols decode to.

use std::borrow::Cow;

use super::text::Words;

/// An expiry time as the client wrote it: relative seconds, or absolute Unix seconds when larger
/// than 30 days; 0 = never; negative = at once. The server turns it into a deadline.
pub type Exptime = i64;

/// A key. Borrowed from the input; owned only when it had to be decoded from base64.
pub type Key<'a> = Cow<'a, [u8]>;

/// One decoded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// `get gets gat gats`, `mg`, binary GET/GAT families.
    Get(Get<'a>),
    /// `set add replace append prepend cas`, `ms`, binary SET families.
    Store(Store<'a>),
    /// A store whose item is over the limit. Its data block is (or will be) swallowed by the
    /// decoder; the old value of the key must go, as memcached does.
    StoreTooLarge {
        /// The key whose old value is removed.
        key: Key<'a>,
    },
    /// `delete`, `md`, binary DELETE.
    Delete(Delete<'a>),
    /// `incr decr`, `ma`, binary INCREMENT/DECREMENT.
    Arithmetic(Arithmetic<'a>),
    /// `touch`, binary TOUCH.
    Touch {
        /// The key.
        key: Key<'a>,
        /// Its new expiry.
        exptime: Exptime,
    },
    /// `me`: the item's header figures.
    Debug {
        /// The key.
        key: Key<'a>,
    },
    /// `flush_all [delay]`, binary FLUSH.
    FlushAll {
        /// When; `None` and 0 mean now.
        delay: Option<Exptime>,
    },
    /// `mn`, binary NOOP.
    Noop,
    /// `version`.
    Version,
    /// `verbosity N`.
    Verbosity {
        /// The new level.
        level: u32,
    },
    /// `stats [argument]`, binary STAT; the argument without the surrounding blanks.
    Stats {
        /// Everything behind `stats `, e.g. `items` or `cachedump 1 10`.
        argument: &'a [u8],
    },
    /// `quit`.
    Quit,
    /// `shutdown [graceful]`.
    Shutdown {
        /// Whether `graceful` was asked.
        graceful: bool,
    },
    /// `cache_memlimit MB`.
    MemoryLimit {
        /// The new limit in MiB.
        mebibytes: u64,
    },
    /// `lru_crawler metadump|mgdump ...`.
    Dump {
        /// The form of each line.
        format: DumpFormat,
    },
    /// `watch [fetchers|mutations|evictions|..]`; the words behind `watch`.
    Watch {
        /// The words behind `watch`, unparsed.
        topics: &'a [u8],
    },
    /// `refresh_certs`: read the TLS certificates again.
    RefreshCerts,
    /// Binary SASL_LIST_MECHS.
    SaslList,
    /// Binary SASL_AUTH and SASL_STEP.
    SaslAuth {
        /// The name of the mechanism.
        mechanism: &'a [u8],
        /// What the mechanism says; both are empty when they are longer than any login.
        data: &'a [u8],
        /// Whether this goes on with a login that has begun.
        step: bool,
    },
    /// A command that memcached has for its slab allocator or LRU threads and that changes
    /// nothing here (`slabs automove`, `lru mode`, `lru_crawler sleep`, ...): answered `OK`.
    Accepted,
    /// A request that the decoder itself answers. The stream is in step again behind it.
    Refused(Refusal),
}

impl Request<'_> {
    /// The key of a request that has exactly one.
    #[must_use]
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Request::Get(Get { keys: Keys::One(key), .. })
            | Request::Store(Store { key, .. })
            | Request::StoreTooLarge { key }
            | Request::Delete(Delete { key, .. })
            | Request::Arithmetic(Arithmetic { key, .. })
            | Request::Touch { key, .. }
            | Request::Debug { key } => Some(key),
            _ => None,
        }
    }
}

/// The keys of a get: one, or all tokens of a classic text line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys<'a> {
    /// A single key.
    One(Key<'a>),
    /// The blank-separated tokens of a line, each already checked by the decoder.
    Line(&'a [u8]),
}

impl<'a> Keys<'a> {
    /// The keys in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let (line, one) = match self {
            Keys::One(key) => (&[][..], Some(key.as_ref())),
            Keys::Line(line) => (*line, None),
        };
        one.into_iter().chain(Words(line))
    }
}

/// How to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Get<'a> {
    /// The keys; more than one only in classic text.
    pub keys: Keys<'a>,
    /// `gat`, `mg T`: set a new expiry on a hit.
    pub touch: Option<Exptime>,
    /// `mg N`: on a miss create an empty item with this expiry; this reader wins.
    pub vivify: Option<Exptime>,
    /// `mg R`: when fewer seconds are left, the first reader wins the right to recache.
    pub recache: Option<Exptime>,
    /// `mg u`: leave no trace in the eviction policy or the access figures.
    pub no_bump: bool,
    /// `mg C`: answer without the value when the item's cas is this one.
    pub unless_cas: Option<u64>,
    /// `mg E`: the cas of an item that this request creates or touches.
    pub new_cas: Option<u64>,
    /// Which of the flags above come before the figures that they change.
    pub order: Order,
}

impl<'a> Get<'a> {
    /// A plain get of `keys`.
    #[must_use]
    pub fn of(keys: Keys<'a>) -> Self {
        Get {
            keys,
            touch: None,
            vivify: None,
            recache: None,
            no_bump: false,
            unless_cas: None,
            new_cas: None,
            order: Order::default(),
        }
    }
}

/// Where flags stand on a meta line. memcached carries them out from left to right, so that a
/// figure is that of the flags before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Order {
    /// `T` comes before `t`, which then shows the new expiry.
    pub touch_then_ttl: bool,
    /// `T` comes before `R`, which then goes by the new expiry.
    pub touch_then_recache: bool,
    /// What `t` shows of an item that the request creates: the last `T` or `N` before it.
    pub created_ttl: Exptime,
}

/// What a store does with an item that is, or is not, there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Always store.
    Set,
    /// Only when absent.
    Add,
    /// Only when present.
    Replace,
    /// Put behind the value that is there.
    Append,
    /// Put before the value that is there.
    Prepend,
}

/// How to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store<'a> {
    /// The key.
    pub key: Key<'a>,
    /// Whether the key came as base64 (`ms b`). Meta replies show the key of such an item as
    /// base64 to every reader.
    pub key_binary: bool,
    /// What to do with the item that is, or is not, there.
    pub mode: StoreMode,
    /// The client's 32 bits, kept verbatim; append and prepend keep the old ones.
    pub flags: u32,
    /// Expiry; append and prepend keep the old one.
    pub exptime: Exptime,
    /// Our own extra of `ms` (flag `y<ms>`): expire when not accessed for so many milliseconds.
    pub max_idle_ms: Option<u32>,
    /// The value.
    pub value: &'a [u8],
    /// Store only when the item's cas is this one.
    pub cas: Option<u64>,
    /// `ms E`: the cas of the new item.
    pub new_cas: Option<u64>,
    /// `ms I`: with an older cas store all the same and mark the item stale.
    pub invalidate: bool,
    /// `ms N` with append or prepend: create the item on a miss with this expiry.
    pub vivify: Option<Exptime>,
}

impl<'a> Store<'a> {
    /// A plain store of nothing under `key`.
    #[must_use]
    pub fn of(key: Key<'a>, mode: StoreMode) -> Self {
        Store {
            key,
            key_binary: false,
            mode,
            flags: 0,
            exptime: 0,
            max_idle_ms: None,
            value: &[],
            cas: None,
            new_cas: None,
            invalidate: false,
            vivify: None,
        }
    }
}

/// How to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete<'a> {
    /// The key.
    pub key: Key<'a>,
    /// Delete only when the item's cas is this one.
    pub cas: Option<u64>,
    /// `md I`: mark the item stale instead of deleting it.
    pub invalidate: bool,
    /// `md T` (only with `I`): the stale item's new expiry.
    pub exptime: Option<Exptime>,
    /// `md x`: drop the value and the client flags, keep the item.
    pub drop_value: bool,
    /// `md E`: the cas of the item that is kept.
    pub new_cas: Option<u64>,
}

impl<'a> Delete<'a> {
    /// A plain delete of `key`.
    #[must_use]
    pub fn of(key: Key<'a>) -> Self {
        Delete {
            key,
            cas: None,
            invalidate: false,
            exptime: None,
            drop_value: false,
            new_cas: None,
        }
    }
}

/// How to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arithmetic<'a> {
    /// The key.
    pub key: Key<'a>,
    /// Up (wraps at 2^64) or down (stops at 0).
    pub up: bool,
    /// By how much.
    pub delta: u64,
    /// On a miss create the counter: its start value and expiry.
    pub create: Option<(u64, Exptime)>,
    /// `ma T`: a new expiry.
    pub touch: Option<Exptime>,
    /// Count only when the item's cas is this one.
    pub cas: Option<u64>,
    /// `ma E`: the cas of the new item.
    pub new_cas: Option<u64>,
    /// Which of the flags above come before the figures that they change.
    pub order: Order,
}

impl<'a> Arithmetic<'a> {
    /// One up or down from the number under `key`.
    #[must_use]
    pub fn of(key: Key<'a>, up: bool) -> Self {
        Arithmetic {
            key,
            up,
            delta: 1,
            create: None,
            touch: None,
            cas: None,
            new_cas: None,
            order: Order::default(),
        }
    }
}

/// The forms of `lru_crawler` dumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpFormat {
    /// `key=... exp=... la=... cas=... fetch=... cls=... size=...` a line.
    Meta,
    /// `mg KEY` a line.
    MetaGet,
}

/// Why the decoder answers a request itself. The bytes are those of memcached, newest 1.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// An unknown command: `ERROR`; binary status 0x81.
    Unknown,
    /// `CLIENT_ERROR <text>`; binary status 0x04 and the connection is closed behind it.
    Client(&'static str),
    /// `SERVER_ERROR <text>`.
    Server(&'static str),
    /// `SERVER_ERROR object too large for cache` where no key could be read; binary 0x03.
    TooLarge,
    /// `CLIENT_ERROR <text>` to who may not do this; binary status 0x20, whatever the text.
    Denied(&'static str),
    /// `ERROR: ...` and other lines verbatim.
    Line(&'static str),
}
