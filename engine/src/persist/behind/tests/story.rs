//! One promise each.

use super::*;
use crate::Unrecorded;
use crate::load::Source as _;
use crate::store::{CacheId, Damage};
use crate::table::{Isolation, Marks};

fn begin() -> (Arc<Faulty>, Life) {
    let store = faulty();
    let life = Life::begin(&store, &Arc::new(ManualClock::at(NOW)));
    (store, life)
}

/// Restarts as after a clean end: what is committed and was made durable.
fn after_crash(store: &Arc<Faulty>, life: &Life) -> Life {
    store.crash(crate::store::fault::Tear::Lose).unwrap();
    store.inner().crash(0);
    store.reopen().unwrap();
    Life::begin(store, &life.clock)
}

#[test]
fn everything_that_an_entry_is_comes_back() {
    let (store, mut life) = begin();
    let full = NewEntry {
        value: [b"one, ", b"two"],
        flags: 7,
        deadline: Some(NOW + 60_000),
        max_idle: Some(50_000),
        version: None,
        marks: Marks::STALE.with(Marks::BINARY_KEY),
    };
    let version = life.put_new("full", &full).unwrap();
    life.put_new("chosen", &NewEntry { version: Some(77), ..full }).unwrap();
    life.put("bare", "").unwrap();
    life.put("gone", "x").unwrap();
    assert_eq!(life.remove("gone"), Ok(true));
    life.pass(DELAY);
    let image = life.image();
    let again = after_crash(&store, &life);
    assert_eq!(again.image(), image);
    assert_eq!((image["full"].3, image["chosen"].3, image.len()), (version, 77, 3));
    let pinned = again.table.pin();
    let entry = pinned.peek(again.table.hash(b"full"), b"full", NOW).unwrap();
    assert_eq!(entry.marks(), full.marks);
    assert!(again.put("next", "").unwrap() > version, "no number is given twice");
}

#[test]
fn a_thousand_writes_of_a_key_are_one_in_the_store() {
    let (store, mut life) = begin();
    life.put("other", "x").unwrap();
    let calls = store.calls();
    for n in 0..1000 {
        life.put("key", &n.to_string()).unwrap();
    }
    life.pass(DELAY);
    let lag = life.lag();
    assert_eq!((lag.coalesced, lag.written, lag.batches, lag.entries), (999, 2, 1, 0));
    assert!(store.calls() - calls <= 3, "a commit and a checkpoint: {}", store.calls() - calls);
    assert_eq!(found(&store, &life.clock)["key"].4, b"999");
}

#[test]
fn a_change_is_durable_when_it_is_as_old_as_the_delay() {
    let (store, mut life) = begin();
    life.put("first", "x").unwrap();
    life.pass(DELAY - 400);
    life.put("second", "x").unwrap();
    life.pass(399);
    assert_eq!((life.lag().entries, life.lag().oldest_ms), (2, DELAY - 1));
    life.pass(1);
    assert_eq!(life.lag().entries, 0);
    assert_eq!(store.inner().unsynced(), 0, "the round ended with a checkpoint");
    life.put("third", "x").unwrap();
    assert_eq!(life.writer.step(life.now(), false), Some(life.now() + DELAY));
}

#[test]
fn many_changes_are_written_before_they_are_due() {
    let (_, mut life) = begin();
    let value = "v".repeat(10_000);
    for n in 0..60 {
        life.put(&format!("key{n}"), &value).unwrap();
    }
    life.pass(1);
    assert_eq!(life.lag().entries, 0, "half of what may wait is reason enough");
}

#[test]
fn what_waits_is_bounded() {
    let store = faulty();
    let mut life = Life::with(&store, &Arc::new(ManualClock::at(NOW)), 4, 10_000);
    let value = "v".repeat(700);
    store.fail_writes(Some(io_error()));
    let taken = (0..100).take_while(|n| life.put(&format!("key{n}"), &value).is_ok()).count();
    assert_eq!(taken, 11, "907 bytes each");
    let busy = Err(crate::Error::Unrecorded(Unrecorded::Busy));
    assert_eq!(life.put("more", &value), busy);
    assert_eq!(life.remove("absent"), Ok(false));
    assert!(life.lag().bytes <= 10_000 && life.lag().refused == 2, "{:?}", life.lag());
    assert!(!life.image().contains_key("more"));
    // What waits may change, and shrink.
    assert!(life.put("key3", &value).is_ok() && life.remove("key4").is_ok());
    life.pass(DELAY);
    store.fail_writes(Some(full()));
    life.pass(10_000);
    assert!(life.writer.status().trouble().unwrap().contains("no space left"));
    let out = Err(crate::Error::Unrecorded(Unrecorded::OutOfSpace));
    assert_eq!((0..9).map(|n| life.put(&format!("more{n}"), &value)).next_back(), Some(out));
    store.fail_writes(None);
    life.pass(2_000);
    assert_eq!((life.lag().entries, life.writer.status().trouble()), (0, None));
    assert!(life.put("more", &value).is_ok());
}

#[test]
fn delay_and_bound_change_while_it_is_used() {
    let (_store, mut life) = begin();
    life.feed.set_limits(10 * DELAY, 1_000);
    life.put("key", "1").unwrap();
    life.pass(9 * DELAY);
    assert_eq!(life.lag().entries, 1);
    let more = "x".repeat(900);
    assert!(life.put("more", &more).is_err());
    life.feed.set_limits(DELAY, 2_000);
    life.put("more", &more).unwrap();
    life.pass(1);
    assert_eq!(life.lag().entries, 0, "the first is older than that, and both go");
}

#[test]
fn a_change_larger_than_what_may_wait_is_taken_alone() {
    let store = faulty();
    let life = Life::with(&store, &Arc::new(ManualClock::at(NOW)), 4, 1_000);
    let value = "v".repeat(5_000);
    assert!(life.put("large", &value).is_ok());
    assert!(life.put("small", "x").is_err());
}

#[test]
fn a_key_that_fails_keeps_nobody_waiting() {
    let damage = Damage::Entry { cache: 1, key: b"bad".to_vec(), reason: "on purpose" };
    for error in [StoreError::Damaged(damage), io_error()] {
        let (store, mut life) = begin();
        store.fail_key(b"bad", Some(error.clone()));
        life.put("bad", "x").unwrap();
        for n in 0..200 {
            life.put(&format!("good{n}"), "x").unwrap();
        }
        // An error that may be the store's costs a reopen for each halving.
        life.pass(DELAY + 30_000);
        assert_eq!((life.lag().entries, life.lag().failing), (1, 1), "{error}");
        let image = found(&store, &life.clock);
        assert_eq!((image.len(), image.contains_key("bad")), (200, false), "{error}");
        life.put("late", "x").unwrap();
        life.pass(DELAY + 1_000);
        assert_eq!(life.lag().entries, 1, "{error}: others pass while it fails");
        store.fail_key(b"bad", None);
        life.pass(31_000);
        assert_eq!(life.lag().entries, 0, "{error}: tried again until it is taken");
        assert!(life.lag().retries > 2 && found(&store, &life.clock).contains_key("bad"));
    }
}

#[test]
fn a_store_that_fails_gets_everything_again() {
    for error in [io_error(), full()] {
        let (store, mut life) = begin();
        life.put("old", "1").unwrap();
        life.pass(DELAY);
        life.put("old", "2").unwrap();
        assert_eq!(life.remove("absent"), Ok(false));
        life.put("new", "1").unwrap();
        store.fail_writes(Some(error));
        life.pass(20_000);
        life.put("new", "2").unwrap();
        assert_eq!(life.lag().entries, 2, "nothing is to be said of what was never there");
        assert!(life.lag().oldest_ms >= 20_000, "{:?}", life.lag());
        store.fail_writes(None);
        life.pass(2_000);
        assert_eq!(life.lag().entries, 0, "back without a restart");
        assert_eq!(found(&store, &life.clock), life.image());
    }
}

/// A store may take a batch and lose it with the checkpoint that fails.
#[test]
fn what_no_checkpoint_made_durable_is_written_again() {
    let (store, mut life) = begin();
    life.put("key", "1").unwrap();
    life.clock.advance(DELAY);
    // A commit; the next call is the checkpoint.
    store.fail(store.calls() + 1, io_error());
    life.writer.step(life.now(), false);
    assert!(life.writer.status().trouble().is_some());
    assert_eq!(life.lag().entries, 1);
    store.crash(crate::store::fault::Tear::Lose).unwrap();
    store.inner().crash(0);
    life.pass(2_000);
    assert_eq!(life.lag().entries, 0);
    assert_eq!(found(&store, &life.clock), life.image());
}

#[test]
fn a_cleared_cache_gets_a_new_number_and_the_old_entries_go() {
    let (store, mut life) = begin();
    for n in 0..1200 {
        life.put(&format!("key{n}"), "x").unwrap();
    }
    life.pass(DELAY);
    life.put("before", "x").unwrap();
    life.table.clear(life.now()).unwrap();
    life.put("after", "x").unwrap();
    assert_eq!(life.lag().entries, 2, "the clear and what came after it");
    life.pass(DELAY + 10);
    assert_eq!(found(&store, &life.clock).into_keys().collect::<Vec<_>>(), ["after"]);
    let page = |id| store.scan(&Scan::all(CacheId(id))).unwrap().entries.len();
    assert_eq!((page(1), page(2)), (0, 1), "swept, and the next number");
    life.table.clear(life.now()).unwrap();
    // The checkpoint of the round that gives it its next number.
    store.fail(store.calls() + 1, io_error());
    life.pass(10 * DELAY);
    assert_eq!((found(&store, &life.clock).len(), page(2)), (0, 0));
    life.put("third", "x").unwrap();
    life.pass(DELAY);
    assert_eq!(
        (page(2), page(3)),
        (0, 0),
        "a number that a failed round may have used is not used again"
    );
    assert_eq!(found(&store, &life.clock).len(), 1);
}

#[test]
fn expired_entries_are_not_written_and_deleted_where_they_were() {
    let (store, mut life) = begin();
    let soon = |ms| NewEntry { deadline: Some(NOW + ms), ..NewEntry::default() };
    life.put_new("short", &soon(500)).unwrap();
    life.put_new("long", &soon(5_000)).unwrap();
    life.put_new("longer", &soon(50_000)).unwrap();
    life.pass(DELAY);
    let keys = |store: &Arc<Faulty>| {
        let entries = store.scan(&Scan::all(CacheId(1))).unwrap().entries;
        entries.into_iter().map(|entry| entry.unwrap().0).collect::<Vec<_>>()
    };
    assert_eq!(keys(&store), [&b"long"[..], b"longer"], "too late for the short one");
    life.pass(5_000);
    while life.table.maintain(life.now(), 100) {}
    life.pass(DELAY);
    assert_eq!(keys(&store), [b"longer"]);
    life.clock.advance(50_000);
    let mut again = Life::begin(&store, &life.clock);
    assert_eq!((again.image().len(), again.recovered.expired), (0, 1));
    again.pass(DELAY);
    assert!(keys(&store).is_empty(), "a restart deletes what expired meanwhile");
}

/// An entry that was evicted is in the store. Who deletes its key must not find it again.
#[test]
fn a_deleted_key_does_not_come_back_though_it_was_evicted() {
    let (store, mut life) = begin();
    life.put("key", "x").unwrap();
    life.pass(DELAY);
    life.table.set_max_bytes(1);
    life.put_new("key2", &NewEntry::default()).ok();
    while life.table.maintain(life.now(), 100) {}
    assert!(life.image().is_empty());
    assert_eq!(found(&store, &life.clock).len(), 1, "evicted, and kept");
    assert_eq!(life.remove("key"), Err(crate::Error::Away), "it is to be read first");
    life.table.set_max_bytes(1 << 20);
    life.feed.load(b"key").unwrap();
    assert_eq!(life.remove("key"), Ok(true));
    life.pass(DELAY);
    assert!(!found(&store, &life.clock).contains_key("key"));
}

#[test]
fn a_transaction_is_one_batch() {
    let (store, mut life) = begin();
    let value = "v".repeat(100_000);
    let new = NewEntry { value: [value.as_bytes(), b""], ..NewEntry::default() };
    life.put("k0", "old").unwrap();
    let mut all = life.table.transaction(Isolation::Snapshot, life.now());
    (0..5).for_each(|n| all.put(format!("k{n}").as_bytes(), &new).unwrap());
    all.commit(life.now()).unwrap();
    store.fail_key(
        b"k4",
        Some(StoreError::Damaged(Damage::Entry {
            cache: 1,
            key: Vec::new(),
            reason: "on purpose",
        })),
    );
    life.put("alone", "x").unwrap();
    life.pass(DELAY + 1_000);
    assert_eq!(found(&store, &life.clock).into_keys().collect::<Vec<_>>(), ["alone"]);
    assert_eq!(life.lag().failing, 5);
    store.fail_key(b"k4", None);
    life.pass(31_000);
    assert_eq!(found(&store, &life.clock), life.image());
}

/// Without a bound a stuck disk and one hot key would use up more numbers than are reserved.
#[test]
fn numbers_are_given_out_only_as_far_as_the_store_knows() {
    let (store, mut life) = begin();
    store.fail_writes(Some(full()));
    let reserved = life.feed.lock().ceiling;
    assert!(reserved >= RESERVE);
    life.table.raise_all(reserved - 1);
    assert!(life.put("hot", "1").is_ok());
    assert!(life.put("hot", "2").is_err());
    life.pass(DELAY);
    assert!(life.put("hot", "2").is_err());
    store.fail_writes(None);
    life.pass(2_000);
    let last = life.put("hot", "2").unwrap();
    // That one is lost; its number is not given again.
    let again = after_crash(&store, &life);
    assert!(again.put("hot", "3").unwrap() > last);
}

#[test]
fn a_store_that_lost_its_entries_gets_them_from_memory() {
    let store = Arc::new(Lossy { inner: MemoryStore::new(), lose: AtomicBool::new(false) });
    let mut life = Life::begin(&store, &Arc::new(ManualClock::at(NOW)));
    for n in 0..1200 {
        life.put(&format!("key{n}"), "x").unwrap();
    }
    life.pass(DELAY);
    store.lose.store(true, Ordering::Relaxed);
    life.put("key7", "y").unwrap();
    life.pass(DELAY + 2_000);
    assert_eq!(life.lag().entries, 0);
    assert_eq!(found(&store, &life.clock), life.image());
    assert_eq!(life.writer.status().take_alarms().len(), 1);
}

/// Fails once and is empty when it is opened again.
pub(super) struct Lossy {
    pub inner: MemoryStore,
    pub lose: AtomicBool,
}

impl Store for Lossy {
    fn commit(&self, batch: &crate::store::Batch) -> Result<(), StoreError> {
        if self.lose.load(Ordering::Relaxed) { Err(io_error()) } else { self.inner.commit(batch) }
    }

    fn reopen(&self) -> Result<Report, StoreError> {
        self.lose.store(false, Ordering::Relaxed);
        (0..3).try_for_each(|cache| self.inner.clear(CacheId(cache)))?;
        let quarantined = crate::store::Quarantined {
            path: "old".into(),
            reason: "on purpose".to_owned(),
            checkpoint: None,
        };
        Ok(Report { quarantined: Some(quarantined), ..self.inner.reopen()? })
    }

    fn get(&self, cache: CacheId, key: &[u8]) -> Result<Option<Stored>, StoreError> {
        self.inner.get(cache, key)
    }

    fn applied(&self) -> Result<Position, StoreError> {
        self.inner.applied()
    }

    fn reached(&self, cache: CacheId) -> Result<Vec<(u16, u64)>, StoreError> {
        self.inner.reached(cache)
    }

    fn scan(&self, scan: &Scan<'_>) -> Result<crate::store::Page, StoreError> {
        self.inner.scan(scan)
    }

    fn clear(&self, cache: CacheId) -> Result<(), StoreError> {
        self.inner.clear(cache)
    }

    fn checkpoint(&self) -> Result<Position, StoreError> {
        self.inner.checkpoint()
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.inner.size_on_disk()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}

#[test]
fn the_store_of_another_directory_is_refused() {
    let (store, life) = begin();
    let config = BehindConfig { store: store as _, report: Report::default(), storage_id: [4; 16] };
    let refused = Writer::open(config, &[], life.now()).err().map(|error| error.to_string());
    assert!(refused.unwrap().contains("written by another data directory"));
}

/// A backup of it was written with no more than a warning.
#[test]
fn a_store_that_may_have_lost_something_is_not_read_for_a_backup() {
    for suspect in [false, true] {
        let (store, _life) = begin();
        let report = Report { suspect, ..Report::default() };
        let config = BehindConfig { store: store as _, report, storage_id: [3; 16] };
        let refused = BehindAtRest::open(config).err().map(|error| error.to_string());
        assert_eq!(refused.is_some_and(|why| why.contains("older")), suspect);
    }
}

/// The thread, for real: everything is durable when it has ended, and what cannot be is named.
#[test]
fn closing_writes_everything_or_says_what_it_could_not() {
    for (bad, left) in [(false, 0), (true, 1)] {
        let (store, clock) = (faulty(), Arc::new(ManualClock::at(NOW)));
        let table = Arc::new(Table::new(&TableConfig::default(), NOW).unwrap());
        let config = BehindTable {
            name: "default".to_owned(),
            table: Arc::clone(&table),
            delay_ms: DELAY,
            bytes_max: 1 << 20,
            is_new: false,
        };
        let open = BehindConfig {
            store: Arc::clone(&store) as _,
            report: Report::default(),
            storage_id: [3; 16],
        };
        let (behind, _) = Behind::open(open, vec![config], Arc::clone(&clock) as _).unwrap();
        let size = StoreError::Size { key: 0, value: 0 };
        store.fail_key(b"key5", bad.then_some(size));
        for n in 0..100 {
            let key = format!("key{n}").into_bytes();
            let pinned = table.pin();
            let mut entry = pinned.entry(table.hash(&key), &key, NOW).unwrap();
            entry.put(&NewEntry::default()).unwrap();
        }
        assert_eq!(behind.waiting("default", b"key5").map(|to| to.is_some()), Some(true));
        let unwritten = behind.close(&mut |_| true);
        assert_eq!(unwritten.entries, left, "{unwritten:?}");
        let named: Vec<_> = unwritten.keys.iter().map(|(_, key)| key.clone()).collect();
        assert_eq!(named, vec![b"key5".to_vec(); usize::from(bad)]);
        store.reopen().unwrap();
        let expect = 100 - usize::try_from(left).unwrap();
        assert_eq!(found(&store, &clock).len(), expect);
    }
}

#[test]
fn closing_ends_when_it_is_told_to() {
    let (store, clock) = (faulty(), Arc::new(ManualClock::at(NOW)));
    let table = Arc::new(Table::new(&TableConfig::default(), NOW).unwrap());
    let config = BehindTable {
        name: "default".to_owned(),
        table: Arc::clone(&table),
        delay_ms: DELAY,
        bytes_max: 1 << 20,
        is_new: false,
    };
    let open = BehindConfig {
        store: Arc::clone(&store) as _,
        report: Report::default(),
        storage_id: [3; 16],
    };
    let (behind, _) = Behind::open(open, vec![config], clock).unwrap();
    store.fail_writes(Some(full()));
    table.pin().entry(table.hash(b"k"), b"k", NOW).unwrap().put(&NewEntry::default()).unwrap();
    let mut asked = 0;
    let unwritten = behind.close(&mut |left| {
        asked += 1;
        assert_eq!(left, 1);
        asked < 3
    });
    assert_eq!((unwritten.entries, asked), (1, 3));
    assert!(unwritten.reason.is_none_or(|why| why.contains("no space left")));
}
