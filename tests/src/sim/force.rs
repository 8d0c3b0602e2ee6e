//! An operator who has stale copies serve what nobody else can (R63), as the command does: the best
//! that is known, again and again until it is done or there is no need any more.

use isogrid_grid::control::Event;
use isogrid_grid::id::SegmentId;
use isogrid_grid::metadata::{Change, Command, Segment, Step};

use super::queue::What;
use super::world::World;

/// How often he asks, and between two times, us.
const TIMES: u64 = 20;
const AGAIN_US: u64 = 500_000;

impl World {
    /// He asks a machine from now on.
    pub(super) fn force_for_a_while(&mut self, at: usize) {
        (0..TIMES).for_each(|times| self.schedule(times * AGAIN_US, What::Force(at)));
    }

    pub(super) fn force(&mut self, at: usize) {
        let Some(control) = self.control(at) else { return };
        let floor = self.machines.get(at).map_or(0, |machine| machine.clock.now(self.now).wall);
        let best = |segment: &Segment| {
            let stale = segment.stale.iter().filter(|_| segment.primary.is_none());
            stale.max_by_key(|stale| stale.epoch).map(|stale| stale.copy)
        };
        let mut changes = Vec::new();
        for (group, state) in control.metadata().groups() {
            for (at, segment) in (0..).map(SegmentId).zip(&state.segments) {
                let step = best(segment).map(|copy| Step::Force(copy, floor));
                let (group, segment, expected) = (*group, at, segment.epoch);
                changes.extend(step.map(|step| Change { group, segment, expected, step }));
            }
        }
        for change in changes {
            self.invariants.asked_to_force(&change);
            // Each for itself, as he names them: one that has to wait holds up no other.
            self.step(at, Event::Propose(Command::Change(vec![change])));
        }
    }
}
