//! LIST: segment after segment, until there are as many sessions as were asked for.

use isogrid_wire::native::session::{ListSessions, ListSessionsReply, ShownSession};
use isogrid_wire::native::{Call, List, Ms, SubKind};

use super::errand::{Errand, Next, Space, only};
use super::execute::{PAGE, Row, decode_rows};
use crate::server::native::clustered::spread::{Fate, Unit};
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;

/// Sessions that are asked for at the most.
const PAGE_MAX: u16 = 256;
/// The cursor of what is over.
const OVER: (u32, u64) = (u32::MAX, 0);

/// A walk through the sessions of a space.
pub struct Listing {
    space: Space,
    /// Segment, and place in it.
    at: (u32, u64),
    wanted: usize,
    is_wrong: bool,
    rows: Vec<Row>,
}

impl Listing {
    /// One from the request's cursor on.
    pub fn new(space: Space, list: &ListSessions<'_>) -> Listing {
        let at = list.cursor.map_or(Some((0, 0)), decode_cursor);
        let is_wrong = !(1..=PAGE_MAX).contains(&list.n) || at.is_none();
        let at = at.filter(|(segment, _)| *segment < space.segment_count()).unwrap_or(OVER);
        Listing { space, at, wanted: list.n.into(), is_wrong, rows: Vec::new() }
    }

    fn unit(&self) -> Unit {
        let (segment, from) = self.at;
        let wanted = self.wanted.saturating_sub(self.rows.len()) as u64;
        let body = [from.to_le_bytes(), wanted.to_le_bytes()].concat();
        self.space.unit(segment, ListSessions::CODE, PAGE, &body)
    }

    fn end(&self) -> Given {
        if self.is_wrong {
            let why = format!("`n` is 1 to {PAGE_MAX}, and a cursor is one that LIST answered");
            return Given::failure(&Failure::invalid(why));
        }
        let indexes: Vec<Vec<&str>> =
            self.rows.iter().map(|row| row.index.iter().map(String::as_str).collect()).collect();
        let shown = |(row, index)| -> ShownSession<'_> {
            let (row, index): (&Row, &Vec<&str>) = (row, index);
            let (created_ms, last_ms) = (row.created, row.last);
            let (attributes, bytes, left) = (row.attributes, row.bytes, Ms(row.left));
            let (mask, index) = (&*row.mask, List::of(index));
            ShownSession { mask, created_ms, last_ms, left, attributes, bytes, index }
        };
        let sessions: Vec<_> = self.rows.iter().zip(&indexes).map(shown).collect();
        let cursor = (self.at != OVER).then(|| encode_cursor(self.at));
        let cursor = cursor.as_ref().map(|cursor| &cursor[..]);
        Given::answer(&ListSessionsReply::Ok { sessions: List::of(&sessions), cursor })
    }
}

impl Errand for Listing {
    fn begin(&mut self) -> Vec<Unit> {
        if self.is_wrong || self.at == OVER { Vec::new() } else { vec![self.unit()] }
    }

    fn next(&mut self, fates: Vec<Fate>) -> Next {
        if self.is_wrong || self.at == OVER {
            return Next::End(self.end());
        }
        let given = match only(fates) {
            Ok(given) if given.kind == SubKind::Res => given,
            Ok(given) => return Next::End(given),
            Err(failure) => return Next::End(Given::failure(&failure)),
        };
        let (next, rows) = decode_rows(&given.payload).unwrap_or_default();
        self.rows.extend(rows);
        let further = self.at.0 + 1;
        self.at = match next {
            Some(place) => (self.at.0, place),
            None if further < self.space.segment_count() => (further, 0),
            None => OVER,
        };
        match self.at == OVER || self.rows.len() >= self.wanted {
            true => Next::End(self.end()),
            false => Next::Ask(vec![self.unit()]),
        }
    }
}

fn encode_cursor((segment, place): (u32, u64)) -> Vec<u8> {
    [&segment.to_le_bytes()[..], &place.to_le_bytes()].concat()
}

fn decode_cursor(bytes: &[u8]) -> Option<(u32, u64)> {
    let (segment, place) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*segment), u64::from_le_bytes(place.try_into().ok()?)))
}
