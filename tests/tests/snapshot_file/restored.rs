//! A table that is given back what it had goes on as if nothing had happened.

use isogrid_engine::disk::MemoryDisk;
use isogrid_engine::snapshot_file::RestoreTime;
use isogrid_engine::{Error, NewEntry, PolicyKind, Table, TableConfig};

use super::*;

fn version(table: &Table, key: &[u8]) -> Option<u64> {
    table.pin().peek(table.hash(key), key, NOW).map(|entry| entry.version())
}

#[test]
fn a_version_is_never_given_twice() {
    let before = table(Some(4), 1, 1);
    let mut last: Vec<u64> = (0..5).map(|n| put_value(&before, &[n], b"v")).collect();
    // Deletions have numbers too, which nothing in the file shows but the watermarks.
    for n in 1..5_u8 {
        let hash = before.hash(&[n]);
        let gone = before.pin().entry(hash, &[n], NOW).unwrap().prepare_remove().unwrap().unwrap();
        before.publish(&[gone], NOW);
        last[usize::from(n)] = gone.version;
    }
    let disk = saved(&before);
    for (segments, seed, epoch) in [(Some(4), 1, 1), (Some(1), 7, 1), (None, 7, 1), (Some(4), 1, 2)]
    {
        let after = table(segments, seed, epoch);
        load_into(&open(&disk), &after, at(NOW));
        for n in 0..5 {
            let (next, last) = (put_value(&after, &[n], b"w"), last[usize::from(n)]);
            assert!(next > last, "{segments:?} {seed} {epoch}: key {n}: {next:x} after {last:x}");
        }
    }
}

#[test]
fn in_its_own_epoch_an_entry_costs_what_it_cost() {
    let before = filled(1_000);
    let disk = saved(&before);
    let charge = |table: &Table| {
        let pinned = table.pin();
        pinned.peek(table.hash(b"key 1"), b"key 1", NOW).unwrap().charge()
    };
    let (own, later) = (table(Some(4), 1, 1), table(Some(4), 1, 2));
    assert_eq!(load_into(&open(&disk), &own, at(NOW)).stored, 1_000);
    assert_eq!(load_into(&open(&disk), &later, at(NOW)).stored, 1_000);
    assert_eq!(charge(&own), charge(&before));
    assert!(charge(&later) >= charge(&before));
}

/// Room is made for all at once, and no more than that.
#[test]
fn an_index_that_came_back_is_no_larger_than_it_was() {
    for (segments, entries) in [(Some(1), 50_000), (Some(16), 100_000), (Some(64), 500)] {
        let before = table(segments, 1, 1);
        (0..entries).for_each(|n: u32| _ = put_value(&before, &n.to_le_bytes(), b"v"));
        let disk = saved(&before);
        let after = table(segments, 1, 1);
        load_into(&open(&disk), &after, at(NOW));
        let settle = |table: &Table| {
            while table.maintain(NOW, 1_000) {}
            table.index_bytes() as f64
        };
        let (before, after) = (settle(&before), settle(&after));
        assert!(after < before * 1.1 + 64.0 * 1_000.0, "{entries}: {after} after {before}");
    }
}

/// What a client does between the snapshot and its return, and the value that is there then.
#[test]
fn nothing_newer_is_replaced() {
    let before = table(Some(1), 1, 1);
    put_value(&before, b"k", b"old");
    let older = saved(&before);
    let old = put_value(&before, b"k", b"saved");
    let disk = saved(&before);
    let value = |table: &Table| {
        let pinned = table.pin();
        pinned.peek(table.hash(b"k"), b"k", NOW).map(|entry| entry.value().to_vec())
    };

    let after = table(Some(1), 1, 1);
    load_into(&open(&older), &after, at(NOW));
    assert_eq!(load_into(&open(&disk), &after, at(NOW)).stored, 1, "the older one is replaced");
    assert_eq!((value(&after), version(&after, b"k")), (Some(b"saved".to_vec()), Some(old)));
    assert_eq!(load_into(&open(&older), &after, at(NOW)).newer, 1, "the newer one is not");
    put_value(&after, b"k", b"newer");
    assert_eq!(load_into(&open(&disk), &after, at(NOW)).newer, 1);
    assert_eq!(value(&after), Some(b"newer".to_vec()));

    let held = after.snapshot(NOW);
    remove(&after, b"k", NOW);
    assert_eq!(load_into(&open(&disk), &after, at(NOW)).newer, 1, "deleted under a snapshot");
    assert_eq!(value(&after), None);
    drop(held);

    let after = table(Some(1), 1, 1);
    put_value(&after, b"k", b"before the clear");
    load_into(&open(&disk), &after, at(NOW));
    after.clear(NOW).unwrap();
    while after.maintain(NOW, 100) {}
    assert_eq!(load_into(&open(&disk), &after, at(NOW)).newer, 1, "cleared");
    assert_eq!(value(&after), None);
}

/// A prepared write is not published by what comes back, and comes back itself if it is not.
#[test]
fn prepared_writes_stay_prepared() {
    let disk = saved(&filled(200));
    let after = table(Some(4), 1, 1);
    let key: &[u8] = b"prepared";
    let new = NewEntry { value: [b"v", b""], ..NewEntry::default() };
    let hash = after.hash(key);
    let prepared = after.pin().entry(hash, key, NOW).unwrap().prepare_put(&new).unwrap();
    assert_eq!(load_into(&open(&disk), &after, at(NOW)).stored, 200);
    assert_eq!(version(&after, key), None);
    after.publish(&[prepared], NOW);
    assert_eq!(version(&after, key), Some(prepared.version));
    assert_eq!(contents(&after, NOW).len(), 201);
    let again = put_value(&after, key, b"w");
    assert!(again > prepared.version);
}

/// Max-idle 100 ms, stored at `NOW - 60` or read since: (read at, read until, now) and when it
/// expires; `None` = it does not come back.
#[test]
fn idle_time_goes_on() {
    let created = NOW;
    for (read, read_until, now, expires) in [
        // Nobody was served after the file was written: the age counts, and so does the pause.
        (None, created, created, Some(created + 40)),
        (None, created, created + 39, Some(created + 40)),
        (None, created, created + 40, None),
        (Some(created - 10), created, created + 20, Some(created + 90)),
        // It may have been read up to some time after: then that counts, not the age.
        (None, created + 30, created + 60, Some(created + 130)),
        (None, created + 30, created + 130, None),
        // Nobody knows: as if it were read now (a promotion counts as a touch).
        (None, created + 500, created + 500, Some(created + 600)),
        // Not in the future, whatever is said.
        (None, created + 900, created + 500, Some(created + 600)),
    ] {
        let what = format!("{read:?} {read_until} {now}");
        for (epoch, deadline) in [(1, None), (2, None), (1, Some(NOW + 95))] {
            let before = table(Some(1), 1, 1);
            let max_idle = Some(100);
            let new = NewEntry { value: [b"v", b""], max_idle, deadline, ..NewEntry::default() };
            put(&before, b"k", &new, NOW - 60);
            if let Some(read) = read {
                assert!(before.pin().get(before.hash(b"k"), b"k", read).is_some());
            }
            let after = table(Some(1), 1, epoch);
            let time = RestoreTime { now, read_until };
            let counts = load_into(&open(&saved(&before)), &after, time);
            let is_there = |now: u64| after.pin().peek(after.hash(b"k"), b"k", now).is_some();
            let expires = expires.map(|at| deadline.map_or(at, |deadline| at.min(deadline)));
            let expires = expires.filter(|at| *at > now);
            assert_eq!(is_there(now), expires.is_some(), "{what}");
            assert_eq!(
                (counts.stored, counts.expired),
                if is_there(now) { (1, 0) } else { (0, 1) }
            );
            let Some(expires) = expires else { continue };
            assert!(is_there(expires - 1) && !is_there(expires), "{what}: {expires}");
            // The wheel knows it too.
            while after.maintain(expires - 1, 100) {}
            assert_eq!(after.usage().entries, 1, "{what}");
            while after.maintain(expires + 100, 100) {}
            assert_eq!(after.usage().entries, 0, "{what}");
        }
    }
}

#[test]
fn policies_and_limits_know_what_came_back() {
    let before = table(Some(1), 1, 1);
    (0..3_000_u32).for_each(|n| _ = put_value(&before, &n.to_le_bytes(), &[7; 100]));
    let disk = saved(&before);
    for eviction in PolicyKind::ALL {
        let config = TableConfig { eviction, max_bytes: 128 << 10, ..super::config(Some(1), 2, 1) };
        let after = Table::new(&config, NOW).unwrap();
        let counts = load_into(&open(&disk), &after, at(NOW));
        // Other tests of the process may hold up the freeing of garbage for a while.
        while after.maintain(NOW, 1_000) || after.usage().retired_bytes > 0 {}
        let (usage, found) = (after.usage(), contents(&after, NOW).len() as u64);
        assert_eq!(usage.entries, found, "{eviction}");
        assert!(usage.bytes <= 130 << 10 && found > 300, "{eviction}: {usage:?}");
        assert_eq!(counts.refused > 0, eviction == PolicyKind::None, "{eviction}");
        assert_eq!(counts.stored + counts.refused, 3_000, "{eviction}");
        // And a write that follows finds its victim among them.
        let new = NewEntry { value: [&[1; 5_000], b""], ..NewEntry::default() };
        let put = after.pin().entry(after.hash(b"n"), b"n", NOW).unwrap().put(&new);
        let refused = matches!(put, Err(Error::Full { .. }));
        assert_eq!(refused, eviction == PolicyKind::None, "{eviction}: {put:?}");
    }
}

#[test]
fn a_file_is_restored_by_several_threads() {
    use isogrid_engine::snapshot_file::{prepare, restore_block};
    let before = filled(30_000);
    let disk = MemoryDisk::new();
    save(&disk, &header(), &before);
    let (file, after) = (open(&disk), table(Some(4), 1, 1));
    let (header, section) = prepare(&file, 0, &after).unwrap();
    let stored: u64 = std::thread::scope(|scope| {
        let part = |part: u32| {
            let (file, after) = (&file, &after);
            scope.spawn(move || {
                let mine = file.blocks(0).filter(|number| number % 4 == part);
                let blocks = mine.map(|number| file.block(number).unwrap());
                blocks.map(|b| restore_block(header, section, &b, after, at(NOW)).stored).sum()
            })
        };
        let threads: Vec<std::thread::ScopedJoinHandle<'_, u64>> = (0..4).map(part).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(stored, 30_000);
    assert_eq!(contents(&after, NOW), contents(&before, NOW));
}
