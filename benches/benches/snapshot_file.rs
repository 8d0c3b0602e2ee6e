//! Snapshot files of a million entries on the disk that holds the target directory
//! (`ISOGRID_BENCH_DIR` names another one), beside a copy of the same bytes in memory.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use isogrid_engine::disk::FileDisk;
use isogrid_engine::snapshot_file::{
    RestoreTime, SnapshotFile, SnapshotHeader, SnapshotKind, restore, write,
};
use isogrid_engine::{NewEntry, PolicyKind, Table, TableConfig};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ENTRIES: u64 = 1_000_000;
const VALUE: [u8; 100] = [7; 100];
const NAME: &str = "bench.snapshot";
const HEADER: SnapshotHeader = SnapshotHeader {
    kind: SnapshotKind::Checkpoint,
    storage_id: [1; 16],
    created: 0,
    log_position: 0,
};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let root = std::env::var_os("ISOGRID_BENCH_DIR");
        let root = root.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        let path = root.join(format!("snapshot-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(n: u64) -> [u8; 16] {
    let mut key = *b"key-............";
    key.iter_mut().skip(4).zip(format!("{n:012}").bytes()).for_each(|(to, from)| *to = from);
    key
}

fn table() -> Table {
    let config = TableConfig { max_bytes: 4 << 30, seed: 1, ..TableConfig::default() };
    Table::new(&TableConfig { eviction: PolicyKind::default(), ..config }, 0).unwrap()
}

fn put(table: &Table, n: u64) {
    let (key, new) = (key(n), NewEntry { value: [&VALUE, b""], ..NewEntry::default() });
    let pinned = table.pin();
    pinned.entry(table.hash(&key), &key, 0).unwrap().put(&new).unwrap();
}

fn save(disk: &FileDisk, table: &Table) -> u64 {
    write(disk, NAME, &HEADER, &[("default", table)], &mut |_| ()).unwrap().bytes
}

fn files(c: &mut Criterion) {
    let folder = Folder::new();
    let disk = FileDisk::open(&folder.0).unwrap();
    let filled = table();
    (0..ENTRIES).for_each(|n| put(&filled, n));
    let bytes = save(&disk, &filled);
    let mut group = c.benchmark_group("snapshot file of 1 M entries");
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function("write", |b| b.iter(|| save(&disk, &filled)));
    let file = SnapshotFile::open(&folder.0.join(NAME)).unwrap();
    group.bench_function("verify", |b| b.iter(|| file.verify(&mut |_| ()).unwrap()));
    group.bench_function("read", |b| {
        b.iter(|| {
            let blocks = file.blocks(0).map(|number| file.block(number).unwrap());
            blocks
                .map(|block| block.records().map(|record| record.value.len()).sum::<usize>())
                .sum::<usize>()
        });
    });
    group.bench_function("restore", |b| {
        let time = RestoreTime { now: 0, read_until: 0 };
        b.iter_batched(
            table,
            |table| {
                restore(&file, 0, &table, time, &mut |_| ()).unwrap();
                table
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("put into an empty table", |b| {
        b.iter_batched(
            table,
            |table| {
                (0..ENTRIES).for_each(|n| put(&table, n));
                table
            },
            BatchSize::PerIteration,
        );
    });
    let (from, mut to) = (vec![1_u8; usize::try_from(bytes).unwrap()], Vec::new());
    group.bench_function("copy of the same bytes", |b| {
        b.iter(|| {
            to.clear();
            to.extend_from_slice(black_box(&from));
            black_box(to.last().copied())
        });
    });
}

fn short() -> Criterion {
    let c = Criterion::default().sample_size(10);
    c.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(5))
}

criterion_group! { name = snapshot_file; config = short(); targets = files }
criterion_main!(snapshot_file);
