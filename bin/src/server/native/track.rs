//! TRACK: which keys of a near cache are out of date.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;

use isogrid_grid::Cache;
use isogrid_grid::events::{
    Invalidation, SegmentSeq, TrackMode as Mode, TrackOptions, Tracker, WatchError,
};
use isogrid_wire::native::cache::{
    ALL_SEGMENTS, Event, EventKinds, Track, TrackFlags, TrackMode, TrackReply, Tracked, TrackedKind,
};
use isogrid_wire::native::{ErrorCode, Nothing};

use super::clustered::hear::{Hearing, event};
use super::failure::Failure;
use super::live::{ITEMS_MAX, Step, Turn, segment, segments};
use super::reply::Given;

/// A tracker.
pub struct Tracking {
    /// What is told of.
    pub tracker: Tracker,
    /// The cache's number.
    pub object: u32,
    /// Whether it is told of keys that the connection read.
    pub of_reads: bool,
    segments: usize,
    told: VecDeque<(TrackedKind, u16, u64, Arc<[u8]>)>,
    /// What tells of changes, if other members serve keys of the cache.
    hearing: Option<Box<Hearing>>,
}

impl Tracking {
    /// Begins to track.
    ///
    /// # Errors
    /// There are too many prefixes or trackers.
    pub fn open(
        cache: &Cache,
        object: u32,
        track: &Track<'_>,
        origin: u64,
        hearing: Option<Box<Hearing>>,
    ) -> Result<Tracking, Failure> {
        let of_reads = track.mode == TrackMode::Read;
        let mode = match track.mode {
            TrackMode::Read => Mode::Reads,
            TrackMode::Prefixes => {
                Mode::Prefixes(track.prefixes.iter().map(<[u8]>::to_vec).collect())
            }
        };
        let no_loop = if track.flags.has(TrackFlags::NO_LOOP) { origin } else { 0 };
        let elsewhere = hearing.is_some();
        let options = TrackOptions { no_loop, elsewhere, ..TrackOptions::new(mode) };
        let tracker = cache.track(options).map_err(|error| match error {
            WatchError::TooMany => Failure::new(ErrorCode::QuotaExceeded, error.to_string()),
            WatchError::Prefixes(_) => Failure::invalid(error.to_string()),
        })?;
        let segments = cache.table().segment_count();
        Ok(Tracking { tracker, object, of_reads, segments, told: VecDeque::new(), hearing })
    }

    /// Sends what is out of date.
    pub fn poll(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step {
        if let Err(failure) = self.hear(cx) {
            return Step { end: Some(Given::failure(&failure)), ..Step::default() };
        }
        if self.told.is_empty() && turn.credit > 0 {
            let mut all = Vec::new();
            self.tracker.poll(turn.credit.min(ITEMS_MAX), &mut all);
            all.into_iter().for_each(|one| self.take(one));
        }
        let sent = self.told.len().min(turn.credit).min(ITEMS_MAX);
        if sent > 0 {
            let sending: Vec<_> = self.told.drain(..sent).collect();
            let items: Vec<_> = sending
                .iter()
                .map(|(kind, segment, seq, key)| Tracked {
                    kind: *kind,
                    segment: *segment,
                    seq: *seq,
                    key,
                })
                .collect();
            turn.to.items(&items, &Nothing {}, turn.out);
        }
        let idle = self.told.is_empty() && !self.tracker.is_ready(cx.waker());
        let dropped = idle && turn.node.catalog.object(self.object).is_none();
        let end = dropped.then(|| Given::answer(&TrackReply::Ended {}));
        Step { sent, more: !idle && turn.credit > sent, end }
    }

    /// Takes all that members have told.
    fn hear(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let Some(hearing) = &mut self.hearing else { return Ok(()) };
        while hearing.gather(cx)? {
            let mut is_all = true;
            while let Some(bytes) = hearing.take_next() {
                is_all = false;
                let Some(Event { event, segment, seq, entry, .. }) = event(&bytes) else {
                    continue;
                };
                let at = SegmentSeq { segment: segment.into(), seq };
                match (event, entry.key) {
                    (EventKinds::RESYNC, _) if segment == ALL_SEGMENTS => self.tracker.missed(None),
                    (EventKinds::RESYNC, _) | (_, None) => self.tracker.missed(Some(at)),
                    (_, Some(key)) => self.tracker.changed(at, key.0),
                }
            }
            // Whoever had to wait for room is asked again.
            if is_all {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, invalidation: Invalidation) {
        match invalidation {
            Invalidation::Key { at, key } => {
                self.told.push_back((TrackedKind::Invalidate, segment(at.segment), at.seq, key));
            }
            Invalidation::Resync(all) => {
                for (segment, seq) in segments(&all, self.segments) {
                    self.told.push_back((TrackedKind::Resync, segment, seq, [].into()));
                }
            }
        }
    }
}
