//! Threads on one small table: readers, writers, snapshots and maintenance at once, for every
//! policy. A value says which write it is of, so whatever is torn, old or missing shows.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use isogrid_engine::env::split_mix;
use isogrid_engine::{Cursor, Entry, NewEntry, PolicyKind, Snapshot, Table, TableConfig};
use isogrid_tests::seeds;
use xxhash_rust::xxh64::xxh64;

/// Keys that are only ever written over.
const STEADY: u64 = 24;
/// Keys that come and go.
const OTHERS: u64 = 300;
/// Marks a write that is taken back: nobody may see it.
const TAKEN_BACK: u32 = 1;
/// How long each table is under load; `ISOGRID_STRESS_MS` for longer runs.
const LOAD_MS: u64 = 250;

/// A table under load.
struct Load {
    table: Table,
    name: String,
    stop: AtomicBool,
    now: AtomicU64,
    /// Nothing is evicted: steady keys must be there.
    roomy: bool,
}

fn key(n: u64) -> Vec<u8> {
    format!("key-{n}").into_bytes()
}

/// A value that tells its key and its number in every word.
fn value(key: &[u8], number: u64) -> Vec<u8> {
    let len = if number.is_multiple_of(97) { 3_000 } else { usize::try_from(number % 40).unwrap() };
    let words = (0..len as u64).map(|at| xxh64(key, number ^ at).to_le_bytes());
    std::iter::once(number.to_le_bytes()).chain(words).flatten().collect()
}

impl Load {
    fn new(eviction: PolicyKind, max_bytes: u64, segments: u32) -> Load {
        let segments = Some(segments);
        let config = TableConfig { eviction, max_bytes, segments, seed: 1, ..Default::default() };
        Load {
            table: Table::new(&config, 0).unwrap(),
            name: format!("{eviction}, {max_bytes} bytes"),
            stop: AtomicBool::new(false),
            now: AtomicU64::new(0),
            roomy: max_bytes > 1 << 24,
        }
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Whether an entry is one whole write that was meant to be seen.
    fn check(&self, entry: &Entry<'_>) {
        let number = entry.value().first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let whole = number.is_some_and(|number| value(entry.key(), number) == entry.value());
        assert!(whole, "{}: torn value of {:?}", self.name, entry.key());
        assert_ne!(entry.flags(), TAKEN_BACK, "{}: {:?} was taken back", self.name, entry.key());
    }

    /// Reads at random: nothing torn, nothing older than before, no steady key missing.
    fn read(&self, mut rng: u64) {
        let mut seen = BTreeMap::new();
        while !self.stop.load(Ordering::Relaxed) {
            let n = split_mix(&mut rng) % (STEADY + OTHERS);
            let (key, pinned) = (key(n), self.table.pin());
            let Some(entry) = pinned.get(self.table.hash(&key), &key, self.now()) else {
                assert!(!self.roomy || n >= STEADY, "{}: steady key {n} is missing", self.name);
                continue;
            };
            self.check(&entry);
            let before = seen.insert(n, entry.version()).unwrap_or(0);
            assert!(before <= entry.version(), "{}: key {n} went back in time", self.name);
        }
    }

    /// Writes at random: at once, prepared and published, prepared and taken back, deletions.
    fn write(&self, mut rng: u64) {
        while !self.stop.load(Ordering::Relaxed) {
            let n = split_mix(&mut rng) % (STEADY + OTHERS);
            let draw = split_mix(&mut rng);
            let (key, number) = (key(n), draw >> 8);
            let bytes = value(&key, number);
            let ttl = (n >= STEADY && draw & 0x40 != 0).then(|| self.now() + number % 200);
            let new = NewEntry { value: [&bytes, b""], deadline: ttl, ..NewEntry::default() };
            self.write_one(&key, &new, draw % 16, n >= STEADY);
        }
    }

    fn write_one(&self, key: &[u8], new: &NewEntry<'_>, how: u64, may_go: bool) {
        let pinned = self.table.pin();
        let mut entry = pinned.entry(self.table.hash(key), key, self.now()).unwrap();
        // A refusal for want of room is an answer too.
        let prepared = match how {
            0..6 => {
                let _refused = entry.put(new);
                return;
            }
            6..8 if may_go => {
                entry.remove().unwrap();
                return;
            }
            8 => entry.prepare_put(&NewEntry { flags: TAKEN_BACK, ..*new }).ok(),
            9 if may_go => entry.prepare_remove().unwrap(),
            _ => entry.prepare_put(new).ok(),
        };
        drop(entry);
        match how {
            8 => self.table.abort(prepared.as_slice(), self.now()),
            _ => self.table.publish(prepared.as_slice(), self.now()),
        }
    }

    /// Lets time pass, maintains, and looks at snapshots twice.
    fn look(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let now = self.now.fetch_add(1, Ordering::Relaxed);
            self.table.maintain(now, 16);
            let snapshot = self.table.snapshot(now);
            let first = self.scan(&snapshot, 7);
            let again = self.scan(&snapshot, 1_000);
            // Expiry and eviction may take entries out of a snapshot; nothing else comes or goes.
            let same = again.iter().all(|(key, version)| first.get(key) == Some(version));
            assert!(same, "{}: a snapshot changed", self.name);
            let steady = (0..STEADY).filter(|n| again.contains_key(&key(*n))).count();
            assert!(!self.roomy || steady == 24, "{}: {steady} steady keys", self.name);
            drop(snapshot);
        }
    }

    fn scan(&self, snapshot: &Snapshot<'_>, page: usize) -> BTreeMap<Vec<u8>, u64> {
        let (mut seen, mut cursor) = (BTreeMap::new(), Some(Cursor::default()));
        while let Some(at) = cursor {
            cursor = snapshot.scan(at, page, self.now(), |entry| {
                self.check(&entry);
                let twice = seen.insert(entry.key().to_vec(), entry.version());
                assert!(twice.is_none(), "{}: scanned twice", self.name);
            });
        }
        seen
    }

    fn run(&self, seed: u64) {
        for n in 0..STEADY {
            let (key, bytes) = (key(n), value(&key(n), n));
            self.write_one(
                &key,
                &NewEntry { value: [&bytes, b""], ..NewEntry::default() },
                0,
                false,
            );
        }
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|n| {
                    scope.spawn(
                        move || if n < 2 { self.read(seed ^ n) } else { self.write(seed ^ n) },
                    )
                })
                .chain(std::iter::once(scope.spawn(|| self.look())))
                .collect();
            self.wait(|| workers.iter().any(std::thread::ScopedJoinHandle::is_finished));
            self.stop.store(true, Ordering::Relaxed);
        });
    }

    fn wait(&self, failed: impl Fn() -> bool) {
        let ms = seeds::number("ISOGRID_STRESS_MS", LOAD_MS);
        for _ in 0..ms.div_ceil(10) {
            std::thread::park_timeout(Duration::from_millis(10));
            if failed() {
                return;
            }
        }
    }
}

#[test]
fn no_thread_sees_what_is_torn_or_older_or_misses_what_is_there() {
    let seed = seeds::number("ISOGRID_SEED", 1);
    println!("replay: {}", seeds::replay("snapshot", seed));
    for segments in [1, 4] {
        Load::new(PolicyKind::None, 1 << 28, segments).run(seed);
    }
    for eviction in PolicyKind::ALL {
        Load::new(eviction, 64 << 10, 1).run(seed);
    }
}

/// A reader that had loaded the watermark just before a write was published found the version
/// above it, and the one below it already cut off: a miss of a key that was always there.
#[test]
fn a_key_that_is_published_over_and_over_is_never_missing() {
    let load = Load::new(PolicyKind::None, 1 << 28, 1);
    let (key, hash) = (key(0), load.table.hash(&key(0)));
    let publish = |number: u64| {
        let bytes = number.to_le_bytes();
        let new = NewEntry { value: [&bytes, b""], ..NewEntry::default() };
        let prepared = load.table.pin().entry(hash, &key, 0).unwrap().prepare_put(&new).unwrap();
        load.table.publish(&[prepared], 0);
    };
    publish(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !load.stop.load(Ordering::Relaxed) {
                assert!(load.table.pin().peek(hash, &key, 0).is_some(), "a miss");
            }
        });
        let writer = scope.spawn(|| {
            (1..).take_while(|_| !load.stop.load(Ordering::Relaxed)).for_each(publish);
        });
        load.wait(|| reader.is_finished() || writer.is_finished());
        load.stop.store(true, Ordering::Relaxed);
    });
}
