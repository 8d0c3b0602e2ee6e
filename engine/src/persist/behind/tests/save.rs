//! Backups of tables that memory has no room for, while they are used.

use std::sync::atomic::AtomicBool;

use super::story::Lossy;
use super::*;
use crate::disk::MemoryDisk;
use crate::env::split_mix;
use crate::persist::behind::capture::HANDED_BYTES_MAX;
use crate::snapshot_file::{
    Aside, Cache, SnapshotFile, SnapshotFileError, SnapshotHeader, SnapshotKind, write_caches,
};

const KEYS: u64 = 150;
const FILE: &str = "backup";

/// What a test does between two pages of a file.
type Meanwhile<'a> = &'a mut dyn FnMut(&mut Life);

/// Saves the table and calls `meanwhile` after each page; what is in the file, each key once.
fn save(life: &mut Life, meanwhile: Meanwhile<'_>) -> Result<Image, SnapshotFileError> {
    let (kind, created) = (SnapshotKind::Export, life.now());
    let header = SnapshotHeader { kind, storage_id: [3; 16], created, log_position: 0 };
    let (disk, table) = (MemoryDisk::new(), Arc::clone(&life.table));
    let capture = Capture::new(&life.feed).unwrap();
    life.writer.status().captures.add(&capture);
    let caches = [Cache { name: "default", table: &table, aside: Some(&*capture) }];
    let mut page = |_| meanwhile(life);
    let written = write_caches(&disk, FILE, &header, &caches, &mut page, &mut || Ok(()));
    capture.end();
    let image = image(&disk, written.as_ref().ok().map(|written| written.entries));
    written.map(|_| image)
}

fn image(disk: &MemoryDisk, entries: Option<u64>) -> Image {
    let mut image = Image::new();
    let Some(entries) = entries else { return image };
    let file = SnapshotFile::open_on(disk, FILE).unwrap();
    let section = file.caches()[0].clone();
    for number in file.blocks(0) {
        for record in file.block(number).unwrap().records() {
            // No version of the file's is given out again by whoever loads it.
            assert!(record.seq <= section.highest.iter().copied().max().unwrap());
            let (idle, version) = (record.idle.map(|idle| idle.max), record.version(section.epoch));
            let shown = (record.flags, record.deadline, idle, version, record.value.to_vec());
            let key = String::from_utf8(record.key.to_vec()).unwrap();
            assert_eq!(image.insert(key.clone(), shown), None, "{key} is there twice");
        }
    }
    assert_eq!(image.len() as u64, entries);
    image
}

/// What each key holds, and when that was read last.
#[derive(Default)]
struct Model(BTreeMap<String, (Shown, Timestamp)>);

type Shown = (u32, Option<u64>, Option<u32>, u64, Vec<u8>);

impl Model {
    fn alive(&self, now: Timestamp) -> Image {
        let alive = self.0.iter().filter(|(_, (shown, accessed))| {
            let idle = shown.2.is_none_or(|idle| now < accessed + u64::from(idle));
            idle && shown.1.is_none_or(|at| at > now)
        });
        alive.map(|(key, (shown, _))| (key.clone(), shown.clone())).collect()
    }

    fn step(&mut self, life: &mut Life, store: &Faulty, rng: &mut u64, idles: bool) {
        let (key, now) = (format!("key{}", split_mix(rng) % KEYS), life.now());
        match split_mix(rng) % 64 {
            0..20 => {
                let found = life.get(&key);
                let known = self.alive(now).remove(&key);
                let was_there = known.is_some();
                assert_eq!(found, known.map(|shown| shown.4), "{key}");
                if was_there {
                    self.0.entry(key).and_modify(|(_, accessed)| *accessed = now);
                }
            }
            20..44 => self.put(life, key, rng, idles),
            44..50 => {
                life.change(&key, |_| None);
                self.0.remove(&key);
            }
            50 if split_mix(rng).is_multiple_of(4) => {
                life.table.clear(now).unwrap();
                self.0.clear();
            }
            51 => store.fail_writes(Some(io_error())),
            52..55 => store.fail_writes(None),
            55 => drop(life.table.maintain(now, 1_000)),
            _ => life.pass(split_mix(rng) % 700),
        }
    }

    fn put(&mut self, life: &Life, key: String, rng: &mut u64, idles: bool) {
        let len = 100 + usize::try_from(split_mix(rng) % 1_500).unwrap();
        let value = split_mix(rng).to_le_bytes().repeat(len / 8);
        let (flags, now) = (u32::try_from(split_mix(rng) % 100).unwrap(), life.now());
        let deadline = split_mix(rng).is_multiple_of(4).then(|| now + 1 + split_mix(rng) % 20_000);
        let max_idle = (idles && split_mix(rng).is_multiple_of(2)).then_some(9_000);
        let entry =
            NewEntry { value: [&value, b""], flags, deadline, max_idle, ..NewEntry::default() };
        if let Ok(version) = life.put_new(&key, &entry) {
            self.0.insert(key, ((flags, deadline, max_idle, version, value), now));
        }
    }
}

/// A user who does something after each page of the file: the file is of the moment of the call.
/// Entries are evicted and come back, wait to be written while the disk fails, expire and rest.
#[test]
fn a_backup_is_the_map_of_its_moment_written_behind() {
    let (mut away, mut waited) = (0, 0);
    for seed in lives::seeds(30) {
        let replay = format!("ISOGRID_SEED={seed} cargo test --lib behind::tests::save");
        let (mut rng, store, clock) = (seed, faulty(), Arc::new(ManualClock::at(NOW)));
        let (mut life, mut model) = (Life::small(&store, &clock, 2), Model::default());
        // A restart brings entries back that have rested for too long.
        let idles = seed % 2 == 0;
        for round in 0..6 {
            for _ in 0..split_mix(&mut rng) % 400 {
                model.step(&mut life, &store, &mut rng, idles);
            }
            if !idles && round == 2 {
                store.fail_writes(None);
                life.pass(10_000);
                life = Life::small(&store, &clock, 2);
            }
            let before = model.alive(life.now());
            (away, waited) = (away + life.lag().away, waited + life.lag().entries);
            let steps = split_mix(&mut rng) % 30;
            let file = save(&mut life, &mut |life| {
                (0..steps).for_each(|_| model.step(life, &store, &mut rng, idles));
            });
            let (file, now) = (file.unwrap(), life.now());
            for (key, shown) in &before {
                let over = shown.1.is_some_and(|at| at <= now) || shown.2.is_some();
                match file.get(key) {
                    Some(found) => assert_eq!(found, shown, "round {round}: {key}; {replay}"),
                    // What rests is judged when it is read: not much later, where nothing was done.
                    None => assert!(over && steps > 0, "round {round}: {key} is missing; {replay}"),
                }
            }
            let more = file.keys().find(|key| !before.contains_key(*key));
            assert_eq!(more, None, "round {round}; {replay}");
        }
    }
    assert!(away > 1_000 && waited > 1_000, "{away} were away, {waited} waited");
}

/// A session that is used all the time is only written to the store when it changes. By what the store
/// knows of it, it has rested for too long.
#[test]
fn what_is_read_all_the_time_is_in_the_file() {
    let store = faulty();
    let mut life = Life::small(&store, &Arc::new(ManualClock::at(NOW)), 1);
    life.pass(1);
    let idle = NewEntry { max_idle: Some(10_000), ..NewEntry::default() };
    for key in ["stays", "leaves", "rests"] {
        life.put_new(key, &idle).unwrap();
    }
    for n in 0..40 {
        life.put(&format!("other{n}"), "x").unwrap();
    }
    for _ in 0..3 {
        life.pass(4_000);
        assert!(["stays", "leaves"].iter().all(|key| life.get(key).is_some()));
    }
    let mut evicted = false;
    let file = save(&mut life, &mut |life| {
        if !std::mem::replace(&mut evicted, true) {
            evicted::evict(life, &["leaves"]);
        }
    });
    let file = file.unwrap();
    let there = ["stays", "leaves", "rests"].map(|key| file.contains_key(key));
    assert_eq!(there, [true, true, false]);
}

fn put_one(life: &Life, n: usize) {
    life.put(&format!("key{n}"), "x").unwrap();
}

/// What a store lost that was read for a file may be missing in it.
#[test]
fn a_store_that_loses_entries_fails_the_save() {
    let store = Arc::new(Lossy { inner: MemoryStore::new(), lose: AtomicBool::new(false) });
    let mut life = Life::begin(&store, &Arc::new(ManualClock::at(NOW)));
    (0..1_200).for_each(|n| put_one(&life, n));
    life.pass(DELAY);
    let lose = |life: &mut Life| {
        store.lose.store(true, Ordering::Relaxed);
        life.put("key7", "y").unwrap();
        // Two of three steps of the way back.
        for ms in [DELAY, REOPEN_MS] {
            life.clock.advance(ms);
            life.writer.step(life.now(), false);
        }
    };
    let mut pages = 0;
    let mut after_some = |life: &mut Life| {
        pages += 1;
        if pages == 3 {
            lose(life);
        }
    };
    let refused = |result: Result<Image, SnapshotFileError>| result.unwrap_err().to_string();
    let while_read = refused(save(&mut life, &mut after_some));
    assert!(while_read.contains("lost entries while it was read"), "{while_read}");
    assert!(life.feed.lock().refilling);
    let before_that = refused(save(&mut life, &mut |_| ()));
    assert!(before_that.contains("save again"), "{before_that}");
    life.pass(DELAY);
    assert_eq!(save(&mut life, &mut |_| ()).unwrap(), life.image());
}

/// A damaged entry is named, whoever meets it first.
#[test]
fn a_damaged_entry_fails_the_save() {
    for by_writer in [false, true] {
        let store = Arc::new(MemoryStore::new());
        let mut life = Life::begin(&store, &Arc::new(ManualClock::at(NOW)));
        (0..100).for_each(|n| put_one(&life, n));
        life.pass(DELAY);
        let id = life.feed.lock().home.unwrap();
        let key = |n: usize| format!("key{n}").into_bytes();
        let is_damaged = |n: &usize| store.get(id, &key(*n)).is_err();
        let broken = (0..2_000).find_map(|at| {
            store.damage(at, 77);
            let found = (0..100).find(is_damaged);
            found.is_none().then(|| store.damage(at, 77));
            found
        });
        let name = format!("key{}", broken.unwrap());
        let file = save(&mut life, &mut |life| {
            if by_writer {
                let _ = life.put(&name, "new");
                life.pass(DELAY);
            }
        });
        let why = file.unwrap_err().to_string();
        assert!(why.contains(&name), "{why}");
    }
}

/// Of the tests with threads.
const WRITERS: u64 = 2;

fn open(memory: u64) -> (Behind, Arc<Table>) {
    let config = TableConfig { max_bytes: memory, ..Life::table_config(4) };
    let table = Arc::new(Table::new(&config, NOW).unwrap());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let config = BehindConfig { store, report: Report::default(), storage_id: [3; 16] };
    let mut behind = BehindTable::new("default", Arc::clone(&table));
    behind.delay_ms = 1;
    let clock = Arc::new(crate::SystemClock::new());
    (Behind::open(config, vec![behind], clock).unwrap().0, table)
}

/// Stores the number of a turn under the key that has its turn; waits where too much waits.
fn write(table: &Table, writer: u64, turn: u64, len: usize) {
    let key = format!("{writer}-{}", turn % KEYS);
    let value = turn.to_le_bytes().repeat(len / 8);
    loop {
        let (pinned, now) = (table.pin(), crate::SystemClock::new().now());
        let mut entry = pinned.entry(table.hash(key.as_bytes()), key.as_bytes(), now).unwrap();
        if entry.put(&NewEntry { value: [&value, b""], ..NewEntry::default() }).is_ok() {
            return;
        }
        drop(entry);
        std::thread::yield_now();
    }
}

fn save_running(behind: &Behind, table: &Table, page: &mut dyn FnMut(&Capture)) -> Image {
    let (kind, created) = (SnapshotKind::Export, crate::SystemClock::new().now());
    let header = SnapshotHeader { kind, storage_id: [3; 16], created, log_position: 0 };
    let (disk, capture) = (MemoryDisk::new(), behind.capture("default").unwrap());
    let caches = [Cache { name: "default", table, aside: Some(&*capture) }];
    let mut page = |_| page(&capture);
    let written = write_caches(&disk, FILE, &header, &caches, &mut page, &mut || Ok(()));
    capture.end();
    image(&disk, Some(written.unwrap().entries))
}

/// Threads that write their keys in turn, so that one number says what all of them hold at a moment.
#[test]
fn a_backup_under_load_is_of_one_moment_written_behind() {
    let (behind, table) = open(64 << 10);
    let done = AtomicBool::new(false);
    (0..WRITERS).for_each(|w| (0..KEYS).for_each(|turn| write(&table, w, turn, 400)));
    let files: Vec<_> = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (table, done) = (&table, &done);
            scope.spawn(move || {
                let mut turns = KEYS..;
                while !done.load(Ordering::Relaxed) {
                    turns.next().into_iter().for_each(|turn| write(table, writer, turn, 400));
                }
            });
        }
        // A disk that is slow, so that much is written between two pages.
        let page = &mut |_: &Capture| std::thread::yield_now();
        let mut files = Vec::new();
        while files.len() < 20 || behind.lag("default").unwrap().written < 1_000 {
            files.push(save_running(&behind, &table, page));
        }
        done.store(true, Ordering::Relaxed);
        files
    });
    for (round, file) in files.iter().enumerate() {
        assert_eq!(file.len() as u64, WRITERS * KEYS, "round {round}");
        for writer in 0..WRITERS {
            let turn = |n: u64| {
                let value = &file[&format!("{writer}-{n}")].4;
                u64::from_le_bytes(*value.first_chunk().unwrap())
            };
            let last = (0..KEYS).map(turn).max().unwrap();
            let odd = (0..KEYS).find(|n| turn(*n) != last - (last + KEYS - n) % KEYS);
            assert_eq!(odd, None, "round {round}: writer {writer} was at {last}");
        }
    }
}

/// Who saves to a slow disk holds up what is written to the store, and memory does not fill.
#[test]
fn what_is_handed_over_is_bounded_and_the_end_waits_for_no_save() {
    const LEN: usize = 200_000;
    let (behind, table) = open(64 << 20);
    (0..KEYS).for_each(|turn| write(&table, 0, turn, LEN));
    while behind.lag("default").unwrap().entries > 0 {
        std::thread::yield_now();
    }
    let mut most = 0;
    let mut first = true;
    let file = save_running(&behind, &table, &mut |capture| {
        if std::mem::replace(&mut first, false) {
            (KEYS..KEYS * 2).for_each(|turn| write(&table, 0, turn, LEN));
            let waits = || behind.lag("default").unwrap().entries > 0;
            while capture.handed_bytes() < HANDED_BYTES_MAX && waits() {
                std::thread::yield_now();
            }
        }
        most = most.max(capture.handed_bytes());
    });
    assert!(file.values().all(|shown| shown.4.len() == LEN) && file.len() as u64 == KEYS);
    assert!(most < HANDED_BYTES_MAX + 2 * LEN, "{most}");
    // Nobody takes what this one gets.
    let capture = behind.capture("default").unwrap();
    let (_snapshot, ()) = table.snapshot_with(NOW, |marks| capture.begin(marks));
    (0..KEYS).for_each(|turn| write(&table, 0, turn, LEN));
    assert_eq!(behind.close(&mut |_| true).entries, 0);
}
