//! Every single call on the disk fails once, in each way.

use isogrid_engine::disk::{Disk, Fault, MemoryDisk, Reserve};
use isogrid_engine::wal::WalErrorKind;

use super::promise::{Op, Promise};
use super::{names, open};

/// A life with everything in it that makes a call.
fn script() -> Vec<Op> {
    let batch = |len| [Op::Append(len), Op::Append(30), Op::Write];
    let mut ops = Vec::new();
    for len in [10, 900, 300, 700, 5] {
        ops.extend(batch(len));
        ops.push(Op::Sync);
        ops.extend(batch(len + 1));
    }
    ops.extend([Op::Kill, Op::Append(40), Op::Sync, Op::Roll, Op::Truncate(200)]);
    ops.extend(batch(1_500));
    ops.extend(batch(1_500));
    ops.extend([Op::Close, Op::Append(1), Op::Sync]);
    ops
}

#[test]
fn any_call_may_fail() {
    let mut whole = Promise::new(MemoryDisk::new());
    script().iter().for_each(|op| whole.play(op));
    let calls = whole.calls();
    assert!(calls > 60, "the script makes only {calls} calls");
    for fault in [Fault::Space, Fault::Io, Fault::Short] {
        for call in 1..=calls {
            for seed in [0, 1, 2, call] {
                println!("replay: {fault:?} at call {call}, crash {seed}");
                let disk = MemoryDisk::new();
                disk.fail_at(call, fault);
                let mut log = Promise::new(disk);
                script().iter().for_each(|op| log.play(op));
                log.play(&Op::Crash(seed));
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).unwrap().wal;
    log.append(|buffer| buffer.extend([1; 100])).unwrap();
    let kept = log.sync().unwrap();
    disk.set_capacity(Some(250));
    for _ in 0..3 {
        log.append(|buffer| buffer.extend([2; 100])).unwrap();
        let error = log.write().unwrap_err();
        assert_eq!(error.kind(), WalErrorKind::OutOfSpace);
        let text = error.to_string();
        assert!(text.starts_with("wal-0000000000000001.log: no space left"), "{text}");
        assert_eq!(log.written(), kept);
    }
    disk.set_capacity(None);
    let later = log.append(|buffer| buffer.extend([3; 100])).unwrap();
    assert_eq!(later.0, kept.0 + 4, "numbers of refused records are not given out again");
    assert_eq!(log.sync().unwrap(), later);
    let found = open(&disk.crash(1)).unwrap();
    assert_eq!(found.records, [(kept.0, vec![1; 100]), (later.0, vec![3; 100])]);
}

/// The first record of a refused batch had been written whole. It must not come back, not even
/// when the power goes before anything else is written.
#[test]
fn a_refused_record_never_comes_back() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).unwrap().wal;
    log.append(|buffer| buffer.extend([1; 100])).unwrap();
    log.sync().unwrap();
    disk.set_capacity(Some(1_000));
    log.append(|buffer| buffer.extend([2; 100])).unwrap();
    log.append(|buffer| buffer.extend([3; 1_000])).unwrap();
    assert_eq!(log.write().unwrap_err().kind(), WalErrorKind::OutOfSpace);
    for seed in 0..50 {
        assert_eq!(open(&disk.crash(seed)).unwrap().records.len(), 1, "crash {seed}");
    }
}

/// Whatever of it a power cut undoes: no hole is left that would pass for a missing file.
#[test]
fn old_files_go_in_order() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).unwrap().wal;
    for _ in 0..8 {
        log.append(|buffer| buffer.extend([1; 1_500])).unwrap();
        log.sync().unwrap();
    }
    assert_eq!(log.truncate_below(log.durable()).unwrap(), 7);
    for seed in 0..50 {
        let opened =
            open(&disk.crash(seed)).unwrap_or_else(|error| panic!("crash {seed}: {error}"));
        assert_eq!(opened.recovery.next, log.next());
    }
}

#[test]
fn a_log_opens_on_a_full_disk() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).unwrap().wal;
    log.append(|buffer| buffer.extend([1; 1000])).unwrap();
    log.write().unwrap();
    drop(log);
    disk.set_capacity(Some(0));
    assert_eq!(open(&disk).unwrap().records.len(), 1);
    assert_eq!(open(&disk.crash(1)).unwrap().records.len(), 1);
}

#[test]
fn a_failed_log_says_where_and_why() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).unwrap().wal;
    log.append(|buffer| buffer.extend(b"x")).unwrap();
    disk.fail_at(disk.calls() + 2, Fault::Io);
    let first = log.sync().unwrap_err();
    assert_eq!(first.kind(), WalErrorKind::Failed);
    let text = first.to_string();
    assert!(text.contains("wal-0000000000000001.log: cannot sync (injected"), "{text}");
    let again = log.append(|_| ()).unwrap_err();
    assert_eq!(again.to_string(), text);
}

/// After a failed sync the kernel says that all is well, and the record is not on the medium.
/// Opening the log again must not believe it.
#[test]
fn what_a_failed_sync_lost_is_written_again() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).unwrap().wal;
    log.append(|buffer| buffer.extend(b"doubtful")).unwrap();
    disk.fail_at(disk.calls() + 2, Fault::Io);
    log.sync().unwrap_err();
    drop(log);
    let found = open(&disk).unwrap();
    assert_eq!(found.records, [(1, b"doubtful".to_vec())]);
    assert_eq!(open(&disk.crash(1)).unwrap().records, found.records);
}

#[test]
fn the_reserve_gives_a_full_disk_room() {
    let disk = MemoryDisk::new();
    let reserve = Reserve::open(std::sync::Arc::new(disk.clone()), 3 << 20).unwrap();
    let mut log = open(&disk).unwrap().wal;
    disk.set_capacity(Some((3 << 20) + 100));
    log.append(|buffer| buffer.extend([1; 1000])).unwrap();
    assert_eq!(log.write().unwrap_err().kind(), WalErrorKind::OutOfSpace);
    assert!(reserve.is_held());
    reserve.release().unwrap();
    log.append(|buffer| buffer.extend([2; 1000])).unwrap();
    log.sync().unwrap();
    assert!(!reserve.refill().unwrap(), "there is no room for it any more");
    assert_eq!(names(&disk), disk.list().unwrap(), "a reserve that does not fit is not kept");
    disk.set_capacity(None);
    assert!(reserve.refill().unwrap());
    let again = Reserve::open(std::sync::Arc::new(disk.clone()), 0).unwrap();
    assert!(again.is_held() && names(&disk) == disk.list().unwrap(), "0 means none");
}
