//! What was answered at once, and what becomes of it: told to those who compare it.

use isogrid_grid::id::Epoch;
use isogrid_grid::metadata::Persist;

use super::disk::Place;
use super::groups::persist_of;
use super::server::{Answer, Tail, answers_at_once};
use super::shell::BEHIND_US;
use super::world::World;

impl World {
    /// A server answers an operation, whether or not its client hears that.
    pub(super) fn acknowledged(&mut self, number: u64, answer: Answer) {
        let Some(((group, segment, _), _)) = self.clients.asked(number) else { return };
        let (Answer::Written(version) | Answer::Counted(_, version)) = answer else { return };
        self.answered((group, segment), number, version);
    }

    /// What was answered has this version, be it that of a record that it was refused.
    fn answered(&mut self, place: Place, number: u64, version: u64) {
        let (group, now) = (place.0, self.now);
        if persist_of(&self.options, group) == Persist::Async {
            // It may have just missed a turn of its disk.
            let then = now + 2 * (BEHIND_US + self.options.sync_us_max) + 1_000;
            self.invariants.behind.answered(place, version, then);
        }
        if !answers_at_once(self.options.at_once, group) {
            return;
        }
        if let Err(broken) = self.invariants.tails.answered(place, version, number, now) {
            self.fail(&broken);
        }
    }

    /// Something has happened to a copy that answers at once.
    pub(super) fn tail(&mut self, place: Place, event: &Tail) {
        self.note(format_args!("{place:?} {event:?}"));
        let tails = &mut self.invariants.tails;
        match event {
            Tail::Settled(upto) => tails.settled(place, *upto),
            Tail::GaveUp => tails.gave_up(place),
            Tail::Refused(number, version) if self.clients.is_named(*number) => {
                self.answered(place, *number, *version);
            }
            // Nothing is recorded of it.
            Tail::Refused(..) => {}
            Tail::Began(epoch, from, lost) => self.took_over(place, (*epoch, *from), *lost),
        }
    }

    fn took_over(&mut self, place: Place, (epoch, from): (Epoch, u64), lost_before: u64) {
        let lost = if self.options.behind {
            self.invariants.behind.took_over(place, (epoch, from), lost_before)
        } else {
            self.invariants.tails.took_over(place, (epoch, from), lost_before)
        };
        match lost {
            Err(broken) => self.fail(&broken),
            Ok(0) => {}
            Ok(count) => {
                self.note(format_args!(
                    "{place:?} goes on from {from} in {epoch}: {count} are lost"
                ));
                let is_lost = move |version: u64| {
                    version >> 40 < u64::from(epoch.0) && version & ((1 << 40) - 1) >= from
                };
                self.clients.linear.lose(place, &is_lost);
                self.clients.counted.lose(place);
            }
        }
    }
}
