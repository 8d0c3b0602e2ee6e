//! The index against a naive map, and under threads; the loom models of the same promises.

use super::*;
use crate::sync::Arc;

/// What an empty slot has instead of a hash.
const NO_HASH: u64 = u64::MAX;

/// Entries of these tests are boxed hashes: the pointer's target says what it is.
fn entry(hash: u64) -> u64 {
    Box::into_raw(Box::new(hash)).expose_provenance() as u64
}

#[expect(clippy::cast_possible_truncation, reason = "an address")]
fn hash_at(pointer: u64) -> u64 {
    if pointer == 0 {
        return NO_HASH;
    }
    // SAFETY: the entries of a test are leaked until `free`, after all readers.
    unsafe { *std::ptr::with_exposed_provenance::<u64>(pointer as usize) }
}

#[expect(clippy::cast_possible_truncation, reason = "an address")]
fn free(pointer: u64) {
    // SAFETY: from `entry`, freed once, when no reader is left.
    drop(unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut::<u64>(pointer as usize)) });
}

/// An index with its writer, and garbage kept until the end.
struct Table {
    index: Arc<Index>,
    grower: Grower,
    garbage: Vec<Retired>,
    entries: Vec<u64>,
}

impl Table {
    fn new() -> Self {
        let (index, grower) = Index::new();
        Table { index: Arc::new(index), grower, garbage: Vec::new(), entries: Vec::new() }
    }

    fn insert(&mut self, hash: u64) {
        let pointer = entry(hash);
        self.entries.push(pointer);
        self.grower.insert(&self.index, hash, pointer);
        self.grow();
    }

    fn remove(&mut self, hash: u64) -> bool {
        let index = self.index.clone();
        let place = index.find(hash, |p| hash_at(p) == hash);
        if let Some(place) = place {
            self.grower.remove(hash, place);
        }
        let removed = place.is_some();
        self.grow();
        removed
    }

    fn grow(&mut self) {
        let garbage = &mut self.garbage;
        self.grower.grow(&self.index, hash_at, |retired, _| garbage.push(retired));
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for retired in self.garbage.drain(..) {
            // SAFETY: no reader is left.
            unsafe { retired.free() };
        }
        self.entries.drain(..).for_each(free);
    }
}

#[cfg(not(loom))]
mod plain {
    use super::*;
    use crate::env::split_mix;
    use std::collections::BTreeSet;

    fn has(table: &Table, hash: u64) -> bool {
        table.index.get(hash, |p| hash_at(p) == hash).is_some()
    }

    fn scan(table: &Table, lines: usize) -> Vec<u64> {
        let (mut all, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            from = table.grower.scan(&table.index, at, lines, hash_at, |p| all.push(hash_at(p)));
        }
        all
    }

    #[test]
    fn behaves_like_a_set_through_growing_and_shrinking() {
        for seed in 0..20 {
            let (mut table, mut model, mut rng) = (Table::new(), BTreeSet::new(), seed);
            for round in 0..6_000u64 {
                let growing = round % 3_000 < 1_800;
                let draw = split_mix(&mut rng);
                // Few distinct upper halves: lines overflow and tags collide.
                let hash = if seed % 2 == 0 { draw % 4_000 * 0x1_0003_0005 } else { draw };
                if draw % 10 < if growing { 8 } else { 2 } {
                    if model.insert(hash) {
                        table.insert(hash);
                    }
                } else if let Some(hash) = model.range(hash..).next().copied() {
                    model.remove(&hash);
                    assert!(table.remove(hash), "seed {seed} round {round}");
                }
                assert_eq!(has(&table, hash), model.contains(&hash), "seed {seed} round {round}");
            }
            assert!(model.iter().all(|hash| has(&table, *hash)));
            assert_eq!(table.grower.entries(), model.len());
            for lines in [1, 3, 1_000] {
                let mut all = scan(&table, lines);
                all.sort_unstable();
                assert!(all.iter().eq(model.iter()), "seed {seed} lines {lines}");
            }
        }
    }

    #[test]
    fn a_large_index_costs_less_than_fourteen_bytes_an_entry() {
        let (mut table, mut rng) = (Table::new(), 1);
        let mut worst = 0;
        for n in 1..200_000 {
            table.insert(split_mix(&mut rng));
            if n > 10_000 && !table.grower.is_growing(&table.index) {
                worst = worst.max(table.grower.memory() * 100 / n);
            }
        }
        assert!(worst < 1_400, "{worst} hundredths of a byte");
    }

    #[test]
    fn readers_never_miss_an_entry_while_others_come_and_go() {
        let mut table = Table::new();
        let steady: Vec<u64> = (1..=64u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        steady.iter().for_each(|hash| table.insert(*hash));
        let stop = std::sync::atomic::AtomicBool::new(false);
        // The writer has the grower; readers share the index.
        let Table { index, grower, garbage, entries } = &mut table;
        let index: &Index = index;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        for hash in &steady {
                            assert!(index.get(*hash, |p| hash_at(p) == *hash).is_some());
                        }
                    }
                });
            }
            let mut rng = 7;
            let mut live = Vec::new();
            for round in 0..60_000 {
                if round / 10_000 % 2 == 0 {
                    let hash = split_mix(&mut rng);
                    let pointer = entry(hash);
                    entries.push(pointer);
                    live.push(hash);
                    grower.insert(index, hash, pointer);
                } else if let Some(hash) = live.pop() {
                    let place = index.find(hash, |p| hash_at(p) == hash).unwrap();
                    grower.remove(hash, place);
                }
                grower.grow(index, hash_at, |retired, _| garbage.push(retired));
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p isogrid-engine --release --lib loom_`
#[cfg(loom)]
mod loom_models {
    use super::*;
    use loom::thread;

    /// Runs `write` beside two lookups of `hash`: they must see what `allowed` says.
    fn check(
        before: &'static [u64],
        hash: u64,
        write: fn(&mut Table),
        allowed: fn(bool, bool) -> bool,
    ) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let mut table = Table::new();
            before.iter().for_each(|hash| table.insert(*hash));
            let index = table.index.clone();
            let reader = thread::spawn(move || {
                let look = || index.get(hash, |p| hash_at(p) == hash).is_some();
                (look(), look())
            });
            write(&mut table);
            let (first, second) = reader.join().unwrap();
            assert!(allowed(first, second), "{first} then {second}");
        });
    }

    /// Hashes that share a tag and spread over the lines.
    const A: u64 = 0x1000_0000_0000_0001;
    const B: u64 = 0x2000_0000_0000_0001;
    const C: u64 = 0xf000_0000_0000_0001;
    const D: u64 = 0x8000_0000_0000_0001;
    const E: u64 = 0x3000_0000_0000_0001;

    #[test]
    fn loom_insert_appears_and_stays() {
        check(&[A], B, |table| table.insert(B), |first, second| !first || second);
    }

    #[test]
    fn loom_remove_disappears_and_stays_gone() {
        check(&[A, B], B, |table| assert!(table.remove(B)), |first, second| first || !second);
    }

    #[test]
    fn loom_replace_is_never_a_miss() {
        let replace = |table: &mut Table| {
            let pointer = entry(A);
            table.entries.push(pointer);
            let index = table.index.clone();
            let place = index.find(A, |p| hash_at(p) == A).unwrap();
            table.grower.replace(A, place, pointer);
        };
        check(&[A], A, replace, |first, second| first && second);
    }

    #[test]
    fn loom_resize_is_never_a_miss() {
        let grow = |table: &mut Table| {
            table.insert(C);
            table.insert(D);
            table.grow();
            table.grow();
        };
        check(&[A, B], A, grow, |first, second| first && second);
    }

    /// A, B and E are at home in one line of two slots: one of them is past it.
    #[test]
    fn loom_neighbours_that_leave_do_not_hide_an_entry() {
        for hash in [B, E] {
            let leave = |table: &mut Table| assert!(table.remove(A));
            check(&[A, B, E], hash, leave, |first, second| first && second);
        }
    }

    #[test]
    fn loom_an_entry_past_its_home_moves_unseen() {
        for hash in [B, E] {
            let grow = |table: &mut Table| (0..3).for_each(|_| table.grow());
            check(&[A, B, E], hash, grow, |first, second| first && second);
        }
    }
}
