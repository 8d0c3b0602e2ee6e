//! R34: what may come again is done once, and answered always as the first time.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_grid::id::{GroupId, SegmentId};

use super::linear::Place;
use crate::sim::server::Answer;

/// What was asked for under a number, and what was answered to any of its attempts.
#[derive(Debug)]
struct Request {
    place: Place,
    answer: Option<Answer>,
}

/// Counters, and everything that may come again.
#[derive(Debug, Default)]
pub struct Counted {
    asked: BTreeMap<u64, Request>,
    /// How often each counter was to be counted up.
    counters: BTreeMap<Place, u64>,
    /// Of which some was lost: their counters may have any value.
    lossy: BTreeSet<(GroupId, SegmentId)>,
}

impl Counted {
    /// Something is asked for under a number; whether it counts.
    pub fn ask(&mut self, number: u64, place: Place, counts: bool) {
        self.asked.insert(number, Request { place, answer: None });
        if counts && !self.lossy.contains(&(place.0, place.1)) {
            *self.counters.entry(place).or_default() += 1;
        }
    }

    /// Some of a segment is lost: nothing is known of what was asked of it (R37).
    pub fn lose(&mut self, segment: (GroupId, SegmentId)) {
        let is_other = |place: &Place| (place.0, place.1) != segment;
        self.asked.retain(|_, request| is_other(&request.place));
        self.counters.retain(|place, _| is_other(place));
        self.lossy.insert(segment);
    }

    /// An attempt is answered, and it was done. What is below `lost_before` was declared lost.
    ///
    /// # Errors
    /// It was answered otherwise before.
    pub fn answer(&mut self, number: u64, answer: Answer, lost_before: u64) -> Result<(), String> {
        let Some(request) = self.asked.get_mut(&number) else { return Ok(()) };
        let first = *request.answer.get_or_insert(answer);
        if first == answer || version(first) < lost_before || version(answer) < lost_before {
            return Ok(());
        }
        Err(format!("R34: {number} was answered {first:x?}, and then {answer:x?}"))
    }

    /// In the end each counter is as high as the answers say that are not lost, and no higher than
    /// it was to be.
    ///
    /// # Errors
    /// One that is not.
    pub fn check(
        &self,
        value: impl Fn(Place) -> Option<u64>,
        lost_before: impl Fn(Place) -> u64,
    ) -> Result<(), String> {
        for (place, asked) in &self.counters {
            let Some(value) = value(*place) else { continue };
            let told = self.asked.values().filter(|request| request.place == *place);
            let told = told.filter_map(|request| match request.answer? {
                Answer::Counted(told, version) => (version >= lost_before(*place)).then_some(told),
                _ => None,
            });
            let (told, all): (BTreeSet<u64>, usize) =
                told.fold((BTreeSet::new(), 0), |(mut set, all), one| {
                    set.insert(one);
                    (set, all + 1)
                });
            if told.len() < all {
                return Err(format!("R34: two were told the same of {place:?}: {told:?}"));
            }
            if value < all as u64 || value > *asked {
                let bounds = format!("{all} were told so, of {asked} who asked");
                return Err(format!("R34: {place:?} was counted up to {value}: {bounds}"));
            }
        }
        Ok(())
    }
}

fn version(answer: Answer) -> u64 {
    match answer {
        Answer::Written(version)
        | Answer::Counted(_, version)
        | Answer::Conflict((_, version))
        | Answer::Read((_, version)) => version,
        Answer::Failed | Answer::Unknown => 0,
    }
}
