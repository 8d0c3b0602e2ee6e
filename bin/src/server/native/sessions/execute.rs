//! Units for sessions, executed where their segment is served. The body of a unit is the space, a byte
//! that says what is to be done, and what that needs; the byte 0 is a request as its client said it.
//! Members that speak to each other are of one version, as with all that is passed on.

use isogrid_grid::structure::session::{Record, SessionOp, SessionReply};
use isogrid_grid::structures::sessions::Sessions;
use isogrid_wire::native::session::{DestroyBy, Find, RenewId, Request};
use isogrid_wire::native::{Call, ErrorCode, Reader, Request as Any, SubKind};
use sha2::{Digest, Sha256};

use super::answer;
use super::renew::said;
use crate::server::native::clustered::spread::{Unit, wide};
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;

/// A request as its client said it.
pub const SPACE: u8 = 0;
/// A step of RENEW_ID, of the session under the old id.
pub const TAKE: u8 = 1;
/// ... under the new id.
pub const ADOPT: u8 = 2;
/// ... under the old id.
pub const RETIRE: u8 = 3;
/// ... under the new id.
pub const LOOK: u8 = 4;
/// A page of LIST.
pub const PAGE: u8 = 5;

/// What an answer begins with that is none for a client: the session has the id behind it now.
pub const RENEWED: u8 = 0xff;
/// ... sessions that were found.
pub const FOUND: u8 = 0x20;
/// ... how many were destroyed, and the ids of those that were renewed.
pub const ENDED: u8 = 0x21;
/// ... how many there are.
const COUNTED: u8 = 0x22;

/// What is done in steps may be done again, and answers too much to be remembered.
pub fn is_in_steps(op: u16) -> bool {
    [RenewId::CODE, DestroyBy::CODE].contains(&op)
}

/// The body of a unit.
pub fn with_space(space: &str, step: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(space.len()).unwrap_or(u8::MAX);
    [&[len], space.as_bytes(), &[step], body].concat()
}

fn split_space(bytes: &[u8]) -> Option<(&str, u8, &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let (space, rest) = rest.split_at_checked((*len).into())?;
    let (step, body) = rest.split_first()?;
    Some((str::from_utf8(space).ok()?, *step, body))
}

/// A request of this group.
pub fn decode(op: u16, body: &[u8]) -> Option<Request<'_>> {
    match Any::decode(op, Reader::new(body, wide_limits())).ok()? {
        Any::Session(request) => Some(request),
        _ => None,
    }
}

fn wide_limits() -> &'static isogrid_wire::native::Limits {
    static WIDE: std::sync::OnceLock<isogrid_wire::native::Limits> = std::sync::OnceLock::new();
    WIDE.get_or_init(wide)
}

/// Executes a unit.
pub fn execute(sessions: &Sessions, now: u64, unit: &Unit) -> Given {
    let done = match split_space(&unit.body) {
        Some((space, SPACE, body)) => match decode(unit.op, body) {
            Some(request) => requested(sessions, now, (space, unit.segment), &request),
            None => Err(Failure::of(ErrorCode::Internal)),
        },
        Some((space, PAGE, body)) => Ok(page(sessions, now, (space, unit.segment), body)),
        Some((space, step, body)) => renew(sessions, now, (space, step), body),
        None => Err(Failure::of(ErrorCode::Internal)),
    };
    done.unwrap_or_else(|failure| Given::failure(&failure))
}

fn requested(
    sessions: &Sessions,
    now: u64,
    (space, segment): (&str, u32),
    request: &Request<'_>,
) -> Result<Given, Failure> {
    match request {
        Request::Count(_) => {
            let count = sessions.count_in(now, segment, space);
            Ok(raw([&[COUNTED][..], &count.to_le_bytes()].concat()))
        }
        Request::Find(Find { name }) => {
            let found = sessions.find(now, segment, (space, name))?;
            let all: Vec<_> = found.into_iter().map(|found| (found.id, found.last)).collect();
            Ok(raw(encode_found(&all)))
        }
        Request::DestroyBy(DestroyBy { name, except }) => {
            let ended = sessions.destroy_by(now, segment, (space, name), except)?;
            let ids = Ids { number: ended.count.into(), ids: ended.renewed };
            Ok(raw([&[ENDED], &*ids.encode()].concat()))
        }
        one => answer::one(sessions, now, space, one),
    }
}

/// An answer for who asked for the unit, and not for a client.
fn raw(payload: Vec<u8>) -> Given {
    Given { kind: SubKind::Res, is_ok: true, is_undone: false, payload: payload.into() }
}

/// What a session that has the id behind it is answered with.
pub fn renewed_to(to: &[u8]) -> Given {
    raw([&[RENEWED], to].concat())
}

/// A session that is no more.
pub fn gone(state: &'static str) -> Failure {
    let why = format!("the session was {state}: begin a new one");
    Failure::new(ErrorCode::SessionGone, why).with("state", state)
}

/// A session that has another id.
pub fn renewed() -> Failure {
    let why = "the session has another id now: its client got that in a newer answer";
    Failure::new(ErrorCode::SessionGone, why).with("state", "renewed")
}

/// What the steps of RENEW_ID need.
pub struct Adoption<'a> {
    /// The id until now.
    pub old: &'a [u8],
    /// The new one.
    pub new: &'a [u8],
    /// The version that was taken.
    pub version: u64,
    /// For how long the old id may be loaded, ms.
    pub grace: u64,
    /// The session.
    pub record: &'a [u8],
}

impl<'a> Adoption<'a> {
    /// As the body of a unit.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = [self.version.to_le_bytes(), self.grace.to_le_bytes()].concat();
        put(&mut out, self.old);
        put(&mut out, self.new);
        out.extend_from_slice(self.record);
        out
    }

    fn decode(bytes: &'a [u8]) -> Option<Adoption<'a>> {
        let (version, rest) = split_number(bytes)?;
        let (grace, rest) = split_number(rest)?;
        let (old, rest) = split(rest)?;
        let (new, record) = split(rest)?;
        Some(Adoption { old, new, version, grace, record })
    }
}

fn renew(
    sessions: &Sessions,
    now: u64,
    (space, step): (&str, u8),
    body: &[u8],
) -> Result<Given, Failure> {
    let Adoption { old, new, version, grace, record } =
        Adoption::decode(body).ok_or_else(|| Failure::of(ErrorCode::Internal))?;
    let load = SessionOp::Load { known: 0, touch: false };
    let (id, op) = match step {
        TAKE => (old, load),
        LOOK => (new, load),
        ADOPT => (new, SessionOp::Adopt { from: old, version, record }),
        _ => (old, SessionOp::Retire { to: new, version, grace }),
    };
    sessions.apply(now, (space, id), &op, |reply, version| {
        let with =
            |said: u8, record: &[u8]| raw([&[said][..], &version.to_le_bytes(), record].concat());
        Ok(match reply {
            SessionReply::Loaded(_) if step == LOOK => with(said::DONE, b""),
            SessionReply::Loaded(record) => with(said::TAKEN, &record.encode()),
            SessionReply::Done => with(said::DONE, b""),
            SessionReply::Absent => with(said::ABSENT, b""),
            SessionReply::Destroyed => with(said::DESTROYED, b""),
            SessionReply::Exists => with(said::EXISTS, b""),
            SessionReply::Changed => with(said::CHANGED, b""),
            SessionReply::Renewed { to, .. } => renewed_to(to),
            SessionReply::Refused(refusal) => return Err(answer::refused(refusal)),
            _ => return Err(Failure::of(ErrorCode::Internal)),
        })
    })?
}

/// A session as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What stands for its id.
    pub mask: String,
    /// When it began.
    pub created: u64,
    /// When it was used last.
    pub last: u64,
    /// How long it lives, ms; 0: for ever.
    pub left: u64,
    /// How many attributes it has.
    pub attributes: u32,
    /// Their bytes.
    pub bytes: u32,
    /// What it can be found by.
    pub index: Vec<String>,
}

/// What stands for an id that is not to be known: the first digits of its hash.
pub fn mask(id: &[u8]) -> String {
    let hash = Sha256::digest(id);
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Row {
    fn of(id: &[u8], now: u64, record: &Record<'_>) -> Row {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Row {
            mask: mask(id),
            created: record.created,
            last: record.last,
            left: record.left(now).unwrap_or(0),
            attributes: small(record.attributes.0.len()),
            bytes: small(record.size()),
            index: record.index.iter().map(ToString::to_string).collect(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.created, self.last, self.left] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.attributes, self.bytes] {
            out.extend_from_slice(&u64::from(number).to_le_bytes());
        }
        put(out, self.mask.as_bytes());
        out.extend_from_slice(&(self.index.len() as u64).to_le_bytes());
        self.index.iter().for_each(|name| put(out, name.as_bytes()));
    }

    fn decode(bytes: &[u8]) -> Option<(Row, &[u8])> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let (created, rest) = split_number(bytes)?;
        let (last, rest) = split_number(rest)?;
        let (left, rest) = split_number(rest)?;
        let (attributes, rest) = split_number(rest)?;
        let (bytes, rest) = split_number(rest)?;
        let (mask, rest) = split(rest)?;
        let (count, mut rest) = split_number(rest)?;
        let mut index = Vec::new();
        for _ in 0..count {
            let (name, behind) = split(rest)?;
            index.push(text(name)?);
            rest = behind;
        }
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let (attributes, bytes, mask) = (small(attributes), small(bytes), text(mask)?);
        Some((Row { mask, created, last, left, attributes, bytes, index }, rest))
    }
}

fn page(sessions: &Sessions, now: u64, (space, segment): (&str, u32), body: &[u8]) -> Given {
    let (from, wanted) = split_number(body)
        .and_then(|(from, rest)| Some((from, split_number(rest)?.0)))
        .unwrap_or_default();
    let (mut out, most) = (Vec::new(), usize::try_from(wanted).unwrap_or(usize::MAX).max(1));
    let next = sessions.page(now, (segment, from), space, most, |shown| {
        Row::of(shown.id, now, &shown.record).encode(&mut out);
    });
    let place = [&[u8::from(next.is_some())][..], &next.unwrap_or(0).to_le_bytes()].concat();
    raw([place, out].concat())
}

/// A page: where it goes on, and the sessions.
pub fn decode_rows(bytes: &[u8]) -> Option<(Option<u64>, Vec<Row>)> {
    let (is_more, rest) = bytes.split_first()?;
    let (place, mut rest) = split_number(rest)?;
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let (row, behind) = Row::decode(rest)?;
        rows.push(row);
        rest = behind;
    }
    Some(((*is_more == 1).then_some(place), rows))
}

/// A number, and ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// The number.
    pub number: u64,
    /// The ids.
    pub ids: Vec<Vec<u8>>,
}

impl Ids {
    fn encode(&self) -> Vec<u8> {
        let mut out = self.number.to_le_bytes().to_vec();
        self.ids.iter().for_each(|id| put(&mut out, id));
        out
    }

    /// From what [`ENDED`] stands ahead of.
    pub fn decode(bytes: &[u8]) -> Option<Ids> {
        let (number, mut rest) = split_number(bytes)?;
        let mut ids = Vec::new();
        while !rest.is_empty() {
            let (id, behind) = split(rest)?;
            ids.push(id.to_vec());
            rest = behind;
        }
        Some(Ids { number, ids })
    }
}

fn encode_found(all: &[(Vec<u8>, u64)]) -> Vec<u8> {
    let mut out = vec![FOUND];
    for (id, last) in all {
        out.extend_from_slice(&last.to_le_bytes());
        put(&mut out, id);
    }
    out
}

/// Ids and when they were used last, from what [`FOUND`] stands ahead of.
pub fn decode_found(mut bytes: &[u8]) -> Option<Vec<(Vec<u8>, u64)>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (last, rest) = split_number(bytes)?;
        let (id, rest) = split(rest)?;
        all.push((id.to_vec(), last));
        bytes = rest;
    }
    Some(all)
}

/// The number of an answer to COUNT.
pub fn number(bytes: &[u8]) -> Option<u64> {
    split_number(bytes.strip_prefix(&[COUNTED])?).map(|(number, _)| number)
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = split_number(bytes)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

fn split_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_members_say_comes_as_it_went() {
        let row = |at: u64| Row {
            mask: mask(&at.to_le_bytes()),
            created: at,
            last: at + 1,
            left: 0,
            attributes: 3,
            bytes: 70,
            index: vec!["user:1".to_owned(), String::new()],
        };
        let (mut bytes, rows) = ([&[1][..], &7u64.to_le_bytes()].concat(), vec![row(4), row(5)]);
        rows.iter().for_each(|row| row.encode(&mut bytes));
        assert_eq!(decode_rows(&bytes), Some((Some(7), rows)));
        let ids = Ids { number: 9, ids: vec![vec![1; 16], vec![2; 128]] };
        assert_eq!(Ids::decode(&ids.encode()), Some(ids));
        let found = vec![(vec![3; 20], 77), (vec![4; 16], 0)];
        assert_eq!(decode_found(&encode_found(&found)[1..]), Some(found));
        let (old, new, record) = (&b"old"[..], &b"newer"[..], &b"record"[..]);
        let bytes = Adoption { old, new, version: 5, grace: 6, record }.encode();
        let again = Adoption::decode(&bytes).unwrap();
        assert_eq!((again.old, again.new, again.record), (old, new, record));
        assert_eq!((again.version, again.grace), (5, 6));
        for end in 0..bytes.len() - record.len() {
            assert!(Adoption::decode(&bytes[..end]).is_none(), "{end}");
        }
        let body = with_space("web", PAGE, b"x");
        assert_eq!(split_space(&body), Some(("web", PAGE, &b"x"[..])));
        assert_eq!(mask(b"").len(), 16);
    }
}
