//! What goes in comes out.

use isogrid_engine::disk::MemoryDisk;
use isogrid_engine::snapshot_file::{SnapshotFileError, SnapshotKind, write};
use isogrid_engine::{Marks, NewEntry, Table};

use super::*;

const SIZES: [usize; 10] =
    [0, 1, 100, 4 << 10, (16 << 10) - 1, 16 << 10, (64 << 10) - 1, 64 << 10, 100_000, 5 << 20];

/// Every set of fields with every size; the largest with a few.
fn everything(table: &Table) {
    for (at, size) in SIZES.into_iter().enumerate() {
        for set in 0..32_usize {
            let has = |bit: u32| set & (1 << bit) != 0;
            let number = u32::try_from(set).unwrap();
            if size > 1 << 20 && set % 13 != 0 {
                continue;
            }
            let value: Vec<u8> = (0..=250_u8).cycle().skip(set).take(size).collect();
            let (front, back) = value.split_at(size / 3);
            let mut key = format!("{size}/{set}").into_bytes();
            key.resize(if set == 31 && at == 1 { 65_535 } else { key.len() + at * 40 }, b'.');
            let new = NewEntry {
                value: [front, back],
                flags: if has(0) { u32::MAX - number } else { 0 },
                deadline: has(1).then_some(NOW + 5_000 + u64::from(number)),
                max_idle: has(2).then_some(7_000 + number),
                version: has(3).then_some(u64::MAX - u64::from(number)),
                marks: if has(4) { Marks::STALE.with(Marks::BINARY_KEY) } else { Marks::default() },
            };
            put(table, &key, &new, NOW);
        }
    }
}

#[test]
fn every_set_of_fields_with_every_size_comes_back() {
    let before = table(Some(16), 1, 3);
    everything(&before);
    let expected = contents(&before, NOW);
    assert_eq!(expected.len(), 9 * 32 + 3);
    let disk = MemoryDisk::new();
    let summary = save(&disk, &header(), &before);
    let file = open(&disk);
    assert_eq!(records(&file), expected);
    assert_eq!((summary.entries, summary.bytes), (expected.len() as u64, file.bytes()));
    assert_eq!(summary.caches, file.caches());
    let bytes = expected.iter().map(|(key, seen)| (key.len() + seen.value.len()) as u64).sum();
    assert_eq!(file.caches()[0].bytes, bytes);
    assert!(file.verify(&mut |_| ()).unwrap().is_empty());
    for (segments, seed, epoch) in
        [(Some(16), 1, 3), (Some(16), 2, 3), (Some(2), 3, 3), (None, 4, 3), (Some(16), 1, 9)]
    {
        let after = table(segments, seed, epoch);
        let counts = load_into(&file, &after, at(NOW));
        assert_eq!((counts.stored, counts.bytes), (expected.len() as u64, bytes));
        assert_eq!(contents(&after, NOW), expected, "{segments:?} {seed} {epoch}");
        // Once more changes nothing.
        assert_eq!(load_into(&file, &after, at(NOW)).newer, counts.stored);
        assert_eq!(contents(&after, NOW), expected, "{segments:?} {seed} {epoch}");
    }
}

#[test]
fn blocks_are_about_64_kib_unless_an_entry_is_longer() {
    let table = filled(20_000);
    put_value(&table, b"large", &[1; 300_000]);
    let disk = saved(&table);
    let file = open(&disk);
    let sizes: Vec<u64> =
        file.blocks(0).map(|number| file.block(number).unwrap().bytes()).collect();
    let odd: Vec<_> = sizes.iter().filter(|size| !(60_000..=66_000).contains(*size)).collect();
    assert!(sizes.len() > 8 && odd.len() == 2, "only the last and the large one: {sizes:?}");
    assert!(sizes.iter().any(|size| *size > 300_000));
}

#[test]
fn several_caches_in_one_file() {
    let (a, b, c) = (filled(300), table(None, 5, 1), filled(7));
    let disk = MemoryDisk::new();
    let kind = SnapshotKind::Export;
    let header = SnapshotHeader { kind, ..header() };
    let caches = [("a", &a), ("no entries", &b), ("ü", &c)];
    write(&disk, NAME, &header, &caches, &mut |_| ()).unwrap();
    let file = open(&disk);
    assert_eq!(file.header(), &header);
    for (at, (name, table)) in caches.iter().enumerate() {
        let (number, section) = file.cache(name).unwrap();
        assert_eq!((number, section.entries), (at, table.usage().entries), "{name}");
        assert_eq!(section.seed_independent, *name != "no entries");
        assert_eq!(section.segments as usize, table.segment_count());
        let again = super::table(Some(8), 9, 1);
        restore(&file, at, &again, super::at(NOW), &mut |_| ()).unwrap();
        assert_eq!(contents(&again, NOW), contents(table, NOW), "{name}");
    }
    assert!(file.cache("d").is_none());
    file.check_storage(&[7; 16]).unwrap();
    let text = file.check_storage(&[8; 16]).unwrap_err().to_string();
    assert!(text.contains("the snapshot of storage 0707") && text.contains("import"), "{text}");
}

#[test]
fn wrong_calls_are_refused_before_anything_is_written() {
    let (disk, table) = (MemoryDisk::new(), filled(1));
    let long = "x".repeat(65_536);
    for caches in [vec![("a", &table), ("b", &table), ("a", &table)], vec![(long.as_str(), &table)]]
    {
        let error = write(&disk, NAME, &header(), &caches, &mut |_| ()).unwrap_err();
        assert!(matches!(error, SnapshotFileError::Caller(_)), "{error}");
    }
    assert!(disk.list().unwrap().is_empty());
    save(&disk, &header(), &table);
    let file = open(&disk);
    for error in [
        restore(&file, 1, &table, at(NOW), &mut |_| ()).unwrap_err(),
        restore(&file, 0, &super::table(None, 1, 0), at(NOW), &mut |_| ()).unwrap_err(),
        file.block(0).unwrap_err(),
        file.block(99).unwrap_err(),
    ] {
        assert!(matches!(error, SnapshotFileError::Caller(_)), "{error}");
    }
}

#[test]
fn what_has_expired_is_left_out() {
    let table = table(Some(1), 1, 1);
    for (n, deadline) in (0_u8..).zip([None, Some(NOW), Some(NOW + 1)]) {
        let new = NewEntry { value: [b"v", b""], deadline, ..NewEntry::default() };
        put(&table, &[n], &new, NOW - 10);
        let idle = deadline.map(|at| u32::try_from(at - (NOW - 10)).unwrap());
        let new = NewEntry { max_idle: idle, deadline: None, ..new };
        put(&table, &[n + 10], &new, NOW - 10);
    }
    let keys: Vec<_> = records(&open(&saved(&table))).into_keys().flatten().collect();
    assert_eq!(keys, [0, 2, 10, 12]);
}
