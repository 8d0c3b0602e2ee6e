//! A primary that answers writes at once (R37) is cut off just when it gets more of them than may be
//! lost.

use isogrid_grid::id::NodeId;

use super::chance::Chance;
use super::clients::keys_of;
use super::queue::What;
use super::server::{Ask, answers_at_once};
use super::world::World;

/// How many writes come, to keys of one segment. Of the smallest ones fourteen may be lost.
const WRITES: usize = 30;
/// How long it is cut off, us: until others serve.
const CUT: u64 = 8_000_000;

/// When that happens in a run.
#[derive(Debug)]
pub(super) struct LongTail {
    /// How many operations are answered at once before; 0: it does not happen.
    ahead: u64,
}

impl LongTail {
    /// That of a seed.
    pub(super) fn draw(seed: u64) -> LongTail {
        LongTail { ahead: Chance::ahead(seed, 5, (20, 400)) }
    }
}

impl World {
    /// A server answers an operation.
    pub(super) fn lengthen_tail(&mut self, at: usize, number: u64) {
        let Some(((group, segment, key), _)) = self.clients.asked(number) else { return };
        let may = self.options.ambush && answers_at_once(self.options.at_once, group);
        if !may || self.tail.ahead == 0 {
            return;
        }
        self.tail.ahead -= 1;
        let Some(control) = self.control(at).filter(|_| self.tail.ahead == 0) else { return };
        let us = control.identity().node;
        let others = control.metadata().members().keys().filter(|node| **node != us);
        let others: Vec<NodeId> = others.copied().collect();
        self.note(format_args!("ambush m{at}: it is cut off, and {WRITES} writes come"));
        for (from, to) in others.iter().flat_map(|other| [(us, *other), (*other, us)]) {
            self.schedule(0, What::Way(from, to, false));
            self.schedule(CUT, What::Way(from, to, true));
        }
        // What counts is not written over.
        let key = keys_of(segment).find(|one| *one == key).or_else(|| keys_of(segment).next());
        let Some(key) = key else { return };
        for _ in 0..WRITES {
            let value = self.clients.new_value();
            self.ask_of(at, (group, segment, key), Ask::Put(value), false);
        }
    }
}
