//! The snapshot file is read while others are served: a key is there as soon as its segment is, and
//! what is changed meanwhile stays changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use super::bed::{Disks, Image, Life, START, Shape};
use crate::disk::{Access, Disk};
use crate::load::LoadError;
use crate::persist::{PersistMode, Preload};
use crate::store::fault::Tear;
use crate::wal::block_on;
use crate::{Cursor, NewEntry};

const KEYS: u64 = 200;
const SEGMENTS: u32 = 4;

fn shape(preload: Preload) -> Shape {
    Shape { mode: PersistMode::Sync, preload, segments: SEGMENTS, room: 200_000, seed: 9 }
}

fn key(n: u64) -> Vec<u8> {
    format!("key-{n}").into_bytes()
}

fn put(life: &Life, n: u64, value: &[u8]) {
    let new = NewEntry { value: [value, b""], ..NewEntry::default() };
    life.on(&key(n), true, |entry| entry.put(&new));
}

/// How many entries somebody finds who goes through them.
fn scanned(life: &Life) -> u64 {
    let (mut entries, mut cursor) = (0, Some(Cursor::default()));
    while let Some(from) = cursor {
        cursor = life.table.scan(from, 100, START, |_| entries += 1);
    }
    entries
}

fn image(life: &Life) -> Image {
    let shown = |n| Some((key(n), life.get(&key(n))?));
    (0..KEYS).filter_map(shown).collect()
}

/// Lets the thread that reads everything wait before it reads a block. It is dropped, and so opened,
/// ahead of the life that waits for that thread.
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn on(disks: &Disks) -> Gate {
        let open = Arc::new(AtomicBool::new(false));
        let of_watch = Arc::clone(&open);
        disks.log.watch(move |access| {
            let preloads = std::thread::current().name() == Some("preload");
            while access == Access::Read && preloads && !of_watch.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        });
        Gate(open)
    }

    fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

/// Everything is in a snapshot file, and nothing in the log behind it.
fn written() -> (Disks, Image) {
    let disks = Disks::new();
    let life = Life::begin(&disks, &shape(Preload::All), START);
    (0..KEYS).for_each(|n| put(&life, n, &[b'v'; 100]));
    life.acknowledge();
    let image = image(&life);
    life.persistence.close().unwrap();
    (life.end(disks, None, usize::MAX, Tear::Keep), image)
}

#[test]
fn a_key_is_there_as_soon_as_its_segment_is() {
    let (disks, image) = written();
    let gate = Gate::on(&disks);
    let (life, gate) = (Life::begin(&disks, &shape(Preload::All), START), gate);
    let mut read = BTreeSet::new();
    assert_eq!(life.persistence.unread(), 4);
    for n in 0..KEYS {
        // The one that waits at the gate has one in hand: it is the last.
        let segment = life.table.hash(&key(n)).segment();
        if segment == SEGMENTS - 1 {
            continue;
        }
        assert_eq!(life.get(&key(n)).as_ref(), image.get(&key(n)));
        read.insert(segment);
        assert_eq!(life.persistence.unread(), 4 - read.len());
    }
    assert_eq!(read.len(), 3);
    gate.open();
    life.persistence.checkpoint().unwrap();
    assert_eq!(life.persistence.unread(), 0);
    assert_eq!(self::image(&life), image);
}

#[test]
fn what_changes_meanwhile_stays_changed() {
    for preload in [Preload::All, Preload::None] {
        let (disks, mut image) = written();
        let gate = Gate::on(&disks);
        let (life, gate) = (Life::begin(&disks, &shape(preload), START), gate);
        for n in (0..KEYS).filter(|n| life.table.hash(&key(*n)).segment() != SEGMENTS - 1) {
            match n % 4 {
                // Without having been read.
                0 => put(&life, n, b"new"),
                1 => {
                    assert!(life.on(&key(n), false, |entry| entry.remove()));
                    image.remove(&key(n));
                }
                2 => {
                    put(&life, n, b"new");
                    assert!(life.on(&key(n), false, |entry| entry.remove()));
                    image.remove(&key(n));
                }
                _ => {}
            }
            life.acknowledge();
            if n % 4 == 0 {
                image.insert(key(n), life.get(&key(n)).unwrap());
            }
        }
        gate.open();
        life.persistence.checkpoint().unwrap();
        assert_eq!(self::image(&life), image);
        let disks = life.end(disks, None, 0, Tear::Lose);
        assert_eq!(self::image(&Life::begin(&disks, &shape(Preload::All), START)), image);
    }
}

/// What the log said of a key is in memory, and does not void what the file has of it before it leaves
/// memory.
#[test]
fn what_the_log_brought_stays_when_it_expires_or_is_evicted() {
    for preload in [Preload::All, Preload::None] {
        let (disks, mut image) = written();
        let life = Life::begin(&disks, &shape(Preload::All), START);
        for n in 0..KEYS {
            let deadline = (n % 2 == 0).then_some(START + 1_000);
            let new = NewEntry { value: [b"new", b""], deadline, ..NewEntry::default() };
            life.on(&key(n), true, |entry| entry.put(&new));
        }
        life.acknowledge();
        for n in 0..KEYS {
            image.remove(&key(n));
            (n % 2 == 1).then(|| image.insert(key(n), life.get(&key(n)).unwrap()));
        }
        let disks = life.end(disks, None, 0, Tear::Lose);
        let gate = Gate::on(&disks);
        let (life, gate) = (Life::begin(&disks, &shape(preload), START), gate);
        life.clock.advance(2_000);
        while life.table.maintain(life.now(), 100) {}
        let in_memory = life.table.usage();
        life.table.set_max_bytes(in_memory.bytes);
        (KEYS..2 * KEYS).for_each(|n| put(&life, n, &[b'v'; 100]));
        assert!(life.persistence.away("default") > KEYS / 4);
        gate.open();
        block_on(|cx| life.reader.poll_whole(cx)).unwrap();
        assert_eq!(self::image(&life), image);
        assert_eq!(in_memory.entries, KEYS / 2);
    }
}

/// A write of a key that is not read yet and whose record was refused: what it would have replaced is
/// still in the file.
#[test]
fn a_write_that_is_taken_back_leaves_what_the_file_has() {
    let (disks, image) = written();
    let gate = Gate::on(&disks);
    let (life, gate) = (Life::begin(&disks, &shape(Preload::All), START), gate);
    (0..KEYS).for_each(|n| put(&life, n, b"new"));
    life.table.abort_from(0, START);
    gate.open();
    block_on(|cx| life.reader.poll_whole(cx)).unwrap();
    assert_eq!(self::image(&life), image);
}

/// A checkpoint that was written now would be without what is not read yet.
#[test]
fn a_process_that_ends_before_all_is_read_leaves_file_and_log() {
    let (disks, mut image) = written();
    let gate = Gate::on(&disks);
    let (life, gate) = (Life::begin(&disks, &shape(Preload::All), START), gate);
    (0..KEYS).step_by(3).for_each(|n| put(&life, n, b"new"));
    life.acknowledge();
    for n in (0..KEYS).step_by(3) {
        image.insert(key(n), life.get(&key(n)).unwrap());
    }
    std::thread::scope(|scope| {
        scope.spawn(|| life.persistence.close().unwrap());
        // It waits for the block that is being read.
        gate.open();
    });
    let written = life.persistence.checkpoints();
    assert_eq!(written > 0, life.persistence.unread() == 0);
    let disks = life.end(disks, None, 0, Tear::Lose);
    assert_eq!(self::image(&Life::begin(&disks, &shape(Preload::All), START)), image);
}

#[test]
fn a_cache_that_is_cleared_before_it_is_read_is_empty() {
    let (disks, _) = written();
    let gate = Gate::on(&disks);
    let (life, gate) = (Life::begin(&disks, &shape(Preload::All), START), gate);
    life.table.clear(START).unwrap();
    assert_eq!(life.persistence.unread(), 0);
    put(&life, 1, b"new");
    life.acknowledge();
    gate.open();
    assert_eq!(image(&life).into_keys().collect::<Vec<_>>(), [key(1)]);
    life.persistence.checkpoint().unwrap();
}

/// A scan, and an exact count, in the first seconds after a start lacked what was not read yet.
#[test]
fn who_goes_through_all_can_wait_until_all_is_there() {
    for clears in [false, true] {
        let (disks, _) = written();
        let gate = Gate::on(&disks);
        let (life, gate) = (Life::begin(&disks, &shape(Preload::All), START), gate);
        let polled = life.reader.poll_whole(&mut Context::from_waker(Waker::noop()));
        assert_eq!((polled, life.reader.is_whole()), (Poll::Pending, false));
        assert!(scanned(&life) < KEYS);
        let entries = std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                block_on(|cx| life.reader.poll_whole(cx)).unwrap();
                scanned(&life)
            });
            if clears {
                life.table.clear(START).unwrap();
            } else {
                gate.open();
            }
            waits.join().unwrap()
        });
        assert_eq!((entries, life.reader.is_whole()), (if clears { 0 } else { KEYS }, true));
    }
}

/// Turns a bit of the only block.
fn flip(disks: &Disks) -> String {
    let names = disks.log.list().unwrap();
    let name = names.into_iter().find(|name| name.ends_with(".snapshot")).unwrap();
    assert!(disks.log.flip(&name, 3_000 * 8));
    name
}

#[test]
fn what_cannot_be_read_for_a_while_is_named_and_read_later() {
    let (disks, image) = written();
    let gate = Gate::on(&disks);
    let (life, gate) = (Life::begin(&disks, &shape(Preload::All), START), gate);
    let name = flip(&disks);
    gate.open();
    let flight = life.reader.begin(&key(1)).unwrap();
    assert_eq!(block_on(|cx| flight.poll(cx)), Err(LoadError::Damaged));
    let trouble = life.persistence.checkpoint_trouble().unwrap();
    assert!(trouble.contains(&name) && trouble.contains("checksum"), "{trouble}");
    assert_eq!(life.persistence.unread(), 4);
    assert_eq!(block_on(|cx| life.reader.poll_whole(cx)), Err(LoadError::Failed));
    flip(&disks);
    life.persistence.checkpoint().unwrap();
    assert_eq!(life.persistence.checkpoint_trouble(), None);
    assert_eq!(block_on(|cx| life.reader.poll_whole(cx)), Ok(()));
    assert_eq!(self::image(&life), image);
}

/// What is damaged is found before anybody is served.
#[test]
fn a_damaged_file_is_refused_at_once() {
    let (disks, _) = written();
    flip(&disks);
    let begin = || drop(Life::begin(&disks, &shape(Preload::All), START));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(begin)).is_err());
}
