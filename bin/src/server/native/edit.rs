//! Writes of one key: from the request to an [`Edit`], and from what it came to, to the answer.
//! Transactions use both as well.

use isogrid_grid::structure::cache::{Action, Edit, MapEdit, Refusal};
use isogrid_wire::native::cache::{
    AppendReply, GetTouchReply, IncrReply, PrependReply, PutReply, RemoveReply, Request, TouchReply,
};
use isogrid_wire::native::{ErrorCode, WriteOptions};

use super::entry::{ALL, View};
use super::failure::Failure;
use super::map;
use super::reply::Reply;

/// What a write came to.
pub struct Outcome<'a> {
    /// The entry as it was.
    pub before: Option<View<'a>>,
    /// The version now; or why nothing was done.
    pub version: Result<u64, Refusal>,
    /// The number that was counted to.
    pub number: Option<u64>,
    /// The lifetimes now: when it expires, and its idle time in ms.
    pub life: (Option<u64>, Option<u32>),
}

/// The key and the write of a request; `None` if it is none of one key.
///
/// # Errors
/// Options that have no meaning with it.
pub fn of<'a>(
    request: &Request<'a>,
    len_max: usize,
) -> Result<Option<(&'a [u8], Edit<'a>)>, Failure> {
    let returns = WriteOptions::RETURN_PREV;
    let (key, write, allowed, action) = match request {
        Request::Put(put) => {
            let allowed = returns | WriteOptions::IF_ABSENT | WriteOptions::KEEP_TTL;
            (put.key, put.write, allowed, Action::Put(put.value.bytes()))
        }
        Request::Remove(remove) => (remove.key, remove.write, returns, Action::Remove),
        Request::Touch(touch) => (touch.key, touch.write, 0, Action::Touch),
        Request::GetTouch(touch) => (touch.key, touch.write, 0, Action::Touch),
        Request::Incr(incr) => {
            let action = Action::Add { delta: incr.delta, initial: incr.initial };
            (incr.key, incr.write, 0, action)
        }
        Request::Append(append) => {
            (append.key, append.write, 0, Action::Append(append.value.bytes()))
        }
        Request::Prepend(prepend) => {
            (prepend.key, prepend.write, 0, Action::Prepend(prepend.value.bytes()))
        }
        Request::MapUpdate(update) => {
            map::check(update)?;
            let (mode, changes, removals) = (update.mode, update.changes, update.removals);
            let action = Action::Map(MapEdit { mode, changes, removals });
            (update.key, update.write, WriteOptions::IF_ABSENT, action)
        }
        _ => return Ok(None),
    };
    Ok(Some((key.0, edit(&write, allowed, action, len_max)?)))
}

/// The write of these options.
///
/// # Errors
/// Options that are not `allowed`. A node alone is the owner and all copies, and has no store behind
/// it: what is said of those means nothing here.
pub fn edit<'a>(
    write: &WriteOptions,
    allowed: u16,
    action: Action<'a>,
    len_max: usize,
) -> Result<Edit<'a>, Failure> {
    const NAMES: [(u16, &str); 4] = [
        (WriteOptions::NO_NOTIFY, "NO_NOTIFY"),
        (WriteOptions::IF_ABSENT, "IF_ABSENT"),
        (WriteOptions::RETURN_PREV, "RETURN_PREV"),
        (WriteOptions::KEEP_TTL, "KEEP_TTL"),
    ];
    let wrong = write.switches & !allowed;
    if let Some((_, name)) = NAMES.iter().find(|(bit, _)| wrong & bit != 0) {
        return Err(Failure::invalid(format!("this request cannot have {name}")));
    }
    Ok(Edit {
        action,
        expect: write.expect,
        if_absent: write.has(WriteOptions::IF_ABSENT),
        if_present: write.has(WriteOptions::IF_PRESENT)
            && matches!(action, Action::Put(_) | Action::Map(_)),
        ttl: write.ttl.map(|ttl| ttl.0),
        idle: write.idle.map(|idle| idle.0),
        keep_ttl: write.has(WriteOptions::KEEP_TTL),
        returns: write.has(WriteOptions::RETURN_PREV),
        flags: write.flags.or(matches!(action, Action::Put(_)).then_some(0)),
        len_max,
    })
}

/// Answers the write of one key.
pub fn say(request: &Request<'_>, outcome: &Outcome<'_>, now: u64, reply: &mut Reply<'_>) {
    let version = outcome.before.map_or(0, |before| before.version);
    if let Err(Some(failure)) = outcome.version.map_err(failure) {
        return reply.fail(&failure);
    }
    match request {
        Request::Put(put) => {
            let returns = put.write.has(WriteOptions::RETURN_PREV);
            let before = outcome.before.filter(|_| returns);
            let prev = before.map(|before| before.parts(ALL, put.key.0, now));
            reply.say(&match outcome.version {
                Ok(version) => PutReply::Ok { version, prev },
                Err(Refusal::Version) => PutReply::VersionMismatch { version, prev },
                Err(_) => PutReply::NotStored { version, prev },
            });
        }
        Request::Remove(remove) => {
            let returns = remove.write.has(WriteOptions::RETURN_PREV);
            let before = outcome.before.filter(|_| returns);
            let prev = before.map(|before| before.parts(ALL, remove.key.0, now));
            reply.say(&match outcome.version {
                Ok(_) => RemoveReply::Ok { prev },
                Err(Refusal::Version) => RemoveReply::VersionMismatch { version, prev },
                Err(_) => RemoveReply::NotFound {},
            });
        }
        Request::Touch(_) => reply.say(&match outcome.version {
            Ok(version) => TouchReply::Ok { version },
            Err(Refusal::Version) => TouchReply::VersionMismatch { version },
            Err(_) => TouchReply::NotFound {},
        }),
        Request::GetTouch(touch) => {
            let read = &touch.read;
            let (deadline, max_idle) = outcome.life;
            let there = outcome.before.filter(|_| outcome.version.is_ok());
            let now_there = there.map(|there| View { deadline, max_idle, ..there });
            reply.say(&match now_there {
                Some(there) if read.if_changed == Some(there.version) => {
                    GetTouchReply::Unchanged {}
                }
                Some(there) => {
                    GetTouchReply::Ok { entry: there.parts(read.switches, touch.key.0, now) }
                }
                None => GetTouchReply::NotFound {},
            });
        }
        Request::Incr(_) => reply.say(&match outcome.version {
            Ok(version) => IncrReply::Ok { value: outcome.number.unwrap_or(0), version },
            Err(Refusal::Version) => IncrReply::VersionMismatch { version },
            Err(_) => IncrReply::NotFound {},
        }),
        Request::Append(_) => reply.say(&match outcome.version {
            Ok(version) => AppendReply::Ok { version },
            Err(Refusal::Version) => AppendReply::VersionMismatch { version },
            Err(_) => AppendReply::NotFound {},
        }),
        Request::Prepend(_) => reply.say(&match outcome.version {
            Ok(version) => PrependReply::Ok { version },
            Err(Refusal::Version) => PrependReply::VersionMismatch { version },
            Err(_) => PrependReply::NotFound {},
        }),
        Request::MapUpdate(update) => map::say(update, outcome, reply),
        _ => {}
    }
}

/// The failure of a write that is refused for what is there; `None` where that has a status.
fn failure(refusal: Refusal) -> Option<Failure> {
    let failure = match refusal {
        Refusal::Present | Refusal::Version | Refusal::Absent => return None,
        Refusal::NotANumber => Failure::of(ErrorCode::NotANumber),
        Refusal::OutOfRange => Failure::new(ErrorCode::OutOfRange, "the sum is over 64 bits"),
        Refusal::NotJson => Failure::invalid("JSON_MERGE into a field that is no JSON document"),
        Refusal::WrongType => Failure::new(ErrorCode::WrongType, map::WRONG_TYPE),
    };
    Some(failure)
}
