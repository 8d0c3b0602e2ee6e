//! Transactions of some keys against as many single puts, on tables of few and of many segments:
//! to begin a transaction costs something for each segment.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isogrid_engine::env::split_mix;
use isogrid_engine::{Isolation, NewEntry, Table, TableConfig};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ENTRIES: u64 = 100_000;
const VALUE: [u8; 64] = [7; 64];

fn new() -> NewEntry<'static> {
    NewEntry { value: [&VALUE, b""], ..NewEntry::default() }
}

fn put(table: &Table, n: u64) {
    let (key, pinned) = (n.to_le_bytes(), table.pin());
    pinned.entry(table.hash(&key), &key, 0).unwrap().put(&new()).unwrap();
}

fn filled(segments: u32) -> Table {
    let config = TableConfig { segments: Some(segments), seed: 1, ..TableConfig::default() };
    let table = Table::new(&config, 0).unwrap();
    (0..ENTRIES).for_each(|n| put(&table, n));
    table
}

/// Writes, and under serializable reads first, `keys` keys.
fn transaction(table: &Table, isolation: Isolation, keys: u64, rng: &mut u64) {
    let mut transaction = table.transaction(isolation, 0);
    for _ in 0..keys {
        let key = (split_mix(rng) % ENTRIES).to_le_bytes();
        if isolation == Isolation::Serializable {
            transaction.get(&key, 0).unwrap().unwrap();
        }
        transaction.put(&key, &new()).unwrap();
    }
    transaction.commit(0).unwrap();
}

fn transactions(c: &mut Criterion) {
    for segments in [8, 256] {
        let (table, mut rng) = (filled(segments), 7);
        let mut group = c.benchmark_group(format!("transaction/{segments} segments"));
        for keys in [1, 4, 16] {
            group.throughput(Throughput::Elements(keys));
            group.bench_function(BenchmarkId::new("single puts", keys), |b| {
                b.iter(|| (0..keys).for_each(|_| put(&table, split_mix(&mut rng) % ENTRIES)));
            });
            for (name, isolation) in [
                ("snapshot, put", Isolation::Snapshot),
                ("serializable, get and put", Isolation::Serializable),
            ] {
                group.bench_function(BenchmarkId::new(name, keys), |b| {
                    b.iter(|| transaction(&table, isolation, keys, &mut rng));
                });
            }
        }
    }
}

fn short() -> Criterion {
    let c = Criterion::default().sample_size(20);
    c.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = transaction_benches; config = short(); targets = transactions }
criterion_main!(transaction_benches);
