//! The store on disk: feeding it in batches, and reading from it. What is measured is CPU time,
//! user and system, of all threads: sled works on threads of its own, and on a shared machine
//! nothing else can be compared. One element = one entry of 16 B key and 100 B value, over 1 M of
//! them.
//!
//! A batch is ordered by key whatever the order of its puts, and sled shuffles it again (its batch
//! is a hash map): there is no order to choose.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isogrid_engine::env::split_mix;
use isogrid_engine::store::sled::{SledConfig, SledStore};
use isogrid_engine::store::{Batch, CacheId, Position, Store, Stored};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ENTRIES: u64 = 1_000_000;
const CACHE: CacheId = CacheId(1);
/// Batches between checkpoints.
const CHECKPOINT_EVERY: u64 = 20;

/// The keys of a load, by its draws.
type Draw = fn(u64) -> u64;

/// Zipf with exponent 1 by inversion of its continuous form, spread over the keys.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 1 M")]
#[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
fn zipf(draw: u64) -> u64 {
    let unit = (draw >> 11) as f64 / (1u64 << 53) as f64;
    let rank = (ENTRIES as f64).powf(unit) as u64;
    rank.wrapping_mul(0x9e37_79b9_7f4a_7c15) % ENTRIES
}

const LOADS: [(&str, Draw); 2] = [("uniform", |draw| draw % ENTRIES), ("zipf", zipf)];

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn key(n: u64) -> Vec<u8> {
    format!("key:{n:012}").into_bytes()
}

/// Commits one batch with the entries of `keys`.
fn feed(store: &SledStore, keys: impl Iterator<Item = u64>) {
    let mut batch = Batch::new(usize::MAX);
    for n in keys {
        let stored = Stored { value: vec![7; 100], version: n, ..Stored::default() };
        batch.put(CACHE, &key(n), stored).unwrap();
    }
    batch.advance(Position(store.applied().unwrap().0 + 1));
    store.commit(&batch).unwrap();
}

fn feeding(c: &mut Criterion, store: &SledStore) {
    let mut group = c.benchmark_group("store/feed, CPU");
    for (load, draw) in LOADS {
        for len in [1_000u64, 10_000] {
            group.throughput(Throughput::Elements(len));
            let mut rng = len;
            group.bench_function(BenchmarkId::new(load, len), |b| {
                b.iter_custom(|batches| {
                    let begin = cpu_time();
                    for n in 1..=batches {
                        feed(store, (0..len).map(|_| draw(split_mix(&mut rng))));
                        if n % CHECKPOINT_EVERY == 0 {
                            store.checkpoint().unwrap();
                        }
                    }
                    cpu_time() - begin
                });
            });
        }
    }
}

fn reading(c: &mut Criterion, store: &SledStore) {
    let mut group = c.benchmark_group("store/get, CPU");
    for (load, draw) in LOADS {
        let mut rng = 1;
        group.bench_function(load, |b| {
            b.iter_custom(|count| {
                let begin = cpu_time();
                for _ in 0..count {
                    black_box(store.get(CACHE, &key(draw(split_mix(&mut rng)))).unwrap());
                }
                cpu_time() - begin
            });
        });
    }
}

fn store(c: &mut Criterion) {
    let path: PathBuf = std::env::temp_dir().join(format!("isogrid-bench-{}", std::process::id()));
    for cache_mib in [8, 32, 256] {
        let config = SledConfig { cache_bytes: cache_mib << 20, ..SledConfig::new(&path) };
        let (store, _) = SledStore::open(config).unwrap();
        for first in (0..ENTRIES).step_by(10_000) {
            feed(&store, first..first + 10_000);
        }
        store.checkpoint().unwrap();
        println!("cache {cache_mib} MiB: {} MiB on disk", store.size_on_disk().unwrap() >> 20);
        feeding(c, &store);
        reading(c, &store);
        println!("cache {cache_mib} MiB: {} MiB on disk", store.size_on_disk().unwrap() >> 20);
        drop(store);
        std::fs::remove_dir_all(&path).unwrap();
    }
}

fn short() -> Criterion {
    let c = Criterion::default().sample_size(10);
    c.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = short(); targets = store }
criterion_main!(benches);
