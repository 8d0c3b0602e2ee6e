//! Tables that are made and dropped while the process runs have room beyond memory too, and what the
//! store had of one that was dropped is in none of its name that comes later.

use std::sync::Arc;

use super::bed::{Disks, Life, START, Shape, kept};
use crate::NewEntry;
use crate::env::split_mix;
use crate::persist::{PersistMode, Preload};
use crate::store::fault::Tear;

const KEYS: u64 = 200;

fn value(life: &str, key: u64) -> Vec<u8> {
    format!("{life}-{key}-").repeat(10).into_bytes()
}

fn put(life: &Life, name: &str, key: u64) {
    let value = value(name, key);
    let new = NewEntry { value: [&value, b""], ..NewEntry::default() };
    life.on(&key.to_be_bytes(), true, |entry| entry.put(&new));
}

fn check(life: &Life, at: &str, expected: impl Fn(u64) -> Option<Vec<u8>>) {
    for key in 0..KEYS {
        let found = life.get(&key.to_be_bytes()).map(|shown| shown.0);
        assert_eq!(found, expected(key), "{at}, key {key}");
    }
}

fn comes_and_goes(seed: u64) {
    let rng = &mut { seed };
    let mut flag = || split_mix(rng).is_multiple_of(2);
    let shape = |seed| Shape {
        mode: PersistMode::Async,
        preload: Preload::All,
        segments: 2,
        room: 8 << 10,
        seed,
    };
    let disks = Disks::new();
    let mut life = Life::begin(&disks, &shape(seed), START);
    let old = kept("b", &shape(seed + 1), START);
    life.persistence.add_table(old.clone()).unwrap();
    life.turn_to(&old);
    (0..KEYS).for_each(|key| put(&life, "old", key));
    if flag() {
        life.persistence.checkpoint().unwrap();
    }
    let stats = life.persistence.overflow().unwrap();
    assert!(stats.keys + stats.waiting > KEYS / 2, "seed {seed}: {stats:?}");
    check(&life, "while it lives", |key| Some(value("old", key)));
    life.persistence.remove_table("b", START);
    assert!(life.persistence.reader("b").is_none());
    if flag() {
        life.persistence.checkpoint().unwrap();
    }
    let new = kept("b", &shape(seed + 2), START);
    life.persistence.add_table(new.clone()).unwrap();
    life.turn_to(&new);
    let is_new = |key: u64| key.is_multiple_of(3);
    (0..KEYS).filter(|key| is_new(*key)).for_each(|key| put(&life, "new", key));
    let expected = |key: u64| is_new(key).then(|| value("new", key));
    check(&life, "made again", expected);
    if flag() {
        life.persistence.checkpoint().unwrap();
    }
    life.acknowledge();
    let (power, commits) = (flag().then_some(seed), usize::from(flag()));
    let disks = life.end(disks, power, commits, Tear::Lose);
    let tables = ["b", "default"].map(|name| kept(name, &shape(seed + 3), START));
    let life = Life::begin_with(&disks, tables.to_vec(), START);
    check(&life, "after a crash", expected);
}

#[test]
fn nothing_of_a_dropped_table_comes_back_from_the_store() {
    for seed in 0..60 {
        println!("seed {seed}");
        comes_and_goes(seed);
    }
}

/// What the log tells when records are durable held the tables, whose journals held the log: so no
/// table was ever freed, and each process that opened and dropped thousands had a thread for each.
#[test]
fn nothing_of_a_life_that_is_dropped_stays() {
    for mode in [PersistMode::Async, PersistMode::Sync] {
        let shape = Shape { mode, preload: Preload::All, segments: 2, room: 8 << 10, seed: 1 };
        let life = Life::begin(&Disks::new(), &shape, START);
        (0..KEYS).for_each(|key| put(&life, "key", key));
        life.acknowledge();
        let table = Arc::downgrade(&life.table);
        drop(life);
        assert!(table.upgrade().is_none(), "{mode:?}");
    }
}
