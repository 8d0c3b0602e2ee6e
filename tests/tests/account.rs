//! Bytes accounted = bytes held. The allocator of this test counts what is really allocated, in
//! the size classes that the table is told of, and the account must come to the same sum. The
//! codec of the native protocol is held to its promise by the same allocator.
#![expect(unsafe_code, reason = "a global allocator that counts")]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

#[path = "account/codec.rs"]
mod codec;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::rc::Rc;

use isogrid_engine::env::split_mix;
use isogrid_engine::{Allocator, NewEntry, PolicyKind, Table, TableConfig};
use isogrid_tests::seeds;

/// The size classes that both sides count in.
const CLASSES: Allocator = Allocator::Jemalloc;
/// What the account leaves out, in bytes for each segment; it does not grow with the table: the
/// boxes of policies and wheel, the lists that a writer works with, the collector's bags.
const LEFT_OUT_SEGMENT_BYTES: i64 = 4 << 10;
const SEGMENTS: u32 = 4;

/// Enough for the collector to free what it freed last with.
const COLLECTOR_ROUNDS: usize = 64;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Bytes allocated and not freed by this thread: tests run beside each other.
    static HELD: Cell<i64> = const { Cell::new(0) };
    /// Calls of the allocator for memory.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count(sign: i64, len: usize) {
    let bytes = i64::try_from(CLASSES.usable(len)).unwrap_or(0);
    // At the end of a thread there is nobody left to tell.
    let _ = HELD.try_with(|held| held.set(held.get() + sign * bytes));
}

fn held() -> i64 {
    HELD.with(Cell::get)
}

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size());
        let _ = ALLOCATIONS.try_with(|made| made.set(made.get() + 1));
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-1, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// A table under a random load, and what was held before it.
struct Run {
    table: Rc<Table>,
    before: i64,
    now: u64,
    rng: u64,
    name: String,
}

impl Run {
    fn new(eviction: PolicyKind, max_bytes: u64, seed: u64) -> Run {
        let before = held();
        let config = TableConfig {
            eviction,
            max_bytes,
            segments: Some(SEGMENTS),
            allocator: CLASSES,
            seed,
            ..TableConfig::default()
        };
        let table = Rc::new(Table::new(&config, 0).unwrap());
        Run { table, before, now: 0, rng: seed, name: String::new() }
    }

    fn draw(&mut self, below: u64) -> u64 {
        split_mix(&mut self.rng) % below
    }

    /// So many writes over so many keys: mixed sizes, a few large and shared, some with a ttl.
    fn put(&mut self, writes: u64, keys: u64) {
        for _ in 0..writes {
            let key = self.draw(keys).to_le_bytes();
            let len = match self.draw(200) {
                0 => 16_384 + self.draw(50_000),
                1..20 => self.draw(4_000),
                _ => self.draw(200),
            };
            let value = vec![7; usize::try_from(len).unwrap()];
            let deadline = (self.draw(4) == 0).then(|| self.now + self.draw(10_000));
            let max_idle = (self.draw(8) == 0).then_some(5_000);
            let new = NewEntry { value: [&value, b""], deadline, max_idle, ..NewEntry::default() };
            let pinned = self.table.pin();
            let mut entry = pinned.entry(self.table.hash(&key), &key, self.now).unwrap();
            let _refused = entry.put(&new);
        }
    }

    fn remove(&mut self, keys: impl Iterator<Item = u64>) {
        for key in keys.map(u64::to_le_bytes) {
            let pinned = self.table.pin();
            pinned.entry(self.table.hash(&key), &key, self.now).unwrap().remove().unwrap();
        }
    }

    fn read(&mut self, reads: u64, keys: u64) {
        for _ in 0..reads {
            let key = self.draw(keys).to_le_bytes();
            let pinned = self.table.pin();
            let _hit = pinned.get(self.table.hash(&key), &key, self.now).is_some();
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
    }

    /// Maintains until nothing is left to do and nothing is retired, the collector's own nodes
    /// included.
    fn settle(&mut self) {
        let idle = (0..10_000).any(|_| {
            let more = self.table.maintain(self.now, 1_000);
            !more && self.table.usage().retired_bytes == 0
        });
        assert!(idle, "{}: garbage without end {:?}", self.name, self.table.usage());
        (0..COLLECTOR_ROUNDS).for_each(|_| crossbeam_epoch::pin().flush());
    }

    fn check(&mut self, moment: &str) {
        self.settle();
        let held = held() - self.before;
        let accounted = i64::try_from(self.table.usage().bytes).unwrap();
        let off = held - accounted;
        println!("{} {moment}: {held} held, {accounted} accounted, {off}", self.name);
        let may = LEFT_OUT_SEGMENT_BYTES * i64::from(SEGMENTS);
        assert!(off.abs() <= may, "{} {moment}: {held} held, {accounted} accounted", self.name);
    }

    /// Versions hidden for a snapshot behind newer ones, deletions, and writes taken back.
    fn hide(&mut self) {
        let table = Rc::clone(&self.table);
        let snapshot = table.snapshot(self.now);
        self.put(3_000, 2_000);
        self.remove(0..300);
        self.take_back(0..600);
        self.check("hidden");
        drop(snapshot);
        self.check("uncovered");
    }

    fn take_back(&mut self, keys: impl Iterator<Item = u64>) {
        for key in keys.map(u64::to_le_bytes) {
            let pinned = self.table.pin();
            let mut entry = pinned.entry(self.table.hash(&key), &key, self.now).unwrap();
            let new = NewEntry { value: [&key, &[8; 900]], ..NewEntry::default() };
            let prepared = entry.prepare_put(&new).ok();
            drop(entry);
            self.table.abort(prepared.as_slice(), self.now);
        }
    }

    /// Growth, overwrites, expiry, shrinking, clear: the account is exact at each stop.
    fn play(&mut self) {
        self.check("empty");
        self.put(20_000, 1 << 40);
        self.check("grown");
        self.put(20_000, 2_000);
        self.read(5_000, 2_000);
        self.check("overwritten");
        self.hide();
        self.pass(6_000);
        self.check("partly expired");
        self.remove(0..1_500);
        self.check("removed");
        self.put(10_000, 50_000);
        self.pass(20_000);
        self.check("expired");
        self.table.clear(self.now).unwrap();
        self.check("cleared");
        self.put(3_000, 3_000);
        self.check("filled again");
    }
}

#[test]
fn accounted_is_held() {
    let seed = seeds::number("ISOGRID_SEED", 1);
    println!("replay: {}", seeds::replay("account", seed));
    // The collector's own lists come into being with their first use.
    Run::new(PolicyKind::Fifo, 1 << 20, seed).put(5_000, 5_000);
    for eviction in PolicyKind::ALL {
        for max_bytes in [1 << 30, 2 << 20] {
            let mut run = Run::new(eviction, max_bytes, seed);
            run.name = format!("{eviction} {max_bytes}");
            run.play();
        }
    }
}
