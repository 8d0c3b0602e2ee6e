//! A grant that comes when the process that it is for is over, and its next one, which the leader
//! hears no more, has just sent the beat of the same number: once two served one segment by that.

use isogrid_grid::id::Boot;
use isogrid_grid::message::{Envelope, Message};

use super::chance::Chance;
use super::queue::What;
use super::world::World;

/// How long the leader hears nothing of the process, us: longer than any lease.
const SILENCE: u64 = 8_000_000;

/// The grant that is to be late, and how that goes.
#[derive(Debug)]
pub(super) struct LateGrant {
    /// The number of the beat that it answers; 0 for none.
    n: u64,
    /// So many beats before that the leader hears the next process for the last time.
    ahead: u64,
    held: Option<Envelope>,
    /// The process that is to take it.
    heir: Option<Boot>,
}

impl LateGrant {
    /// That of a seed: every other has none. It has a chance of its own, so that all else is drawn
    /// as it would be without it.
    pub(super) fn draw(seed: u64) -> LateGrant {
        let mut chance = Chance::new(seed, 3);
        let (n, ahead) = (chance.between(2, 60), chance.between(1, 12));
        let n = if chance.hits(500_000) { n } else { 0 };
        LateGrant { n, ahead, held: None, heir: None }
    }
}

impl World {
    /// Whether a message is held back that is about to be sent.
    pub(super) fn holds_back(&mut self, envelope: &Envelope) -> bool {
        if !self.options.ambush {
            return false;
        }
        match &envelope.message {
            Message::Grant { n, .. } if *n == self.late.n && self.late.held.is_none() => {
                self.hold(envelope);
                true
            }
            Message::Beat { n, .. } => {
                self.hear_beat(envelope, *n);
                false
            }
            _ => false,
        }
    }

    fn hold(&mut self, envelope: &Envelope) {
        let Some(at) = self.machine_of(envelope.to) else { return };
        self.note(format_args!("ambush m{at}: its next process is to get a lease of this one"));
        self.late.held = Some(envelope.clone());
        self.stop_soon(at, 30_000);
    }

    fn hear_beat(&mut self, beat: &Envelope, n: u64) {
        let Some(held) = self.late.held.take_if(|held| held.to == beat.from) else { return };
        if n + self.late.ahead == self.late.n {
            self.late.heir = Some(beat.boot);
            self.schedule(0, What::Way(beat.from, beat.to, false));
            self.schedule(SILENCE, What::Way(beat.from, beat.to, true));
        }
        if n == self.late.n && self.late.heir == Some(beat.boot) {
            self.schedule(0, What::Deliver(held.to, held.encode()));
            // There is one in a run.
            self.late.n = 0;
        }
        self.late.held = Some(held);
    }
}
