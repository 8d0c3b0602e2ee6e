//! What a write costs the one who writes when the cache is written behind: the same writes without
//! a journal, and the feeding of the store that follows. One element = one write.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use isogrid_engine::env::split_mix;
use isogrid_engine::persist::behind::{Behind, BehindConfig, BehindTable};
use isogrid_engine::store::{self, Report};
use isogrid_engine::{NewEntry, SystemClock, Table, TableConfig};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const WRITES: u64 = 100_000;
const VALUE: [u8; 100] = [7; 100];
/// Nothing is due by its age: what is written is what many waiting changes bring about, and the end.
const DELAY_MS: u64 = 3_600_000;

/// Keys that the writes are spread over.
const LOADS: [(&str, u64); 2] = [("100 k keys", 100_000), ("1 k keys", 1_000)];

fn cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn table() -> Arc<Table> {
    Arc::new(Table::new(&TableConfig { seed: 1, ..TableConfig::default() }, 1).unwrap())
}

/// CPU time of the thread that writes.
fn write(table: &Table, keys: u64) -> Duration {
    let (mut rng, begin) = (1, cpu_time(ClockId::ThreadCPUTime));
    for _ in 0..WRITES {
        let key = format!("key:{:012}", split_mix(&mut rng) % keys);
        let pinned = table.pin();
        let new = NewEntry { value: [&VALUE, b""], ..NewEntry::default() };
        pinned.entry(table.hash(key.as_bytes()), key.as_bytes(), 1).unwrap().put(&new).unwrap();
    }
    cpu_time(ClockId::ThreadCPUTime) - begin
}

/// A table that is written behind to a store of its own; what it costs to write, and then of all
/// threads to make that durable.
fn behind(keys: u64) -> (Duration, Duration) {
    let path = std::env::temp_dir().join(format!("isogrid-behind-bench-{}", std::process::id()));
    let (store, _) = store::open(&path).unwrap();
    let table = table();
    let (name, bytes_max) = ("bench".to_owned(), 1 << 30);
    let kept = BehindTable {
        delay_ms: DELAY_MS,
        bytes_max,
        ..BehindTable::new(&name, Arc::clone(&table))
    };
    let config = BehindConfig { store, report: Report::default(), storage_id: [1; 16] };
    let (behind, _) = Behind::open(config, vec![kept], Arc::new(SystemClock::new())).unwrap();
    let begin = cpu_time(ClockId::ProcessCPUTime);
    let writing = write(&table, keys);
    assert_eq!(behind.close(&mut |_| true).entries, 0);
    let feeding = (cpu_time(ClockId::ProcessCPUTime) - begin).saturating_sub(writing);
    drop(behind);
    std::fs::remove_dir_all(&path).unwrap();
    (writing, feeding)
}

/// One way of spending CPU on so many keys.
type Cost = fn(u64) -> Duration;

const COSTS: [(&str, Cost); 3] = [
    ("write, nothing kept", |keys| write(&table(), keys)),
    ("write, behind", |keys| behind(keys).0),
    ("feed the store", |keys| behind(keys).1),
];

fn costs(c: &mut Criterion) {
    let mut group = c.benchmark_group("behind, CPU");
    group.throughput(Throughput::Elements(WRITES)).sample_size(10);
    for (load, keys) in LOADS {
        for (what, cost) in COSTS {
            group.bench_function(format!("{what}/{load}"), |b| {
                b.iter_custom(|rounds| (0..rounds).map(|_| cost(keys)).sum());
            });
        }
    }
}

fn short() -> Criterion {
    let c = Criterion::default();
    c.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = short(); targets = costs }
criterion_main!(benches);
