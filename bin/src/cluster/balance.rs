//! What is left to be done until every copy is where it should be, how fast that goes, and when it
//! will be done (R44). The leader plans and does it unasked; every member sees it in the metadata.

use std::collections::VecDeque;

use serde::Serialize;

use super::{CacheStatus, SegmentStatus, Status};

/// Over how many notes the pace is measured: 10 s of them.
const NOTES_MAX: usize = 50;

/// What is left to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Segments of which something is not as it should be.
    pub segments_left: u64,
    /// Copies that are not in sync where they should be.
    pub copies_to_fill: u64,
    /// Those of them that are being filled.
    pub filling: u64,
    /// Copies in sync where they should not be: they go when those that should be there are.
    pub copies_to_drop: u64,
    /// Segments that another member serves than should.
    pub primaries_to_move: u64,
    /// About how many bytes are to be sent: as many a copy as this member's have on average.
    pub bytes_left: u64,
}

impl Left {
    /// Of all caches.
    #[must_use]
    pub fn of(status: &Status) -> Left {
        let mut left = Left::default();
        for cache in &status.caches {
            cache.map.iter().for_each(|segment| left.count(cache, segment));
        }
        left
    }

    fn count(&mut self, cache: &CacheStatus, segment: &SegmentStatus) {
        let SegmentStatus { primary, insync, syncing, target, .. } = segment;
        let missing = target.iter().filter(|node| !insync.contains(node)).count() as u64;
        let needless = insync.iter().filter(|node| !target.contains(node)).count() as u64;
        let moves = u64::from(*primary != target.first().copied());
        self.segments_left += u64::from(missing + needless + moves > 0);
        self.copies_to_fill += missing;
        self.filling += syncing.len() as u64;
        self.copies_to_drop += needless;
        self.primaries_to_move += moves;
        self.bytes_left += missing * cache.segment_bytes;
    }
}

/// How fast copies are filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Speed {
    /// About how many bytes a second; 0 when nothing was filled for 10 s.
    pub bytes_per_second: u64,
    /// When all copies will be filled if it goes on like that, ms; none when it does not go on.
    pub eta_ms: Option<u64>,
}

/// What was left lately.
#[derive(Debug, Default)]
pub struct Pace(VecDeque<(u64, Left)>);

impl Pace {
    /// So much is left at this moment, ms. Where more is left than before, something new is to be
    /// done, and the measure begins anew.
    pub fn note(&mut self, now: u64, left: Left) {
        let last = self.0.back().map(|(_, last)| last.copies_to_fill);
        if last.is_some_and(|last| left.copies_to_fill > last) {
            self.0.clear();
        }
        self.0.push_back((now, left));
        if self.0.len() > NOTES_MAX {
            self.0.pop_front();
        }
    }

    /// How fast it went between the first note and the last.
    #[must_use]
    pub fn speed(&self) -> Speed {
        let (Some((since, first)), Some((now, last))) = (self.0.front(), self.0.back()) else {
            return Speed::default();
        };
        let ms = now.saturating_sub(*since).max(1);
        let copies = first.copies_to_fill - last.copies_to_fill;
        let bytes = first.bytes_left.saturating_sub(last.bytes_left);
        Speed {
            bytes_per_second: bytes.saturating_mul(1_000) / ms,
            eta_ms: (last.copies_to_fill * ms).checked_div(copies),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(copies_to_fill: u64) -> Left {
        Left { copies_to_fill, bytes_left: copies_to_fill * 1_000, ..Left::default() }
    }

    /// What was left, one note each 200 ms; bytes a second, and when it will be done.
    #[test]
    fn the_pace_says_when_it_will_be_done() {
        let table: [(&[u64], u64, Option<u64>); 6] = [
            (&[], 0, None),
            (&[9], 0, None),
            (&[9, 9, 9], 0, None),
            (&[10, 8, 6], 10_000, Some(600)),
            (&[10, 5, 0], 25_000, Some(0)),
            // Something new is to be done.
            (&[4, 2, 100, 90], 50_000, Some(1_800)),
        ];
        for (notes, bytes_per_second, eta_ms) in table {
            let mut pace = Pace::default();
            for (at, copies) in (0..).zip(notes) {
                pace.note(7 + at * 200, left(*copies));
            }
            assert_eq!(pace.speed(), Speed { bytes_per_second, eta_ms }, "{notes:?}");
        }
        let mut pace = Pace::default();
        (0..1_000).for_each(|at| pace.note(at, left(5_000 - at)));
        assert_eq!(pace.0.len(), NOTES_MAX);
    }
}
