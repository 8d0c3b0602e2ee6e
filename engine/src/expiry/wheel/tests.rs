use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SLOTS: u32 = 40;
const START_MS: u64 = 1_700_000_000_000;

#[derive(Debug, Clone)]
enum Op {
    /// Sets a deadline so many ms from now.
    Schedule(u32, u64),
    /// The deadline moves on without the wheel being told, as when an entry is read.
    Postpone(u32, u64),
    Cancel(u32),
    Advance(u64, usize),
}

/// Durations of all magnitudes.
fn ms() -> impl Strategy<Value = u64> {
    (0..62_u32, any::<u64>()).prop_map(|(bits, any)| any & ((1 << bits) - 1))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..SLOTS, ms()).prop_map(|(slot, after)| Op::Schedule(slot, after)),
        1 => (0..SLOTS, ms()).prop_map(|(slot, by)| Op::Postpone(slot, by)),
        1 => (0..SLOTS).prop_map(Op::Cancel),
        4 => (ms(), 0..50_usize).prop_map(|(by, budget)| Op::Advance(by >> 20, budget)),
    ]
}

/// The wheel, and the model: a map of deadlines.
struct Clockwork {
    wheel: Wheel,
    deadlines: BTreeMap<u32, u64>,
    now_ms: u64,
}

impl Clockwork {
    fn new() -> Self {
        Self { wheel: Wheel::new(START_MS), deadlines: BTreeMap::new(), now_ms: START_MS }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Schedule(slot, after) => {
                self.deadlines.insert(slot, self.now_ms + after);
                self.wheel.schedule(Slot(slot), self.now_ms + after);
            }
            Op::Postpone(slot, by) => {
                self.deadlines.entry(slot).and_modify(|d| *d = d.saturating_add(by).min(1 << 62));
            }
            Op::Cancel(slot) => {
                self.deadlines.remove(&slot);
                self.wheel.cancel(Slot(slot));
            }
            Op::Advance(by, budget) => {
                self.now_ms += by;
                self.advance(budget);
            }
        }
    }

    /// Advances and checks: nothing fires early, nothing is left when there was budget for all.
    fn advance(&mut self, budget: usize) {
        let (now_ms, deadlines) = (self.now_ms, &mut self.deadlines);
        let asked = self.wheel.advance(now_ms, budget, &mut |slot| {
            let deadline = *deadlines.get(&slot.0).expect("asked about a slot without deadline");
            if deadline > now_ms {
                return Some(deadline);
            }
            deadlines.remove(&slot.0);
            None
        });
        assert!(asked <= budget);
        let first = self.deadlines.values().min().copied();
        if asked < budget {
            assert!(first.is_none_or(|first| first + TICK_MS > now_ms), "{first:?} at {now_ms}");
        }
        let next_due = self.wheel.next_due();
        assert_eq!(next_due.is_some(), first.is_some());
        assert!(next_due <= first.map(|first| first.max(now_ms) + TICK_MS));
    }
}

proptest! {
    #[test]
    fn behaves_like_a_map_of_deadlines(ops in prop::collection::vec(op(), 0..200)) {
        let mut clockwork = Clockwork::new();
        for op in &ops {
            clockwork.apply(op);
        }
        clockwork.now_ms = (1 << 62) + TICK_MS;
        clockwork.advance(usize::MAX);
        prop_assert!(clockwork.deadlines.is_empty());
    }
}

/// Goes from one `next_due` to the next until the slot fires; gives when, and how many steps.
fn fires_at(deadline_ms: u64) -> (u64, usize) {
    let mut wheel = Wheel::new(START_MS);
    wheel.schedule(Slot(7), deadline_ms);
    let mut steps = 0;
    while let Some(now_ms) = wheel.next_due() {
        steps += 1;
        let mut fired = false;
        wheel.advance(now_ms.max(START_MS), 1, &mut |_| {
            fired = deadline_ms <= now_ms;
            (!fired).then_some(deadline_ms)
        });
        if fired {
            return (now_ms, steps);
        }
    }
    panic!("never fired");
}

#[test]
fn fires_within_a_tick_in_few_steps() {
    for after in [1, 31, 32, 33, 2_047, 2_048, 60_000, 86_400_000, 1 << 40, 1 << 61] {
        let deadline = START_MS + after;
        let (at, steps) = fires_at(deadline);
        assert!((deadline..deadline + TICK_MS).contains(&at), "{after} ms: {at}");
        assert!(steps <= LEVELS, "{after} ms: {steps} steps");
    }
}

#[test]
fn the_budget_bounds_a_call_and_loses_nothing() {
    let mut wheel = Wheel::new(0);
    (0..100).for_each(|slot| wheel.schedule(Slot(slot), 50));
    let mut calls = 0;
    while wheel.next_due().is_some() {
        assert!(wheel.advance(100, 7, &mut |_| None) <= 7);
        calls += 1;
    }
    assert_eq!(calls, 15);
}

#[test]
fn a_deadline_in_the_past_fires_at_once() {
    let mut wheel = Wheel::new(1_000_000);
    wheel.schedule(Slot(0), 5);
    assert_eq!(wheel.advance(1_000_000, 10, &mut |_| None), 1);
}
