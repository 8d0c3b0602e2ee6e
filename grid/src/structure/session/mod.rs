//! A web session: attributes with versions of their own under an id, a lifetime, and names to find
//! it by. A save changes single attributes and never brings back what is gone.
//!
//! ```text
//! absent ── CREATE ──> live ── DESTROY ──> destroyed ── TOMBSTONE ──> absent
//!                       │ └── its time is over ──> absent
//!                       └──── RENEW_ID ──> renewed ── TOMBSTONE ──> absent
//! ```
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the operations, and [`apply`], which decides what one does to what is there |
//! | `record.rs` | what is there, and its bytes |
//! | `save.rs` | a change of attributes: conflicts and limits |
//! | `renewal.rs` | a new id for a session, in steps that may all come again |

mod record;
mod renewal;
mod save;

use isogrid_engine::Timestamp;
use isogrid_wire::native::List;
use isogrid_wire::native::cache::FieldChange;
use isogrid_wire::native::session::{SaveMode, SessionAttribute};
use thiserror::Error;

pub use self::record::{Kept, Record, Stored, slack};
pub use self::renewal::{Heard, Renewal, Step};

/// Bytes of an id: at least 128 random bits, or a hash of them.
pub const ID_LEN: std::ops::RangeInclusive<usize> = 16..=128;
/// Bytes of an attribute's value at the most.
pub const ATTRIBUTE_MAX: usize = 64 << 10;
/// Bytes of an attribute's name, and of a name to find a session by, at the most.
pub const NAME_MAX: usize = 255;
/// Attributes of a session at the most.
pub const ATTRIBUTES_MAX: usize = 256;
/// Bytes of the names and values of all attributes of a session at the most.
pub const SESSION_MAX: usize = 1 << 20;
/// Names to find one session by at the most.
pub const INDEX_MAX: usize = 16;
/// Longest idle time, whole lifetime and grace, ms: ten years.
pub const LIFETIME_MAX: u64 = 10 * 365 * 86_400_000;
/// How long it is known that a session was destroyed or renewed, ms: a save that comes late brings
/// nothing back.
pub const TOMBSTONE: u64 = 600_000;

/// What is asked of the session under one id.
#[derive(Debug, Clone, Copy)]
pub enum SessionOp<'a> {
    /// To begin a session.
    Create {
        /// It ends when it was not used for so long, ms; 0: never.
        idle: u64,
        /// It ends so long after its beginning, ms; 0: never.
        absolute: u64,
        /// Its first attributes.
        attributes: List<'a, SessionAttribute<'a>>,
        /// What it can be found by.
        index: List<'a, &'a str>,
    },
    /// To read it.
    Load {
        /// The version that the caller has; 0: none.
        known: u64,
        /// It is used.
        touch: bool,
    },
    /// To change attributes.
    Save {
        /// The version that the changes build upon; 0: none.
        base: u64,
        /// What becomes of other attributes, and of changes of others.
        mode: SaveMode,
        /// Attributes to change, in this order.
        changes: List<'a, FieldChange<'a>>,
        /// Attributes to remove then.
        removals: List<'a, &'a str>,
    },
    /// It is used.
    Touch,
    /// To end it.
    Destroy,
    /// To change what it can be found by.
    Index {
        /// Names that it gets.
        add: List<'a, &'a str>,
        /// Names that it loses then.
        remove: List<'a, &'a str>,
    },
    /// To take over the session that had another id (see [`Renewal`]).
    Adopt {
        /// That id.
        from: &'a [u8],
        /// The version that it had there.
        version: u64,
        /// The session, as [`Record::encode`] made it.
        record: &'a [u8],
    },
    /// To give its id up for another one.
    Retire {
        /// The other one.
        to: &'a [u8],
        /// Only in this version.
        version: u64,
        /// Who loads it under the old id within this time gets it, ms.
        grace: u64,
    },
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionReply<'a> {
    /// Begun.
    Created,
    /// There is one, or was a short time ago.
    Exists,
    /// There is none.
    Absent,
    /// It was destroyed a short time ago.
    Destroyed,
    /// It has another id now.
    Renewed {
        /// That one.
        to: &'a [u8],
        /// Who loads it may follow.
        follows: bool,
    },
    /// It is so.
    Loaded(Record<'a>),
    /// The caller has it.
    Unchanged,
    /// Changed.
    Saved {
        /// Attributes that somebody else had changed since the base, and that this has overwritten.
        conflicts: Vec<&'a str>,
    },
    /// Somebody else has changed these attributes since the base; nothing was changed.
    Differs {
        /// The session as it is.
        record: Record<'a>,
        /// Their names.
        names: Vec<&'a str>,
    },
    /// It is used, and ends in so long, ms, if it is not used again; `None`: never.
    Touched(Option<u64>),
    /// Done.
    Done,
    /// It has another version than the one to be retired.
    Changed,
    /// It cannot be done.
    Refused(Refusal),
}

/// What becomes of what is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<'a> {
    /// Nothing.
    Keep,
    /// The same session was used later.
    Touch(Record<'a>),
    /// This is there instead.
    Put(Stored<'a>),
}

/// Why a session cannot be so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A name has a wrong length.
    #[error("{what} {name:?} has {len} bytes: it takes 1 to {NAME_MAX}", len = name.len())]
    Name {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A value is too long.
    #[error(
        "the attribute {name:?} would have {len} bytes, {ATTRIBUTE_MAX} at the most: keep large values \
         in a cache, and their key in the session"
    )]
    Attribute {
        /// The attribute.
        name: String,
        /// Its length.
        len: usize,
    },
    /// It has too many attributes.
    #[error("the session would have {count} attributes, {ATTRIBUTES_MAX} at the most")]
    Attributes {
        /// So many.
        count: usize,
    },
    /// It is too large.
    #[error(
        "the session would have {len} bytes, {SESSION_MAX} at the most; {name:?} is its largest \
         attribute"
    )]
    Session {
        /// So large.
        len: usize,
        /// The largest attribute.
        name: String,
    },
    /// It has too many names to find it by.
    #[error("the session would have {count} names to find it by, {INDEX_MAX} at the most")]
    Index {
        /// So many.
        count: usize,
    },
    /// A time is too long.
    #[error("`{what}` is {ms} ms: it takes at most {LIFETIME_MAX}; 0 is for ever")]
    Lifetime {
        /// Which one.
        what: &'static str,
        /// So long.
        ms: u64,
    },
    /// An attribute to be added to is no number of 8 bytes, or none is added.
    #[error("the attribute {0:?} and what is added to it are numbers of 8 bytes")]
    NotANumber(String),
    /// A sum has no place in 64 bits.
    #[error("the sum does not fit the attribute {0:?}: it has 64 bits with a sign")]
    OutOfRange(String),
    /// An attribute to be merged into, or what is merged, is no JSON.
    #[error("the attribute {0:?} and what is merged into it are JSON documents")]
    NotJson(String),
    /// What another member said is no session.
    #[error("what is to be taken over is no session")]
    Unreadable,
}

/// Decides what an operation does to what is under an id; the version that a write makes is that of
/// its entry. The same arguments give the same results on every member.
#[must_use]
pub fn apply<'a>(
    now: Timestamp,
    op: &SessionOp<'a>,
    there: Option<Stored<'a>>,
) -> (SessionReply<'a>, Change<'a>) {
    use SessionReply as Reply;
    let is_over = |stored: &Stored<'_>| stored.deadline().is_some_and(|end| end <= now);
    let there = there.filter(|stored| !is_over(stored));
    match (op, there) {
        (SessionOp::Create { .. }, None) => or_refused(create(now, op)),
        (SessionOp::Adopt { from, version, record }, there) => {
            or_refused(adopt(now, (from, *version, record), there))
        }
        (SessionOp::Create { .. }, Some(_)) => (Reply::Exists, Change::Keep),
        (_, None) => (Reply::Absent, Change::Keep),
        (
            SessionOp::Load { .. } | SessionOp::Touch | SessionOp::Destroy,
            Some(Stored::Destroyed { .. }),
        ) => (Reply::Absent, Change::Keep),
        (_, Some(Stored::Destroyed { .. })) => (Reply::Destroyed, Change::Keep),
        (SessionOp::Retire { to, .. }, Some(Stored::Renewed { to: have, .. })) if *to == have => {
            (Reply::Done, Change::Keep)
        }
        (_, Some(Stored::Renewed { to, follow_until, .. })) => {
            (Reply::Renewed { to, follows: now < follow_until }, Change::Keep)
        }
        (_, Some(Stored::Live(record))) => on_live(now, op, record),
    }
}

/// What is done to a session that is there.
fn on_live<'a>(
    now: Timestamp,
    op: &SessionOp<'a>,
    record: Record<'a>,
) -> (SessionReply<'a>, Change<'a>) {
    use SessionReply as Reply;
    match op {
        SessionOp::Load { known, touch } => {
            let used = if *touch { record.used(now) } else { None };
            let change = used.map_or(Change::Keep, Change::Touch);
            match *known == record.version {
                true => (Reply::Unchanged, change),
                false => (Reply::Loaded(record), change),
            }
        }
        SessionOp::Touch => {
            let used = record.used(now);
            let left = used.as_ref().unwrap_or(&record).left(now);
            (Reply::Touched(left), used.map_or(Change::Keep, Change::Touch))
        }
        SessionOp::Save { .. } => or_refused(save::save(now, op, record)),
        SessionOp::Index { add, remove } => or_refused(index(now, (*add, *remove), record)),
        SessionOp::Retire { version, .. } if *version != record.version => {
            (Reply::Changed, Change::Keep)
        }
        SessionOp::Retire { to, grace, .. } => {
            let follow_until = now.saturating_add(*grace);
            let until = follow_until.max(now.saturating_add(TOMBSTONE));
            let index = record.index;
            (Reply::Done, Change::Put(Stored::Renewed { to, follow_until, until, index }))
        }
        // Whatever else there is does not come to a session that is there.
        SessionOp::Destroy | SessionOp::Create { .. } | SessionOp::Adopt { .. } => {
            let until = now.saturating_add(TOMBSTONE);
            (Reply::Done, Change::Put(Stored::Destroyed { until }))
        }
    }
}

type Decided<'a> = Result<(SessionReply<'a>, Change<'a>), Refusal>;

fn or_refused<'a>(decided: Decided<'a>) -> (SessionReply<'a>, Change<'a>) {
    decided.unwrap_or_else(|refusal| (SessionReply::Refused(refusal), Change::Keep))
}

fn create<'a>(now: Timestamp, op: &SessionOp<'a>) -> Decided<'a> {
    let SessionOp::Create { idle, absolute, attributes, index } = *op else {
        return Err(Refusal::Unreadable);
    };
    for (what, ms) in [("idle", idle), ("absolute", absolute)] {
        if ms > LIFETIME_MAX {
            return Err(Refusal::Lifetime { what, ms });
        }
    }
    let mut record = Record::new(now, idle, absolute);
    attributes.iter().for_each(|one| record.set(one.name, one.value.bytes()));
    record.index.extend(index.iter().map(Into::into));
    record.check()?;
    Ok((SessionReply::Created, Change::Put(Stored::Live(record))))
}

/// Takes over a session that had another id. The same one comes again when a step is repeated: what
/// was taken over of a later version, or of this one, stays as it is.
fn adopt<'a>(
    now: Timestamp,
    (from, version, bytes): (&'a [u8], u64, &'a [u8]),
    there: Option<Stored<'a>>,
) -> Decided<'a> {
    let had = match &there {
        Some(Stored::Live(have)) => have.origin.filter(|(id, _)| *id == from),
        _ => None,
    };
    match had {
        Some((_, had)) if had >= version => return Ok((SessionReply::Done, Change::Keep)),
        None if there.is_some() => return Ok((SessionReply::Exists, Change::Keep)),
        _ => {}
    }
    let mut record = Record::decode(bytes, 0).ok_or(Refusal::Unreadable)?;
    record.origin = Some((from, version));
    // Versions of another entry say nothing here.
    record.attributes.0.values_mut().for_each(|attribute| attribute.version = 0);
    let record = record.use_now(now);
    Ok((SessionReply::Done, Change::Put(Stored::Live(record))))
}

fn index<'a>(
    now: Timestamp,
    (add, remove): (List<'a, &'a str>, List<'a, &'a str>),
    mut record: Record<'a>,
) -> Decided<'a> {
    record.index.extend(add.iter().map(Into::into));
    for name in remove {
        record.index.remove(name);
    }
    record.check()?;
    let record = record.use_now(now);
    Ok((SessionReply::Done, Change::Put(Stored::Live(record))))
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
