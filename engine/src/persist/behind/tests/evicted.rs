//! A table that memory has no room for: whatever is evicted is read back, and nothing else is.

use super::*;
use crate::env::split_mix;
use crate::load::Source as _;
use crate::store::fault::Call;
use crate::table::Pinned;

const KEYS: usize = 120;
const MEMORY: u64 = 64 << 10;

/// What is done while the store is called.
type Work = Box<dyn FnOnce() + Send>;

/// What a key was: its value and deadline, or nothing.
pub(super) type Was = Option<(Vec<u8>, Option<Timestamp>)>;

/// What each key was, from the state on that the store surely has.
struct Model(Vec<Vec<Was>>);

fn key(n: usize) -> String {
    format!("key{n}")
}

fn shown(was: &Was, now: Timestamp) -> Option<Vec<u8>> {
    was.as_ref().filter(|was| was.1.is_none_or(|at| at > now)).map(|was| was.0.clone())
}

impl Model {
    fn now(&self, n: usize, now: Timestamp) -> Option<Vec<u8>> {
        self.0[n].last().and_then(|was| shown(was, now))
    }

    fn note(&mut self, n: usize, was: Was) {
        self.0[n].push(was);
    }

    /// The store has all of it.
    fn settle(&mut self) {
        self.0.iter_mut().for_each(|all| drop(all.drain(..all.len() - 1)));
    }
}

impl Life {
    pub(super) fn small(store: &Arc<Faulty>, clock: &Arc<ManualClock>, segments: u32) -> Life {
        let config = TableConfig { max_bytes: MEMORY, ..Self::table_config(segments) };
        Self::of(Arc::clone(store) as _, clock, &config, 1 << 20)
    }

    /// What a request does: as often as it is stopped, the entry is loaded.
    fn loaded<T>(&self, key: &str, mut work: impl FnMut(&Pinned<'_>) -> Option<T>) -> T {
        for _ in 0..100 {
            let pinned = self.table.pin();
            if let Some(done) = work(&pinned) {
                return done;
            }
            drop(pinned);
            self.feed.load(key.as_bytes()).unwrap();
        }
        panic!("{key} is never there");
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let hash = self.table.hash(key.as_bytes());
        self.loaded(key, |pinned| match pinned.get(hash, key.as_bytes(), self.now()) {
            Some(entry) => Some(Some(entry.value().to_vec())),
            None if pinned.is_away(hash, key.as_bytes(), self.now()) => None,
            None => Some(None),
        })
    }

    /// Changes a value by what it is; what it was.
    pub(super) fn change(&self, key: &str, to: impl Fn(Option<&[u8]>) -> Was) -> Option<Vec<u8>> {
        let hash = self.table.hash(key.as_bytes());
        self.loaded(key, |pinned| {
            let mut entry = pinned.entry(hash, key.as_bytes(), self.now()).unwrap();
            if entry.is_away() {
                return None;
            }
            let was = entry.get().map(|entry| entry.value().to_vec());
            match to(was.as_deref()) {
                Some((value, deadline)) => {
                    let value = [&value[..], b""];
                    entry.put(&NewEntry { value, deadline, ..NewEntry::default() }).unwrap();
                }
                None => drop(entry.remove().unwrap()),
            }
            Some(was)
        })
    }
}

fn step(life: &mut Life, model: &mut Model, rng: &mut u64, replay: &str) {
    let n = usize::try_from(split_mix(rng)).unwrap_or(0) % KEYS;
    let (key, now) = (key(n), life.now());
    let mut value = split_mix(rng).to_le_bytes().to_vec();
    value.resize(500 + usize::try_from(split_mix(rng) % 1_500).unwrap(), 7);
    let deadline = split_mix(rng).is_multiple_of(4).then(|| now + 1 + split_mix(rng) % 20_000);
    let was = model.now(n, now);
    match split_mix(rng) % 32 {
        0..8 => assert_eq!(life.get(&key), was, "{key}; {replay}"),
        8..20 => {
            let new = NewEntry { value: [&value, b""], deadline, ..NewEntry::default() };
            life.put_new(&key, &new).unwrap();
            model.note(n, Some((value, deadline)));
        }
        20..25 => {
            let append = |was: Option<&[u8]>| {
                let whole = [was.unwrap_or(b"new"), b"+"].concat();
                Some((whole, deadline))
            };
            assert_eq!(life.change(&key, append), was, "{key}; {replay}");
            model.note(n, append(was.as_deref()));
        }
        25..28 => {
            assert_eq!(life.change(&key, |_| None), was, "{key}; {replay}");
            model.note(n, None);
        }
        28 if split_mix(rng).is_multiple_of(16) => {
            life.table.clear(now).unwrap();
            (0..KEYS).for_each(|n| model.note(n, None));
        }
        _ => life.pass(split_mix(rng) % 1_500),
    }
    if life.lag().entries == 0 {
        model.settle();
    }
}

/// What was found of each key after a start is what it is from then on.
fn check(life: &Life, model: &mut Model, exact: bool, replay: &str) {
    let now = life.now();
    for (n, all) in model.0.iter_mut().enumerate() {
        let found = life.get(&key(n));
        let from = if exact { all.len() - 1 } else { 0 };
        let known = all[from..].iter().rposition(|was| shown(was, now) == found);
        let at = known.map(|at| at + from);
        let at = at.unwrap_or_else(|| panic!("key{n} is {found:?} of {all:?}; {replay}"));
        *all = vec![all[at].clone()];
    }
}

#[test]
fn what_is_evicted_is_found_in_any_life_and_what_is_gone_is_not() {
    let (mut loaded, mut away) = (0, 0);
    for seed in lives::seeds(30) {
        let replay = format!("ISOGRID_SEED={seed} cargo test --lib evicted");
        let (mut rng, store) = (seed, faulty());
        let clock = Arc::new(ManualClock::at(NOW));
        let mut model = Model(vec![vec![None]; KEYS]);
        let mut life = Life::small(&store, &clock, 2);
        for _ in 0..4 {
            for _ in 0..split_mix(&mut rng) % 600 {
                step(&mut life, &mut model, &mut rng, &replay);
            }
            (loaded, away) = (loaded + life.lag().loaded, away + life.lag().away);
            let kill = split_mix(&mut rng) & 1 == 0;
            if !kill {
                while !life.writer.is_drained(0) {
                    life.writer.step(life.now(), true);
                }
                life.writer.finish();
            }
            store.crash(crate::store::fault::Tear::Lose).unwrap();
            store.inner().crash(0);
            store.reopen().unwrap();
            clock.advance(split_mix(&mut rng) % 5_000);
            life = Life::small(&store, &clock, 1 << (split_mix(&mut rng) % 3));
            check(&life, &mut model, !kill, &replay);
        }
    }
    assert!(loaded > 1_000 && away > 1_000, "{loaded} were loaded, {away} away");
}

fn filled() -> (Arc<Faulty>, Life) {
    let store = faulty();
    let life = Life::small(&store, &Arc::new(ManualClock::at(NOW)), 1);
    (store, life)
}

/// Puts other entries until these have been evicted.
pub(super) fn evict(life: &mut Life, keys: &[&str]) {
    let in_memory = |life: &Life, key: &str| {
        let key = key.as_bytes();
        life.table.pin().peek(life.table.hash(key), key, life.now()).is_some()
    };
    for n in 0..10_000 {
        if !keys.iter().any(|key| in_memory(life, key)) {
            return;
        }
        life.put(&format!("fill{n}"), &"v".repeat(1_500)).unwrap();
        if n % 100 == 0 {
            life.writer.step(life.now() + DELAY, true);
        }
    }
    panic!("{keys:?} stay");
}

/// It must be read as often as it may rest; where it does not matter.
#[test]
fn an_evicted_entry_keeps_its_time() {
    let (store, mut life) = filled();
    let new = NewEntry { max_idle: Some(10_000), ..NewEntry::default() };
    life.put_new("idle", &new).unwrap();
    life.put_new("read", &new).unwrap();
    life.put_new("dead", &NewEntry { deadline: Some(NOW + 10_000), ..NewEntry::default() })
        .unwrap();
    life.pass(6_000);
    assert!(life.get("read").is_some());
    evict(&mut life, &["idle", "read", "dead"]);
    life.pass(4_500);
    let there = ["idle", "read", "dead"].map(|key| life.get(key).is_some());
    assert_eq!(there, [false, true, false], "10,500 and 4,500 ms after they were read last");
    life.pass(DELAY);
    let found = found(&store, &life.clock);
    assert!(!found.contains_key("idle") && !found.contains_key("dead"));
}

#[test]
fn a_key_that_is_not_away_asks_no_store_and_one_that_is_asks_once() {
    let (store, mut life) = filled();
    life.put("key0", "x").unwrap();
    evict(&mut life, &["key0"]);
    life.pass(DELAY * 3);
    let calls = store.calls();
    (0..100).for_each(|n| assert_eq!(life.get(&format!("never{n}")), None));
    assert_eq!(store.calls(), calls);
    let behind = crate::load::Loader::start(2).unwrap();
    let loads = behind.loads(Arc::clone(&life.feed) as _);
    let flights: Vec<_> = (0..50).map(|_| loads.begin(b"key0").unwrap()).collect();
    for flight in flights {
        while flight
            .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
            .is_pending()
        {
            std::thread::yield_now();
        }
    }
    assert_eq!((life.lag().loaded, life.get("key0")), (1, Some(b"x".to_vec())));
}

/// A put while the store is read: what was read is old by then.
#[test]
fn what_is_changed_while_it_is_read_does_not_come_back() {
    let hook: Arc<Mutex<Option<Work>>> = Arc::default();
    let of_store = Arc::clone(&hook);
    let run = move |_: u64, call: Call| {
        let work = of_store.lock().take_if(|_| call == Call::Get);
        work.into_iter().for_each(|work| work());
    };
    let store = Arc::new(FaultStore::new(MemoryStore::new()).with_hook(Box::new(run)));
    for (change, expect) in [("put", Some(b"new".to_vec())), ("remove", None), ("clear", None)] {
        let mut life = Life::small(&store, &Arc::new(ManualClock::at(NOW)), 1);
        life.table.clear(NOW).unwrap();
        life.put("key0", "old").unwrap();
        evict(&mut life, &["key0"]);
        life.pass(DELAY * 3);
        let (table, now) = (Arc::clone(&life.table), life.now());
        *hook.lock() = Some(Box::new(move || {
            let pinned = table.pin();
            let entry = || pinned.entry(table.hash(b"key0"), b"key0", now).unwrap();
            match change {
                "clear" => table.clear(now).unwrap(),
                _ => {
                    let new = NewEntry { value: [b"new", b""], ..NewEntry::default() };
                    entry().put(&new).unwrap();
                    if change == "remove" {
                        entry().remove().unwrap();
                    }
                }
            }
        }));
        assert_eq!(life.get("key0"), expect, "{change}");
        assert!(hook.lock().is_none(), "the store was read");
        life.pass(DELAY);
        assert_eq!(life.get("key0"), expect, "{change}");
    }
}

/// What is written after a clear must not go where the clear before it sent the cache.
#[test]
fn a_clear_while_a_clear_is_written_keeps_what_comes_after_it() {
    let hook: Arc<Mutex<Option<Work>>> = Arc::default();
    let of_store = Arc::clone(&hook);
    let run = move |_: u64, call: Call| {
        let work = of_store.lock().take_if(|_| call == Call::Commit);
        work.into_iter().for_each(|work| work());
    };
    let store = Arc::new(FaultStore::new(MemoryStore::new()).with_hook(Box::new(run)));
    let mut life = Life::small(&store, &Arc::new(ManualClock::at(NOW)), 1);
    life.put("key", "old").unwrap();
    life.pass(DELAY);
    life.table.clear(life.now()).unwrap();
    let (table, now) = (Arc::clone(&life.table), life.now());
    *hook.lock() = Some(Box::new(move || {
        table.clear(now).unwrap();
        let pinned = table.pin();
        let mut entry = pinned.entry(table.hash(b"key"), b"key", now).unwrap();
        entry.put(&NewEntry { value: [b"new", b""], ..NewEntry::default() }).unwrap();
    }));
    life.pass(DELAY * 3);
    assert!(hook.lock().is_none() && life.lag().entries == 0);
    assert_eq!(found(&store, &life.clock)["key"].4, b"new");
    let again = Life::small(&store, &life.clock, 1);
    assert_eq!(again.get("key"), Some(b"new".to_vec()));
}
