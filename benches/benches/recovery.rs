//! What a restart reads before it serves: a data directory of a million entries of 100 bytes, with
//! the snapshot file alone and with a log behind it that overwrites them, on the disk that holds the
//! target directory (`ISOGRID_BENCH_DIR` names another one). The files are in the page cache.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isogrid_engine::env::split_mix;
use isogrid_engine::persist::{
    AtRest, DataDirectory, KeptTable, PersistConfig, PersistMode, Persistence, Preload,
};
use isogrid_engine::{Clock, NewEntry, SystemClock, Table, TableConfig};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ENTRIES: u64 = 1_000_000;
const VALUE: [u8; 100] = [7; 100];
/// Of the log behind the snapshot file.
const LOGS: [u64; 3] = [0, 64 << 20, 256 << 20];
/// Bytes of the log between two writes.
const WRITE_BYTES: u64 = 1 << 20;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let root = std::env::var_os("ISOGRID_BENCH_DIR");
        let root = root.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        let path = root.join(format!("recovery-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn empty() -> KeptTable {
    let config = TableConfig { max_bytes: 4 << 30, seed: 1, ..TableConfig::default() };
    let table = Arc::new(Table::new(&config, SystemClock::new().now()).unwrap());
    KeptTable { name: "default".to_owned(), table, mode: PersistMode::Async, preload: Preload::All }
}

/// A directory with this much log behind a snapshot file of all entries.
fn fill(directory: &DataDirectory, log_bytes: u64) {
    let config = PersistConfig { log_bytes: u64::MAX / 2, ..directory.config().unwrap() };
    let (kept, clock) = (empty(), SystemClock::new());
    let opened = Persistence::open(config, vec![kept.clone()], Arc::new(SystemClock::new()));
    let (persistence, now) = (opened.unwrap().0, clock.now());
    let put = |n: u64| {
        let key = format!("key-{n:012}").into_bytes();
        let pinned = kept.table.pin();
        let new = NewEntry { value: [&VALUE, b""], ..NewEntry::default() };
        pinned.entry(kept.table.hash(&key), &key, now).unwrap().put(&new).unwrap();
    };
    let (mut rng, mut written, since) = (1, 0, persistence.moment());
    for n in 0..ENTRIES {
        put(n);
        if n % (WRITE_BYTES / 160) == 0 {
            persistence.flush(since, persistence.last()).unwrap();
        }
    }
    persistence.checkpoint().unwrap();
    let begun = persistence.log_bytes();
    while written < log_bytes {
        (0..WRITE_BYTES / 160).for_each(|_| put(split_mix(&mut rng) % ENTRIES));
        persistence.flush(since, persistence.last()).unwrap();
        written = persistence.log_bytes().saturating_sub(begun);
    }
}

fn recovery(c: &mut Criterion) {
    let mut group = c.benchmark_group("recovery of 1 M entries");
    for log_bytes in LOGS {
        let folder = Folder::new();
        let directory = DataDirectory::open(&folder.0).unwrap();
        fill(&directory, log_bytes);
        let names = [empty().name];
        group.throughput(Throughput::Elements(ENTRIES));
        let name = BenchmarkId::new("and so many MiB of log", log_bytes >> 20);
        group.bench_function(name, |b| {
            b.iter_batched(
                || directory.config().unwrap(),
                |config| {
                    let clock = Arc::new(SystemClock::new());
                    let found = AtRest::read(config, &names, None, clock).unwrap();
                    let entries = found.tables().iter().map(|kept| kept.table.usage().entries);
                    assert_eq!(entries.sum::<u64>(), ENTRIES);
                    found
                },
                BatchSize::PerIteration,
            );
        });
    }
}

/// Until somebody is served: the snapshot file is checked and read later, the log is done again.
fn restart(c: &mut Criterion) {
    let mut group = c.benchmark_group("restart with 1 M entries");
    for log_bytes in LOGS {
        let folder = Folder::new();
        let directory = DataDirectory::open(&folder.0).unwrap();
        fill(&directory, log_bytes);
        group.throughput(Throughput::Elements(ENTRIES));
        let name = BenchmarkId::new("and so many MiB of log", log_bytes >> 20);
        group.bench_function(name, |b| {
            b.iter_batched(
                || PersistConfig { log_bytes: u64::MAX / 2, ..directory.config().unwrap() },
                |config| {
                    let clock = Arc::new(SystemClock::new());
                    let opened = Persistence::open(config, vec![empty()], clock).unwrap();
                    assert_eq!(opened.1.later, ENTRIES);
                    opened
                },
                BatchSize::PerIteration,
            );
        });
    }
}

fn short() -> Criterion {
    let c = Criterion::default().sample_size(10);
    c.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(5))
}

criterion_group! { name = all; config = short(); targets = recovery, restart }
criterion_main!(all);
