//! The conformance suite, run on every policy.

use std::{cell::Cell, collections::BTreeMap};

use proptest::prelude::*;

use super::*;

/// What the policy is told to hold; asserts that it asks about nothing else.
#[derive(Default)]
struct Held(BTreeMap<Slot, Entry>);

struct Entry {
    hash: u64,
    weight: u32,
    reads: Cell<u8>,
}

impl Held {
    fn entry(&self, slot: Slot) -> &Entry {
        self.0.get(&slot).expect("asked about a slot that is not held")
    }
}

impl Entries for Held {
    fn hash(&self, slot: Slot) -> u64 {
        self.entry(slot).hash
    }

    fn weight(&self, slot: Slot) -> u32 {
        self.entry(slot).weight
    }

    fn take_reads(&self, slot: Slot) -> u8 {
        self.entry(slot).reads.take()
    }
}

/// A policy and the model of what it holds, told of everything as a segment would.
struct Segment {
    policy: Box<dyn Policy>,
    held: Held,
}

impl Segment {
    fn new(kind: PolicyKind) -> Self {
        Self { policy: kind.build(42), held: Held::default() }
    }

    fn insert(&mut self, slot: Slot, weight: u32) {
        let hash = u64::from(slot.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.held.0.insert(slot, Entry { hash, weight, reads: Cell::new(0) });
        self.policy.insert(slot, hash, weight, &self.held);
    }

    fn update(&mut self, slot: Slot, weight: u32) {
        let entry = self.held.0.get_mut(&slot).expect("held");
        let old_weight = std::mem::replace(&mut entry.weight, weight);
        self.policy.update(slot, entry.hash, old_weight, weight);
    }

    fn read(&mut self, slot: Slot) {
        let entry = self.held.entry(slot);
        match self.policy.reads() {
            Reads::Ignored => {}
            Reads::Marked => entry.reads.set((entry.reads.get() + 1).min(3)),
            Reads::Reported => self.policy.touch(slot, entry.hash, &self.held),
        }
    }

    fn remove(&mut self, slot: Slot) {
        let entry = self.held.0.remove(&slot).expect("held");
        self.policy.remove(slot, entry.weight);
    }

    /// The victim was held: `remove` of the model says so.
    fn evict(&mut self) -> Option<Slot> {
        let victim = self.policy.evict(&self.held)?;
        self.held.0.remove(&victim).expect("evicted a slot that is not held");
        Some(victim)
    }

    fn get_or_set(&mut self, slot: Slot, capacity: usize) {
        if self.held.0.contains_key(&slot) {
            return self.read(slot);
        }
        self.insert(slot, 100);
        while self.held.0.len() > capacity && self.evict().is_some() {}
    }
}

fn evicting() -> impl Iterator<Item = PolicyKind> {
    PolicyKind::ALL.into_iter().filter(|kind| *kind != PolicyKind::None)
}

#[derive(Debug, Clone)]
enum Op {
    Insert(u32, u32),
    Update(u32, u32),
    Read(u32),
    /// A report that comes too late: the slot may be gone by now.
    LateTouch(u32),
    Remove(u32),
    Evict,
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || 0..300_u32;
    let weight = || 0..5000_u32;
    prop_oneof![
        5 => (slot(), weight()).prop_map(|(slot, weight)| Op::Insert(slot, weight)),
        1 => (slot(), weight()).prop_map(|(slot, weight)| Op::Update(slot, weight)),
        5 => slot().prop_map(Op::Read),
        1 => slot().prop_map(Op::LateTouch),
        1 => slot().prop_map(Op::Remove),
        2 => Just(Op::Evict),
    ]
}

fn apply(segment: &mut Segment, op: &Op) {
    let held = |slot| segment.held.0.contains_key(&Slot(slot));
    match *op {
        Op::Insert(slot, weight) if !held(slot) => segment.insert(Slot(slot), weight),
        Op::Update(slot, weight) if held(slot) => segment.update(Slot(slot), weight),
        Op::Read(slot) if held(slot) => segment.read(Slot(slot)),
        Op::LateTouch(slot) if segment.policy.reads() == Reads::Reported => {
            segment.policy.touch(Slot(slot), u64::from(slot), &segment.held);
        }
        Op::Remove(slot) if held(slot) => segment.remove(Slot(slot)),
        Op::Evict => drop(segment.evict()),
        _ => {}
    }
}

proptest! {
    #[test]
    fn evicts_what_is_held_and_all_of_it(ops in prop::collection::vec(op(), 0..600)) {
        for kind in PolicyKind::ALL {
            let mut segment = Segment::new(kind);
            ops.iter().for_each(|op| apply(&mut segment, op));
            while segment.evict().is_some() {}
            prop_assert!(segment.held.0.is_empty() || kind == PolicyKind::None, "{}", kind);
        }
    }
}

#[test]
fn starts_anew_after_it_was_emptied() {
    for kind in evicting() {
        let mut segment = Segment::new(kind);
        for round in 1..4 {
            (0..1000).for_each(|slot| segment.insert(Slot(slot), round));
            (0..500).for_each(|slot| segment.remove(Slot(slot)));
            let evicted = std::iter::from_fn(|| segment.evict()).count();
            assert_eq!(evicted, 500, "{kind}");
        }
    }
}

#[test]
fn none_refuses() {
    let mut segment = Segment::new(PolicyKind::None);
    segment.insert(Slot(0), 1);
    assert_eq!(segment.evict(), None);
}

/// What stays of 0..4 in a cache of four, with 0 read thrice, when 4 and 5 come.
#[test]
fn what_a_read_is_worth() {
    let table: [(PolicyKind, &[u32]); 3] = [
        (PolicyKind::Fifo, &[2, 3, 4, 5]),
        (PolicyKind::Lru, &[0, 3, 4, 5]),
        (PolicyKind::Lfu, &[0, 3, 4, 5]),
    ];
    for (kind, stays) in table {
        let mut segment = Segment::new(kind);
        for slot in [0, 1, 2, 3, 0, 0, 0, 4, 5] {
            segment.get_or_set(Slot(slot), 4);
        }
        let held: Vec<u32> = segment.held.0.keys().map(|slot| slot.0).collect();
        assert_eq!(held, stays, "{kind}");
    }
}

/// 50 entries are read often, then a scan of thousands passes through a cache of 100: how many of
/// the 50 survive.
#[test]
fn what_a_scan_leaves() {
    let survivors = |kind| {
        let mut segment = Segment::new(kind);
        for _ in 0..20 {
            (0..50).for_each(|slot| segment.get_or_set(Slot(slot), 100));
        }
        (100..5000).for_each(|slot| segment.get_or_set(Slot(slot), 100));
        segment.held.0.range(..Slot(50)).count()
    };
    let table =
        [(PolicyKind::TinyLfu, 30..=50), (PolicyKind::Lru, 0..=0), (PolicyKind::Fifo, 0..=0)];
    for (kind, expect) in table {
        let count = survivors(kind);
        assert!(expect.contains(&count), "{kind}: {count}");
    }
}

/// The oldest of a cache of 100 was read often when it came, the others never; then come 200 that
/// are read thrice each. They find their way past the one that is hard to beat.
#[test]
fn one_hot_entry_does_not_shield_the_cold_ones() {
    let mut segment = Segment::new(PolicyKind::TinyLfu);
    (0..10).for_each(|_| segment.get_or_set(Slot(0), 100));
    (1..100).for_each(|slot| segment.get_or_set(Slot(slot), 100));
    for slot in 100..300 {
        (0..4).for_each(|_| segment.get_or_set(Slot(slot), 100));
    }
    let newcomers = segment.held.0.range(Slot(100)..).count();
    assert!(newcomers > 80, "{newcomers} of 100");
}

/// A cache of 100 that were accessed twice; then come others, each read so often when it comes, in
/// so many rounds: how many of them are held in the end. One that was read but once more does not
/// push another out. One that was rejected and comes back does, though it was read less often.
#[test]
fn whom_w_tinylfu_lets_in() {
    let table = [(20, 3, 1, 0..=10), (20, 6, 1, 15..=20), (20, 1, 2, 15..=20)];
    for (newcomers, reads, rounds, expect) in table {
        let mut segment = Segment::new(PolicyKind::TinyLfu);
        (0..2).for_each(|_| (0..100).for_each(|slot| segment.get_or_set(Slot(slot), 100)));
        let accesses = || (100..100 + newcomers).flat_map(|slot| (0..reads).map(move |_| slot));
        (0..rounds).flat_map(|_| accesses()).for_each(|slot| segment.get_or_set(Slot(slot), 100));
        let held = segment.held.0.range(Slot(100)..).count();
        assert!(expect.contains(&held), "read {reads} times in {rounds} rounds: {held} held");
    }
}

/// A loop over entries of four sizes, 16 times what fits: how many of a hundred accesses of the
/// last round hit. With the small ones held, a cache can come to more than its share of the bytes,
/// but only if the large ones that they push out leave their room to the main space.
#[test]
fn small_winners_leave_no_room_to_the_window() {
    const ENTRIES: u32 = 4000;
    let weight = |slot: u32| 256 << (slot % 4);
    let capacity = (0..ENTRIES).map(|slot| u64::from(weight(slot))).sum::<u64>() / 16;
    let mut segment = Segment::new(PolicyKind::TinyLfu);
    let (mut held, mut hits) = (0, 0);
    for access in 0..10 * ENTRIES {
        let slot = Slot(access % ENTRIES);
        if segment.held.0.contains_key(&slot) {
            segment.read(slot);
            hits += u32::from(access >= 9 * ENTRIES);
            continue;
        }
        segment.insert(slot, weight(slot.0));
        held += u64::from(weight(slot.0));
        while held > capacity {
            held -= u64::from(weight(segment.evict().expect("something is held").0));
        }
    }
    let percent = hits * 100 / ENTRIES;
    assert!(percent > 12, "{percent} %");
}

#[test]
fn random_follows_from_its_seed() {
    let victims = |seed| {
        let mut segment = Segment { policy: PolicyKind::Random.build(seed), held: Held::default() };
        (0..100).for_each(|slot| segment.insert(Slot(slot), 1));
        std::iter::from_fn(|| segment.evict()).collect::<Vec<_>>()
    };
    assert_eq!(victims(1), victims(1));
    assert_ne!(victims(1), victims(2));
}

/// Full of 50,000 entries, after as many were evicted for others in their slots.
#[test]
fn bytes_an_entry() {
    const ENTRIES: u32 = 50_000;
    for kind in evicting() {
        let mut segment = Segment::new(kind);
        (0..ENTRIES).for_each(|slot| segment.insert(Slot(slot), 100));
        for _ in 0..ENTRIES {
            let slot = segment.evict().expect("full");
            segment.insert(slot, 100);
        }
        let bytes = segment.policy.memory() as f64 / f64::from(ENTRIES);
        assert!(bytes < 8.2 + 8.0, "{kind}: {bytes}");
        println!("{kind:<10} {bytes:.2}");
    }
}

#[test]
fn names() {
    for kind in PolicyKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let error = "2q".parse::<PolicyKind>().expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "unknown eviction policy \"2q\"; known are s3-fifo, w-tinylfu, lru, lfu, fifo, random, none"
    );
}
