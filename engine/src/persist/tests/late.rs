//! A power cut lost a change of a deadline, and with it the changes that followed, and yet the
//! deadline was there: the checkpoint had read the entry late, when the log had been waited for
//! already. A file must not know more than the log keeps.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::disk::{Access, Fault};

const ENTRIES: u64 = 64;
const DEADLINE: u64 = NOW + 9_000;

fn put(table: &Table, key: u64, deadline: Option<u64>) {
    let (key, value) = (key.to_le_bytes(), [7; 40_000]);
    let pinned = table.pin();
    let mut entry = pinned.entry(table.hash(&key), &key, NOW).unwrap();
    let new = NewEntry { value: [&value, b""], deadline, ..NewEntry::default() };
    // A change of the deadline alone keeps the version.
    if deadline.is_some() {
        // Refused once the log is known to fail: the first ones never are.
        let _ = entry.rewrite(&new);
    } else {
        entry.put(&new).unwrap();
    }
}

/// Not once: a log that is well again has what changed meanwhile.
fn fail_from_now(log: &MemoryDisk) {
    let disk = log.clone();
    log.watch(move |_| disk.fail_at(disk.calls() + 1, Fault::Io));
}

/// A checkpoint during whose write number `at` all deadlines change, while the log fails. Whether
/// the write took place.
fn checkpoint(at: u64) -> bool {
    let (log, snapshots) = (MemoryDisk::new(), MemoryDisk::new());
    let life =
        Life::on(Arc::new(log.clone()), Arc::new(snapshots.clone()), PersistMode::Async, (8, 1));
    (0..ENTRIES).for_each(|key| put(&life.table, key, None));
    life.persistence.wait_durable(life.persistence.last()).unwrap();
    let (table, failing) = (Arc::clone(&life.table), log.clone());
    let writes = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&writes);
    snapshots.watch(move |access| {
        if access == Access::Write && count.fetch_add(1, Ordering::Relaxed) == at {
            fail_from_now(&failing);
            (0..ENTRIES).for_each(|key| put(&table, key, Some(DEADLINE)));
        }
    });
    let _ = life.persistence.checkpoint();
    snapshots.unwatch();
    log.unwatch();
    let again = Life::on(
        Arc::new(log.crash(at)),
        Arc::new(snapshots.crash(at)),
        PersistMode::Async,
        (8, 1),
    );
    let changed = again.image().values().filter(|entry| entry.1.is_some()).count();
    assert!(changed == 0, "write {at}: {changed} deadlines of which the log knows nothing");
    writes.load(Ordering::Relaxed) > at
}

#[test]
fn a_snapshot_file_knows_nothing_that_the_log_may_lose() {
    let writes = (0..).take_while(|at| checkpoint(*at)).count();
    assert!(writes > 3, "the file was written in {writes} parts");
}
