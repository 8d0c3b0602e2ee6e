//! R37: of what was answered at once a failover loses an end, within its bounds, and nothing that all
//! copies had, or that was there when its primary gave the role up. No version is given twice.
//!
//! That what is left is all there, without a gap, `linear.rs` sees: it forgets what was lost, and
//! nothing else.

use std::collections::BTreeMap;

use isogrid_grid::id::{Epoch, GroupId, SegmentId};
use isogrid_grid::replica::TAIL_MS;

use crate::sim::server::BUDGET;

type Place = (GroupId, SegmentId);

/// What the smallest operation counts: a key, whether there is a value, the value, and 32.
const OP_BYTES: usize = 42;
/// How long what is lost may span, us of true time: clocks are off by one percent.
const SPAN_US: u64 = TAIL_MS * 1_010;

/// The segments that answer at once.
#[derive(Debug, Default)]
pub struct Tails {
    segments: BTreeMap<Place, Answered>,
    /// Whose operation has which version, of all that were ever answered.
    versions: BTreeMap<(Place, u64), u64>,
    lost: usize,
}

#[derive(Debug, Default)]
struct Answered {
    /// What may be lost, by number: its version, and when it was answered.
    open: BTreeMap<u64, (u64, u64)>,
    /// The last version that must not be lost.
    safe: u64,
}

fn seq(version: u64) -> u64 {
    version & ((1 << 40) - 1)
}

impl Tails {
    /// An operation is answered, under a version.
    ///
    /// # Errors
    /// Another one had it.
    pub fn answered(
        &mut self,
        place: Place,
        version: u64,
        number: u64,
        now: u64,
    ) -> Result<(), String> {
        let known = *self.versions.entry((place, version)).or_insert(number);
        if known != number {
            return Err(format!("R37: {version:x} of {place:?} is that of {known} and {number}"));
        }
        let segment = self.segments.entry(place).or_default();
        if version > segment.safe {
            segment.open.entry(seq(version)).or_insert((version, now));
        }
        Ok(())
    }

    /// All copies in sync have everything up to here.
    pub fn settled(&mut self, place: Place, upto: u64) {
        let segment = self.segments.entry(place).or_default();
        let later = segment.open.split_off(&(upto + 1));
        let done = std::mem::replace(&mut segment.open, later).into_values();
        segment.safe = done.map(|(version, _)| version).fold(segment.safe, u64::max);
    }

    /// The primary has given its role up.
    pub fn gave_up(&mut self, place: Place) {
        self.settled(place, u64::MAX - 1);
    }

    /// A copy begins to serve in this epoch, with numbers from `from` on: how many that were answered
    /// are lost.
    ///
    /// # Errors
    /// More than may be, or what must not be.
    pub fn took_over(
        &mut self,
        place: Place,
        (epoch, from): (Epoch, u64),
        lost_before: u64,
    ) -> Result<usize, String> {
        let segment = self.segments.entry(place).or_default();
        if segment.safe >= lost_before && seq(segment.safe) >= from {
            let safe = segment.safe;
            return Err(format!("R37: {safe:x} of {place:?} is lost, and all copies had it"));
        }
        segment.safe = if segment.safe < lost_before { 0 } else { segment.safe };
        let lost = segment.open.split_off(&from);
        segment.open.retain(|_, (version, _)| *version >= lost_before);
        let lost: Vec<_> = lost.into_values().filter(|(is, _)| *is >= lost_before).collect();
        self.lost += lost.len();
        let times = || lost.iter().map(|(_, at)| *at);
        let span = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        if span > SPAN_US || lost.len() * OP_BYTES > BUDGET {
            let count = lost.len();
            return Err(format!("R37: {place:?} lost {count} in {epoch}, of {span} us"));
        }
        Ok(lost.len())
    }

    /// How many operations were answered and are lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost
    }
}
