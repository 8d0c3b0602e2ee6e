//! A hierarchical timing wheel: Varghese, Lauck: "Hashed and hierarchical timing wheels: data
//! structures for the efficient implementation of a timer facility", SOSP 1987.
//!
//! Level 0 has a list for each of the next 64 ticks, level 1 one for each of the next 64 turns of
//! level 0, and so on. The wheel does not store deadlines, only in which list a slot waits (8
//! bytes a slot): when a list's time comes it asks the owner about each slot on it, who either
//! takes the slot as expired or gives the deadline that it has by now. So a deadline that moves
//! with every read (idle time) costs nothing until its list comes up.

use crate::eviction::{
    Slot,
    list::{Links, List},
};

/// The wheel's grain: a slot fires less than this after its deadline.
pub const TICK_MS: u64 = 1 << 5;
/// Lists in a level, a power of two: as many as a word has bits.
const FANOUT_BITS: u32 = 6;
const FANOUT: usize = 1 << FANOUT_BITS;
/// Enough levels for any deadline in 64 bits.
const LEVELS: usize = 10;

/// The lists of one level and which of them are not empty.
#[derive(Debug)]
struct Level {
    occupied: u64,
    lists: [List; FANOUT],
}

/// A list of the wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    level: u32,
    index: u32,
}

/// Slots in the order of their deadlines, as exactly as a tick.
#[derive(Debug)]
pub struct Wheel {
    links: Links,
    /// Each made when it is first needed.
    levels: [Option<Box<Level>>; LEVELS],
    /// The tick reached. Slots of the ticks before it are gone, those of its own may be waiting.
    tick: u64,
}

impl Wheel {
    /// An empty wheel that starts at `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self { links: Links::default(), levels: Default::default(), tick: now_ms / TICK_MS }
    }

    /// Sets the deadline of a slot, whether it had one or not.
    pub fn schedule(&mut self, slot: Slot, deadline_ms: u64) {
        self.cancel(slot);
        let place = self.place_of(deadline_ms.div_ceil(TICK_MS));
        let level = level_mut(&mut self.levels, place.level);
        level.occupied |= 1 << place.index;
        self.links.set_tag(slot, place.to_tag());
        self.links.push(list_mut(level, place.index), slot);
    }

    /// Takes the deadline of a slot away; without one it stays as it is.
    pub fn cancel(&mut self, slot: Slot) {
        let Some(place) = Place::from_tag(self.links.tag(slot)) else { return };
        let level = level_mut(&mut self.levels, place.level);
        let list = list_mut(level, place.index);
        self.links.remove(list, slot);
        self.links.set_tag(slot, 0);
        if list.is_empty() {
            level.occupied &= !(1 << place.index);
        }
    }

    /// Moves on to `now_ms`, asking `expire` about each slot whose list comes up, at most `budget`
    /// of them; gives how many. What is left over is done first in the next call.
    ///
    /// `expire` answers `None` when it takes the slot as expired (the wheel has forgotten it) and
    /// its deadline when that is still to come. It is asked about slots that are not due: those
    /// with far deadlines a few times on the way.
    pub fn advance(
        &mut self,
        now_ms: u64,
        budget: usize,
        expire: &mut impl FnMut(Slot) -> Option<u64>,
    ) -> usize {
        let now = now_ms / TICK_MS;
        for asked in 0..budget {
            let Some((tick, place)) = self.next_list().filter(|(tick, _)| *tick <= now) else {
                self.tick = self.tick.max(now);
                return asked;
            };
            self.tick = self.tick.max(tick);
            let list = list_mut(level_mut(&mut self.levels, place.level), place.index);
            let Some(slot) = list.tail() else { return asked };
            self.cancel(slot);
            if let Some(deadline_ms) = expire(slot) {
                self.schedule(slot, deadline_ms);
            }
        }
        budget
    }

    /// The earliest time at which [`advance`](Self::advance) has something to do, not later than
    /// a tick after the earliest deadline.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.next_list().map(|(tick, _)| tick.saturating_mul(TICK_MS))
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.links.memory() + self.levels.iter().flatten().count() * size_of::<Level>()
    }

    /// The list for a tick: in the lowest level whose turn reaches it from here.
    fn place_of(&self, tick: u64) -> Place {
        let tick = tick.max(self.tick);
        let level = (tick ^ self.tick).checked_ilog2().unwrap_or(0) / FANOUT_BITS;
        Place { level, index: digit(tick, level) }
    }

    /// The list that comes up next, and when. The one of the present tick counts, in each level:
    /// it may not be empty yet when the budget ended in the middle of it.
    fn next_list(&self) -> Option<(u64, Place)> {
        (0..)
            .zip(&self.levels)
            .filter_map(|(n, level)| self.next_in(n, level.as_ref()?))
            .min_by_key(|(tick, _)| *tick)
    }

    fn next_in(&self, level: u32, lists: &Level) -> Option<(u64, Place)> {
        let here = digit(self.tick, level);
        let to_come = lists.occupied >> here;
        let index = here + to_come.checked_ilog2().map(|_| to_come.trailing_zeros())?;
        let turn = self.tick >> (level * FANOUT_BITS) >> FANOUT_BITS << FANOUT_BITS;
        Some(((turn | u64::from(index)) << (level * FANOUT_BITS), Place { level, index }))
    }
}

impl Place {
    /// 0 is the tag of a slot that has no deadline.
    fn to_tag(self) -> u16 {
        u16::try_from((self.level << FANOUT_BITS | self.index) + 1).unwrap_or_default()
    }

    fn from_tag(tag: u16) -> Option<Self> {
        let place = u32::from(tag).checked_sub(1)?;
        Some(Self { level: place >> FANOUT_BITS, index: digit(place.into(), 0) })
    }
}

/// The digit of a tick, in base 64, that chooses among a level's lists.
fn digit(tick: u64, level: u32) -> u32 {
    u32::try_from(tick >> (level * FANOUT_BITS) & (FANOUT as u64 - 1)).unwrap_or_default()
}

#[expect(clippy::indexing_slicing, reason = "there is a level for each digit of a tick")]
fn level_mut(levels: &mut [Option<Box<Level>>; LEVELS], level: u32) -> &mut Level {
    levels[level as usize]
        .get_or_insert_with(|| Box::new(Level { occupied: 0, lists: [List::default(); FANOUT] }))
}

#[expect(clippy::indexing_slicing, reason = "there is a list for each value of a digit")]
fn list_mut(level: &mut Level, index: u32) -> &mut List {
    &mut level.lists[index as usize]
}

#[cfg(test)]
mod tests;
