//! CLEAR and SIZE of a cache of the cluster: each segment where it is served, and what could not be
//! reached is said.

use std::sync::Arc;
use std::time::Duration;

use isogrid_engine::Cursor;
use isogrid_engine::table::Unrecorded;
use isogrid_grid::catalog::Object;
use isogrid_wire::native::cache::{Clear, ClearReply, Size, SizeReply};
use isogrid_wire::native::{Answer, Call, ErrorCode, Limits, Reader, SubKind};

use super::spread::{Begun, Fate, Spread, Unit};
use crate::cluster::{Cluster, SEGMENTS, Shared};
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;
use crate::server::native::under_way::Later;

/// What it costs to look at an entry, in bytes that could be said meanwhile.
const LOOK_COST: u64 = 16;
/// What it costs to clear a segment or to ask how many entries it has, in the same.
const SEGMENT_COST: usize = 64;

type Way = (Arc<Cluster>, Arc<Shared>);

/// Clears a cache.
///
/// # Errors
/// What a cache of the cluster cannot do.
pub(super) fn clear(way: &Way, clear: &Clear, patience: Duration) -> Result<Later, Failure> {
    if clear.delay_ms != 0 {
        return Err(Failure::invalid("`delay_ms`: a cache of the cluster is cleared at once only"));
    }
    if clear.notify {
        return Err(Failure::invalid("`notify`: listeners are told of the whole at once"));
    }
    let way = way.clone();
    Ok(Box::pin(async move {
        match clear_all(way, patience).await {
            Ok(_) => Given::answer(&ClearReply::Ok { generation: 0 }),
            Err(failure) => Given::failure(&failure),
        }
    }))
}

/// Removes every entry of a cache, wherever it is; how many there were.
///
/// # Errors
/// Some segments are not cleared, or nobody knows: which is said.
pub async fn clear_all(way: Way, patience: Duration) -> Result<u64, Failure> {
    let fates = Spread::new(way, units(Clear::CODE, b""), patience).go_all().await?;
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

/// Counts the entries of a cache.
pub(super) fn size(way: &Way, size: Size, patience: Duration) -> Later {
    let spread = Spread::new(way.clone(), units(Size::CODE, &[size.exact.into()]), patience);
    Box::pin(async move {
        let counted = spread.go_all().await.and_then(|fates| {
            let counts: Vec<u64> = fates.iter().filter_map(entries).collect();
            let (counted, all) = (counts.len(), fates.len());
            let why = || format!("nobody serves {} of {all} segments now", all - counted);
            let is_whole = counted == all;
            let failure = || Failure::new(ErrorCode::SegmentUnavailable, why());
            is_whole.then(|| counts.iter().sum()).ok_or_else(failure)
        });
        match counted {
            Ok(entries) => Given::answer(&SizeReply::Ok { entries }),
            Err(failure) => Given::failure(&failure),
        }
    })
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
    // What was counted is true if we may still answer (R23).
    let cost = SEGMENT_COST + usize::try_from(cost).unwrap_or(usize::MAX / 2);
    let given = Given::answer(&SizeReply::Ok { entries });
    cluster.serves(shared, unit.segment).then_some(((given, None), cost))
}
