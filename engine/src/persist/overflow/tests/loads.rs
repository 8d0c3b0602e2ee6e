//! One load for all who wait; what is in memory is served while the store is slow; what is damaged
//! or cannot be read is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use super::bed::{Disks, Life, START, Shape};
use crate::NewEntry;
use crate::disk::Access;
use crate::load::LoadError;
use crate::persist::{PersistMode, Preload};
use crate::store::fault::{Call, Tear};
use crate::wal::block_on;

fn shape(mode: PersistMode, preload: Preload) -> Shape {
    Shape { mode, preload, segments: 2, room: 60_000, seed: 5 }
}

fn key(n: usize) -> Vec<u8> {
    format!("key-{n}").into_bytes()
}

fn fill(life: &Life, count: usize) {
    for n in 0..count {
        let value = vec![b'v'; 1_000];
        let new = NewEntry { value: [&value, b""], ..NewEntry::default() };
        life.on(&key(n), true, |entry| entry.put(&new));
    }
    life.acknowledge();
}

/// A table with everything in the store and nothing in memory.
fn emptied(disks: Disks, mode: PersistMode) -> (Disks, Life) {
    let life = Life::begin(&disks, &shape(mode, Preload::All), START);
    fill(&life, 200);
    life.persistence.close().unwrap();
    let disks = life.end(disks, None, usize::MAX, Tear::Keep);
    let life = Life::begin(&disks, &shape(mode, Preload::None), START);
    life.persistence.checkpoint().unwrap();
    (disks, life)
}

fn emptied_through(gate: &Arc<Gate>) -> (Disks, Life) {
    let gate = Arc::clone(gate);
    let disks = Disks::with_hook(Box::new(move |_, call| gate.call(call)));
    emptied(disks, PersistMode::Async)
}

fn is_in_memory(life: &Life, key: &[u8]) -> bool {
    life.table.pin().peek(life.table.hash(key), key, life.now()).is_some()
}

/// Holds the store's reads back while it is shut.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
    gets: AtomicUsize,
}

impl Gate {
    fn call(&self, call: Call) {
        if call == Call::Get {
            self.gets.fetch_add(1, Ordering::SeqCst);
            self.wait();
        }
    }

    fn wait(&self) {
        let mut shut = self.shut.lock();
        while *shut {
            self.opened.wait(&mut shut);
        }
    }

    fn set(&self, shut: bool) {
        *self.shut.lock() = shut;
        self.opened.notify_all();
    }
}

/// Opens a gate when a test fails, ahead of who waits for those behind it.
struct Opens(Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[test]
fn hits_are_served_while_loads_wait_and_a_key_is_read_once() {
    let gate = Arc::new(Gate::default());
    let (_disks, life) = emptied_through(&gate);
    life.on(b"hit", true, |entry| entry.put(&NewEntry::default()));
    assert!(!is_in_memory(&life, &key(7)));
    gate.set(true);
    let before = gate.gets.load(Ordering::SeqCst);
    let flights: Vec<_> = (0..30).map(|_| life.reader.begin(&key(7)).unwrap()).collect();
    let hash = life.table.hash(b"hit");
    assert!((0..1_000).all(|_| life.table.pin().get(hash, b"hit", START).is_some()));
    let missing = life.table.hash(b"missing");
    assert!(!life.table.pin().is_away(missing, b"missing", START), "a miss asks no disk");
    gate.set(false);
    flights.iter().for_each(|flight| assert_eq!(block_on(|cx| flight.poll(cx)), Ok(())));
    assert!(is_in_memory(&life, &key(7)));
    assert_eq!(gate.gets.load(Ordering::SeqCst), before + 1);
}

#[test]
fn an_entry_that_changes_while_it_is_read_stays_changed() {
    let gate = Arc::new(Gate::default());
    let (_disks, life) = emptied_through(&gate);
    gate.set(true);
    let flight = life.reader.begin(&key(3)).unwrap();
    while gate.gets.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    // Overwritten without having been read, and removed again, while the old value is on its way.
    let put = NewEntry { value: [b"new", b""], ..NewEntry::default() };
    life.on(&key(3), true, |entry| entry.put(&put));
    life.on(&key(3), false, |entry| entry.remove());
    gate.set(false);
    assert_eq!(block_on(|cx| flight.poll(cx)), Ok(()));
    assert_eq!(life.get(&key(3)), None);
}

#[test]
fn what_is_damaged_is_refused_and_the_rest_is_read() {
    let (disks, life) = emptied(Disks::new(), PersistMode::Async);
    for n in 0..2_000 {
        disks.store.inner().damage(n, 77);
        if n % 3 == 0 {
            break;
        }
    }
    let (mut damaged, mut right) = (0, 0);
    for n in 0..200 {
        let flight = life.reader.begin(&key(n)).unwrap();
        match block_on(|cx| flight.poll(cx)) {
            Ok(()) => right += usize::from(life.get(&key(n)).is_some()),
            Err(error) => {
                assert_eq!(error, LoadError::Damaged);
                damaged += 1;
            }
        }
    }
    assert!(damaged <= 1 && right + damaged >= 199, "{damaged} damaged, {right} right");
}

#[test]
fn nothing_is_lost_when_nothing_can_be_stored() {
    let failing = Arc::new(AtomicBool::new(false));
    let disks = Disks::new();
    let life = Life::begin(&disks, &shape(PersistMode::Async, Preload::All), START);
    fill(&life, 80);
    life.persistence.checkpoint().unwrap();
    failing.store(true, Ordering::SeqCst);
    // From here on every call fails.
    for n in 0..10_000 {
        let error = crate::store::Error::OutOfSpace("store".into());
        disks.store.fail(disks.store.calls() + n, error);
    }
    let mut refused = 0;
    let mut kept = Vec::new();
    for n in 1_000..1_200 {
        let value = vec![b'w'; 1_000];
        let new = NewEntry { value: [&value, b""], ..NewEntry::default() };
        let pinned = life.table.pin();
        let put = pinned.entry(life.table.hash(&key(n)), &key(n), START).unwrap().put(&new);
        match put {
            Ok(_) => kept.push(n),
            Err(error) => {
                assert_eq!(error, crate::Error::Behind);
                refused += 1;
            }
        }
    }
    assert!(refused > 100 && kept.len() > 1, "{refused} refused, {} kept", kept.len());
    for n in kept {
        let hash = life.table.hash(&key(n));
        let pinned = life.table.pin();
        assert!(is_in_memory(&life, &key(n)) || pinned.is_away(hash, &key(n), START), "{n}");
    }
    let room = block_on(|cx| life.reader.poll_room(cx));
    assert_eq!(room, Err(LoadError::Failed));
}

#[test]
fn a_miss_is_a_miss_before_it_is_known_what_the_store_has() {
    let gate = Arc::new(Gate::default());
    let of_hook = gate.clone();
    let disks = Disks::with_hook(Box::new(move |_, call| {
        // The first scan reads the names of the caches. Finding out which keys there are takes long.
        if call == Call::Scan && of_hook.gets.fetch_add(1, Ordering::SeqCst) > 0 {
            of_hook.wait();
        }
    }));
    let life = Life::begin(&disks, &shape(PersistMode::Async, Preload::All), START);
    fill(&life, 200);
    life.persistence.close().unwrap();
    let disks = life.end(disks, None, usize::MAX, Tear::Keep);
    gate.gets.store(0, Ordering::SeqCst);
    gate.set(true);
    let life = Life::begin(&disks, &shape(PersistMode::Async, Preload::All), START);
    life.load(b"missing");
    let hash = life.table.hash(b"missing");
    assert!(!life.table.pin().is_away(hash, b"missing", START));
    assert_eq!(life.get(b"missing, too"), None);
    // No more than the queue has room for: nothing is written meanwhile.
    let away: Vec<_> = (0..200).filter(|n| !is_in_memory(&life, &key(*n))).take(2).collect();
    assert!(away.len() == 2 && away.iter().all(|n| life.get(&key(*n)).is_some()));
    gate.set(false);
}

/// Entries with an idle time that were read while it was found out which keys the store has were taken
/// for other ones than those in the store, as they had been read since: the store was told to delete
/// them. No log and no snapshot file had them, so the next crash took them.
#[test]
fn what_was_read_before_it_was_known_what_the_store_has_survives_a_crash() {
    let gate = Arc::new(Gate::default());
    let of_hook = gate.clone();
    let disks = Disks::with_hook(Box::new(move |_, call| {
        if call == Call::Scan && of_hook.gets.fetch_add(1, Ordering::SeqCst) > 0 {
            of_hook.wait();
        }
    }));
    let life = Life::begin(&disks, &shape(PersistMode::Sync, Preload::All), START);
    let plain = NewEntry { value: [b"value", b""], ..NewEntry::default() };
    let kinds = [
        plain,
        NewEntry { max_idle: Some(1 << 30), ..plain },
        NewEntry { version: Some(77), ..plain },
        NewEntry { version: Some(77), deadline: Some(START + 9_000), flags: 3, ..plain },
    ];
    for (n, new) in kinds.iter().enumerate() {
        life.on(&key(n), true, |entry| entry.put(new));
    }
    life.acknowledge();
    let shown: Vec<_> = (0..kinds.len()).map(|n| life.get(&key(n)).unwrap()).collect();
    life.persistence.close().unwrap();
    let disks = life.end(disks, None, usize::MAX, Tear::Keep);
    let life = Life::begin(&disks, &shape(PersistMode::Sync, Preload::None), START + 1);
    life.persistence.checkpoint().unwrap();
    let disks = life.end(disks, None, usize::MAX, Tear::Keep);
    gate.gets.store(0, Ordering::SeqCst);
    gate.set(true);
    let life = Life::begin(&disks, &shape(PersistMode::Sync, Preload::None), START + 2);
    for (n, shown) in shown.iter().enumerate() {
        assert!(!is_in_memory(&life, &key(n)));
        assert_eq!(life.get(&key(n)).as_ref(), Some(shown));
    }
    gate.set(false);
    life.persistence.reads.as_ref().unwrap().feeder.settle(life.now()).unwrap();
    let disks = life.end(disks, None, usize::MAX, Tear::Keep);
    let life = Life::begin(&disks, &shape(PersistMode::Sync, Preload::None), START + 3);
    for (n, shown) in shown.iter().enumerate() {
        assert_eq!(life.get(&key(n)).as_ref(), Some(shown), "{n}");
    }
}

/// A new deadline for an entry that was not durable yet made what it replaced void, which readers were
/// to see until then.
#[test]
fn what_is_not_durable_yet_hides_nothing_though_it_is_changed() {
    let (disks, life) = emptied(Disks::new(), PersistMode::Sync);
    let gate = Arc::new(Gate::default());
    let (of_watch, _opens) = (gate.clone(), Opens(gate.clone()));
    disks.log.watch(move |access| {
        if access == Access::SyncData {
            of_watch.wait();
        }
    });
    gate.set(true);
    let new = NewEntry { value: [b"new", b""], ..NewEntry::default() };
    life.on(&key(3), true, |entry| entry.put(&new));
    life.on(&key(3), false, |entry| {
        entry.rewrite(&NewEntry { deadline: Some(START + 9_000), ..new })
    });
    let hash = life.table.hash(&key(3));
    assert!(life.table.pin().get(hash, &key(3), START).is_none());
    assert!(life.table.pin().is_away(hash, &key(3), START));
    gate.set(false);
    life.acknowledge();
    let shown = life.get(&key(3)).unwrap();
    assert_eq!((&*shown.0, shown.2), (&b"new"[..], Some(START + 9_000)));
}
