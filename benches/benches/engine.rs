//! The engine by itself: reads, writes, batches, eviction and expiry. Keys are drawn uniformly
//! from more entries than the caches of the processor hold.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isogrid_engine::env::split_mix;
use isogrid_engine::{Hint, KeyHash, NewEntry, PolicyKind, Table, TableConfig};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ENTRIES: u64 = 1_000_000;
const VALUE: [u8; 64] = [7; 64];
/// Reads in a hundred operations of the mixed load.
const READS_PER_CENT: u64 = 90;
/// Entries that expire together.
const EXPIRING: u64 = 10_000;

fn table(eviction: PolicyKind, max_bytes: u64) -> Table {
    Table::new(&TableConfig { eviction, max_bytes, seed: 1, ..TableConfig::default() }, 0).unwrap()
}

fn put(table: &Table, key: &[u8], deadline: Option<u64>) {
    let new = NewEntry { value: [&VALUE, b""], deadline, ..NewEntry::default() };
    let pinned = table.pin();
    pinned.entry(table.hash(key), key, 0).unwrap().put(&new).unwrap();
}

fn filled() -> Table {
    let table = table(PolicyKind::default(), 4 << 30);
    (0..ENTRIES).for_each(|n| put(&table, &n.to_le_bytes(), None));
    table
}

fn get(table: &Table, key: &[u8]) {
    let pinned = table.pin();
    black_box(pinned.get(table.hash(key), key, 0).map(|entry| entry.value().first().copied()));
}

type Operation = fn(&Table, u64);

const OPERATIONS: [(&str, Operation); 3] = [
    ("get", |table, draw| get(table, &(draw % ENTRIES).to_le_bytes())),
    ("put", |table, draw| put(table, &(draw % ENTRIES).to_le_bytes(), None)),
    ("mixed", |table, draw| {
        let read = (draw >> 40) % 100 < READS_PER_CENT;
        let key = (draw % ENTRIES).to_le_bytes();
        if read { get(table, &key) } else { put(table, &key, None) }
    }),
];

/// The time that `threads` take for `count` operations each.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn run(table: &Table, threads: u64, count: u64, operation: Operation) -> Duration {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut rng = thread;
                (0..count).for_each(|_| operation(table, split_mix(&mut rng)));
            });
        }
    });
    begin.elapsed()
}

fn operations(c: &mut Criterion) {
    let table = filled();
    for (name, operation) in OPERATIONS {
        let mut group = c.benchmark_group(format!("table/{name}"));
        for threads in [1, 2] {
            group.throughput(Throughput::Elements(threads));
            group.bench_function(BenchmarkId::new("threads", threads), |b| {
                b.iter_custom(|count| run(&table, threads, count, operation));
            });
        }
    }
    batches(c, &table);
}

/// A batch of keys, read with and without asking for their memory first.
fn batches(c: &mut Criterion, table: &Table) {
    let mut group = c.benchmark_group("table/batch");
    for len in [16usize, 32] {
        group.throughput(Throughput::Elements(len as u64));
        for prefetch in [true, false] {
            let name = if prefetch { "prefetch" } else { "single gets" };
            let mut rng = 3;
            group.bench_function(BenchmarkId::new(name, len), |b| {
                b.iter(|| batch(table, len, prefetch, &mut rng));
            });
        }
    }
}

fn batch(table: &Table, len: usize, prefetch: bool, rng: &mut u64) {
    let keys: Vec<_> = (0..len).map(|_| (split_mix(rng) % ENTRIES).to_le_bytes()).collect();
    let pinned = table.pin();
    let mut places: Vec<(KeyHash, Hint<'_>)> =
        keys.iter().map(|key| (table.hash(key), Hint::NONE)).collect();
    if prefetch {
        places.iter().for_each(|(hash, _)| pinned.prefetch_line(*hash));
        places.iter_mut().for_each(|(hash, hint)| *hint = pinned.hint(*hash));
        places.iter().for_each(|(hash, hint)| pinned.prefetch_access(*hash, *hint));
    }
    for ((hash, hint), key) in places.iter().zip(&keys) {
        let entry = pinned.get_hinted(*hash, key, *hint, 0);
        black_box(entry.map(|entry| entry.value().first().copied()));
    }
}

/// Each put of a new key into a full table evicts one.
fn eviction(c: &mut Criterion) {
    let mut group = c.benchmark_group("table/put when full");
    for kind in PolicyKind::ALL.into_iter().filter(|kind| *kind != PolicyKind::None) {
        let table = table(kind, 32 << 20);
        let mut key = 0u64;
        let mut next = || {
            key += 1;
            put(&table, &key.to_le_bytes(), None);
        };
        (0..400_000).for_each(|_| next());
        group.bench_function(kind.name(), |b| b.iter(&mut next));
    }
}

fn expiry(c: &mut Criterion) {
    let mut group = c.benchmark_group("table/expiry");
    group.throughput(Throughput::Elements(EXPIRING));
    let fill = || {
        let table = table(PolicyKind::default(), 1 << 30);
        (0..EXPIRING).for_each(|n| put(&table, &n.to_le_bytes(), Some(1 + n)));
        table
    };
    group.bench_function("put with a ttl", |b| b.iter_with_large_drop(fill));
    group.bench_function("expire", |b| {
        let expire = |table: Table| {
            while table.maintain(EXPIRING * 2, 1_000) {}
            table
        };
        b.iter_batched(fill, expire, BatchSize::LargeInput);
    });
}

fn short() -> Criterion {
    let c = Criterion::default().sample_size(20);
    c.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = engine; config = short(); targets = operations, eviction, expiry }
criterion_main!(engine);
