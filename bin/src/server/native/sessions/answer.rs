//! Requests for one session, executed where its segment is served.

use isogrid_grid::structure::session::{Record, Refusal, SessionOp, SessionReply};
use isogrid_grid::structures::sessions::{SessionError, Sessions};
use isogrid_wire::native::cache::MapField;
use isogrid_wire::native::session::{
    CreateReply, DestroyReply, IndexReply, LoadReply, Request, SaveReply, TouchReply,
};
use isogrid_wire::native::{ErrorCode, List, Ms, Value};

use super::execute::{gone, mask, renewed, renewed_to};
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;

/// Answers a request for one session.
///
/// # Errors
/// Why it was not done.
pub fn one(
    sessions: &Sessions,
    now: u64,
    space: &str,
    request: &Request<'_>,
) -> Result<Given, Failure> {
    let (id, op) = operation(request)?;
    sessions.apply(now, (space, id), &op, |reply, version| {
        if matches!(op, SessionOp::Destroy) {
            told(space, request, reply);
        }
        said(now, request, reply, version)
    })?
}

/// The operation that a request is.
fn operation<'a>(request: &Request<'a>) -> Result<(&'a [u8], SessionOp<'a>), Failure> {
    Ok(match *request {
        Request::Create(create) => {
            let (idle, absolute) = (create.idle.0, create.absolute.0);
            let (attributes, index) = (create.attributes, create.index);
            (create.id.0, SessionOp::Create { idle, absolute, attributes, index })
        }
        Request::Load(load) => {
            (load.id.0, SessionOp::Load { known: load.known, touch: load.touch })
        }
        Request::Save(save) => {
            let (base, mode, changes, removals) =
                (save.base, save.mode, save.changes, save.removals);
            (save.id.0, SessionOp::Save { base, mode, changes, removals })
        }
        Request::Touch(touch) => (touch.id.0, SessionOp::Touch),
        Request::Destroy(destroy) => (destroy.id.0, SessionOp::Destroy),
        Request::Index(index) => {
            (index.id.0, SessionOp::Index { add: index.add, remove: index.remove })
        }
        _ => return Err(Failure::of(ErrorCode::Internal)),
    })
}

/// Says why a session was ended, to who reads the log in detail.
fn told(space: &str, request: &Request<'_>, reply: &SessionReply<'_>) {
    let Request::Destroy(destroy) = request else { return };
    if *reply == SessionReply::Done {
        let (session, reason) = (mask(destroy.id.0), destroy.reason);
        tracing::debug!(event = "session_destroyed", space, session, reason);
    }
}

/// What comes of it, as an answer.
fn said(
    now: u64,
    request: &Request<'_>,
    reply: &SessionReply<'_>,
    version: u64,
) -> Result<Given, Failure> {
    Ok(match (request, reply) {
        (_, SessionReply::Refused(refusal)) => return Err(refused(refusal)),
        (_, SessionReply::Destroyed) => return Err(gone("destroyed")),
        (Request::Load(_), SessionReply::Renewed { to, follows: true })
        | (Request::Destroy(_), SessionReply::Renewed { to, .. }) => renewed_to(to),
        (_, SessionReply::Renewed { .. }) => return Err(renewed()),
        (_, SessionReply::Absent) => absent(request)?,
        (_, SessionReply::Created) => Given::answer(&CreateReply::Ok { version }),
        (_, SessionReply::Exists) => Given::answer(&CreateReply::NotStored {}),
        (_, SessionReply::Unchanged) => Given::answer(&LoadReply::Unchanged {}),
        (Request::Load(load), SessionReply::Loaded(record)) => {
            let names = load.names;
            let is_wanted = |name: &str| names.is_empty() || names.iter().any(|one| one == name);
            loaded(now, record, version, is_wanted)
        }
        (_, SessionReply::Saved { conflicts }) => {
            Given::answer(&SaveReply::Ok { version, conflicts: List::of(conflicts) })
        }
        (_, SessionReply::Differs { record, names }) => {
            let attributes = fields(record, version, |name| names.contains(&name));
            let attributes = List::of(&attributes);
            Given::answer(&SaveReply::VersionMismatch { version, attributes })
        }
        (_, SessionReply::Touched(left)) => {
            Given::answer(&TouchReply::Ok { left: Ms(left.unwrap_or(0)) })
        }
        (Request::Index(_), SessionReply::Done) => Given::answer(&IndexReply::Ok { version }),
        (_, SessionReply::Done) => Given::answer(&DestroyReply::Ok {}),
        _ => return Err(Failure::of(ErrorCode::Internal)),
    })
}

fn absent(request: &Request<'_>) -> Result<Given, Failure> {
    Ok(match request {
        Request::Load(_) => Given::answer(&LoadReply::NotFound {}),
        Request::Save(_) => Given::answer(&SaveReply::NotFound {}),
        Request::Touch(_) => Given::answer(&TouchReply::NotFound {}),
        Request::Destroy(_) => Given::answer(&DestroyReply::NotFound {}),
        Request::Index(_) => Given::answer(&IndexReply::NotFound {}),
        _ => return Err(Failure::of(ErrorCode::Internal)),
    })
}

fn loaded(now: u64, record: &Record<'_>, version: u64, is_wanted: impl Fn(&str) -> bool) -> Given {
    let attributes = fields(record, version, is_wanted);
    let index: Vec<&str> = record.index.iter().map(|name| &**name).collect();
    Given::answer(&LoadReply::Ok {
        version,
        created_ms: record.created,
        idle_left: Ms(record.idle_left(now).unwrap_or(0)),
        absolute_left: Ms(record.absolute_left(now).unwrap_or(0)),
        attributes: List::of(&attributes),
        index: List::of(&index),
    })
}

fn fields<'r>(
    record: &'r Record<'_>,
    version: u64,
    is_wanted: impl Fn(&str) -> bool,
) -> Vec<MapField<'r>> {
    let all = record.attributes.0.iter().filter(|(name, _)| is_wanted(name));
    let field = |(name, field): (
        &'r std::borrow::Cow<'_, str>,
        &'r isogrid_grid::structure::cache::Field<'_>,
    )| {
        let of = if field.version == 0 { version } else { field.version };
        MapField { name, value: Value::Inline(&field.value), version: of }
    };
    all.map(field).collect()
}

/// Why a session cannot be so.
pub fn refused(refusal: &Refusal) -> Failure {
    let code = match refusal {
        Refusal::Attribute { .. } | Refusal::Session { .. } => ErrorCode::ValueTooLarge,
        Refusal::Attributes { .. } | Refusal::Index { .. } => ErrorCode::QuotaExceeded,
        Refusal::Name { .. } | Refusal::Lifetime { .. } => ErrorCode::InvalidArgument,
        Refusal::NotANumber(_) | Refusal::NotJson(_) => ErrorCode::WrongType,
        Refusal::OutOfRange(_) => ErrorCode::OutOfRange,
        Refusal::Unreadable => ErrorCode::Internal,
    };
    Failure::new(code, refusal.to_string())
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Engine(error) => error.into(),
            SessionError::Crowded { limit } => {
                let failure = Failure::new(ErrorCode::QuotaExceeded, error.to_string());
                failure.with("limit", limit.to_string())
            }
            SessionError::Unreadable => Failure::new(ErrorCode::Corrupt, error.to_string()),
        }
    }
}
