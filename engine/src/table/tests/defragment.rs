//! Entries that move are what they were, for readers and for the order of eviction.

use std::collections::BTreeMap;

use super::super::defragment::Pass;
use super::*;
use crate::env::split_mix;

const KEYS: u64 = 400;

/// Passes over all; the bytes that moved.
fn pass(table: &Table, now: Timestamp) -> u64 {
    let mut pass = Pass::default();
    std::iter::from_fn(|| table.defragment(&mut pass, 10_000, now)).sum()
}

/// The same writes in two tables, of which one is moved between them.
#[test]
fn what_moves_stays_the_same() {
    for policy in PolicyKind::ALL {
        let config = || TableConfig {
            segments: Some(2),
            eviction: policy,
            max_entries: (policy != PolicyKind::None).then_some(150),
            ..TableConfig::default()
        };
        let (moved, stays) = (table(config()), table(config()));
        let mut snapshots = Vec::new();
        let (mut rng, mut bytes) = (7, 0);
        for now in (1..40).map(|round| round * 100) {
            for _ in 0..100 {
                let n = split_mix(&mut rng);
                [&moved, &stays].into_iter().for_each(|table| change(table, n, now));
            }
            if now % 500 == 0 {
                let taken = [&moved, &stays].map(|table| table.snapshot(now));
                snapshots = vec![taken];
            }
            bytes += pass(&moved, now);
            assert_eq!(image(&moved, now), image(&stays, now), "{policy:?} at {now}");
            assert_eq!(moved.usage().entries, stays.usage().entries, "{policy:?} at {now}");
        }
        drop(snapshots);
        collect(&moved, 4_000);
        collect(&stays, 4_000);
        // Other tests may keep garbage from going.
        let live = [&moved, &stays].map(|table| table.usage().bytes - table.usage().retired_bytes);
        assert_eq!(live[0], live[1], "{policy:?}");
        assert!(bytes > 1_000_000, "{policy:?}: {bytes}");
    }
}

/// A put, with or without what an entry may have, a get or a removal.
fn change(table: &Table, n: u64, now: Timestamp) {
    let key = (n % KEYS).to_le_bytes();
    let value = vec![1; usize::try_from(n >> 40).unwrap() % 2_000];
    match n >> 16 & 15 {
        0 => drop(remove(table, &key, now)),
        1..6 => drop(get(table, &key, now)),
        kind => {
            let new = NewEntry {
                value: [&value, b""],
                flags: u32::from(kind == 6),
                deadline: (kind == 7).then_some(now + 250),
                max_idle: (kind == 8).then_some(300),
                marks: if kind == 9 { Marks::STALE } else { Marks::default() },
                version: (kind == 10).then_some(n),
            };
            let _ = put(table, &key, &new, now);
        }
    }
}

/// What is not published may be taken back, and what was behind it is there again.
#[test]
fn what_may_be_taken_back_stays_where_it_is() {
    let table = table(TableConfig { segments: Some(1), ..TableConfig::default() });
    put(&table, b"a", &value(b"old"), 0).unwrap();
    let prepared = {
        let pinned = table.pin();
        pinned.entry(table.hash(b"a"), b"a", 0).unwrap().prepare_put(&value(b"new")).unwrap()
    };
    assert_eq!(pass(&table, 0), 0);
    table.abort(&[prepared], 0);
    assert_eq!(get(&table, b"a", 0).unwrap(), b"old");
    assert!(pass(&table, 0) > 0);
    assert_eq!(get(&table, b"a", 0).unwrap(), b"old");
}

/// A snapshot reads what it read, while all moves under it.
#[test]
fn a_snapshot_sees_what_it_saw() {
    let table = table(TableConfig { segments: Some(1), ..TableConfig::default() });
    let read = |snapshot: &Snapshot<'_>| {
        let (pinned, hash) = (table.pin(), |key: &[u8]| table.hash(key));
        let of = |n: u64| {
            let key = n.to_le_bytes();
            snapshot.get(&pinned, hash(&key), &key, 0).map(|entry| entry.value().to_vec())
        };
        (0..KEYS).filter_map(|n| Some((n, of(n)?))).collect::<BTreeMap<_, _>>()
    };
    for n in 0..KEYS {
        put(&table, &n.to_le_bytes(), &value(b"first"), 0).unwrap();
    }
    let snapshot = table.snapshot(0);
    for n in 0..KEYS / 2 {
        put(&table, &n.to_le_bytes(), &value(b"second"), 0).unwrap();
    }
    let before = read(&snapshot);
    assert!(pass(&table, 0) > 0);
    assert!(before == read(&snapshot) && before.values().all(|value| value == b"first"));
}

/// Readers take no lock: whoever reads while all moves finds each key at each moment.
#[test]
fn readers_find_what_moves() {
    let table = table(TableConfig { segments: Some(1), ..TableConfig::default() });
    for n in 0..KEYS {
        put(&table, &n.to_le_bytes(), &value(&n.to_le_bytes()), 0).unwrap();
    }
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50 {
                pass(&table, 0);
            }
            over.store(true, Ordering::Relaxed);
        });
        let mut reads = 0;
        while !over.load(Ordering::Relaxed) {
            let key = (reads % KEYS).to_le_bytes();
            assert_eq!(get(&table, &key, 0).as_deref(), Some(&key[..]));
            reads += 1;
        }
    });
}

/// What the allocator holds and no entry has is part of the limit, up to an eighth of it.
#[test]
fn what_is_set_aside_leaves_less_room() {
    let table = table(TableConfig { max_bytes: 1 << 20, ..TableConfig::default() });
    let account = &table.shared.account;
    let room = (1 << 20) - account.live();
    for (aside, less) in [(0, 0), (1, 1), (90_000, 90_000), (1 << 30, 1 << 17), (5, 5)] {
        table.set_aside(aside);
        let is_over = |more| account.is_over(account.leaving(), more);
        assert!(!is_over(room - less) && is_over(room - less + 1), "{aside} aside");
        assert_eq!(table.usage().max_bytes, 1 << 20);
    }
}
