//! What units a request asks for, and what is made of their answers.

use std::sync::Arc;

use isogrid_engine::Table;
use isogrid_grid::replica::OpId;
use isogrid_grid::structures::sessions::Sessions;
use isogrid_wire::native::session::{
    CountReply, Destroy, DestroyBy, DestroyByReply, FindReply, FoundSession, Load, Request,
};
use isogrid_wire::native::{Call, Codec, ErrorCode, Key, List, SubKind};

use super::execute::{self, ENDED, FOUND, Ids, RENEWED, SPACE};
use super::list::Listing;
use super::renew::Renewing;
use crate::server::native::clustered::spread::{Fate, Unit};
use crate::server::native::clustered::{nowhere, unknown};
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;
use crate::server::native::request::At;

/// How often a session that is to be destroyed may have been renewed meanwhile.
const HOPS_MAX: u32 = 8;

/// A request on its way: it asks, hears, and asks again until it is answered.
pub trait Errand: Send {
    /// What it asks first.
    fn begin(&mut self) -> Vec<Unit>;

    /// What comes of the answers, one for each unit.
    fn next(&mut self, fates: Vec<Fate>) -> Next;
}

/// How an errand goes on.
pub enum Next {
    /// It asks for these.
    Ask(Vec<Unit>),
    /// It is answered so.
    End(Given),
}

/// Where units for sessions of a space go.
#[derive(Clone)]
pub struct Space {
    /// The space.
    pub name: String,
    table: Arc<Table>,
}

impl Space {
    /// The segment of an id.
    pub fn segment_of(&self, id: &[u8]) -> u32 {
        Sessions::segment_of(&self.table, &self.name, id)
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> u32 {
        u32::try_from(self.table.segment_count()).unwrap_or(u32::MAX)
    }

    /// A unit of one segment.
    pub fn unit(&self, segment: u32, op: u16, step: u8, body: &[u8]) -> Unit {
        let body = execute::with_space(&self.name, step, body);
        Unit { segment, op, body, name: None }
    }

    fn everywhere(&self, op: u16, body: &[u8]) -> Vec<Unit> {
        (0..self.segment_count()).map(|segment| self.unit(segment, op, SPACE, body)).collect()
    }
}

/// The errand of a request.
pub fn of(
    sessions: &Sessions,
    (space, at): (&str, &At<'_>),
    request: &Request<'_>,
    name: Option<OpId>,
) -> Box<dyn Errand> {
    let space = Space { name: space.to_owned(), table: Arc::clone(sessions.table()) };
    let (op, body) = (at.to.op, at.body.to_vec());
    let id = match request {
        Request::Create(create) => create.id,
        Request::Load(load) => load.id,
        Request::Save(save) => save.id,
        Request::Touch(touch) => touch.id,
        Request::Destroy(destroy) => destroy.id,
        Request::Index(index) => index.id,
        Request::RenewId(renew) => return Box::new(Renewing::new(space, renew)),
        Request::ListSessions(list) => return Box::new(Listing::new(space, list)),
        Request::Find(_) | Request::Count(_) | Request::DestroyBy(_) => {
            return Box::new(All { space, op, body, sum: 0, renewed: Vec::new() });
        }
    };
    let id = id.0.to_vec();
    Box::new(One { space, op, body, id, name, hops: 0 })
}

/// A request for one session.
struct One {
    space: Space,
    op: u16,
    body: Vec<u8>,
    id: Vec<u8>,
    name: Option<OpId>,
    /// Under how many other ids it was asked for.
    hops: u32,
}

impl One {
    fn unit(&self) -> Unit {
        let segment = self.space.segment_of(&self.id);
        let unit = self.space.unit(segment, self.op, SPACE, &self.body);
        Unit { name: self.name.filter(|_| self.hops == 0), ..unit }
    }

    /// Asks for it under another id.
    fn follow(&mut self, to: &[u8]) -> Option<Next> {
        let (key, mut out) = (Key(to), Vec::new());
        match execute::decode(self.op, &self.body)? {
            Request::Load(load) if self.hops == 0 => Load { id: key, ..load }.encode(&mut out),
            Request::Destroy(destroy) if self.hops < HOPS_MAX => {
                Destroy { id: key, ..destroy }.encode(&mut out)
            }
            _ => return None,
        }
        (self.body, self.id, self.hops) = (out, to.to_vec(), self.hops + 1);
        Some(Next::Ask(vec![self.unit()]))
    }
}

impl Errand for One {
    fn begin(&mut self) -> Vec<Unit> {
        vec![self.unit()]
    }

    fn next(&mut self, fates: Vec<Fate>) -> Next {
        let given = match only(fates) {
            Ok(given) => given,
            Err(failure) => return Next::End(Given::failure(&failure)),
        };
        let Some(to) = given.payload.strip_prefix(&[RENEWED]) else { return Next::End(given) };
        self.follow(to).unwrap_or_else(|| Next::End(Given::failure(&execute::renewed())))
    }
}

/// A request that is about all segments.
struct All {
    space: Space,
    op: u16,
    body: Vec<u8>,
    /// How many were destroyed.
    sum: u32,
    /// Ids that are to be destroyed now.
    renewed: Vec<Vec<u8>>,
}

impl Errand for All {
    fn begin(&mut self) -> Vec<Unit> {
        self.space.everywhere(self.op, &self.body)
    }

    fn next(&mut self, fates: Vec<Fate>) -> Next {
        let begun = (self.op == DestroyBy::CODE).then_some(!self.renewed.is_empty());
        let parts = match every(&fates, begun) {
            Ok(parts) => parts,
            Err(failure) => return Next::End(Given::failure(&failure)),
        };
        match execute::decode(self.op, &self.body) {
            Some(Request::Count(_)) => {
                let count = parts.iter().filter_map(|part| execute::number(part)).sum();
                Next::End(Given::answer(&CountReply::Ok { count }))
            }
            Some(Request::Find(_)) => Next::End(found(&parts)),
            _ => self.destroyed(&parts),
        }
    }
}

impl All {
    /// After sessions were destroyed: those that have other ids now follow.
    fn destroyed(&mut self, parts: &[&[u8]]) -> Next {
        let was_asked = !self.renewed.is_empty();
        let mut renewed = Vec::new();
        for part in parts {
            match part.split_first() {
                Some((&ENDED, rest)) => {
                    let ended = Ids::decode(rest).unwrap_or_default();
                    self.sum += u32::try_from(ended.number).unwrap_or(u32::MAX);
                    renewed.extend(ended.ids);
                }
                // The answer to DESTROY: done, or there was none.
                Some((0, _)) => self.sum += 1,
                _ => {}
            }
        }
        if was_asked || renewed.is_empty() {
            return Next::End(Given::answer(&DestroyByReply::Ok { count: self.sum }));
        }
        self.renewed = renewed;
        Next::Ask(self.renewed.iter().map(|id| destroy(&self.space, id)).collect())
    }
}

/// A unit that destroys a session.
pub fn destroy(space: &Space, id: &[u8]) -> Unit {
    let mut body = Vec::new();
    Destroy { id: Key(id), reason: "" }.encode(&mut body);
    space.unit(space.segment_of(id), Destroy::CODE, SPACE, &body)
}

fn found(parts: &[&[u8]]) -> Given {
    let all: Vec<_> = parts
        .iter()
        .filter_map(|part| part.strip_prefix(&[FOUND]))
        .filter_map(execute::decode_found)
        .flatten()
        .collect();
    let sessions: Vec<_> =
        all.iter().map(|(id, last_ms)| FoundSession { id, last_ms: *last_ms }).collect();
    Given::answer(&FindReply::Ok { sessions: List::of(&sessions) })
}

/// The answer to the only unit.
///
/// # Errors
/// There is none.
pub fn only(fates: Vec<Fate>) -> Result<Given, Failure> {
    match fates.into_iter().next() {
        Some(Fate::Given(given)) => Ok(given),
        Some(Fate::Undone) => Err(nowhere()),
        Some(Fate::Unknown) | None => Err(unknown()),
    }
}

/// The answers of all units; of a request that changes something it may have been `begun` before.
///
/// # Errors
/// Of one there is none: what the others say is not all.
fn every(fates: &[Fate], begun: Option<bool>) -> Result<Vec<&[u8]>, Failure> {
    let is_answer = |fate: &Fate| matches!(fate, Fate::Given(given) if given.kind == SubKind::Res);
    let Some(missing) = fates.iter().find(|fate| !is_answer(fate)) else {
        return Ok(fates.iter().filter_map(payload).collect());
    };
    let is_doubtful = |fate: &Fate| is_answer(fate) || matches!(fate, Fate::Unknown);
    Err(match missing {
        _ if begun.is_some_and(|begun| begun || fates.iter().any(is_doubtful)) => partly(fates),
        Fate::Given(given) => Failure::of_given(given),
        Fate::Undone | Fate::Unknown => nowhere(),
    })
}

fn payload(fate: &Fate) -> Option<&[u8]> {
    match fate {
        Fate::Given(given) => Some(&given.payload),
        Fate::Undone | Fate::Unknown => None,
    }
}

fn partly(fates: &[Fate]) -> Failure {
    let done = fates.iter().filter(|fate| matches!(fate, Fate::Given(_))).count();
    let why = format!(
        "of {} segments {done} have answered: some of it is done, ask again for the rest; \
         `isogrid cluster status` says why",
        fates.len()
    );
    Failure::new(ErrorCode::OutcomeUnknown, why)
}
