//! The write-ahead log on the disk that holds the target directory (`ISOGRID_BENCH_DIR` names
//! another one): appending, writing, and group commit beside a bare loop that writes and syncs.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isogrid_engine::disk::FileDisk;
use isogrid_engine::wal::{Log, LogConfig, Lsn, WalConfig, WalKind};

/// A key, a value of 100 bytes and what stands before them.
const RECORD: [u8; 140] = [7; 140];
/// Frame and payload.
const RECORD_ON_DISK: usize = 24 + RECORD.len();
const BATCH: u64 = 32;
/// Records between two writes where the write is not measured.
const GATHERED: u64 = 1024;
const WRITERS: [u64; 3] = [1, 16, 64];

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let root = std::env::var_os("ISOGRID_BENCH_DIR");
        let root = root.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        let path = root.join(format!("wal-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn log(&self) -> Log {
        let _ = std::fs::remove_dir_all(self.0.join("log"));
        let disk = Arc::new(FileDisk::open(self.0.join("log")).unwrap());
        let config = LogConfig::new(WalConfig::new([1; 16], WalKind::Data));
        Log::open(disk, &config, Arc::new(()), &mut |_, _| Ok(())).unwrap().0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn append(log: &Log) -> Lsn {
    log.append(|buffer| buffer.extend_from_slice(&RECORD)).unwrap()
}

/// The time that `run` takes, and then old files go.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn timed(log: &Log, run: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    run();
    let taken = begin.elapsed();
    log.truncate_below(log.written()).unwrap();
    taken
}

fn memory_and_file(c: &mut Criterion) {
    let folder = Folder::new();
    let mut group = c.benchmark_group("wal");
    group.throughput(Throughput::Elements(1));
    let log = folder.log();
    group.bench_function("append", |b| {
        b.iter_custom(|count| {
            let rounds = (0..count.div_ceil(GATHERED)).map(|round| {
                let records = GATHERED.min(count - round * GATHERED);
                let taken = timed(&log, || (0..records).for_each(|_| _ = append(&log)));
                log.flush(log.next().previous()).unwrap();
                taken
            });
            rounds.sum()
        });
    });
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function(BenchmarkId::new("append and write", BATCH), |b| {
        b.iter_custom(|count| {
            timed(&log, || {
                for _ in 0..count {
                    (1..BATCH).for_each(|_| _ = append(&log));
                    log.flush(append(&log)).unwrap();
                }
            })
        });
    });
}

/// Records made durable: `count` of each writer.
fn threads(log: &Log, writers: u64, count: u64) -> Duration {
    timed(log, || {
        std::thread::scope(|scope| {
            for _ in 0..writers {
                scope.spawn(|| (0..count).for_each(|_| log.wait_durable(append(log)).unwrap()));
            }
        });
    })
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// One thread that serves so many writers: as a server with as many connections does.
fn tasks(log: &Log, writers: u64, count: u64) -> Duration {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    timed(log, || {
        for _ in 0..count {
            let mut waiting: Vec<Lsn> = (0..writers).map(|_| append(log)).collect();
            loop {
                waiting.retain(|lsn| match log.poll_durable(&mut cx, *lsn) {
                    Poll::Ready(result) => result.map(|()| false).unwrap(),
                    Poll::Pending => true,
                });
                if waiting.is_empty() {
                    break;
                }
                std::thread::park();
            }
        }
    })
}

/// What no log can beat: the same bytes with one write and one sync for each round of writers.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn bare(folder: &Folder, writers: u64, count: u64) -> Duration {
    let file = File::create(folder.0.join("bare")).unwrap();
    let bytes = vec![7; RECORD_ON_DISK * usize::try_from(writers).unwrap()];
    let begin = Instant::now();
    for round in 0..count {
        file.write_all_at(&bytes, round * bytes.len() as u64).unwrap();
        file.sync_data().unwrap();
    }
    begin.elapsed()
}

fn durable(c: &mut Criterion) {
    let folder = Folder::new();
    let log = folder.log();
    let mut group = c.benchmark_group("wal/durable");
    for writers in WRITERS {
        group.throughput(Throughput::Elements(writers));
        group.bench_function(BenchmarkId::new("threads", writers), |b| {
            b.iter_custom(|count| threads(&log, writers, count));
        });
        group.bench_function(BenchmarkId::new("tasks", writers), |b| {
            b.iter_custom(|count| tasks(&log, writers, count));
        });
        group.bench_function(BenchmarkId::new("bare write and fdatasync", writers), |b| {
            b.iter_custom(|count| bare(&folder, writers, count));
        });
    }
}

fn short() -> Criterion {
    let c = Criterion::default().sample_size(20);
    c.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = wal; config = short(); targets = memory_and_file, durable }
criterion_main!(wal);
