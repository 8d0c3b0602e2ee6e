//! SCAN of a cache of the cluster: pages from one member after the other. A page is of what is
//! committed at its moment; an entry that is there all the while comes at least once, wherever its
//! segment is served meanwhile.
//!
//! What goes to a member is a SCAN too, whose cursor is the place in the first segment, and what
//! comes back is the trailer with the place behind the page, then the entries.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use isogrid_engine::{Cursor, Entry};
use isogrid_grid::Cache;
use isogrid_grid::events::Glob;
use isogrid_wire::native::cache::{Scan, ScanReply, ScanTrailer};
use isogrid_wire::native::{
    self, Codec, ErrorCode, List, ReadOptions, Reader, SubKind, Varint, decode_all,
};

use super::spread::{Begun, Fate, Spread, Unit, wide};
use crate::cluster::{Cluster, Route, SEGMENTS, Shared};
use crate::server::native::entry;
use crate::server::native::failure::Failure;
use crate::server::native::live::{FRAME_BYTES, ITEMS_MAX, Step, Turn};
use crate::server::native::reply::Given;
use crate::server::native::scan::{glob, segments};

/// How long a page may take while nobody serves the segment that it begins in.
const PATIENCE: Duration = Duration::from_secs(5);
/// Steps of 16 index lines that one page may take at a member.
const STEPS_MAX: usize = 256;
/// The first byte of a cursor, which no cursor of a cache of one node begins with.
const FORMAT: u8 = 2;
/// Bytes of a cursor: that, a bit for each segment that is left, the place, a check value.
const LEFT_LEN: usize = SEGMENTS as usize / 8;
const PLACE_LEN: usize = 2 + 16 + 8;

type Way = (Arc<Cluster>, Arc<Shared>);
type Left = [u8; LEFT_LEN];
type Fetch = Pin<Box<dyn Future<Output = Result<Arc<[u8]>, Failure>> + Send>>;

/// A place in a segment: it means something in one life of one member's table only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    segment: u16,
    life: u128,
    position: u64,
}

/// A scan under way.
pub struct Walk {
    way: Way,
    /// The cache's number.
    pub object: u32,
    read: ReadOptions,
    glob: Option<String>,
    batch: usize,
    left: Left,
    place: Option<Place>,
    fetch: Option<Fetch>,
    /// The page, and how many of its entries were sent.
    page: Option<(Arc<[u8]>, usize)>,
    /// Segments that are finished and were not told yet.
    finished: Vec<u16>,
    /// From where a client goes on that has all that was sent.
    cursor: Vec<u8>,
}

impl Walk {
    /// Begins a scan, or goes on with one, whichever member it was of.
    ///
    /// # Errors
    /// The pattern, the segments or the cursor cannot be used.
    pub fn open(way: &Way, object: u32, scan: &Scan<'_>) -> Result<Walk, Failure> {
        scan.glob.map(glob).transpose()?;
        let (mut left, place) = match scan.cursor {
            None => ([u8::MAX; LEFT_LEN], None),
            Some(cursor) => decode_cursor(cursor).ok_or_else(not_given)?,
        };
        if let Some(asked) = scan.segments {
            let wrong = segments(asked).into_iter().find(|segment| *segment >= SEGMENTS);
            if let Some(segment) = wrong {
                let why = format!("there is no segment {segment}");
                return Err(Failure::new(ErrorCode::OutOfRange, why));
            }
            let asked = asked.iter().copied().chain(std::iter::repeat(0));
            left.iter_mut().zip(asked).for_each(|(left, asked)| *left &= asked);
        }
        let batch = usize::try_from(scan.batch).unwrap_or(ITEMS_MAX);
        Ok(Walk {
            way: way.clone(),
            object,
            read: scan.read,
            glob: scan.glob.map(str::to_owned),
            batch: if batch == 0 { ITEMS_MAX } else { batch.min(ITEMS_MAX) },
            cursor: encode_cursor(&left, place),
            left,
            place,
            fetch: None,
            page: None,
            finished: Vec::new(),
        })
    }

    /// Sends a page, once it is there.
    pub fn poll(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step {
        let items = self.batch.min(turn.credit);
        if self.page.is_none() && !self.is_over() {
            if turn.credit == 0 && self.fetch.is_none() {
                return Step::default();
            }
            let mut fetch = self.fetch.take().unwrap_or_else(|| self.fetch(items));
            match fetch.as_mut().poll(cx) {
                Poll::Pending => {
                    self.fetch = Some(fetch);
                    return Step::default();
                }
                Poll::Ready(Err(failure)) => {
                    return Step { end: Some(Given::failure(&failure)), ..Step::default() };
                }
                Poll::Ready(Ok(page)) => self.page = Some((page, 0)),
            }
        }
        let Some(sent) = self.send(turn, items) else {
            return Step { end: Some(Given::failure(&malformed())), ..Step::default() };
        };
        let over = self.is_over() && self.page.is_none();
        let end = over.then(|| Given::answer(&ScanReply::Ended {}));
        Step { sent, more: !over && turn.credit > sent, end }
    }

    fn is_over(&self) -> bool {
        self.left.iter().all(|bits| *bits == 0)
    }

    /// Asks for the next page: of the segment under way, or of one that somebody serves.
    fn fetch(&self, items: usize) -> Fetch {
        let (cluster, shared) = &self.way;
        let view = cluster.view();
        let is_served = |at: &u32| view.route(shared.group, *at) != Route::Nowhere;
        let left = segments(&self.left);
        let served = || left.iter().copied().find(is_served);
        let under_way = self.place.map(|place| u32::from(place.segment));
        let segment = under_way.or_else(served).or(left.first().copied()).unwrap_or(0);
        let place = self.place.map(Place::encode);
        let scan = Scan {
            read: self.read,
            segments: Some(&self.left),
            glob: self.glob.as_deref(),
            batch: u32::try_from(items).unwrap_or(0),
            cursor: place.as_ref().map(|place| &place[..]),
            credit: 0,
        };
        let units = vec![Unit::of(segment, &scan)];
        let spread = Spread::new(self.way.clone(), units, PATIENCE);
        Box::pin(async move {
            match spread.go_all().await?.pop() {
                Some(Fate::Given(given)) => Ok(given.payload),
                _ => {
                    let why = format!("nobody serves segment {segment} now: go on with the cursor");
                    Err(Failure::new(ErrorCode::SegmentUnavailable, why))
                }
            }
        })
    }

    /// Sends entries of the page, and behind the last one what it finished; how many.
    fn send(&mut self, turn: &mut Turn<'_>, items: usize) -> Option<usize> {
        let Some((page, from)) = self.page.take() else { return Some(0) };
        let mut reader = Reader::new(&page, &wide());
        let trailer = ScanTrailer::decode(&mut reader).ok()?;
        let found = List::<'_, native::Entry<'_>>::decode(&mut reader).ok()?;
        let entries: Vec<_> = found.iter().skip(from).take(items).collect();
        let is_all = from + entries.len() == found.len();
        if is_all {
            for segment in trailer.finished {
                unset(&mut self.left, segment);
                self.finished.push(segment);
            }
            self.place = Place::decode(trailer.cursor);
            self.cursor = encode_cursor(&self.left, self.place);
        }
        // Segments without entries are told with the next ones that have some, or at the end.
        let tells = !entries.is_empty() || is_all && self.is_over();
        if tells {
            let finished = if is_all { std::mem::take(&mut self.finished) } else { Vec::new() };
            let trailer = ScanTrailer { cursor: &self.cursor, finished: List::of(&finished) };
            turn.to.items(&entries, &trailer, turn.out);
        }
        let sent = entries.len();
        if !is_all {
            self.page = Some((Arc::clone(&page), from + sent));
        }
        Some(sent)
    }
}

fn unset(left: &mut Left, segment: u16) {
    if let Some(bits) = left.get_mut(usize::from(segment / 8)) {
        *bits &= !(1 << (segment % 8));
    }
}

fn not_given() -> Failure {
    Failure::invalid("the cursor is not one that was given out")
}

fn malformed() -> Failure {
    Failure::new(ErrorCode::Internal, "another member answered what is no page of a scan")
}

/// What a member found.
struct Page<'a> {
    scan: Scan<'a>,
    pattern: Option<Glob>,
    cache: &'a Cache,
    now: u64,
    /// Entries, and their bytes.
    found: (u64, Vec<u8>),
    steps: usize,
}

/// Reads a page of the segments that are left and that this member serves, beginning with that of
/// the unit; `None` when it does not serve that one.
pub(super) fn page(
    (cluster, shared): (&Cluster, &Shared),
    cache: &Cache,
    unit: &Unit,
) -> Option<(Begun, usize)> {
    let serves = |segment: u32| cluster.serves(shared, segment);
    let scan = decode_all::<Scan<'_>>(Reader::new(&unit.body, &wide())).ok()?;
    let (life, now) = (cache.table().life(), cluster.now().wall);
    let place = scan.cursor.and_then(Place::decode).filter(|place| {
        // Elsewhere, or in another life, its segment begins anew.
        u32::from(place.segment) == unit.segment && place.life == life
    });
    let mut left = segments(scan.segments.unwrap_or_default()).into_iter();
    let mut next = || left.find(|segment| *segment != unit.segment && serves(*segment));
    let pattern = scan.glob.map(glob).transpose().ok()?;
    let mut page = Page { scan, pattern, cache, now, found: (0, Vec::new()), steps: 0 };
    let begin = |segment: u32, position| Cursor::at(segment as usize, position);
    let mut at = Some(begin(unit.segment, place.map_or(0, |place| place.position)));
    let mut finished = Vec::new();
    if !serves(unit.segment) {
        return None;
    }
    while let Some(from) = at.filter(|_| page.has_room()) {
        match page.step(from, serves) {
            // Another member serves it now: it goes on there.
            None if page.steps == 1 => return None,
            None => break,
            Some(Some(further)) => at = Some(further),
            Some(None) => {
                finished.extend(u16::try_from(from.segment()));
                at = next().map(|segment| begin(segment, 0));
            }
        }
    }
    let place = at.and_then(|at| {
        let segment = u16::try_from(at.segment()).ok()?;
        Some(Place { segment, life, position: at.position() }.encode())
    });
    let cursor = place.as_ref().map_or(&[][..], |place| place);
    let given = page.given(&ScanTrailer { cursor, finished: List::of(&finished) });
    let cost = given.payload.len();
    Some(((given, None), cost))
}

impl Page<'_> {
    fn has_room(&self) -> bool {
        let items = u64::from(self.scan.batch).max(1);
        self.found.0 < items && self.found.1.len() < FRAME_BYTES && self.steps < STEPS_MAX
    }

    /// Reads on; `None` when the segment is served elsewhere meanwhile, else where to go on in it.
    fn step(&mut self, from: Cursor, serves: impl Fn(u32) -> bool) -> Option<Option<Cursor>> {
        let Page { scan, pattern, cache, now, found: (count, bytes), steps } = self;
        let before = (*count, bytes.len());
        *steps += 1;
        let further = cache.table().scan_step(None, from, *now, |entry: Entry<'_>| {
            if pattern.as_ref().is_none_or(|pattern| pattern.matches(entry.key())) {
                let value = entry.shared();
                let key = entry.key();
                entry::parts(&entry, value.as_ref(), scan.read.switches, key, *now).encode(bytes);
                *count += 1;
            }
            *count < u64::from(scan.batch) && bytes.len() < FRAME_BYTES
        });
        // What was read is true if we may still answer (R23).
        if !u32::try_from(from.segment()).is_ok_and(serves) {
            *count = before.0;
            bytes.truncate(before.1);
            return None;
        }
        Some(further)
    }

    fn given(self, trailer: &ScanTrailer<'_>) -> Given {
        let (count, bytes) = self.found;
        let mut payload = Vec::with_capacity(trailer.encoded_len() + bytes.len() + 9);
        trailer.encode(&mut payload);
        Varint(count).encode(&mut payload);
        payload.extend_from_slice(&bytes);
        Given { kind: SubKind::Res, is_ok: true, is_undone: false, payload: payload.into() }
    }
}

impl Place {
    fn encode(self) -> [u8; PLACE_LEN] {
        let mut bytes = [0; PLACE_LEN];
        let fields = self.segment.to_le_bytes().into_iter();
        let fields = fields.chain(self.life.to_le_bytes()).chain(self.position.to_le_bytes());
        bytes.iter_mut().zip(fields).for_each(|(place, byte)| *place = byte);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Place> {
        let (segment, rest) = bytes.split_first_chunk()?;
        let (life, rest) = rest.split_first_chunk()?;
        let position = u64::from_le_bytes(rest.try_into().ok()?);
        let (segment, life) = (u16::from_le_bytes(*segment), u128::from_le_bytes(*life));
        Some(Place { segment, life, position })
    }
}

/// No place: no segment is under way.
const NO_PLACE: Place = Place { segment: u16::MAX, life: 0, position: 0 };

fn encode_cursor(left: &Left, place: Option<Place>) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(left);
    bytes.extend_from_slice(&place.unwrap_or(NO_PLACE).encode());
    // It finds damage, not malice, as the cursor of a cache of one node.
    let check = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    bytes
}

fn decode_cursor(bytes: &[u8]) -> Option<(Left, Option<Place>)> {
    let (body, check) = bytes.split_last_chunk()?;
    let is_whole = u32::from_le_bytes(*check) == crc32c::crc32c(body);
    let (format, rest) = body.split_first()?;
    let (left, place) = rest.split_first_chunk()?;
    let place = Place::decode(place).filter(|_| is_whole && *format == FORMAT)?;
    let is_left = segments(left).contains(&u32::from(place.segment));
    Some((*left, Some(place).filter(|_| is_left)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_no_other_bytes_do() {
        let mut left = [u8::MAX; LEFT_LEN];
        (0..200).for_each(|segment| unset(&mut left, segment));
        assert_eq!(segments(&left), (200..256).collect::<Vec<_>>());
        let place = Place { segment: 200, life: 7 << 100, position: 9 };
        for place in [Some(place), None] {
            let bytes = encode_cursor(&left, place);
            assert_eq!(decode_cursor(&bytes), Some((left, place)));
            for bit in 0..bytes.len() * 8 {
                let mut bent = bytes.clone();
                bent[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode_cursor(&bent), None, "bit {bit}");
            }
            assert_eq!(decode_cursor(&bytes[1..]), None);
            assert_eq!(decode_cursor(&bytes[..bytes.len() - 1]), None);
        }
        // What is finished is not begun anew.
        let finished = Some(Place { segment: 3, ..place });
        assert_eq!(decode_cursor(&encode_cursor(&left, finished)), Some((left, None)));
    }
}
