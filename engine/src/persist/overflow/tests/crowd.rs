//! What a save may be handed before the file has it, and who waits for that.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::capture::HANDED_BYTES_MAX;
use super::super::{Capture, Overflow};
use super::bed::{Disks, Life, START, Shape, kept};
use crate::disk::MemoryDisk;
use crate::persist::{PersistMode, Preload};
use crate::snapshot_file::{Aside, SnapshotHeader, SnapshotKind};
use crate::table::{Backing, Leaving, Snapshot, Table};
use crate::wal::block_on;
use crate::{Error, NewEntry};

const VALUE_LEN: usize = 64 << 10;
/// Entries whose values are three times what may be handed over.
const MANY: u64 = (3 * HANDED_BYTES_MAX / VALUE_LEN) as u64;

fn shape(room: u64) -> Shape {
    Shape { mode: PersistMode::Async, preload: Preload::All, segments: 1, room, seed: 1 }
}

fn key_of(n: u64) -> Vec<u8> {
    format!("key-{n}").into_bytes()
}

fn put(life: &Life, n: u64, len: usize, deadline: Option<u64>) {
    let value = vec![b'v'; len];
    let new = NewEntry { value: [&value, b""], deadline, ..NewEntry::default() };
    life.on(&key_of(n), true, |entry| entry.put(&new));
}

fn overflow(life: &Life, name: &str) -> Arc<Overflow> {
    life.persistence.reads.as_ref().unwrap().feeder.overflow(name).unwrap()
}

pub(super) fn settle(life: &Life) {
    life.persistence.reads.as_ref().unwrap().feeder.settle(life.now()).unwrap();
}

/// A save of the life's table that has begun.
struct Saving<'t> {
    capture: Arc<Capture>,
    _snapshot: Snapshot<'t>,
}

impl<'t> Saving<'t> {
    fn begin(life: &Life, table: &'t Table) -> Saving<'t> {
        let capture = Capture::new(overflow(life, "default")).unwrap();
        let (snapshot, ()) = table.snapshot_with(life.now(), |marks| capture.begin(marks));
        Saving { capture, _snapshot: snapshot }
    }

    /// Takes what was handed over; how many entries, of no more bytes than it may be.
    fn gather(&self) -> u64 {
        assert!(self.capture.handed_bytes() < HANDED_BYTES_MAX + 2 * VALUE_LEN);
        let mut entries = 0;
        self.capture.gathered(&mut |_| entries += 1).unwrap();
        entries
    }
}

impl Drop for Saving<'_> {
    fn drop(&mut self) {
        self.capture.end();
    }
}

/// While the first of two caches was written nobody took what the second handed over: it evicted
/// nothing any more, and whoever wrote to it waited.
#[test]
fn a_cache_whose_turn_has_not_come_evicts_as_ever() {
    let shape = shape(8 << 20);
    let tables: Vec<_> = ["default", "next"].map(|name| kept(name, &shape, START)).into();
    let mut life = Life::begin_with(&Disks::new(), tables.clone(), START);
    for kept in &tables {
        life.turn_to(kept);
        (0..MANY).for_each(|n| put(&life, n, VALUE_LEN, None));
    }
    let (life, next) = (&life, overflow(&life, "next"));
    let (mut more, value) = (MANY..2 * MANY, vec![b'v'; VALUE_LEN]);
    let mut meanwhile = |_| {
        let new = NewEntry { value: [&value, b""], ..NewEntry::default() };
        for key in more.by_ref().map(key_of) {
            let try_put = || {
                let pinned = life.table.pin();
                let mut entry = pinned.entry(life.table.hash(&key), &key, START).unwrap();
                entry.put(&new)
            };
            while let Err(error) = try_put() {
                assert_eq!(error, Error::Behind);
                let crowded = next.crowded.load(Ordering::Acquire);
                assert!(!crowded, "it waits for the file of another cache");
                block_on(|cx| life.reader.poll_room(cx)).unwrap();
            }
        }
    };
    let kind = SnapshotKind::Export;
    let header = SnapshotHeader { kind, storage_id: [3; 16], created: START, log_position: 0 };
    let both: Vec<_> = tables.iter().map(|kept| (kept.name.as_str(), &*kept.table)).collect();
    let saved =
        life.persistence.save(&MemoryDisk::new(), "backup", &header, &both, None, &mut meanwhile);
    let entries: Vec<_> = saved.unwrap().caches.iter().map(|cache| cache.entries).collect();
    assert_eq!(entries, [MANY, 2 * MANY], "as it was when its turn came");
}

/// All stored entries of a batch were handed over before anybody looked how much that was.
#[test]
fn what_the_store_loses_is_handed_over_one_at_a_time() {
    let life = Life::begin(&Disks::new(), &shape(1 << 20), START);
    (0..MANY).for_each(|n| put(&life, n, VALUE_LEN, None));
    settle(&life);
    let saving = Saving::begin(&life, &life.table);
    (0..MANY).for_each(|n| put(&life, n, 8, None));
    let gathered = std::thread::scope(|scope| {
        // Ends with the scope, of which a failure would wait for the thread forever.
        let (saving, settling) = (saving, scope.spawn(|| settle(&life)));
        let mut gathered = 0;
        while !settling.is_finished() {
            gathered += saving.gather();
            std::thread::yield_now();
        }
        gathered + saving.gather()
    });
    assert!(gathered > MANY / 2, "{gathered} of {MANY}");
}

/// What expires hands over the version that the save sees behind it, and there was no end to that.
#[test]
fn what_expires_stays_while_a_save_has_no_room() {
    let life = Life::begin(&Disks::new(), &shape(64 << 20), START);
    (0..MANY).for_each(|n| put(&life, n, VALUE_LEN, None));
    let saving = Saving::begin(&life, &life.table);
    (0..MANY).for_each(|n| put(&life, n, 8, Some(START + 100)));
    let (mut gathered, mut rounds) = (0, 0);
    while life.table.usage().entries > 0 {
        life.clock.advance(100);
        while life.table.maintain(life.now(), 64) {}
        assert_eq!(life.get(&key_of(MANY - 1)), None, "readers do not see it");
        gathered += saving.gather();
        rounds += 1;
    }
    assert_eq!(gathered, MANY);
    assert!(rounds > 2, "{rounds}");
}

/// A thread that had hold of a save came when it had ended, and nothing was evicted ever after.
#[test]
fn nothing_waits_for_a_save_that_has_ended() {
    let life = Life::begin(&Disks::new(), &shape(1 << 20), START);
    let saving = Saving::begin(&life, &life.table);
    saving.capture.end();
    let value = vec![b'v'; HANDED_BYTES_MAX];
    let entry = NewEntry { value: [&value, b""], ..NewEntry::default() };
    let leaving = Leaving { key: b"key", entry, epoch: 1, seq: 1, accessed: START };
    saving.capture.leaves(life.table.hash(b"key"), &leaving);
    assert!(overflow(&life, "default").has_room());
    assert_eq!(saving.gather(), 0);
}
