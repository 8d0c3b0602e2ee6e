//! When entries move in memory: while the allocator's slabs hold much that is nobody's
//! ([`Table::defragment`](isogrid_engine::Table::defragment) has why).

use std::sync::Arc;

use isogrid_engine::{Pass, Timestamp};
use isogrid_grid::structure::cache::Cache;

use super::heap::Heap;

/// Waste from which a pass is worth its work, thousandths of what is allocated; and bytes.
const WORTH: u64 = 20;
const WORTH_BYTES: u64 = 2 << 20;
/// By how much it has to grow after a pass until the next one, thousandths: what cannot move stays.
const GROWN: u64 = 5;
/// Looks over which what is set aside goes back.
const LOOKS: u64 = 32;
/// What is moved at a time, as a share of the cache's limit, and its bounds: what was left behind
/// is free a little later, and until then it is part of the cache.
const SHARE: u64 = 64;
const BYTES_MIN: u64 = 64 << 10;
const BYTES_MAX: u64 = 2 << 20;

/// The state of it.
#[derive(Debug)]
pub struct Defragment {
    /// The cache that is passed over, and where.
    pass: Option<(usize, Pass)>,
    /// The waste from which the next pass begins, thousandths; `None` = not known since the last.
    bar: Option<u64>,
    /// What the caches lack for it, bytes. It goes back slowly: with each swing entries would go that
    /// were chosen to stay.
    aside: u64,
}

impl Default for Defragment {
    fn default() -> Self {
        Self { pass: None, bar: Some(WORTH), aside: 0 }
    }
}

impl Defragment {
    /// Begins a pass where it is worth it.
    pub fn look(&mut self, heap: Heap) {
        if self.pass.is_some() {
            return;
        }
        let share = heap.wasted() * 1_000 / heap.allocated.max(1);
        let next = WORTH.max(share + GROWN);
        if self.bar.is_some_and(|bar| share >= bar) && heap.wasted() >= WORTH_BYTES {
            (self.pass, self.bar) = (Some((0, Pass::default())), None);
        } else {
            self.bar = Some(self.bar.unwrap_or(next).min(next));
        }
    }

    /// Until they have moved, the limits of the caches are for the waste too, by what they hold.
    pub fn set_aside(&mut self, heap: Heap, caches: &[Arc<Cache>]) {
        let wasted = heap.wasted();
        self.aside = wasted.max((self.aside * (LOOKS - 1) + wasted) / LOOKS);
        let held = |cache: &Arc<Cache>| u128::from(cache.table().usage().bytes);
        let all = caches.iter().map(held).sum::<u128>().max(1);
        for cache in caches {
            let share = u128::from(self.aside) * held(cache) / all;
            cache.table().set_aside(u64::try_from(share).unwrap_or(u64::MAX));
        }
    }

    /// Moves some entries, while a pass is on.
    pub fn step(&mut self, caches: &[Arc<Cache>], now: Timestamp) {
        let Some((number, mut pass)) = self.pass else { return };
        self.pass = caches.get(number).map(|cache| {
            let budget = (cache.table().usage().max_bytes / SHARE).clamp(BYTES_MIN, BYTES_MAX);
            match cache.table().defragment(&mut pass, budget, now) {
                Some(_) => (number, pass),
                None => (number + 1, Pass::default()),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waste in thousandths of a GiB at each look, and whether a pass is on then.
    const SHARES: [(u64, bool); 12] = [
        (0, false),
        (19, false),
        (20, true),
        (70, true),
        // It is over: what it has left is no reason for another one, more is.
        (30, false),
        (34, false),
        (35, true),
        (60, false),
        (64, false),
        (50, false),
        (54, false),
        (55, true),
    ];

    #[test]
    fn a_pass_begins_where_waste_has_grown() {
        let mut defragment = Defragment::default();
        for (at, (share, on)) in SHARES.into_iter().enumerate() {
            let allocated = 1_000 << 20;
            defragment.look(Heap { allocated, active: allocated + (share << 20) });
            assert_eq!(defragment.pass.is_some(), on, "look {at}");
            // The pass at look 2 takes until the next one; without caches the others are over at once.
            if at != 2 {
                defragment.step(&[], 0);
            }
        }
    }

    #[test]
    fn little_is_not_worth_it() {
        let mut defragment = Defragment::default();
        for _ in 0..3 {
            defragment.look(Heap { allocated: 4 << 20, active: 5 << 20 });
            assert_eq!(defragment.pass, None);
        }
    }
}
