//! What was answered at once, and what becomes of it: told to those who compare it.

use isogrid_grid::id::Epoch;

use super::disk::Place;
use super::server::{Answer, Tail, answers_at_once};
use super::world::World;

impl World {
    /// A server answers an operation, whether or not its client hears that.
    pub(super) fn acknowledged(&mut self, number: u64, answer: Answer) {
        let Some(((group, segment, _), _)) = self.clients.asked(number) else { return };
        let (Answer::Written(version) | Answer::Counted(_, version)) = answer else { return };
        if !answers_at_once(self.options.at_once, group) {
            return;
        }
        let (place, now) = ((group, segment), self.now);
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
            Tail::Began(epoch, from, lost) => self.took_over(place, (*epoch, *from), *lost),
        }
    }

    fn took_over(&mut self, place: Place, (epoch, from): (Epoch, u64), lost_before: u64) {
        match self.invariants.tails.took_over(place, (epoch, from), lost_before) {
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
