//! Random lives of a table: changes, transactions, clears, expiry, failing stores, and at the end
//! a crash. Memory, the store on disk and the one that fails are all held to the same.

use super::*;
use crate::env::split_mix;
use crate::store::fault::Tear;
use crate::table::Isolation;

const KEYS: u64 = 16;

/// A store under test.
struct Bed<'a> {
    store: Arc<dyn Store>,
    /// Lets it fail, or not any more.
    fail: &'a dyn Fn(bool),
    /// What happens to it between two lives.
    end: &'a dyn Fn(&mut u64),
}

/// Everything that a table showed, with when.
struct History(Vec<(Timestamp, Image)>);

impl History {
    fn state_of(image: &Image, key: &str) -> Option<u64> {
        image.get(key).map(|shown| shown.3)
    }

    /// The last moment at which a key was as `found` has it, if it ever was.
    fn until(&self, key: &str, found: &Image) -> Option<Timestamp> {
        let is = |image: &Image| image.get(key) == found.get(key);
        let at = self.0.iter().rposition(|(_, image)| is(image))?;
        Some(self.0.get(at + 1).map_or(Timestamp::MAX, |(next, _)| *next))
    }
}

fn change(life: &Life, rng: &mut u64) {
    let key = format!("key{}", split_mix(rng) % KEYS);
    let value = "v".repeat(usize::try_from(split_mix(rng) % 6000).unwrap());
    let part = |rng: &mut u64| split_mix(rng).is_multiple_of(4);
    let new = NewEntry {
        value: [value.as_bytes(), b"!"],
        flags: if part(rng) { 7 } else { 0 },
        deadline: part(rng).then_some(life.now() + 30_000),
        max_idle: part(rng).then_some(600_000),
        ..NewEntry::default()
    };
    match split_mix(rng) % 24 {
        0 => life.table.clear(life.now()).unwrap(),
        1..=3 => {
            let mut all = life.table.transaction(Isolation::Snapshot, life.now());
            // These four keys are changed together only, so they must always be equal.
            (0..4).for_each(|n| all.put(format!("pair{n}").as_bytes(), &new).unwrap());
            drop(all.commit(life.now()));
        }
        4..=6 => drop(life.remove(&key)),
        _ => drop(life.put_new(&key, &new)),
    }
}

/// Everything in a crashed store was in the table at some moment, nothing of a key is older than
/// it may be, and what was changed together is there together.
fn check(history: &History, image: &Image, floor: Timestamp, replay: &str) {
    for key in (0..KEYS).map(|n| format!("key{n}")).chain((0..4).map(|n| format!("pair{n}"))) {
        let until = history.until(&key, image);
        let shown = History::state_of(image, &key);
        assert!(until.is_some(), "{key} was never at {shown:?}; {replay}");
        assert!(until >= Some(floor), "{key} is as it was until {until:?}, not {floor}; {replay}");
    }
    let pair = |n: usize| image.get(&format!("pair{n}")).map(|(f, d, i, _, v)| (f, d, i, v));
    assert!((1..4).all(|n| pair(n) == pair(0)), "half of a transaction; {replay}");
}

fn lives(bed: &Bed<'_>, seed: u64) {
    let Bed { store, fail, end } = bed;
    let (mut rng, clock) = (seed, Arc::new(ManualClock::at(NOW)));
    let replay = format!("ISOGRID_SEED={seed} cargo test --lib lives");
    let mut highest = 0;
    let mut image = Image::new();
    for _ in 0..3 {
        let segments = 1 << (split_mix(&mut rng) % 4);
        let mut life = Life::on(Arc::clone(store), &clock, segments, 1 << 20);
        assert_eq!(life.image(), image, "{replay}");
        let mut history = History(vec![(clock.now(), image)]);
        // When the store is known to have had everything.
        let mut floor = clock.now();
        for _ in 0..split_mix(&mut rng) % 80 {
            change(&life, &mut rng);
            history.0.push((clock.now(), life.image()));
            match split_mix(&mut rng) % 8 {
                0 => fail(true),
                1 => fail(false),
                2..=4 => life.pass(split_mix(&mut rng) % 900),
                _ => {}
            }
            if life.writer.status().trouble().is_none() && life.lag().failing == 0 {
                // Nothing is behind by more than the delay.
                floor = floor.max(clock.now().saturating_sub(DELAY));
                assert!(life.lag().oldest_ms <= DELAY, "{:?}; {replay}", life.lag());
            }
        }
        fail(false);
        // As it is now: what had a deadline may be gone since the last change.
        history.0.push((clock.now(), life.image()));
        let seen = history.0.iter().flat_map(|(_, image)| image.values()).map(|shown| shown.3);
        highest = seen.max().unwrap_or(0).max(highest);
        drop(life);
        end(&mut rng);
        let after = Life::on(Arc::clone(store), &clock, 2, 1 << 20);
        image = after.image();
        check(&history, &image, floor, &replay);
        let next = after.put("next", "").unwrap();
        assert!(next > highest, "version {next} again after {highest}; {replay}");
        highest = next;
    }
}

pub(super) fn seeds(count: u64) -> std::ops::Range<u64> {
    let given = std::env::var("ISOGRID_SEED").ok().and_then(|seed| seed.parse().ok());
    let cases = std::env::var("ISOGRID_PERSIST_LIVES").ok().and_then(|n| n.parse().ok());
    given.map_or(0..cases.unwrap_or(count), |seed: u64| seed..seed + 1)
}

#[test]
fn a_crash_leaves_what_was_and_is_late_by_the_delay_at_most() {
    for seed in seeds(60) {
        let store = Arc::new(MemoryStore::new());
        let end = |rng: &mut u64| {
            store.crash(usize::try_from(split_mix(rng) % 3).unwrap());
            store.reopen().unwrap();
        };
        let bed = Bed { store: Arc::clone(&store) as _, fail: &|_| (), end: &end };
        lives(&bed, seed);
    }
}

#[test]
fn a_failing_store_that_crashes_too() {
    for seed in seeds(60) {
        let store = faulty();
        let fail = |fails: bool| {
            let error = if store.calls().is_multiple_of(2) { io_error() } else { full() };
            store.fail_writes(fails.then_some(error));
        };
        let end = |rng: &mut u64| {
            store.crash(if split_mix(rng) & 1 == 0 { Tear::Lose } else { Tear::Keep }).unwrap();
            store.inner().crash(0);
            store.reopen().unwrap();
        };
        lives(&Bed { store: Arc::clone(&store) as _, fail: &fail, end: &end }, seed);
    }
}

#[test]
fn the_store_on_disk() {
    for seed in seeds(2) {
        let name = format!("behind-{}-{seed}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let (store, _) = crate::store::open(&path).unwrap();
        let end = |_: &mut u64| drop(store.reopen().unwrap());
        lives(&Bed { store: Arc::clone(&store), fail: &|_| (), end: &end }, seed);
        drop(store);
        std::fs::remove_dir_all(&path).unwrap();
    }
}
