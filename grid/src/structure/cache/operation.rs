//! What the operations of a cache are given and what they answer.

use isogrid_engine::{Entry, Marks, Timestamp};

/// What a store does with an entry that is, or is not, there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
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

/// A lifespan as an operation gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifespan {
    /// For ever, or for the cache's default.
    Default,
    /// Until then.
    Until(Timestamp),
}

/// What to store.
#[derive(Debug, Clone, Copy)]
pub struct Put<'a> {
    /// What to do with the entry that is, or is not, there.
    pub mode: Mode,
    /// The value.
    pub value: &'a [u8],
    /// The client's 32 bits; append and prepend keep the old ones.
    pub flags: u32,
    /// Append and prepend keep the old one.
    pub lifespan: Lifespan,
    /// Expire when not read for so long, ms.
    pub max_idle: Option<u32>,
    /// Store only when the entry has this version.
    pub expected: Option<u64>,
    /// When the expected version is older than the entry's, store all the same, marked stale.
    pub stale_if_older: bool,
    /// The version to give the entry.
    pub version: Option<u64>,
    /// Append and prepend: when absent, store with this lifespan.
    pub or_create: Option<Lifespan>,
    /// Marks of the new entry.
    pub marks: Marks,
    /// Longest value in bytes that append and prepend may make.
    pub len_max: usize,
}

/// What became of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Done; the entry's version and value length now.
    Done {
        /// The version.
        version: u64,
        /// Length of the value.
        len: usize,
    },
    /// The mode's condition does not hold.
    Refused,
    /// The entry has another version.
    Conflict,
    /// A version was expected, but there is no entry.
    Absent,
}

/// What a read is to do beside reading.
#[derive(Debug, Clone, Copy, Default)]
pub struct Read {
    /// Give the entry a new lifespan.
    pub touch: Option<Lifespan>,
    /// When absent, create an empty entry with this lifespan; the reader wins.
    pub or_create: Option<Lifespan>,
    /// With less than so many ms left, the first reader wins.
    pub win_below: Option<u64>,
    /// `win_below` goes by the new lifespan.
    pub win_after_touch: bool,
    /// The reader knows nothing of winning: a stale entry is left for one that does.
    pub unaware: bool,
    /// Leave no trace of the read.
    pub quiet: bool,
    /// Give the entry this version when it is created.
    pub version: Option<u64>,
}

/// A read entry.
pub struct Hit<'b> {
    /// The entry.
    pub entry: Entry<'b>,
    /// This reader is to write a new value.
    pub won: bool,
    /// Another reader is already writing a new value.
    pub leased: bool,
    /// The value is out of date.
    pub stale: bool,
    /// The read created the entry.
    pub created: bool,
    /// When it was to expire before this read.
    pub deadline_before: Option<Timestamp>,
}

impl<'b> From<Entry<'b>> for Hit<'b> {
    fn from(entry: Entry<'b>) -> Self {
        let marks = entry.marks();
        let (stale, leased) = (marks.has(Marks::STALE), marks.has(Marks::LEASED));
        let deadline_before = entry.deadline();
        Hit { entry, won: false, leased, stale, created: false, deadline_before }
    }
}

/// How to delete.
#[derive(Debug, Clone, Copy, Default)]
pub struct Removal {
    /// Only when the entry has this version.
    pub expected: Option<u64>,
    /// Keep the entry, marked stale, with this lifespan if one is given.
    pub mark_stale: bool,
    /// The stale entry's new lifespan.
    pub lifespan: Option<Lifespan>,
    /// Keep the entry, without value and flags.
    pub drop_value: bool,
    /// The version of the entry that is kept.
    pub version: Option<u64>,
}

/// What to add to a counter.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Up (wraps at 2^64) or down (stops at 0).
    pub up: bool,
    /// By how much.
    pub delta: u64,
    /// When absent: the value to begin with and its lifespan.
    pub or_create: Option<(u64, Lifespan)>,
    /// A new lifespan.
    pub touch: Option<Lifespan>,
    /// Only when the entry has this version.
    pub expected: Option<u64>,
    /// The version to give the entry.
    pub version: Option<u64>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The counter's value, version and deadline now.
    Value {
        /// The value.
        value: u64,
        /// The version.
        version: u64,
        /// When it expires.
        deadline: Option<Timestamp>,
        /// When it was to expire before the step.
        deadline_before: Option<Timestamp>,
        /// Whether the step created it.
        created: bool,
    },
    /// The value is no number.
    NotANumber,
    /// No such entry.
    Absent,
    /// The entry has another version.
    Conflict,
}
