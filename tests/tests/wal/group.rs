//! Group commit: many threads, one log.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use isogrid_engine::disk::{Access, Fault, MemoryDisk};
use isogrid_engine::env::split_mix;
use isogrid_engine::wal::{CommitHook, Log, LogConfig, Lsn, WalError, WalErrorKind};
use isogrid_tests::seeds;

use super::{config, open};

/// Seeds of the thread test.
const ROUNDS: &str = "ISOGRID_WAL_ROUNDS";
const ROUNDS_DEFAULT: u64 = 150;
const THREADS: u64 = 4;
const OPS: u64 = 40;

fn log_config(sync_interval: Duration) -> LogConfig {
    LogConfig { sync_interval, buffer_bytes: 4 << 10, ..LogConfig::new(config()) }
}

/// No sync comes by itself during a test.
const NEVER: Duration = Duration::from_secs(3_600);

fn start(disk: &MemoryDisk, interval: Duration, hook: Arc<dyn CommitHook>) -> Log {
    let disk = Arc::new(disk.clone());
    Log::open(disk, &log_config(interval), hook, &mut |_, _| Ok(())).unwrap().0
}

/// What the commit thread told, with the lock under which others append.
#[derive(Default)]
struct Told {
    lock: Mutex<()>,
    durable: AtomicU64,
    refused: Mutex<Vec<RangeInclusive<Lsn>>>,
    failed: AtomicU64,
}

impl CommitHook for Told {
    fn durable(&self, upto: Lsn) {
        let _lock = self.lock.lock().unwrap();
        assert!(self.durable.swap(upto.0, Ordering::SeqCst) < upto.0, "told twice, or backwards");
    }

    fn refused(&self, records: RangeInclusive<Lsn>, why: &WalError) {
        let _lock = self.lock.lock().unwrap();
        assert_eq!(why.kind(), WalErrorKind::OutOfSpace);
        assert!(self.durable.load(Ordering::SeqCst) < records.start().0, "told too late");
        self.refused.lock().unwrap().push(records);
    }

    fn failed(&self, _: &WalError) {
        self.failed.fetch_add(1, Ordering::SeqCst);
    }
}

/// What one thread was promised about its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Durable,
    Written,
    Refused,
    Unknown,
}

fn outcome(result: Result<(), WalError>, promised: Outcome) -> Outcome {
    match result {
        Ok(()) => promised,
        Err(error) if error.kind() == WalErrorKind::OutOfSpace => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    }
}

/// Appends, flushes and waits; gives what became of each record.
fn write(log: &Log, told: &Told, thread: u64, seed: u64) -> BTreeMap<u64, (Vec<u8>, Outcome)> {
    let (mut rng, mut results) = (seed ^ thread << 32, BTreeMap::new());
    for n in 0..OPS {
        let payload: Vec<u8> = [thread, n].iter().flat_map(|word| word.to_le_bytes()).collect();
        let len = usize::try_from(16 + split_mix(&mut rng) % 300).unwrap();
        let payload: Vec<u8> = payload.into_iter().cycle().take(len).collect();
        let _room = log.make_room();
        let lsn = {
            let _lock = told.lock.lock().unwrap();
            log.append(|buffer| buffer.extend(&payload))
        };
        let Ok(lsn) = lsn else { break };
        let result = match split_mix(&mut rng) % 4 {
            0 => outcome(log.wait_durable(lsn), Outcome::Durable),
            1 => Outcome::Unknown,
            _ => outcome(log.flush(lsn), Outcome::Written),
        };
        if result == Outcome::Durable {
            assert!(told.durable.load(Ordering::SeqCst) >= lsn.0, "acknowledged before published");
        }
        results.insert(lsn.0, (payload, result));
    }
    results
}

/// One log, some trouble, then what is found after a kill and after a power cut.
fn round(seed: u64) {
    let (disk, mut rng) = (MemoryDisk::new(), seed);
    let told = Arc::new(Told::default());
    let log = start(&disk, Duration::from_millis(1), told.clone());
    match split_mix(&mut rng) % 4 {
        0 => disk.set_capacity(Some(split_mix(&mut rng) % 20_000)),
        1 => disk.fail_at(disk.calls() + split_mix(&mut rng) % 200, Fault::Io),
        2 => disk.fail_at(disk.calls() + split_mix(&mut rng) % 200, Fault::Space),
        _ => {}
    }
    let mut results = BTreeMap::new();
    std::thread::scope(|scope| {
        let (log, told) = (&log, &*told);
        let threads =
            (0..THREADS).map(|thread| scope.spawn(move || write(log, told, thread, seed)));
        let threads: Vec<_> = threads.collect();
        for thread in threads {
            results.extend(thread.join().unwrap());
        }
    });
    let (killed, cut) = (disk.copy(), disk.crash(seed));
    let closed = log.close();
    assert_eq!(told.failed.load(Ordering::SeqCst), u64::from(closed.is_err()), "failure not told");
    for (lsn, (_, result)) in &results {
        let told = told.refused.lock().unwrap().iter().any(|range| range.contains(&Lsn(*lsn)));
        assert!(*result == Outcome::Unknown || told == (*result == Outcome::Refused), "{lsn}");
    }
    compare(&killed, &results, |result| matches!(result, Outcome::Durable | Outcome::Written));
    compare(&cut, &results, |result| result == Outcome::Durable);
    if closed.is_ok() {
        compare(&disk.crash(1), &results, |result| {
            result != Outcome::Refused && result != Outcome::Unknown
        });
    }
}

fn compare(
    disk: &MemoryDisk,
    results: &BTreeMap<u64, (Vec<u8>, Outcome)>,
    promised: impl Fn(Outcome) -> bool,
) {
    disk.set_capacity(None);
    let found: BTreeMap<_, _> = open(disk).unwrap().records.into_iter().collect();
    for (lsn, (payload, result)) in results {
        match found.get(lsn) {
            Some(found) => {
                assert_eq!(found, payload);
                assert_ne!(*result, Outcome::Refused, "{lsn} was refused and is there");
            }
            None => assert!(!promised(*result), "{lsn} was {result:?} and is gone"),
        }
    }
    assert!(found.keys().all(|lsn| results.contains_key(lsn)), "a record that nobody appended");
}

#[test]
fn threads_get_what_they_were_promised() {
    let first = seeds::number("ISOGRID_SEED", 0);
    for seed in first..first + seeds::number(ROUNDS, ROUNDS_DEFAULT) {
        println!("replay: ISOGRID_SEED={seed} {ROUNDS}=1 (the schedule is the machine's)");
        round(seed);
    }
}

/// A disk whose syncs of data wait until they are let through.
struct Gate {
    disk: MemoryDisk,
    state: Arc<(Mutex<GateState>, Condvar)>,
}

#[derive(Default)]
struct GateState {
    allowed: u64,
    begun: u64,
    writes: u64,
}

impl Gate {
    fn new() -> Self {
        let gate = Gate { disk: MemoryDisk::new(), state: Arc::default() };
        let state = Arc::clone(&gate.state);
        gate.disk.watch(move |access| {
            let mut now = state.0.lock().unwrap();
            match access {
                Access::Write => now.writes += 1,
                Access::SyncData => {
                    now.begun += 1;
                    state.1.notify_all();
                    state.1.wait_while(now, |now| now.allowed == 0).unwrap().allowed -= 1;
                }
                Access::Read | Access::SyncAll => {}
            }
        });
        gate
    }

    fn allow(&self, syncs: u64) {
        self.state.0.lock().unwrap().allowed += syncs;
        self.state.1.notify_all();
    }

    fn wait_begun(&self, syncs: u64) {
        let state = self.state.0.lock().unwrap();
        drop(self.state.1.wait_while(state, |state| state.begun < syncs).unwrap());
    }
}

#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn the_next_group_gathers_while_one_is_synced() {
    let gate = Gate::new();
    let config = log_config(NEVER);
    let opened = Log::open(Arc::new(gate.disk.clone()), &config, Arc::new(()), &mut |_, _| Ok(()));
    let log = opened.unwrap().0;
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let mut ask = || {
        let lsn = log.append(|buffer| buffer.extend([1; 10])).unwrap();
        assert!(log.poll_durable(&mut cx, lsn).is_pending());
        lsn
    };
    let first = ask();
    gate.wait_begun(1);
    let writes = gate.state.0.lock().unwrap().writes;
    // The first one is being synced; these wait for it, and then go together.
    let rest: Vec<Lsn> = (0..32).map(|_| ask()).collect();
    assert_eq!(log.written(), first);
    gate.allow(1);
    gate.wait_begun(2);
    assert!(log.wait_durable(first).is_ok());
    let state = gate.state.0.lock().unwrap();
    assert_eq!((state.writes, state.begun), (writes + 1, 2), "32 records, one write, one sync");
    drop(state);
    gate.allow(1);
    log.wait_durable(*rest.last().unwrap()).unwrap();
    assert!(rest.iter().all(|lsn| log.poll_durable(&mut cx, *lsn).is_ready()));
    assert_eq!(gate.state.0.lock().unwrap().begun, 2);
    gate.allow(u64::MAX / 2);
    log.close().unwrap();
    assert!(count.0.load(Ordering::SeqCst) >= 33, "somebody was not woken");
}

#[test]
fn a_flush_does_not_wait_for_a_sync() {
    let gate = Gate::new();
    let config = log_config(NEVER);
    let opened = Log::open(Arc::new(gate.disk.clone()), &config, Arc::new(()), &mut |_, _| Ok(()));
    let log = opened.unwrap().0;
    let waker = Waker::from(Arc::new(Count::default()));
    let lsn = log.append(|buffer| buffer.extend([1; 10])).unwrap();
    assert!(log.poll_durable(&mut Context::from_waker(&waker), lsn).is_pending());
    gate.wait_begun(1);
    let later = log.append(|buffer| buffer.extend([2; 10])).unwrap();
    log.flush(later).unwrap();
    assert_eq!((log.written(), log.durable()), (later, Lsn::NONE));
    gate.allow(u64::MAX / 2);
    log.wait_durable(later).unwrap();
}

/// What was flushed and nobody waits for is synced; then the log comes to rest, and then it makes
/// no call at all.
#[test]
fn a_quiet_log_is_synced_marked_and_silent() {
    let disk = MemoryDisk::new();
    let log = start(&disk, Duration::from_millis(1), Arc::new(()));
    let before = disk.calls();
    let lsn = log.append(|buffer| buffer.extend([1; 10])).unwrap();
    assert_eq!(disk.calls(), before, "appending touches no disk");
    log.flush(lsn).unwrap();
    // Write, sync, mark, sync.
    while disk.calls() < before + 4 {
        std::thread::yield_now();
    }
    assert_eq!(log.durable(), lsn);
    #[expect(clippy::disallowed_methods, reason = "silence takes time")]
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(disk.calls(), before + 4, "an idle log makes calls");
    // Damage to the very last record is seen, since the mark proves it.
    let rotten = disk.crash(1);
    assert!(rotten.flip("wal-0000000000000001.log", 8 * 90));
    assert_eq!(open(&rotten).map(|_| ()).unwrap_err().kind(), WalErrorKind::Damaged);
}

#[test]
fn a_full_buffer_refuses_and_room_can_be_made() {
    let disk = MemoryDisk::new();
    let log = start(&disk, NEVER, Arc::new(()));
    let mut appended = 0;
    let full = loop {
        match log.append(|buffer| buffer.extend([1; 100])) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), WalErrorKind::Later, "{full}");
    assert!((60..90).contains(&appended), "{appended} records in twice 4 KiB");
    log.make_room().unwrap();
    log.append(|buffer| buffer.extend([1; 100])).unwrap();
    let long = log.append(|buffer| buffer.resize(buffer.len() + (65 << 20), 0)).unwrap_err();
    assert_eq!(long.kind(), WalErrorKind::Caller, "{long}");
    log.close().unwrap();
    assert_eq!(log.append(|_| ()).unwrap_err().kind(), WalErrorKind::Failed);
    assert_eq!(open(&disk.crash(1)).unwrap().records.len(), appended + 1);
}

#[test]
fn an_encoder_that_panics_leaves_nothing() {
    let disk = MemoryDisk::new();
    let log = start(&disk, NEVER, Arc::new(()));
    log.append(|buffer| buffer.extend(b"before")).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        log.append(|buffer| {
            buffer.extend(b"half of");
            panic!("an encoder's bug");
        })
    }));
    assert!(panicked.is_err());
    log.append(|buffer| buffer.extend(b"after")).unwrap();
    log.close().unwrap();
    let found = open(&disk).unwrap().records;
    assert_eq!(found, [(1, b"before".to_vec()), (2, b"after".to_vec())]);
}

#[test]
fn a_hook_that_panics_leaves_nobody_waiting() {
    struct Panics;
    impl CommitHook for Panics {
        fn durable(&self, _: Lsn) {
            panic!("a hook's bug");
        }
        fn refused(&self, _: RangeInclusive<Lsn>, _: &WalError) {}
        fn failed(&self, _: &WalError) {}
    }
    let disk = MemoryDisk::new();
    let log = start(&disk, NEVER, Arc::new(Panics));
    let lsn = log.append(|buffer| buffer.extend(b"x")).unwrap();
    assert!(log.wait_durable(lsn).is_err());
    assert!(log.append(|_| ()).is_err() && log.close().is_err());
}

#[test]
fn old_files_go_while_others_write() {
    let disk = MemoryDisk::new();
    let log = start(&disk, NEVER, Arc::new(()));
    let mut last = Lsn::NONE;
    for n in 0..200_u8 {
        last = log.append(|buffer| buffer.extend([n; 100])).unwrap();
        log.flush(last).unwrap();
        if n % 50 == 49 {
            assert!(log.truncate_below(last).unwrap() > 1);
        }
    }
    assert!(log.bytes() <= 2 * config().file_bytes, "{} bytes are left", log.bytes());
    assert!(log.first() > Lsn(150));
    log.wait_durable(last).unwrap();
    drop(log);
    let found = open(&disk.crash(1)).unwrap();
    assert_eq!(found.recovery.next, last.next());
    assert_eq!(found.records.len() as u64, last.0 + 1 - found.recovery.first.0);
}
