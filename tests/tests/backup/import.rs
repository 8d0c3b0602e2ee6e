//! Import into tables that are in use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isogrid_engine::disk::MemoryDisk;
use isogrid_engine::env::split_mix;
use isogrid_engine::persist::{
    KeptTable, PersistConfig, PersistMode, Persistence, Preload, cache_names,
};
use isogrid_engine::snapshot_file::{
    Import, ImportMode, RestoreCounts, SnapshotFile, SnapshotHeader, SnapshotKind, import, write,
};
use isogrid_engine::{Isolation, ManualClock, NewEntry, Table, TableConfig};

use super::{Image, image};

const NOW: u64 = 1_000_000;
const FILE: &str = "all.snapshot";

fn table(segments: u32) -> Arc<Table> {
    let config = TableConfig { segments: Some(segments), seed: 3, ..TableConfig::default() };
    Arc::new(Table::new(&config, NOW).unwrap())
}

fn put(table: &Table, key: &[u8], new: &NewEntry<'_>) -> u64 {
    table.pin().entry(table.hash(key), key, NOW).unwrap().put(new).unwrap()
}

fn value(bytes: &[u8]) -> NewEntry<'_> {
    NewEntry { value: [bytes, b""], ..NewEntry::default() }
}

fn save(disk: &MemoryDisk, table: &Table) -> SnapshotFile {
    let kind = SnapshotKind::Export;
    let header = SnapshotHeader { kind, storage_id: [1; 16], created: NOW, log_position: 0 };
    write(disk, FILE, &header, &[("default", table)], &mut |_| ()).unwrap();
    SnapshotFile::open_on(disk, FILE).unwrap()
}

fn into<'a>(table: &'a Table, mode: ImportMode, clock: &'a ManualClock) -> Import<'a> {
    Import { table, mode, clock, reader: None }
}

fn load(file: &SnapshotFile, table: &Table, mode: ImportMode) -> RestoreCounts {
    let clock = ManualClock::at(NOW);
    import(file, 0, into(table, mode, &clock), &mut || Ok(()), &mut |_| ()).unwrap()
}

/// Money that moves between keys while the file is written: its sum is the same in each file, and
/// in a table that it is loaded into.
#[test]
fn what_is_saved_under_load_and_loaded_is_of_one_moment() {
    const ACCOUNTS: u64 = 64;
    const BALANCE: u64 = 1_000;
    let (bank, done) = (table(16), AtomicBool::new(false));
    // Ballast, so that writing the file takes a while.
    for n in 0..20_000_u32 {
        put(&bank, &n.to_be_bytes(), &value(&[7; 64]));
    }
    for n in 0..ACCOUNTS {
        put(&bank, &n.to_be_bytes(), &value(&BALANCE.to_le_bytes()));
    }
    let balance = |bytes: &[u8]| u64::from_le_bytes(*bytes.first_chunk().unwrap());
    let transfer = |rng: &mut u64| {
        let [from, to] = [split_mix(rng) % ACCOUNTS, split_mix(rng) % ACCOUNTS];
        if from == to {
            return false;
        }
        let mut transaction = bank.transaction(Isolation::Snapshot, NOW);
        for (key, add) in [(from, 5_u64.wrapping_neg()), (to, 5)] {
            let held = balance(&transaction.get(&key.to_be_bytes(), NOW).unwrap().unwrap().value);
            let new = held.wrapping_add(add).to_le_bytes();
            transaction.put(&key.to_be_bytes(), &value(&new)).unwrap();
        }
        transaction.commit(NOW).is_ok()
    };
    let moved = std::thread::scope(|scope| {
        let teller = scope.spawn(|| {
            let (mut rng, mut moved) = (1, 0_u64);
            while !done.load(Ordering::Relaxed) {
                moved += u64::from(transfer(&mut rng));
            }
            moved
        });
        for _ in 0..8 {
            let other = table(4);
            load(&save(&MemoryDisk::new(), &bank), &other, ImportMode::Merge);
            let all = image(&other, NOW);
            let accounts = all.iter().filter(|(key, _)| key.len() == 8);
            let held: Vec<_> = accounts.map(|(_, entry)| balance(&entry.3)).collect();
            let sum = held.iter().fold(0, |sum: u64, held| sum.wrapping_add(*held));
            assert_eq!((held.len() as u64, sum), (ACCOUNTS, ACCOUNTS * BALANCE));
        }
        done.store(true, Ordering::Relaxed);
        teller.join().unwrap()
    });
    assert!(moved > 100, "only {moved} transfers");
}

/// Entries of every kind.
fn varied(table: &Table, rng: &mut u64, keys: u64, writes: u64) {
    for _ in 0..writes {
        let key = format!("key-{}", split_mix(rng) % keys).into_bytes();
        let bytes = split_mix(rng).to_le_bytes();
        let part = |rng: &mut u64| split_mix(rng).is_multiple_of(3);
        let flags = if part(rng) { 9 } else { 0 };
        let deadline = part(rng).then_some(NOW + 1 + split_mix(rng) % 1_000);
        if part(rng) {
            table.pin().entry(table.hash(&key), &key, NOW).unwrap().remove().unwrap();
        } else {
            put(table, &key, &NewEntry { flags, deadline, ..value(&bytes) });
        }
    }
}

/// Of each key the higher version.
fn merged(one: &Image, other: &Image) -> Image {
    let mut all = one.clone();
    for (key, entry) in other {
        if all.get(key).is_none_or(|there| there.0 < entry.0) {
            all.insert(key.clone(), entry.clone());
        }
    }
    all
}

/// The table that the file is of and another one with a history of its own, each way to load it.
#[test]
fn the_newer_version_stays_or_only_the_file_does() {
    for seed in 0..200 {
        let mut rng = seed;
        let (source, target) = (table(8), table(1 << (seed % 4)));
        varied(&source, &mut rng, 20, 60);
        varied(&target, &mut rng, 20, 60);
        let (disk, theirs, ours) = (MemoryDisk::new(), image(&source, NOW), image(&target, NOW));
        let file = save(&disk, &source);
        let mode = if seed % 2 == 0 { ImportMode::Merge } else { ImportMode::Replace };
        let counts = load(&file, &target, mode);
        let expected = match mode {
            ImportMode::Merge => merged(&ours, &theirs),
            ImportMode::Replace => theirs.clone(),
        };
        assert_eq!(image(&target, NOW), expected, "seed {seed}, {mode:?}");
        assert_eq!(counts.stored + counts.newer, theirs.len() as u64, "seed {seed}");
        // Once more changes nothing, and no version is given twice.
        assert_eq!(load(&file, &target, ImportMode::Merge).stored, 0, "seed {seed}");
        let used: BTreeSet<u64> = theirs.values().map(|entry| entry.0).collect();
        let fresh =
            (0..50).map(|n| put(&target, format!("key-{}", n % 20).as_bytes(), &value(b"")));
        assert!(fresh.into_iter().all(|version| !used.contains(&version)), "seed {seed}");
    }
}

#[test]
fn what_has_expired_meanwhile_stays_away() {
    let (source, target) = (table(4), table(4));
    put(&source, b"soon", &NewEntry { deadline: Some(NOW + 10), ..value(b"1") });
    put(&source, b"later", &NewEntry { deadline: Some(NOW + 1_000), ..value(b"2") });
    let file = save(&MemoryDisk::new(), &source);
    let clock = ManualClock::at(NOW + 10);
    let mode = ImportMode::Merge;
    let counts =
        import(&file, 0, into(&target, mode, &clock), &mut || Ok(()), &mut |_| ()).unwrap();
    assert_eq!((counts.stored, counts.expired), (1, 1));
    assert_eq!(image(&target, NOW).into_keys().collect::<Vec<_>>(), [b"later"]);
}

fn keep(disk: &MemoryDisk) -> (Arc<Table>, Persistence) {
    let (table, mode) = (table(4), PersistMode::Async);
    let kept = KeptTable {
        name: "default".to_owned(),
        table: Arc::clone(&table),
        mode,
        preload: Preload::All,
    };
    let clock = Arc::new(ManualClock::at(NOW));
    (table, Persistence::open(config(disk), vec![kept], clock).unwrap().0)
}

fn config(disk: &MemoryDisk) -> PersistConfig {
    PersistConfig {
        log: Arc::new(disk.clone()),
        snapshots: Arc::new(disk.clone()),
        dropped: Vec::new(),
        store: None,
        mapped: false,
        storage_id: [3; 16],
        log_bytes: 1 << 20,
        log_file_bytes: 4 << 10,
    }
}

/// What was loaded is in the log like any write: a kill after it takes nothing, and the versions
/// of the file are not given out in the next life either.
#[test]
fn what_was_loaded_is_there_after_a_kill() {
    let (source, disk) = (table(8), MemoryDisk::new());
    varied(&source, &mut 5, 40, 200);
    let file = save(&MemoryDisk::new(), &source);
    let (target, persistence) = keep(&disk);
    put(&target, b"gone", &value(b"x"));
    let clock = ManualClock::at(NOW);
    let since = persistence.moment();
    let mut wait = || persistence.flush(since, persistence.last());
    let into = into(&target, ImportMode::Replace, &clock);
    import(&file, 0, into, &mut wait, &mut |_| ()).unwrap();
    let disk = disk.copy();
    let names: Vec<_> = cache_names(&config(&disk)).unwrap().into_iter().collect();
    assert_eq!(names, ["default"]);
    let (again, _persistence) = keep(&disk);
    assert_eq!(image(&again, NOW), image(&source, NOW));
    let used: BTreeSet<u64> = image(&source, NOW).values().map(|entry| entry.0).collect();
    let highest = used.last().copied().unwrap();
    assert!(put(&again, b"new", &value(b"")) > highest);
}
