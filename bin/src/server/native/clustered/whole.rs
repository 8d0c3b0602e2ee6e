//! CLEAR, SIZE and PART_SEQ of a cache of the cluster: each segment where it is served, and what
//! could not be reached is said.

use std::sync::Arc;
use std::time::Duration;

use isogrid_engine::Cursor;
use isogrid_engine::table::Unrecorded;
use isogrid_grid::catalog::Object;
use isogrid_wire::native::cache::{
    Clear, ClearReply, PartSeq, PartSeqReply, Request, SegmentSeq, Size, SizeReply,
};
use isogrid_wire::native::{Answer, Call, ErrorCode, Limits, List, Reader, SubKind};

use super::many::Join;
use super::spread::{Begun, Fate, Spread, Unit};
use crate::cluster::{Cluster, SEGMENTS, Shared};
use crate::server::native::cache::numbered;
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;
use crate::server::native::under_way::Later;

/// What it costs to look at an entry, in bytes that could be said meanwhile.
const LOOK_COST: u64 = 16;
/// What it costs to clear a segment or to ask how many entries it has, in the same.
const SEGMENT_COST: usize = 64;

type Way = (Arc<Cluster>, Arc<Shared>);

/// What a request for a whole cache is cut into, one unit a segment, and how they make one answer;
/// `None` when it is about keys.
///
/// # Errors
/// What a cache of the cluster cannot do.
pub(super) fn cut(request: &Request<'_>) -> Result<Option<(Vec<Unit>, Join)>, Failure> {
    let answer = |given: Result<Given, Failure>| given.unwrap_or_else(|why| Given::failure(&why));
    let join: Join = match request {
        Request::Clear(clear) if clear.delay_ms != 0 => {
            let why = "`delay_ms`: a cache of the cluster is cleared at once only";
            return Err(Failure::invalid(why));
        }
        Request::Clear(clear) if clear.notify => {
            return Err(Failure::invalid("`notify`: listeners are told of the whole at once"));
        }
        Request::Clear(_) => {
            let done = |_| Given::answer(&ClearReply::Ok { generation: 0 });
            Box::new(move |fates| answer(cleared(fates).map(done)))
        }
        Request::Size(_) => {
            let said = |entries| Given::answer(&SizeReply::Ok { entries });
            Box::new(move |fates| answer(counted(fates).map(said)))
        }
        Request::PartSeq(_) => Box::new(move |fates| answer(numbers(fates))),
        _ => return Ok(None),
    };
    let units = match request {
        Request::Size(size) => units(Size::CODE, &[size.exact.into()]),
        Request::PartSeq(asked) if !asked.segments.is_empty() => asked
            .segments
            .iter()
            .map(|segment| number_of(segment.into()))
            .collect::<Result<_, _>>()?,
        Request::PartSeq(_) => units(PartSeq::CODE, b""),
        _ => units(Clear::CODE, b""),
    };
    Ok(Some((units, join)))
}

/// Whether a unit is of a whole cache, and not of a key.
pub(super) fn is_of_all(unit: &Unit) -> bool {
    matches!(unit.op, Clear::CODE | Size::CODE | PartSeq::CODE)
}

/// Has it done, wherever the segments are.
pub(super) fn go(way: &Way, (units, join): (Vec<Unit>, Join), patience: Duration) -> Later {
    let spread = Spread::new(way.clone(), units, patience);
    Box::pin(async move {
        match spread.go_all().await {
            Ok(fates) => join(&fates),
            Err(failure) => Given::failure(&failure),
        }
    })
}

/// Removes every entry of a cache, wherever it is; how many there were.
///
/// # Errors
/// Some segments are not cleared, or nobody knows: which is said.
pub async fn clear_all(way: Way, patience: Duration) -> Result<u64, Failure> {
    cleared(&Spread::new(way, units(Clear::CODE, b""), patience).go_all().await?)
}

fn cleared(fates: &[Fate]) -> Result<u64, Failure> {
    let done: Vec<u64> = fates.iter().filter_map(entries).collect();
    if done.len() == fates.len() {
        return Ok(done.iter().sum());
    }
    let unknown = fates.iter().filter(|fate| matches!(fate, Fate::Unknown)).count();
    let left = fates.len() - done.len() - unknown;
    let (code, so_far) = match (done.len(), unknown) {
        (0, 0) => (ErrorCode::SegmentUnavailable, "nothing was removed"),
        _ => (ErrorCode::OutcomeUnknown, "clear it once more to remove the rest"),
    };
    let why = format!(
        "{} of {} segments were cleared, {left} were not since nobody serves them now, and of \
         {unknown} nobody knows: {so_far}",
        done.len(),
        fates.len()
    );
    let failure = Failure::new(code, why).with("cleared", done.len().to_string());
    Err(failure.with("not_cleared", left.to_string()).with("unknown", unknown.to_string()))
}

fn counted(fates: &[Fate]) -> Result<u64, Failure> {
    let counts: Vec<u64> = fates.iter().filter_map(entries).collect();
    if counts.len() < fates.len() {
        return Err(unserved(fates.len() - counts.len(), fates.len()));
    }
    Ok(counts.iter().sum())
}

/// How far segments have come, each by whoever serves it.
fn numbers(fates: &[Fate]) -> Result<Given, Failure> {
    let number = |fate: &Fate| {
        let Fate::Given(given) = fate else { return None };
        let reader = Reader::new(&given.payload, &Limits::default());
        match (given.kind == SubKind::Res).then(|| PartSeqReply::decode_all(reader))? {
            Ok(PartSeqReply::Ok { segments }) => segments.iter().next(),
            Err(_) => None,
        }
    };
    let numbers: Vec<SegmentSeq> = fates.iter().filter_map(number).collect();
    if numbers.len() < fates.len() {
        return Err(unserved(fates.len() - numbers.len(), fates.len()));
    }
    Ok(Given::answer(&PartSeqReply::Ok { segments: List::of(&numbers) }))
}

fn unserved(left: usize, all: usize) -> Failure {
    let why = format!("nobody serves {left} of {all} segments now");
    Failure::new(ErrorCode::SegmentUnavailable, why)
}

fn number_of(segment: u32) -> Result<Unit, Failure> {
    let why = || Failure::new(ErrorCode::OutOfRange, format!("there is no segment {segment}"));
    let unit = Unit { segment, op: PartSeq::CODE, body: Vec::new(), name: None };
    (segment < SEGMENTS).then_some(unit).ok_or_else(why)
}

/// One for each segment.
fn units(op: u16, body: &[u8]) -> Vec<Unit> {
    (0..SEGMENTS).map(|segment| Unit { segment, op, body: body.to_vec(), name: None }).collect()
}

/// The entries that a segment had, if it was counted or cleared.
fn entries(fate: &Fate) -> Option<u64> {
    let Fate::Given(given) = fate else { return None };
    let reader = Reader::new(&given.payload, &Limits::default());
    let is_answer = given.kind == SubKind::Res;
    match is_answer.then(|| SizeReply::decode_all(reader))? {
        Ok(SizeReply::Ok { entries }) => Some(entries),
        Err(_) => None,
    }
}

/// Removes what a segment has that this member serves; the answer has how many entries that were.
pub(super) fn clear_segment(
    cluster: &Cluster,
    shared: &Shared,
    segment: u32,
) -> Option<(Begun, usize)> {
    let copies = shared.copies().filter(|_| cluster.serves(shared, segment))?;
    let entries = copies.entries(segment);
    if let Err(error) = copies.clear(cluster.now(), segment) {
        if error == Unrecorded::Held {
            // It is asked for again, until no transaction holds anything.
            return None;
        }
        let failure = Failure::from(isogrid_engine::Error::Unrecorded(error));
        return Some(((Given::failure(&failure), None), SEGMENT_COST));
    }
    let ticket = copies.ticket(segment);
    cluster.flush(shared, &[segment]);
    Some(((Given::answer(&SizeReply::Ok { entries }), ticket), SEGMENT_COST))
}

/// Counts the entries of a segment that this member serves.
pub(super) fn count_segment(
    cluster: &Cluster,
    shared: &Shared,
    object: &Object,
    unit: &Unit,
) -> Option<(Begun, usize)> {
    let copies = shared.copies().filter(|_| cluster.serves(shared, unit.segment))?;
    let before = shared.mark(unit.segment);
    let (entries, cost) = if unit.body == [1] {
        let cache = object.cache.as_ref()?;
        let (now, mut counted) = (cluster.now().wall, 0);
        let mut at = Some(Cursor::at(unit.segment as usize, 0));
        while let Some(from) = at {
            at = cache.table().scan_step(None, from, now, |_| {
                counted += 1;
                true
            });
        }
        (counted, counted * LOOK_COST)
    } else {
        (copies.entries(unit.segment), 0)
    };
    // What was counted is true if we may still answer (R23), or when that is confirmed.
    let ticket = shared.ticket(unit.segment, before, true);
    let cost = SEGMENT_COST + usize::try_from(cost).unwrap_or(usize::MAX / 2);
    let given = Given::answer(&SizeReply::Ok { entries });
    cluster.serves(shared, unit.segment).then_some(((given, ticket), cost))
}

/// How far a segment has come that this member serves. Each time of serving it is another life: what
/// was changed while others did is not among the numbers here.
pub(super) fn number_segment(
    shared: &Shared,
    object: &Object,
    segment: u32,
) -> Option<(Begun, usize)> {
    let tenure = || shared.copies()?.tenure(segment).map(|(_, tenure)| tenure);
    let before = tenure()?;
    let mut state = object.cache.as_ref()?.part_seq(&[segment]).pop()??;
    state.life ^= u128::from(before);
    let number = numbered(u16::try_from(segment).ok()?, state);
    let given = Given::answer(&PartSeqReply::Ok { segments: List::of(&[number]) });
    (tenure() == Some(before)).then_some(((given, None), SEGMENT_COST))
}
