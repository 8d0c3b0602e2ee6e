//! The conformance suite, run on every store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Batch, CacheId, Damage, Error, Position, Scan, ScanCursor, Store, Stored};
use crate::env::split_mix;

/// Seeds of the model test, and how many: `ISOGRID_SEED`, `ISOGRID_MODEL_CASES`.
const SEED: &str = "ISOGRID_SEED";
const CASES: &str = "ISOGRID_MODEL_CASES";
const CASES_DEFAULT: u64 = 3;
const MODEL_STEPS: u64 = 300;

const CACHE: CacheId = CacheId(7);
const OTHER: CacheId = CacheId(8);
/// Around the limits of a chunk, and far over them.
const SIZES: [usize; 9] = [0, 1, 4095, 4096, 4097, 8192, 8193, 64 << 10, 1 << 20];
/// Around the limits of short keys, of memcached's and of all.
const KEY_LENGTHS: [usize; 10] = [1, 2, 223, 224, 250, 255, 256, 257, 4096, 65_535];

/// Makes an empty store.
pub type Open = Box<dyn Fn() -> Box<dyn Store>>;
/// Ends a store and opens it again; gives back how far it is.
pub type Restart = Box<dyn Fn(&dyn Store) -> Result<Position, Error>>;

/// How to get at the stores under test.
pub struct Bed {
    /// Makes an empty store of its own.
    pub open: Open,
    /// Ends it as a crash would, after a checkpoint, and opens it again.
    pub restart: Restart,
}

/// Runs all of it.
///
/// # Panics
/// When the store does not conform.
pub fn run(bed: &Bed) {
    fields_and_sizes(bed);
    keys(bed);
    overwrites_and_deletes(bed);
    batches_and_positions(bed);
    readers_see_whole_batches(&*(bed.open)());
    scans(&*(bed.open)());
    scans_while_others_commit(&*(bed.open)());
    clears(bed);
    closes(&*(bed.open)());
    let first = number(SEED, 0);
    for seed in first..first + number(CASES, CASES_DEFAULT) {
        println!("replay: {SEED}={seed} {CASES}=1 and the same test");
        model(bed, seed);
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A value that tells its length and number in every byte.
fn value(len: usize, n: u64) -> Vec<u8> {
    let mut rng = n ^ (len as u64) << 20;
    let mut value = vec![0; len];
    value.chunks_mut(8).for_each(|piece| {
        let word = split_mix(&mut rng).to_le_bytes();
        piece.iter_mut().zip(word).for_each(|(byte, random)| *byte = random);
    });
    value
}

fn entry(len: usize, n: u64) -> Stored {
    Stored { value: value(len, n), version: n, ..Stored::default() }
}

fn put(store: &dyn Store, cache: CacheId, key: &[u8], stored: Stored) {
    let mut batch = batch(store.applied().expect("applied").0);
    batch.put(cache, key, stored).expect("a good size");
    store.commit(&batch).expect("commits");
}

fn delete(store: &dyn Store, cache: CacheId, key: &[u8]) {
    let mut batch = batch(store.applied().expect("applied").0);
    batch.delete(cache, key).expect("a good size");
    store.commit(&batch).expect("commits");
}

fn batch(position: u64) -> Batch {
    let mut batch = Batch::new(usize::MAX);
    batch.advance(Position(position));
    batch
}

fn get(store: &dyn Store, cache: CacheId, key: &[u8]) -> Option<Stored> {
    store.get(cache, key).expect("reads")
}

fn restart(bed: &Bed, store: &dyn Store) -> Position {
    store.checkpoint().expect("a checkpoint");
    (bed.restart)(store).expect("restarts")
}

fn fields_and_sizes(bed: &Bed) {
    let store = (bed.open)();
    let mut all = Vec::new();
    for (n, len) in (1..).zip(SIZES) {
        let full = Stored {
            flags: u32::MAX,
            deadline: Some(u64::MAX),
            max_idle: Some(u32::MAX),
            marks: u8::MAX,
            ..entry(len, u64::MAX - n)
        };
        let zero = Stored { deadline: Some(0), max_idle: Some(0), ..entry(len, n) };
        all.push((format!("full {len}"), full));
        all.push((format!("zero {len}"), zero));
        all.push((format!("bare {len}"), entry(len, n)));
    }
    all.iter().for_each(|(key, stored)| put(&*store, CACHE, key.as_bytes(), stored.clone()));
    for _ in 0..2 {
        for (key, stored) in &all {
            let found = get(&*store, CACHE, key.as_bytes());
            assert!(found.as_ref() == Some(stored), "{key}");
            assert_eq!(get(&*store, OTHER, key.as_bytes()), None, "{key} is in another cache");
        }
        restart(bed, &*store);
    }
}

fn keys(bed: &Bed) {
    let store = (bed.open)();
    let mut all: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    all.extend((0..=u8::MAX).map(|byte| vec![byte; 250]));
    for len in KEY_LENGTHS.into_iter().filter(|len| *len > 1) {
        // Alike but for the last byte, and one that ends sooner.
        all.extend([0, 1, 255].map(|last| [value(len - 1, 5), vec![last]].concat()));
    }
    for (n, key) in (0..).zip(&all) {
        put(&*store, CACHE, key, entry(10, n));
    }
    restart(bed, &*store);
    for (n, key) in (0..).zip(&all) {
        assert_eq!(get(&*store, CACHE, key), Some(entry(10, n)), "key {n} of {} B", key.len());
    }
    let found: Vec<_> = scan_all(&*store, CACHE, b"").into_keys().collect();
    all.sort();
    all.dedup();
    assert!(found == all, "{} keys of {}", found.len(), all.len());
    for (key, len) in [(0, 0), (65_536, 0), (1, super::VALUE_LEN_MAX + 1)] {
        let refused =
            batch(0).put(CACHE, &vec![1; key], Stored { value: vec![0; len], ..Stored::default() });
        assert_eq!(refused, Err(Error::Size { key, value: len }));
    }
}

fn overwrites_and_deletes(bed: &Bed) {
    let store = (bed.open)();
    let long_key = [b'k'; 300];
    for key in [&b"k"[..], &long_key] {
        for (n, len) in (0..).zip([9, 1 << 20, 3, 4097, 70_000, 4096, 0]) {
            put(&*store, CACHE, key, entry(len, n));
            assert!(get(&*store, CACHE, key) == Some(entry(len, n)), "{len} bytes over others");
        }
        put(&*store, CACHE, key, entry(100_000, 1));
        restart(bed, &*store);
        delete(&*store, CACHE, key);
        assert_eq!(get(&*store, CACHE, key), None);
        delete(&*store, CACHE, key);
        restart(bed, &*store);
        assert_eq!(get(&*store, CACHE, key), None);
    }
    assert!(scan_all(&*store, CACHE, b"").is_empty());
}

fn batches_and_positions(bed: &Bed) {
    let store = (bed.open)();
    assert_eq!(store.applied(), Ok(Position(0)));
    let mut first = batch(10);
    first.put(CACHE, b"twice", entry(1, 1)).expect("fits");
    first.put(CACHE, b"twice", entry(9000, 2)).expect("fits");
    first.put(OTHER, b"twice", entry(3, 3)).expect("fits");
    [(0, 5), (63, 6), (64, 7), (65_535, 8), (64, 3)]
        .into_iter()
        .for_each(|(segment, version)| first.reached(CACHE, segment, version));
    store.commit(&first).expect("commits");
    let mut second = batch(11);
    second.reached(CACHE, 63, 9);
    second.reached(CACHE, 0, 1);
    store.commit(&second).expect("commits");
    for _ in 0..2 {
        assert_eq!(store.applied(), Ok(Position(11)));
        assert_eq!(get(&*store, CACHE, b"twice"), Some(entry(9000, 2)));
        assert_eq!(get(&*store, OTHER, b"twice"), Some(entry(3, 3)));
        let reached = store.reached(CACHE).expect("reads");
        assert_eq!(reached, [(0, 5), (63, 9), (64, 7), (65_535, 8)]);
        assert_eq!(store.reached(OTHER), Ok(Vec::new()));
        let back = Error::Backwards { given: Position(10), applied: Position(11) };
        assert_eq!(store.commit(&first), Err(back));
        assert_eq!(restart(bed, &*store), Position(11));
    }
    assert!(store.size_on_disk().expect("a size") > 0);
}

/// Each batch writes its number to both keys and to the position. Who reads one key, then the
/// position, then the other key, must find numbers that only rise.
fn readers_see_whole_batches(store: &dyn Store) {
    const BATCHES: u64 = 200;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for (first, second) in [(b"a", b"b"), (b"b", b"a")] {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    let Some(one) = get(store, CACHE, first) else { continue };
                    let position = store.applied().expect("applied").0;
                    let two = get(store, CACHE, second).expect("is there with the first");
                    let order = [one.version, position, two.version];
                    assert!(order.is_sorted(), "{order:?}");
                    assert!(two == entry(9000, two.version), "a value of two batches");
                }
            });
        }
        for n in 1..=BATCHES {
            let mut batch = batch(n);
            for key in [b"a", b"b"] {
                batch.put(CACHE, key, entry(9000, n)).expect("fits");
            }
            store.commit(&batch).expect("commits");
        }
        done.store(true, Ordering::Release);
    });
}

/// All entries of a cache, page by page; no key may come twice.
fn scan_all(store: &dyn Store, cache: CacheId, prefix: &[u8]) -> BTreeMap<Vec<u8>, Stored> {
    let (mut found, mut cursor) = (BTreeMap::new(), None::<ScanCursor>);
    loop {
        let scan = Scan { prefix, entries_max: 7, bytes_max: 20_000, ..Scan::all(cache) };
        let page = store.scan(&scan.after(cursor.as_ref())).expect("scans");
        assert!(page.entries.len() <= 7, "a page of {}", page.entries.len());
        for entry in page.entries {
            let (key, stored) = entry.expect("no damage");
            assert!(found.insert(key, stored).is_none(), "a key came twice");
        }
        cursor = page.next;
        if cursor.is_none() {
            return found;
        }
    }
}

fn scans(store: &dyn Store) {
    assert_eq!(scan_all(store, CACHE, b""), BTreeMap::new());
    let mut all = BTreeMap::new();
    for n in 0..100u64 {
        let long = if n % 5 == 0 { 240 } else { 0 };
        let key = [format!("k{n:02}").as_bytes(), &vec![b'x'; long]].concat();
        let stored = entry(if n % 9 == 0 { 10_000 } else { 20 }, n);
        put(store, CACHE, &key, stored.clone());
        all.insert(key, stored);
    }
    put(store, OTHER, b"k1", entry(1, 1));
    put(store, CacheId(CACHE.0 - 1), b"k1", entry(1, 1));
    let long_prefix = [&b"k50"[..], &[b'x'; 230]].concat();
    for prefix in [&b""[..], b"k", b"k4", b"k49", b"k490", b"j", b"\xff", &long_prefix] {
        let mut expect = all.clone();
        expect.retain(|key, _| key.starts_with(prefix));
        assert!(scan_all(store, CACHE, prefix) == expect, "prefix {}", prefix.escape_ascii());
    }
    let one = Scan { entries_max: 0, ..Scan::all(CACHE) };
    assert_eq!(store.scan(&one).expect("scans").entries.len(), 1, "at least one");
}

/// Entries that stay are all found, while others come, change and go.
fn scans_while_others_commit(store: &dyn Store) {
    let stays: BTreeMap<_, _> =
        (0..150u64).map(|n| (format!("{n:03} stays").into_bytes(), entry(50, n))).collect();
    stays.iter().for_each(|(key, stored)| put(store, CACHE, key, stored.clone()));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = 1;
            while !done.load(Ordering::Acquire) {
                let key = format!("{:03} goes", split_mix(&mut rng) % 150).into_bytes();
                if split_mix(&mut rng) & 1 == 0 {
                    put(store, CACHE, &key, entry(5000, 1));
                } else {
                    delete(store, CACHE, &key);
                }
            }
        });
        for _ in 0..10 {
            let mut found = scan_all(store, CACHE, b"");
            found.retain(|key, _| key.ends_with(b"stays"));
            assert!(found == stays, "{} of {}", found.len(), stays.len());
        }
        done.store(true, Ordering::Release);
    });
}

fn clears(bed: &Bed) {
    let store = (bed.open)();
    let mut batch = batch(1);
    for n in 0..2500u64 {
        let len = if n % 100 == 0 { 5000 } else { 3 };
        [CACHE, OTHER].into_iter().for_each(|cache| {
            batch.put(cache, format!("key {n}").as_bytes(), entry(len, n)).expect("fits");
        });
    }
    batch.reached(CACHE, 1, 1);
    store.commit(&batch).expect("commits");
    store.clear(CACHE).expect("clears");
    for _ in 0..2 {
        assert!(scan_all(&*store, CACHE, b"").is_empty());
        assert_eq!(store.reached(CACHE), Ok(Vec::new()));
        assert_eq!(scan_all(&*store, OTHER, b"").len(), 2500);
        assert_eq!(restart(bed, &*store), Position(1));
    }
    put(&*store, CACHE, b"again", entry(5000, 1));
    assert_eq!(get(&*store, CACHE, b"again"), Some(entry(5000, 1)));
}

fn closes(store: &dyn Store) {
    assert_eq!(store.close(), Ok(()));
    assert_eq!(store.get(CACHE, b"key"), Err(Error::Closed));
    assert_eq!(store.commit(&batch(1)), Err(Error::Closed));
    assert_eq!(store.scan(&Scan::all(CACHE)), Err(Error::Closed));
    assert_eq!(store.checkpoint(), Err(Error::Closed));
    assert_eq!(store.clear(CACHE), Err(Error::Closed));
    assert_eq!(store.close(), Ok(()));
}

/// The element of `from` that a draw names.
fn pick<const N: usize>(from: [usize; N], draw: u64) -> usize {
    from.into_iter().zip(0..).find(|(_, n)| *n == draw).map_or(0, |(element, _)| element)
}

/// Random batches against a map, with restarts in between.
fn model(bed: &Bed, seed: u64) {
    let (store, mut rng) = ((bed.open)(), seed);
    let mut model: BTreeMap<(CacheId, Vec<u8>), Stored> = BTreeMap::new();
    let mut draw = |below: u64| split_mix(&mut rng) % below;
    for step in 1..=MODEL_STEPS {
        let mut batch = batch(step);
        for _ in 0..draw(20) {
            let cache = if draw(2) == 0 { CACHE } else { OTHER };
            let key = format!("{:0width$}", draw(40), width = pick([1, 30, 300], draw(3)));
            if draw(4) == 0 {
                batch.delete(cache, key.as_bytes()).expect("fits");
                model.remove(&(cache, key.into_bytes()));
            } else {
                let stored = entry(pick([0, 30, 4096, 4097, 13_000], draw(5)), step);
                batch.put(cache, key.as_bytes(), stored.clone()).expect("fits");
                model.insert((cache, key.into_bytes()), stored);
            }
        }
        store.commit(&batch).expect("commits");
        match draw(60) {
            0 => assert_eq!(restart(bed, &*store), Position(step), "seed {seed} step {step}"),
            1 => {
                store.clear(OTHER).expect("clears");
                model.retain(|(cache, _), _| *cache != OTHER);
            }
            _ => {}
        }
        if draw(30) == 0 || step == MODEL_STEPS {
            for cache in [CACHE, OTHER] {
                let expect = model.iter().filter(|((of, _), _)| *of == cache);
                let expect = expect.map(|((_, key), stored)| (key.clone(), stored.clone()));
                let same = scan_all(&*store, cache, b"") == expect.collect();
                assert!(same, "seed {seed} step {step} cache {cache:?}");
            }
        }
        let key = format!("{}", draw(40)).into_bytes();
        let found = get(&*store, CACHE, &key);
        assert!(found.as_ref() == model.get(&(CACHE, key)), "seed {seed} step {step}");
    }
}

/// Reads everything that `expect` names and that a scan finds: only what was committed may come,
/// or a named damage. Gives back how many entries are damaged or cannot be read, and how many are
/// missing without a word.
///
/// # Panics
/// When a wrong value comes.
pub fn audit(
    store: &dyn Store,
    cache: CacheId,
    expect: &BTreeMap<Vec<u8>, Stored>,
) -> (usize, usize) {
    let (mut damaged, mut missing) = (0, 0);
    for (key, stored) in expect {
        match store.get(cache, key) {
            Ok(Some(found)) => assert!(found == *stored, "a wrong value of {}", key.escape_ascii()),
            Ok(None) => missing += 1,
            Err(_) => damaged += 1,
        }
    }
    let mut cursor = None;
    while let Ok(page) = store.scan(&Scan::all(cache).after(cursor.as_ref())) {
        for entry in page.entries {
            match entry {
                Ok((key, stored)) => {
                    let wrong = expect.get(&key) != Some(&stored);
                    assert!(!wrong, "a wrong value of {} in a scan", key.escape_ascii());
                }
                Err(Damage::Entry { .. } | Damage::File { .. }) => {}
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    (damaged, missing)
}
