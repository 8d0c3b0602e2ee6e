//! What of the structures is there after a crash.

use std::collections::BTreeMap;

use isogrid_engine::ManualClock;
use isogrid_engine::disk::MemoryDisk;
use isogrid_engine::env::split_mix;
use isogrid_engine::persist::PersistConfig;

use super::*;

const NOW: u64 = 1_000_000;

fn start(disk: &MemoryDisk, mode: PersistMode) -> (Structures, Arc<Persistence>) {
    let structures = Structures::new(Allocator::default(), NOW).unwrap();
    let config = PersistConfig {
        log: Arc::new(disk.clone()),
        snapshots: Arc::new(disk.clone()),
        mapped: false,
        store: None,
        storage_id: [3; 16],
        log_bytes: 1 << 20,
        log_file_bytes: 16 << 10,
        dropped: Vec::new(),
    };
    let clock = Arc::new(ManualClock::at(NOW));
    let opened = Persistence::open(config, vec![structures.kept_table(mode)], clock);
    let persistence = Arc::new(opened.unwrap().0);
    structures.begin(Some(Arc::clone(&persistence)), NOW).unwrap();
    (structures, persistence)
}

fn token(structures: &Structures) -> u64 {
    let mut out = Vec::new();
    let grant = LockOp::GrantLease { ttl: 1_000, about: b"" };
    let LockReply::Lease { id: lease, .. } = structures.locks(NOW, grant, &mut out) else {
        panic!("no lease");
    };
    let lock = LockOp::Lock { key: b"k", lease, shared: true, wait: 0 };
    match structures.locks(NOW, lock, &mut out) {
        LockReply::Granted { token } if token > lease => token,
        other => panic!("{other:?}"),
    }
}

/// Counters come back as they were when they were durable, and tokens rise over every end.
#[test]
fn counters_come_back_and_tokens_never_go_back() {
    for seed in 0..30 {
        let (mut rng, mut disk, mut last) = (seed, MemoryDisk::new(), 0);
        let mut model = BTreeMap::<String, i64>::new();
        for life in 0..5 {
            let mode = [PersistMode::Async, PersistMode::Sync][life % 2];
            let (structures, persistence) = start(&disk, mode);
            for name in ["a", "b", "c"] {
                let reply = structures.counters(NOW, CounterOp::Get { name }).unwrap();
                let value = model.get(name).map(|value| CounterReply::Value(*value));
                assert_eq!(reply, value.unwrap_or(CounterReply::Absent), "seed {seed}, {life}");
            }
            for _ in 0..split_mix(&mut rng) % 30 {
                let name = ["a", "b", "c"][usize::try_from(split_mix(&mut rng) % 3).unwrap()];
                if split_mix(&mut rng).is_multiple_of(6) {
                    structures.counters(NOW, CounterOp::Reset { name }).unwrap();
                    model.remove(name);
                } else {
                    structures.counters(NOW, CounterOp::Add { name, delta: 7 }).unwrap();
                    *model.entry(name.to_owned()).or_default() += 7;
                }
                let token = token(&structures);
                assert!(token > last, "seed {seed}: {token} after {last}");
                last = token;
            }
            persistence.wait_durable(persistence.last()).unwrap();
            // Numbers that nobody waited for are given out before the end, too.
            last = token(&structures);
            disk = if life % 2 == 0 { disk.crash(seed) } else { disk.copy() };
            let (next, _) = start(&disk.copy(), mode);
            assert_eq!(next.fenced(NOW, b"k", last, || ()), Err(Fenced), "a lock of the last life");
        }
    }
}

#[test]
fn a_full_disk_leaves_counters_as_they_were() {
    let disk = MemoryDisk::new();
    let (structures, persistence) = start(&disk, PersistMode::Async);
    let add = |name, delta| structures.counters(NOW, CounterOp::Add { name, delta });
    assert_eq!(add("a", 5), Ok(CounterReply::Value(5)));
    persistence.wait_durable(persistence.last()).unwrap();
    disk.fail_at(disk.calls() + 1, isogrid_engine::disk::Fault::Io);
    let _ = add("b", 1);
    let _ = persistence.wait_durable(persistence.last());
    assert_eq!(add("a", 5).unwrap_err().done, 0);
    assert_eq!(add("a", 0), Ok(CounterReply::Value(5)), "what was not kept is not seen");
    assert_eq!(structures.counters(NOW, CounterOp::Get { name: "a" }), Ok(CounterReply::Value(5)));
}

/// While a fenced write is under way, nobody else gets the lock.
#[test]
fn a_fenced_write_is_done_before_the_lock_is_anybody_elses() {
    let structures = Structures::new(Allocator::default(), NOW).unwrap();
    structures.begin(None, NOW).unwrap();
    let lease = |ttl| match structures.locks(
        NOW,
        LockOp::GrantLease { ttl, about: b"" },
        &mut Vec::new(),
    ) {
        LockReply::Lease { id, .. } => id,
        other => panic!("{other:?}"),
    };
    let lock = |lease| LockOp::Lock { key: b"k", lease, shared: false, wait: 9_000 };
    let (a, b) = (lease(1_000), lease(60_000));
    let LockReply::Granted { token } = structures.locks(NOW, lock(a), &mut Vec::new()) else {
        panic!("it is free");
    };
    structures.locks(NOW, lock(b), &mut Vec::new());
    let wrote = structures.fenced(NOW + 999, b"k", token, || {
        // Whoever ends the lease or asks for the lock has to wait until this is done.
        structures.locks.try_lock().is_none()
    });
    assert_eq!(wrote, Ok(true));
    assert_eq!(structures.fenced(NOW + 1_000, b"k", token, || ()), Err(Fenced));
}
