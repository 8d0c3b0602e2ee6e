//! Requests that are about several segments: cut into units of one segment each. A member gets the
//! units of all segments that it serves in one request, and says of each what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use isogrid_grid::copies::Ticket;
use isogrid_grid::id::NodeId;
use isogrid_grid::replica::OpId;
use isogrid_wire::native::cache::Clear;
use isogrid_wire::native::schema::Repeat;
use isogrid_wire::native::{Call, Codec, ErrorCode, Limits, SubKind, operation};
use tokio::time::{Instant, sleep, timeout_at};

use super::phases::STEPS;
use super::{LOOK_AGAIN, nowhere, pack, unknown, unpack};
use crate::cluster::{Answer, Asked, Cluster, Done, Route, Shared};
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;

/// The first byte of units that are passed on.
pub const UNITS: u8 = 1;
/// Whoever waits for the whole request gives up so much later than we do: until then each unit's
/// own fate is told.
const MARGIN: Duration = Duration::from_millis(5);
/// Nobody is asked once more when so little time is left: the answer would come too late, and what
/// could be said not to be done would be unknown.
const LAST_ASKED: Duration = Duration::from_millis(50);
/// Bytes of units that go to a member at once: more go when those are answered.
const ASKED_MAX: usize = 4 << 20;
/// Bytes at which a member says no more: it is asked again for the rest.
pub const SAID_MAX: usize = 1 << 20;

/// A part of a request that is about one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The segment.
    pub segment: u32,
    /// Which operation, of one key or of a whole segment.
    pub op: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// Under what it is passed on, so that it may be passed on again (R35).
    pub name: Option<OpId>,
}

/// What became of a unit.
#[derive(Debug, Clone)]
pub enum Fate {
    /// This is the answer.
    Given(Given),
    /// It was surely not executed.
    Undone,
    /// Nobody knows.
    Unknown,
}

/// A unit that was executed by this member, and what its answer waits for.
pub type Begun = (Given, Option<Ticket>);

/// Units on their way to who executes them.
pub struct Spread {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    units: Vec<Unit>,
    fates: Vec<Fate>,
    /// Those of which an attempt may have been executed.
    doubtful: BTreeSet<usize>,
    until: Instant,
    /// Bytes that may be said, and that were.
    room: (usize, usize),
    /// What of a read has no room is refused, and not all of them.
    refuses_each: bool,
    /// Whose changes they are.
    writer: u64,
}

/// Units that went to a member, and where their fates come.
pub type AskedUnits = (Vec<usize>, Asked);

impl Spread {
    /// Of these units, for so long.
    pub fn new(
        (cluster, shared): (Arc<Cluster>, Arc<Shared>),
        units: Vec<Unit>,
        patience: Duration,
    ) -> Spread {
        Spread::until((cluster, shared), units, after(patience.saturating_sub(MARGIN)))
    }

    /// The same until then.
    pub fn until(
        (cluster, shared): (Arc<Cluster>, Arc<Shared>),
        units: Vec<Unit>,
        until: Instant,
    ) -> Spread {
        let fates = vec![Fate::Undone; units.len()];
        let (doubtful, room, refuses_each) = (BTreeSet::new(), (usize::MAX, 0), false);
        Spread { cluster, shared, units, fates, doubtful, until, room, refuses_each, writer: 0 }
    }

    /// Says whose changes they are.
    #[must_use]
    pub fn by(self, writer: u64) -> Spread {
        Spread { writer, ..self }
    }

    /// Gives up when the answers have more bytes than this.
    #[must_use]
    pub fn within(mut self, bytes: usize) -> Spread {
        self.room.0 = bytes;
        self
    }

    /// Refuses each read whose answer does not go into this many bytes with those before it.
    #[must_use]
    pub fn each_within(mut self, bytes: usize) -> Spread {
        (self.room.0, self.refuses_each) = (bytes, true);
        self
    }

    /// When it gives up.
    pub fn deadline(&self) -> Instant {
        self.until
    }

    /// The units.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// Passes on what is open and not among `begun`, to whoever serves it: one request a member.
    pub fn ask(&mut self, begun: &BTreeMap<usize, Begun>) -> Vec<AskedUnits> {
        self.name(begun);
        let mut by_member: BTreeMap<NodeId, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
        let mut full = BTreeSet::new();
        let view = self.cluster.view();
        for (at, unit) in self.open().filter(|(at, _)| !begun.contains_key(at)) {
            let to = match view.route(self.shared.group, unit.segment) {
                Route::Here => {
                    view.us().filter(|_| self.cluster.serves(&self.shared, unit.segment))
                }
                Route::There(node) => Some(node),
                Route::Nowhere => None,
            };
            let Some(to) = to.filter(|to| !full.contains(to)) else { continue };
            let begin = || (Vec::new(), self.begin());
            let (units, bytes) = by_member.entry(to).or_insert_with(begin);
            unit.encode(bytes);
            units.push(at);
            if bytes.len() >= ASKED_MAX {
                full.insert(to);
            }
        }
        let pass_on = |(to, (units, bytes)): (NodeId, (Vec<usize>, Vec<u8>))| {
            Some((units, self.cluster.pass_on(to, &self.shared, &bytes)?))
        };
        by_member.into_iter().filter_map(pass_on).collect()
    }

    /// Gives names to writes that are passed on. A CLEAR has none: a segment that is cleared once more
    /// would lose what came meanwhile.
    fn name(&mut self, begun: &BTreeMap<usize, Begun>) {
        for (at, unit) in self.units.iter_mut().enumerate() {
            let is_open = unit.name.is_none() && !begun.contains_key(&at);
            if is_open && unit.op != Clear::CODE && unit.writes() {
                unit.name = Some(self.cluster.name());
            }
        }
    }

    /// What units begin with that are passed on: how long their answers are waited for, less what
    /// may be lost on the way, and whose they are.
    fn begin(&self) -> Vec<u8> {
        let left = self.until.saturating_duration_since(after(Duration::ZERO)).as_millis();
        let left = u32::try_from(left - left / 8).unwrap_or(u32::MAX);
        [&[UNITS][..], &left.to_le_bytes(), &self.writer.to_le_bytes()].concat()
    }

    fn open(&self) -> impl Iterator<Item = (usize, &Unit)> {
        let all = self.fates.iter().zip(&self.units).enumerate();
        all.filter(|(_, (fate, _))| matches!(fate, Fate::Undone)).map(|(at, (_, unit))| (at, unit))
    }

    /// Waits for the fates of all; those of units that nobody could execute in time are
    /// [`Fate::Undone`].
    ///
    /// # Errors
    /// The answers are larger than they may be. Only of units that change nothing.
    pub async fn go(
        mut self,
        begun: BTreeMap<usize, Begun>,
        mut asked: Vec<AskedUnits>,
    ) -> Result<Vec<Fate>, Failure> {
        let (at, begun): (Vec<_>, Vec<_>) = begun.into_iter().unzip();
        let settled = settled(&self.cluster, &self.shared, begun, self.until).await;
        at.into_iter().zip(settled).for_each(|(at, fate)| self.note(at, fate));
        loop {
            let before = self.open().count();
            for (units, answer) in asked {
                let answer = timeout_at(self.until, answer).await;
                let lost = Answer { done: Done::Unknown, bytes: Bytes::new() };
                self.take(&units, answer.unwrap_or(lost));
            }
            if self.room.1 > self.room.0 && !self.refuses_each {
                return Err(too_large(self.room.0));
            }
            let open = self.open().count();
            if open > 0 && open == before {
                // Whoever asks at once is told the same once more.
                sleep(LOOK_AGAIN).await;
            }
            if open == 0 || after(LAST_ASKED) >= self.until {
                return Ok(self.end());
            }
            asked = self.ask(&BTreeMap::new());
        }
    }

    /// The same, nothing of it having been executed or passed on yet.
    ///
    /// # Errors
    /// As [`Spread::go`].
    pub async fn go_all(mut self) -> Result<Vec<Fate>, Failure> {
        let asked = self.ask(&BTreeMap::new());
        self.go(BTreeMap::new(), asked).await
    }

    /// What became of all in the end.
    fn end(mut self) -> Vec<Fate> {
        for at in self.doubtful {
            if let Some(fate) = self.fates.get_mut(at).filter(|fate| matches!(fate, Fate::Undone)) {
                *fate = Fate::Unknown;
            }
        }
        self.fates
    }

    fn take(&mut self, units: &[usize], Answer { done, bytes }: Answer) {
        let fates = match done {
            Done::Executed => decode_fates(&bytes, units.len()),
            Done::Unknown => None,
            Done::Elsewhere => return,
        };
        let unknown = || vec![Fate::Unknown; units.len()];
        let fates = fates.unwrap_or_else(unknown);
        units.iter().zip(fates).for_each(|(at, fate)| self.note(*at, fate));
    }

    fn note(&mut self, at: usize, mut fate: Fate) {
        let writes = self.units.get(at).is_some_and(Unit::writes);
        if let Fate::Given(given) = &mut fate {
            self.room.1 += given.payload.len();
            if self.refuses_each && !writes && self.room.1 > self.room.0 {
                self.room.1 -= given.payload.len();
                *given = Given::failure(&too_large(self.room.0));
            }
        }
        // What changes nothing, or has a name, is simply asked again.
        let is_named = self.units.get(at).is_some_and(|unit| unit.name.is_some());
        let is_open = matches!(fate, Fate::Unknown) && (is_named || !writes);
        if is_open && writes {
            self.doubtful.insert(at);
        }
        if let Some(place) = self.fates.get_mut(at).filter(|_| !is_open) {
            *place = fate;
        }
    }
}

/// Executes one request of one key where it is served: the answer's bytes.
///
/// # Errors
/// Why it was not done, or that nobody knows.
pub async fn execute<'a, R: Call + Codec<'a>>(
    way: (Arc<Cluster>, Arc<Shared>),
    segment: u32,
    request: &R,
    patience: Duration,
) -> Result<Arc<[u8]>, Failure> {
    let spread = Spread::new(way, vec![Unit::of(segment, request)], patience);
    match spread.go_all().await?.pop() {
        Some(Fate::Given(given)) if given.kind == SubKind::Res => Ok(given.payload),
        Some(Fate::Given(given)) => Err(Failure::of_given(&given)),
        Some(Fate::Unknown) => Err(unknown()),
        Some(Fate::Undone) | None => Err(nowhere()),
    }
}

fn too_large(max: usize) -> Failure {
    let why = format!("the answer is over {max} bytes (max_message): ask for fewer keys");
    Failure::new(ErrorCode::FrameTooLarge, why)
}

/// The fates of what was executed here, once each is known or it is so late.
pub async fn settled(
    cluster: &Cluster,
    shared: &Shared,
    begun: Vec<Begun>,
    until: Instant,
) -> Vec<Fate> {
    let mut fates = Vec::with_capacity(begun.len());
    for (given, ticket) in begun {
        let is_true = match ticket {
            None => true,
            Some(ticket) => {
                let committed = is_committed(cluster, shared, ticket);
                timeout_at(until, committed).await.unwrap_or(false)
            }
        };
        let is_undone = ticket.is_some_and(|ticket| ticket.is_to_be_confirmed());
        fates.push(match is_true {
            true => Fate::Given(given),
            false if is_undone => Fate::Undone,
            false => Fate::Unknown,
        });
    }
    fates
}

/// The moment after so long.
pub fn after(span: Duration) -> Instant {
    sleep(span).deadline()
}

/// Whether a write is committed and may be said so (R18).
async fn is_committed(cluster: &Cluster, shared: &Shared, ticket: Ticket) -> bool {
    let Some(copies) = shared.copies() else { return false };
    poll_fn(|cx| copies.poll(ticket, cx)).await.is_ok() && cluster.serves(shared, ticket.segment)
}

/// What members say to each other was checked when a client said it.
pub fn wide() -> Limits {
    let (key_len_max, value_len_max) = (usize::from(u16::MAX), usize::MAX);
    Limits { key_len_max, value_len_max, ..Limits::default() }
}

impl Unit {
    /// That of a request of one key.
    pub fn of<'a, R: Call + Codec<'a>>(segment: u32, request: &R) -> Unit {
        let mut body = Vec::with_capacity(request.encoded_len());
        request.encode(&mut body);
        Unit { segment, op: R::CODE, body, name: None }
    }

    /// Whether it changes something. The steps of a transaction may be done twice, as reads may.
    pub fn writes(&self) -> bool {
        let reads = |repeat| matches!(repeat, Repeat::Read | Repeat::Stream);
        let is_read = operation(self.op).is_some_and(|operation| reads(operation.repeat));
        !is_read && !STEPS.contains(&self.op)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.op.to_le_bytes());
        out.push(u8::from(self.name.is_some()));
        if let Some(OpId { client, number }) = &self.name {
            out.extend_from_slice(client);
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&u32::try_from(self.body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.body);
    }

    /// Units as they are passed on, how long their answers are waited for, ms, and whose they are.
    pub fn decode_all(bytes: &[u8]) -> Option<((u32, u64), Vec<Unit>)> {
        let (patience, bytes) = bytes.strip_prefix(&[UNITS])?.split_first_chunk()?;
        let (writer, mut bytes) = bytes.split_first_chunk()?;
        let mut units = Vec::new();
        while !bytes.is_empty() {
            let (segment, rest) = bytes.split_first_chunk()?;
            let (op, rest) = rest.split_first_chunk()?;
            let (name, rest) = split_name(rest)?;
            let (body, rest) = split(rest)?;
            let (segment, op) = (u32::from_le_bytes(*segment), u16::from_le_bytes(*op));
            units.push(Unit { segment, op, body: body.to_vec(), name });
            bytes = rest;
        }
        Some(((u32::from_le_bytes(*patience), u64::from_le_bytes(*writer)), units))
    }
}

fn split_name(bytes: &[u8]) -> Option<(Option<OpId>, &[u8])> {
    let (is_named, rest) = bytes.split_first()?;
    if *is_named == 0 {
        return Some((None, rest));
    }
    let (client, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    Some((Some(OpId { client: *client, number: u64::from_le_bytes(*number) }), rest))
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

/// The fates of units as they are passed back.
pub fn encode_fates(fates: &[Fate]) -> Vec<u8> {
    let mut out = Vec::new();
    for fate in fates {
        match fate {
            Fate::Undone => out.push(0),
            Fate::Unknown => out.push(1),
            Fate::Given(given) => {
                let packed = pack(given);
                out.push(2);
                out.extend_from_slice(&u32::try_from(packed.len()).unwrap_or(0).to_le_bytes());
                out.extend_from_slice(&packed);
            }
        }
    }
    out
}

fn decode_fates(mut bytes: &[u8], count: usize) -> Option<Vec<Fate>> {
    let mut fates = Vec::with_capacity(count);
    for _ in 0..count {
        let (kind, rest) = bytes.split_first()?;
        bytes = rest;
        fates.push(match kind {
            0 => Fate::Undone,
            1 => Fate::Unknown,
            2 => {
                let (packed, rest) = split(rest)?;
                bytes = rest;
                Fate::Given(unpack(packed)?)
            }
            _ => return None,
        });
    }
    bytes.is_empty().then_some(fates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_fates_come_as_they_went() {
        let id = OpId { client: [7; 16], number: 9 };
        let unit = |segment, op, body: &[u8]| {
            let name = (segment > 0).then_some(id);
            Unit { segment, op, body: body.to_vec(), name }
        };
        let units = [unit(0, 0x0101, b""), unit(255, 0x0119, b"body"), unit(7, 1, &[9; 300])];
        let mut bytes = vec![UNITS, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];
        units.iter().for_each(|unit| unit.encode(&mut bytes));
        assert_eq!(Unit::decode_all(&bytes), Some(((7, 8), units.to_vec())));
        assert_eq!(Unit::decode_all(&bytes[..bytes.len() - 1]), None);

        let given = Given::failure(&too_large(7));
        let fates = [Fate::Unknown, Fate::Given(given), Fate::Undone];
        let bytes = encode_fates(&fates);
        let back = decode_fates(&bytes, 3).map(|fates| format!("{fates:?}"));
        assert_eq!(back, Some(format!("{fates:?}")));
        for (len, count) in [(bytes.len() - 1, 3), (bytes.len(), 2), (bytes.len(), 4)] {
            assert!(decode_fates(&bytes[..len], count).is_none(), "{count} in {len} bytes");
        }
    }
}
