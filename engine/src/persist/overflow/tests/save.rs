//! Backups of a table that is larger than memory, while it is used.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;

use super::bed::{Disks, Image, Life, START, Shape, Shown};
use super::crowd::settle;
use super::model::{alive, draw, seeds, shape, step};
use crate::disk::MemoryDisk;
use crate::env::split_mix;
use crate::load::LoadError;
use crate::persist::{PersistMode, Preload};
use crate::snapshot_file::{self, Import, ImportMode, SnapshotFile, SnapshotHeader, SnapshotKind};
use crate::store::fault::Call;
use crate::store::{Error as StoreError, Store};
use crate::{Clock, NewEntry};

const FILE: &str = "backup";

/// Saves the table, and calls `meanwhile` after each page; what is in the file.
fn save(life: &Life, meanwhile: impl FnMut()) -> Vec<(Vec<u8>, Shown)> {
    let disk = MemoryDisk::new();
    save_to(&disk, life, meanwhile)
}

fn save_to(disk: &MemoryDisk, life: &Life, mut meanwhile: impl FnMut()) -> Vec<(Vec<u8>, Shown)> {
    let kind = SnapshotKind::Export;
    let created = life.clock.now();
    let header = SnapshotHeader { kind, storage_id: [3; 16], created, log_position: 0 };
    let tables = [("default", &*life.table)];
    let saved =
        life.persistence.save(disk, FILE, &header, &tables, None, &mut |_| meanwhile()).unwrap();
    let all = read(disk);
    assert_eq!(saved.entries, all.len() as u64);
    all
}

fn read(disk: &MemoryDisk) -> Vec<(Vec<u8>, Shown)> {
    let file = SnapshotFile::open_on(disk, FILE).unwrap();
    let (section, mut all) = (file.caches()[0].clone(), Vec::new());
    for number in file.blocks(0) {
        let block = file.block(number).unwrap();
        all.extend(block.records().map(|record| {
            let idle = record.idle.map(|idle| idle.max);
            let version = record.version(section.epoch);
            let shown = (record.value.to_vec(), record.flags, record.deadline, idle, version);
            // No version of the file's is given out again by whoever loads it.
            assert!(record.seq <= section.highest.iter().copied().max().unwrap());
            (record.key.to_vec(), shown)
        }));
    }
    all
}

/// Each key once.
fn image(all: Vec<(Vec<u8>, Shown)>, replay: &str) -> Image {
    let mut image = Image::new();
    for (key, shown) in all {
        let (name, now) = (key.escape_ascii().to_string(), (shown.1, shown.2, shown.3, shown.4));
        let twice = image.insert(key, shown).map(|shown| (shown.1, shown.2, shown.3, shown.4));
        assert_eq!(twice, None, "{name} is there twice, again as {now:?}; {replay}");
    }
    image
}

/// A user who does something after each page of the file: the file is of the moment of the call.
fn under_way(mode: PersistMode, seed: u64) {
    let replay = format!("ISOGRID_SEED={seed} cargo test --lib persist::overflow::tests::save");
    let (mut rng, mut disks, mut held, mut now) = (seed, Disks::new(), Image::new(), START);
    for round in 0..3 {
        // From the second life on nobody knows at first which keys the store has.
        let life = Life::begin(&disks, &shape(mode, &mut rng), now);
        for _ in 0..draw(&mut rng, 600) {
            step(&life, &mut held, &mut rng);
            if mode == PersistMode::Sync {
                life.acknowledge();
            }
        }
        life.acknowledge();
        for _ in 0..2 {
            let before = alive(&held, life.now());
            // The deadlines that each had meanwhile: the file has that of when it was read.
            let mut deadlines: BTreeMap<_, _> =
                before.iter().map(|(key, shown)| (key.clone(), vec![shown.2])).collect();
            let steps = draw(&mut rng, 40);
            let file = save(&life, || {
                for _ in 0..steps {
                    let touched = step(&life, &mut held, &mut rng);
                    if let Some((key, shown)) = touched.and_then(|key| held.get_key_value(&key)) {
                        let same = |of: &Shown| (&of.0, of.4) == (&shown.0, shown.4);
                        if before.get(key).is_some_and(same) {
                            deadlines.get_mut(key).unwrap().push(shown.2);
                        }
                    }
                    if mode == PersistMode::Sync {
                        life.acknowledge();
                    }
                }
            });
            let file = image(file, &replay);
            let over = |at: &Option<u64>| at.is_some_and(|at| at <= life.now());
            for (key, shown) in &before {
                let (name, deadlines) = (key.escape_ascii(), &deadlines[key]);
                let Some(found) = file.get(key) else {
                    let gone = deadlines.iter().any(over);
                    let now = life.now();
                    assert!(
                        gone,
                        "round {round}: {name} {deadlines:?} is missing at {now}; {replay}"
                    );
                    continue;
                };
                let without = |of: &Shown| (of.0.clone(), of.1, of.3, of.4);
                assert_eq!(without(found), without(shown), "round {round}: {name}; {replay}");
                let known = deadlines.contains(&found.2);
                assert!(known, "round {round}: {name}: {:?}, {deadlines:?}; {replay}", found.2);
            }
            let more = file.keys().find(|key| !before.contains_key(*key));
            assert_eq!(more, None, "round {round}; {replay}");
            life.acknowledge();
        }
        now = life.now();
        held = alive(&held, now);
        life.persistence.flush(life.persistence.moment(), life.persistence.last()).unwrap();
        disks = life.end(disks, None, usize::MAX, crate::store::fault::Tear::Keep);
    }
}

#[test]
fn a_backup_is_the_map_of_its_moment() {
    seeds().for_each(|seed| under_way(PersistMode::Async, seed));
}

#[test]
fn a_backup_of_a_sync_table_is_the_map_of_its_moment() {
    seeds().for_each(|seed| under_way(PersistMode::Sync, seed));
}

/// One damaged entry of the store ended the load of the very file that would have mended it.
#[test]
fn a_backup_mends_what_is_damaged_in_the_store() {
    let shape = shape(PersistMode::Async, &mut 1);
    let disks = Disks::new();
    let life = Life::begin(&disks, &shape, START);
    let (value, count) = ([b'v'; 1_000], 200);
    let new = NewEntry { value: [&value, b""], ..NewEntry::default() };
    for n in 0..count {
        life.on(&key_of(0, n), true, |entry| entry.put(&new));
    }
    let file = MemoryDisk::new();
    save_to(&file, &life, || ());
    let overflow = life.persistence.reads.as_ref().unwrap().feeder.overflow("default").unwrap();
    let id = overflow.id(0).unwrap();
    let is_stored = |key: &Vec<u8>| matches!(disks.store.get(id, key), Ok(Some(_)));
    let key = (0..count).map(|n| key_of(0, n)).find(is_stored).unwrap();
    let is_damaged = || matches!(disks.store.get(id, &key), Err(StoreError::Damaged(_)));
    let flip = |n| disks.store.inner().damage(n, 77);
    for n in (0..1_000).take_while(|_| !is_damaged()) {
        flip(n);
        if !is_damaged() {
            // It is another record's.
            flip(n);
        }
    }
    assert_eq!(life.reader.bring(&key), Err(LoadError::Damaged));
    let (mode, clock) = (ImportMode::Merge, &*life.clock);
    let import = Import { table: &life.table, mode, clock, reader: Some(&life.reader) };
    let file = SnapshotFile::open_on(&file, FILE).unwrap();
    let counts = snapshot_file::import(&file, 0, import, &mut || Ok(()), &mut |_| ()).unwrap();
    assert_eq!((counts.stored, counts.newer), (1, count - 1));
    life.persistence.checkpoint().unwrap();
    assert!(!is_damaged());
    assert_eq!(life.get(&key).unwrap().0, value);
}

/// What the feeder does when it asks the store for an entry, once each.
type Jobs = Arc<Mutex<VecDeque<Box<dyn FnOnce() + Send>>>>;

/// Once in some ten thousand lives a backup lacked an entry, on a loaded machine only. The thread that
/// feeds the store had taken what waited, and was about to put a newer version of a key where the
/// backup was still to read the older one. Then the cache was cleared, and with that it was forgotten
/// which keys the store has: so nobody looked what was there before it was replaced.
#[test]
fn what_the_store_loses_after_a_clear_is_handed_over() {
    assert!((0..20).any(|_| cleared_while_fed()), "there was never room for what the feeder lacks");
}

/// Whether what the feeder was about to put had left memory when it was cleared.
fn cleared_while_fed() -> bool {
    let jobs = Jobs::default();
    let of_feeder = Arc::clone(&jobs);
    let hook = move |_: u64, call: Call| {
        let job = (call == Call::Get).then(|| of_feeder.lock().pop_front()).flatten();
        job.into_iter().for_each(|job| job());
    };
    let shape = Shape {
        mode: PersistMode::Async,
        preload: Preload::All,
        segments: 1,
        room: 400_000,
        seed: 1,
    };
    let life = Life::begin(&Disks::with_hook(Box::new(hook)), &shape, START);
    let put = |key: &[u8], value: u8| {
        let value = [value; 300];
        let new = NewEntry { value: [&value, b""], ..NewEntry::default() };
        life.on(key, true, |entry| entry.put(&new));
    };
    let all: Vec<_> = (0..3 * KEYS).map(|n| key_of(0, n)).collect();
    all.iter().for_each(|key| put(key, b'o'));
    let in_memory = |key: &[u8]| life.table.pin().peek(life.table.hash(key), key, START).is_some();
    let mut have_left = None;
    let file = save(&life, || {
        if have_left.is_some() {
            return;
        }
        // What is read often stays, and what is written next leaves memory soon.
        let there = all.iter().filter(|key| in_memory(key));
        there.for_each(|key| (0..5).for_each(|_| drop(life.get(key))));
        let mut away = all.iter().filter(|key| !in_memory(key));
        let (asks, asked) = mpsc::channel();
        let (go_on, told) = mpsc::channel::<()>();
        let table = Arc::clone(&life.table);
        let stop = move || {
            asks.send(()).unwrap();
            told.recv().unwrap();
        };
        jobs.lock()
            .extend([Box::new(stop) as _, Box::new(move || table.clear(START).unwrap()) as _]);
        // The store is to forget the first one. Until it may, others are replaced, and wait.
        put(away.next().unwrap(), b'n');
        asked.recv().unwrap();
        let replaced: Vec<_> = away.take(6).collect();
        // While the feeder stands nobody may wait for room: it would be for ever.
        let fits = |key: &[u8], value: u8| {
            let (pinned, value) = (life.table.pin(), [value; 300]);
            let mut entry = pinned.entry(life.table.hash(key), key, START).unwrap();
            entry.put(&NewEntry { value: [&value, b""], ..NewEntry::default() }).is_ok()
        };
        let fit = replaced.iter().all(|key| fits(key, b'n'));
        let mut others = (0..40).map(|n| key_of(1, n));
        let stay = || replaced.iter().any(|key| in_memory(key));
        while fit && stay() && fits(&others.next().unwrap(), b'm') {}
        have_left = Some(fit && !stay());
        go_on.send(()).unwrap();
        settle(&life);
    });
    assert!(jobs.lock().is_empty(), "it was cleared");
    let file = image(file, "it is the same each time");
    let missing = all.iter().filter(|key| !file.contains_key(*key)).count();
    assert_eq!((missing, file.len()), (0, all.len()));
    assert!(file.values().all(|shown| shown.0 == [b'o'; 300]));
    have_left == Some(true)
}

/// Of the test with threads.
const WRITERS: u64 = 3;
const KEYS: u64 = 700;

fn key_of(writer: u64, n: u64) -> Vec<u8> {
    format!("{writer}-{n}").into_bytes()
}

/// Ends the threads of a test that fails, too: the scope waits for them.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Threads that write their keys in turn, so that one number says what all of them hold at a moment,
/// and others that read them, in a memory that has room for a few.
#[test]
fn a_backup_under_load_is_of_one_moment() {
    let shape = Shape {
        mode: PersistMode::Async,
        preload: Preload::All,
        segments: 8,
        room: 120_000,
        seed: 1,
    };
    let life = Life::begin(&Disks::new(), &shape, START);
    let write = |writer: u64, turn: u64| {
        let idle = turn.is_multiple_of(5).then_some(1 << 30);
        let value = turn.to_le_bytes().repeat(40);
        let new = NewEntry { value: [&value, b""], max_idle: idle, ..NewEntry::default() };
        life.on(&key_of(writer, turn % KEYS), true, |entry| entry.put(&new));
    };
    (0..WRITERS).for_each(|writer| (0..KEYS).for_each(|turn| write(writer, turn)));
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let files: Vec<_> = std::thread::scope(|scope| {
        let _ends = Ends(&done);
        for writer in 0..WRITERS {
            let (write, done) = (&write, &done);
            scope.spawn(move || {
                let mut turn = KEYS;
                while !done.load(Ordering::Relaxed) {
                    write(writer, turn);
                    turn += 1;
                }
            });
        }
        for reader in 0..2 {
            let (life, done, reads) = (&life, &done, &reads);
            scope.spawn(move || {
                let mut rng = reader;
                while !done.load(Ordering::Relaxed) {
                    let key = key_of(draw(&mut rng, WRITERS), draw(&mut rng, KEYS));
                    assert!(life.get(&key).is_some());
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut rng = 7;
        let files = (0..6).map(|_| {
            save(&life, || {
                // A disk that is slow now and then.
                if split_mix(&mut rng).is_multiple_of(8) {
                    std::thread::yield_now();
                }
            })
        });
        files.collect()
    });
    let loaded = life.persistence.overflow().unwrap().loaded;
    assert!(reads.load(Ordering::Relaxed) > 0 && loaded > 0, "nothing came back");
    for (round, file) in files.into_iter().enumerate() {
        is_of_one_moment(&image(file, "there is no seed: run it again"), round);
    }
}

/// What the keys of each writer hold is what they held when one of them was written.
fn is_of_one_moment(file: &Image, round: usize) {
    assert_eq!(file.len() as u64, WRITERS * KEYS, "round {round}");
    for writer in 0..WRITERS {
        let turn = |n: u64| {
            let value = &file[&key_of(writer, n)].0;
            u64::from_le_bytes(*value.first_chunk().unwrap())
        };
        let last = (0..KEYS).map(turn).max().unwrap();
        let odd = (0..KEYS).find(|n| turn(*n) != last - (last + KEYS - n) % KEYS);
        assert_eq!(odd, None, "round {round}: writer {writer} was at {last}");
    }
}
