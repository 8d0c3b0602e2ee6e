mod defragment;

use super::*;
use crate::eviction::PolicyKind;
use crate::{Error, NewEntry, RegionConfig};

fn table(config: TableConfig) -> Table {
    Table::new(&TableConfig { seed: 1, ..config }, 0).unwrap()
}

fn put(table: &Table, key: &[u8], new: &NewEntry<'_>, now: Timestamp) -> Result<u64, Error> {
    table.pin().entry(table.hash(key), key, now).unwrap().put(new)
}

fn value(bytes: &[u8]) -> NewEntry<'_> {
    NewEntry { value: [bytes, b""], ..NewEntry::default() }
}

fn get(table: &Table, key: &[u8], now: Timestamp) -> Option<Vec<u8>> {
    table.pin().get(table.hash(key), key, now).map(|entry| entry.value().to_vec())
}

fn remove(table: &Table, key: &[u8], now: Timestamp) -> bool {
    table.pin().entry(table.hash(key), key, now).unwrap().remove().unwrap()
}

/// Lets garbage go: every grace period passes.
fn collect(table: &Table, now: Timestamp) {
    for _ in 0..100_000 {
        if !table.maintain(now, 1_000) && table.usage().retired_bytes == 0 {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn versions_rise_with_each_write_and_survive_deletion() {
    let table = table(TableConfig { segments: Some(1), ..TableConfig::default() });
    let mut last = 0;
    for round in 0..10 {
        let version = put(&table, b"k", &value(b"v"), 0).unwrap();
        assert!(version > last && version >> 40 == 1, "round {round}");
        last = version;
        assert!(remove(&table, b"k", 0) && !remove(&table, b"k", 0));
    }
}

#[test]
fn a_prepared_write_is_seen_by_writers_at_once_and_by_readers_when_published() {
    let table = table(TableConfig { segments: Some(1), ..TableConfig::default() });
    put(&table, b"a", &value(b"old"), 0).unwrap();
    let prepare = |key: &[u8], bytes: &[u8]| {
        let pinned = table.pin();
        pinned.entry(table.hash(key), key, 0).unwrap().prepare_put(&value(bytes)).unwrap()
    };
    let first = prepare(b"a", b"new");
    let second = prepare(b"b", b"more");
    assert_eq!(get(&table, b"a", 0).unwrap(), b"old");
    assert_eq!(get(&table, b"b", 0), None);
    let pinned = table.pin();
    let newest = pinned.entry(table.hash(b"a"), b"a", 0).unwrap().get().unwrap().value();
    assert_eq!(newest, b"new");
    // The later one waits for the earlier one.
    table.publish(&[second], 0);
    assert_eq!(get(&table, b"b", 0), None);
    table.publish(&[first], 0);
    assert_eq!(get(&table, b"a", 0).unwrap(), b"new");
    assert_eq!(get(&table, b"b", 0).unwrap(), b"more");
}

#[test]
fn an_aborted_write_leaves_what_was_there() {
    let table = table(TableConfig { segments: Some(1), ..TableConfig::default() });
    put(&table, b"a", &value(b"old"), 0).unwrap();
    collect(&table, 0);
    let before = table.usage();
    let hash = table.hash(b"a");
    let pinned = table.pin();
    let put = pinned.entry(hash, b"a", 0).unwrap().prepare_put(&value(b"new")).unwrap();
    pinned.entry(hash, b"a", 0).unwrap().prepare_remove().unwrap().unwrap();
    let other = table.hash(b"b");
    pinned.entry(other, b"b", 0).unwrap().prepare_put(&value(b"x")).unwrap();
    table.abort(&[put], 0);
    drop(pinned);
    collect(&table, 0);
    assert_eq!((get(&table, b"a", 0).as_deref(), get(&table, b"b", 0)), (Some(&b"old"[..]), None));
    // What is left: short lists of free slots, of writes to publish and of versions to trim.
    assert!(table.usage().bytes - before.bytes < 256, "{:?}, {before:?} before", table.usage());
}

/// An abort uncovered a deletion that trimming had already been past, and nobody took it out.
#[test]
fn an_aborted_write_over_a_deletion_leaves_nothing() {
    let table = table(TableConfig { segments: Some(1), ..TableConfig::default() });
    let key = |n: u16| [&n.to_le_bytes()[..], &[b'k'; 1_000]].concat();
    let before = table.usage().bytes;
    for n in 0..200 {
        put(&table, &key(n), &value(b"v"), 0).unwrap();
        let snapshot = table.snapshot(0);
        assert!(remove(&table, &key(n), 0));
        drop(snapshot);
        let (key, pinned) = (key(n), table.pin());
        let put = pinned.entry(table.hash(&key), &key, 0).unwrap().prepare_put(&value(b"w"));
        table.abort(&[put.unwrap()], 0);
    }
    while table.maintain(0, 1_000) {}
    table.maintain(0, 1_000);
    let usage = table.usage();
    assert!(usage.bytes - usage.retired_bytes < before + 20_000, "{usage:?}, {before} before");
}

/// Maintenance said that there was no more to do as soon as it had trimmed 64 versions: what came
/// to an end then, when other threads had freed all garbage meanwhile, left the rest.
#[test]
fn maintenance_has_more_to_do_until_each_version_behind_a_closed_snapshot_is_gone() {
    let table = table(TableConfig { segments: Some(1), ..TableConfig::default() });
    let write = || {
        for n in 0..1_000u16 {
            put(&table, &n.to_le_bytes(), &value(b"v"), 0).unwrap();
        }
    };
    let live = || table.usage().bytes - table.usage().retired_bytes;
    write();
    while table.maintain(0, 1_000) {}
    let before = live();
    let snapshot = table.snapshot(0);
    write();
    assert!(live() > before + 1_000 * 32, "{} and {before} before", live());
    drop(snapshot);
    while table.maintain(0, 1_000) {}
    // Each new version keeps the place of its link, which is 16 bytes as sizes are rounded.
    assert_eq!(live(), before + 1_000 * 16);
}

#[test]
fn a_snapshot_sees_its_moment_through_overwrites_deletes_and_clear() {
    let table = table(TableConfig { segments: Some(2), ..TableConfig::default() });
    for n in 0..100u8 {
        put(&table, &[n], &value(&[n]), 0).unwrap();
    }
    let before = table.usage().bytes;
    let snapshot = table.snapshot(0);
    for n in 0..100u8 {
        match n % 3 {
            0 => drop(put(&table, &[n], &value(b"changed"), 0).unwrap()),
            1 => assert!(remove(&table, &[n], 0)),
            _ => {}
        }
        put(&table, &[n, n], &value(b"later"), 0).unwrap();
    }
    table.clear(0).unwrap();
    put(&table, b"after", &value(b"clear"), 0).unwrap();
    let (mut seen, mut cursor) = (Vec::new(), Some(Cursor::default()));
    while let Some(at) = cursor {
        cursor = snapshot.scan(at, 7, 0, |entry| {
            assert_eq!(entry.key(), entry.value());
            seen.push(entry.key()[0]);
        });
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    assert_eq!(get(&table, &[3], 0), None, "cleared for plain readers");
    drop(snapshot);
    collect(&table, 0);
    assert_eq!(table.usage().entries, 1);
    assert!(table.usage().bytes <= before, "{:?} {before}", table.usage());
}

#[test]
fn expired_entries_are_hidden_at_once_and_freed_by_maintenance() {
    let table = table(TableConfig::default());
    let empty = table.usage().bytes;
    for n in 0..1_000u32 {
        let new = NewEntry { deadline: Some(100 + u64::from(n)), ..value(b"v") };
        put(&table, &n.to_le_bytes(), &new, 0).unwrap();
    }
    assert!(get(&table, &499u32.to_le_bytes(), 598).is_some());
    assert!(get(&table, &499u32.to_le_bytes(), 599).is_none());
    while table.maintain(664, 10) {}
    // Deadlines up to 664 are over; the wheel may be one tick of 32 ms behind.
    let left = table.usage().entries;
    assert!((435..=435 + 32).contains(&left), "{left}");
    assert_eq!(table.metrics().expired, 1_000 - left);
    while table.maintain(2_000, 10) {}
    collect(&table, 2_000);
    assert_eq!(table.usage().entries, 0);
    // Each segment keeps its first chunks of slots, links and wheel lists.
    assert!(table.usage().bytes < empty + 64 * 12_000, "{:?}", table.usage());
}

#[test]
fn idle_entries_live_as_long_as_they_are_read() {
    let table = table(TableConfig { segments: Some(1), ..TableConfig::default() });
    put(&table, b"k", &NewEntry { max_idle: Some(100), ..value(b"v") }, 0).unwrap();
    for now in (0..1_000).step_by(90) {
        table.maintain(now, 10);
        assert!(get(&table, b"k", now).is_some(), "at {now}");
    }
    table.maintain(1_089 + 32, 10);
    assert_eq!(table.usage().entries, 0);
}

#[test]
fn every_policy_keeps_the_table_within_its_limit() {
    for eviction in PolicyKind::ALL.into_iter().filter(|kind| *kind != PolicyKind::None) {
        let config = TableConfig { max_bytes: 1 << 20, eviction, ..TableConfig::default() };
        let table = table(config);
        let mut most = 0;
        for n in 0..20_000u32 {
            let bytes = vec![b'v'; (n % 700) as usize];
            put(&table, &n.to_le_bytes(), &value(&bytes), 0).unwrap();
            let usage = table.usage();
            let live = usage.bytes - usage.retired_bytes;
            assert!(live <= usage.max_bytes, "{eviction:?} {usage:?}");
            most = most.max(live);
        }
        // Not at the end: garbage counts, and the readers of other tests hold it back.
        assert!(most > (1 << 20) * 8 / 10, "{eviction:?} {most}");
        let usage = table.usage();
        assert_eq!(table.metrics().evicted, 20_000 - usage.entries, "{eviction:?}");
    }
}

#[test]
fn without_eviction_a_full_table_refuses_and_keeps_what_it_has() {
    let eviction = PolicyKind::None;
    let table = table(TableConfig { max_bytes: 1 << 20, eviction, ..TableConfig::default() });
    let bytes = vec![b'v'; 1_000];
    let fits = |n: &u32| put(&table, &n.to_le_bytes(), &value(&bytes), 0).is_ok();
    let stored = u32::try_from((0..2_000u32).take_while(fits).count()).unwrap();
    assert!((600..1_000).contains(&stored), "{stored}");
    assert!((0..stored).all(|n| get(&table, &n.to_le_bytes(), 0).is_some()));
    assert!(remove(&table, &0u32.to_le_bytes(), 0));
    assert!(put(&table, b"one", &value(&bytes[..500]), 0).is_ok());
}

#[test]
fn a_region_evicts_its_own_when_it_is_over_its_own_limit() {
    let region = |prefix: &[u8], max_entries| RegionConfig {
        prefix: prefix.to_vec(),
        max_entries: Some(max_entries),
        ..RegionConfig::default()
    };
    let regions = vec![region(b"/a", 100), region(b"/a/deep", 10)];
    let table = table(TableConfig { segments: Some(1), regions, ..TableConfig::default() });
    for n in 0..1_000 {
        for prefix in ["/a/", "/a/deep/", "/b/"] {
            put(&table, format!("{prefix}{n}").as_bytes(), &value(b"v"), 0).unwrap();
        }
    }
    let entries = [table.region_usage(0).1, table.region_usage(1).1, table.usage().entries];
    assert_eq!(entries, [100, 10, 1_110]);
}

#[test]
fn a_large_value_outlives_its_entry_in_the_hands_of_a_reader() {
    let table = table(TableConfig::default());
    let large = vec![7; SHARED_VALUE_LEN_MIN];
    put(&table, b"k", &value(&large), 0).unwrap();
    let held = table.pin().get(table.hash(b"k"), b"k", 0).unwrap().shared().unwrap();
    assert!(remove(&table, b"k", 0));
    collect(&table, 0);
    assert_eq!(&held[..], &large[..]);
}

/// Found by the threads' test, once in a hundred runs: a reader came upon a prepared version, the
/// write was taken back, the next write raised the watermark past its sequence number, and the
/// reader took it for published.
#[test]
fn a_reader_that_holds_a_write_that_was_taken_back_goes_on_to_what_was_before() {
    let table = table(TableConfig { segments: Some(1), ..TableConfig::default() });
    for before in [None, Some(&b"old"[..])] {
        let key = if before.is_some() { &b"a"[..] } else { &b"b"[..] };
        let hash = table.hash(key);
        if let Some(bytes) = before {
            put(&table, key, &value(bytes), 0).unwrap();
        }
        let pinned = table.pin();
        let prepared = pinned.entry(hash, key, 0).unwrap().prepare_put(&value(b"no")).unwrap();
        let segment = table.segments.first().unwrap();
        let held = segment.lock(&table.shared, 0).find(hash, key).unwrap().1;
        assert_eq!(held.value(), b"no");
        table.abort(&[prepared], 0);
        put(&table, b"other", &value(b"x"), 0).unwrap();
        let mark = snapshot::Watermark {
            committed: segment.committed.load(Ordering::Acquire),
            cleared: 0,
        };
        assert!(mark.committed > held.seq());
        assert_eq!(pinned.visible(held, 0, mark).map(|entry| entry.value()), before);
    }
}

/// The limit is one for all segments, and each evicts what its own writes need: without anything
/// to hold them together their shares walked at random, until one had nine times another's.
#[test]
fn segments_keep_their_shares_of_the_limit() {
    const SEGMENTS: usize = 8;
    let config = TableConfig { segments: Some(8), max_bytes: 1 << 20, ..TableConfig::default() };
    let table = table(config);
    assert_eq!(table.segment_count(), SEGMENTS);
    let bytes = vec![b'v'; 4096];
    let (mut random, keys) = (7, 100_000_u64);
    for key in 0..keys {
        let len = 64 << (crate::env::split_mix(&mut random) % 7);
        put(&table, &key.to_le_bytes(), &value(&bytes[..len]), 0).unwrap();
    }
    let mut held = [0; SEGMENTS];
    for key in 0..keys {
        let segment = table.hash(&key.to_le_bytes()).segment as usize;
        held[segment] += get(&table, &key.to_le_bytes(), 0).map_or(0, |value| value.len());
    }
    let mean = held.iter().sum::<usize>() / SEGMENTS;
    assert!(held.iter().all(|one| (mean * 2 / 3..mean * 3 / 2).contains(one)), "{held:?}");
}

#[test]
fn a_hint_that_no_longer_holds_is_not_believed() {
    let table = table(TableConfig { segments: Some(1), ..TableConfig::default() });
    let hash = table.hash(b"k");
    put(&table, b"k", &value(b"old"), 0).unwrap();
    let pinned = table.pin();
    let hint = pinned.hint(hash);
    let hinted = || pinned.get_hinted(hash, b"k", hint, 0).map(|entry| entry.value().to_vec());
    assert_eq!(hinted().unwrap(), b"old");
    put(&table, b"k", &value(b"new"), 0).unwrap();
    assert_eq!(hinted().unwrap(), b"new");
    assert!(remove(&table, b"k", 0));
    assert_eq!(hinted(), None);
    let absent = pinned.hint(hash);
    put(&table, b"k", &value(b"back"), 0).unwrap();
    let found = pinned.get_hinted(hash, b"k", absent, 0).map(|entry| entry.value().to_vec());
    assert_eq!(found.unwrap(), b"back");
}

/// A log holds a key as often as it was changed. What is left of doing it again is what the last change
/// of each key alone would leave: entries, their account, and when they expire.
#[test]
fn changes_that_are_done_again_take_the_places_of_those_before_them() {
    for policy in PolicyKind::ALL {
        let config =
            || TableConfig { segments: Some(1), eviction: policy, ..TableConfig::default() };
        let (again, once) = (table(config()), table(config()));
        let (mut rng, mut last) = (1, std::collections::BTreeMap::new());
        for seq in 1..3_000u64 {
            let n = crate::env::split_mix(&mut rng);
            let bytes = vec![7; usize::try_from(n >> 32).unwrap() % 300];
            let entry = NewEntry {
                deadline: n.is_multiple_of(5).then_some(500 + n % 1_000),
                max_idle: n.is_multiple_of(7).then_some(800),
                flags: u32::from(n.is_multiple_of(3)),
                ..value(b"")
            };
            // One in ten has the number of the last one: it changed no more than its deadline.
            last.insert(n % 200, (bytes, entry, seq - u64::from(n.is_multiple_of(10))));
            let (bytes, entry, seq) = &last[&(n % 200)];
            replay(&again, n % 200, bytes, entry, *seq);
        }
        last.iter().for_each(|(n, (bytes, entry, seq))| replay(&once, *n, bytes, entry, *seq));
        for now in [100, 700, 10_000] {
            collect(&again, now);
            collect(&once, now);
            assert_eq!(image(&again, now), image(&once, now), "{policy:?} at {now}");
            let [is, want] = [&again, &once].map(|table| table.usage());
            assert_eq!((is.entries, is.bytes), (want.entries, want.bytes), "{policy:?} at {now}");
        }
        assert!(image(&again, 10_000).len() > 50, "some never expire");
    }
}

fn replay(table: &Table, n: u64, bytes: &[u8], entry: &NewEntry<'_>, seq: u64) {
    let (key, entry) = (n.to_le_bytes(), NewEntry { value: [bytes, b""], ..*entry });
    let saved = Saved { key: &key, entry, epoch: 1, seq, accessed: 0 };
    assert_eq!(table.replay(&saved, 0), Ok(Restored::Stored));
}

/// Version, flags, deadline, max-idle and value of each key.
type Shown = (u64, u32, Option<u64>, Option<u32>, Vec<u8>);

fn image(table: &Table, now: Timestamp) -> std::collections::BTreeMap<Vec<u8>, Shown> {
    let (mut image, mut cursor) = (std::collections::BTreeMap::new(), Some(Cursor::default()));
    while let Some(at) = cursor {
        cursor = table.scan(at, 100, now, |entry| {
            let (version, flags) = (entry.version(), entry.flags());
            let life = (entry.deadline(), entry.max_idle());
            let shown = (version, flags, life.0, life.1, entry.value().to_vec());
            assert_eq!(image.insert(entry.key().to_vec(), shown), None, "twice");
        });
    }
    image
}
