//! Random histories: whoever does to an empty map what it is told has what readers see, at every
//! moment, and is told of nothing before a reader sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::super::{Change, Committed, Isolation, Journal, Prepared, Snapshot, Unrecorded};
use super::*;
use crate::env::split_mix;
use crate::{Cursor, NewEntry, PolicyKind, Table, TableConfig, Timestamp};

const KEYS: u64 = 24;
const STEPS: usize = 120;

/// Does what it is told, and looks after each call whether readers see it.
struct Pupil {
    table: Weak<Table>,
    now: AtomicU64,
    state: Mutex<Learned>,
}

#[derive(Default)]
struct Learned {
    /// Key -> (version, deadline).
    entries: BTreeMap<Vec<u8>, (u64, Option<Timestamp>)>,
    seqs: BTreeMap<u32, u64>,
    /// The keys of each call.
    calls: Vec<BTreeSet<Vec<u8>>>,
    kinds: BTreeSet<EventKind>,
}

impl Observer for Pupil {
    fn tell(&self, events: &[Event<'_>]) {
        let table = self.table.upgrade().unwrap();
        let mut state = self.state.lock().unwrap();
        for event in events {
            let before = state.seqs.insert(event.segment, event.seq).unwrap_or(0);
            assert_eq!(event.seq, before + 1, "{event:?}: events are numbered one by one");
            state.kinds.insert(event.kind);
            state.learn(&table, event);
        }
        let keys: BTreeSet<_> = events.iter().map(|event| event.key().to_vec()).collect();
        let (pinned, now) = (table.pin(), self.now.load(Ordering::Relaxed));
        for key in &keys {
            let seen = pinned.peek(table.hash(key), key, now).map(|entry| entry.version());
            let told = state.entries.get(key).filter(|(_, at)| at.is_none_or(|at| at > now));
            assert_eq!(seen, told.map(|(version, _)| *version), "{events:?}: readers see it");
        }
        state.calls.push(keys);
    }
}

impl Learned {
    fn learn(&mut self, table: &Table, event: &Event<'_>) {
        let key = event.key().to_vec();
        let old = self.entries.get(&key).map(|(version, _)| *version);
        let previous = event.previous(true).and_then(|entry| entry.version);
        assert_eq!(old, previous, "{event:?}: what was there");
        match (event.kind, event.entry(true)) {
            (EventKind::Create | EventKind::Update, Some(entry)) => {
                assert_eq!(old.is_some(), event.kind == EventKind::Update, "{event:?}");
                self.entries.insert(key, (entry.version.unwrap(), entry.deadline));
            }
            (EventKind::Remove | EventKind::Expire | EventKind::Evict, None) => {
                self.entries.remove(&key).unwrap();
            }
            (EventKind::Clear, None) => {
                self.entries.retain(|key, _| table.hash(key).segment != event.segment);
            }
            (kind, entry) => panic!("{kind:?} with {entry:?}"),
        }
    }
}

/// Gives numbers and keeps nothing.
struct Numbers {
    last: AtomicU64,
    publishes: bool,
}

impl Journal for Numbers {
    fn record(&self, _: &Change<'_>) -> Result<u64, Unrecorded> {
        Ok(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn publishes(&self) -> bool {
        self.publishes
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Plain,
    Evicting,
    /// With a journal; whether it publishes.
    Journaled(bool),
}

struct World {
    table: Arc<Table>,
    pupil: Arc<Pupil>,
    journal: Arc<Numbers>,
    published: u64,
    rng: u64,
    now: Timestamp,
    prepared: Vec<Vec<Prepared>>,
    snapshots: Vec<Snapshot<'static>>,
}

impl World {
    fn new(kind: Kind, seed: u64) -> World {
        let max_bytes = if matches!(kind, Kind::Evicting) { 24 << 10 } else { 64 << 20 };
        let eviction = PolicyKind::Lru;
        let config =
            TableConfig { segments: Some(4), max_bytes, eviction, ..TableConfig::default() };
        let table = Arc::new(Table::new(&TableConfig { seed, ..config }, 0).unwrap());
        let publishes = matches!(kind, Kind::Journaled(true));
        let journal = Arc::new(Numbers { last: AtomicU64::new(0), publishes });
        if let Kind::Journaled(_) = kind {
            table.set_journal(Arc::clone(&journal) as Arc<dyn Journal>);
        }
        let (now, state) = (AtomicU64::new(1), Mutex::default());
        let pupil = Arc::new(Pupil { table: Arc::downgrade(&table), now, state });
        table.set_observer(Arc::clone(&pupil) as Arc<dyn Observer>);
        table.observe(true);
        let (prepared, snapshots) = (Vec::new(), Vec::new());
        World { table, pupil, journal, published: 0, rng: seed, now: 1, prepared, snapshots }
    }

    fn draw(&mut self, below: u64) -> u64 {
        split_mix(&mut self.rng) % below
    }

    fn size(&mut self, below: u64) -> usize {
        usize::try_from(self.draw(below)).unwrap()
    }

    fn key(&mut self) -> Vec<u8> {
        format!("k{}", self.draw(KEYS)).into_bytes()
    }

    fn step(&mut self) {
        let key = self.key();
        match self.draw(20) {
            0..=5 => self.put(&key, false),
            6 | 7 => self.remove(&key, false),
            8 => self.put(&key, true),
            9 => self.remove(&key, true),
            10 | 11 => self.settle_prepared(),
            12..=14 => self.transact(),
            15 | 16 => self.journal_moves(),
            17 => self.time_passes(),
            18 if self.draw(4) == 0 => self.table.clear(self.now).unwrap(),
            18 => drop((!self.snapshots.is_empty()).then(|| self.snapshots.remove(0))),
            _ => self.snapshots.push(self.table.snapshot_beside(self.now, || ()).0),
        }
    }

    fn new_entry(&mut self, value: &mut Vec<u8>) -> NewEntry<'static> {
        value.resize(self.size(700), 7);
        let deadline = (self.draw(3) == 0).then(|| self.now + 1 + self.draw(30));
        NewEntry { deadline, ..NewEntry::default() }
    }

    fn put(&mut self, key: &[u8], later: bool) {
        let mut value = Vec::new();
        let new = self.new_entry(&mut value);
        let new = NewEntry { value: [&value, b""], ..new };
        let (pinned, hash) = (self.table.pin(), self.table.hash(key));
        let mut entry = pinned.entry(hash, key, self.now).unwrap();
        if later {
            self.prepared.extend(entry.prepare_put(&new).ok().map(|write| vec![write]));
        } else {
            let _ = entry.put(&new);
        }
    }

    fn remove(&mut self, key: &[u8], later: bool) {
        let (pinned, hash) = (self.table.pin(), self.table.hash(key));
        let mut entry = pinned.entry(hash, key, self.now).unwrap();
        if later {
            self.prepared.extend(entry.prepare_remove().unwrap().map(|write| vec![write]));
        } else {
            entry.remove().unwrap();
        }
    }

    /// Publishes or takes back what was prepared, some of it together.
    fn settle_prepared(&mut self) {
        if self.prepared.is_empty() {
            return;
        }
        let many = 1 + self.size(self.prepared.len() as u64);
        let all: Vec<_> = self.prepared.drain(..many).flatten().collect();
        if self.draw(3) == 0 {
            self.table.abort(&all, self.now);
        } else {
            self.table.publish(&all, self.now);
        }
    }

    fn transact(&mut self) {
        let table = Arc::clone(&self.table);
        let mut transaction = table.transaction(Isolation::Snapshot, self.now);
        for _ in 0..1 + self.draw(5) {
            let key = self.key();
            let mut value = Vec::new();
            let new = self.new_entry(&mut value);
            let put = NewEntry { value: [&value, b""], ..new };
            match self.draw(3) {
                0 => transaction.remove(&key).unwrap(),
                _ => transaction.put(&key, &put).unwrap(),
            }
        }
        if let Ok(committed) = transaction.commit(self.now) {
            self.check_together(&committed);
        }
    }

    /// What a transaction put is told in one call, or not yet.
    fn check_together(&self, committed: &Committed) {
        let keys: BTreeSet<_> = committed.versions.iter().map(|(key, _)| key.clone()).collect();
        if !self.journal.publishes && !keys.is_empty() {
            let calls = &self.pupil.state.lock().unwrap().calls;
            assert!(calls.iter().any(|call| keys.is_subset(call)), "{keys:?} are told together");
        }
    }

    /// Some records are kept, or all that wait are lost.
    fn journal_moves(&mut self) {
        let last = self.journal.last.load(Ordering::Relaxed);
        let waiting = last - self.published;
        if !self.journal.publishes || waiting == 0 {
            return;
        }
        if self.draw(4) == 0 {
            self.table.abort_from(self.published + 1, self.now);
            self.published = last;
        } else {
            self.published += 1 + self.draw(waiting);
            self.pupil.state.lock().unwrap().calls.clear();
            self.table.publish_upto(self.published, self.now);
            let calls = self.pupil.state.lock().unwrap().calls.len();
            assert!(calls <= 1, "what is published together is told in one call, not {calls}");
        }
    }

    fn time_passes(&mut self) {
        self.now += self.draw(20);
        self.pupil.now.store(self.now, Ordering::Relaxed);
        self.table.maintain(self.now, 100);
    }

    fn check(&self) {
        let mut seen = BTreeMap::new();
        let visit = |entry: crate::Entry<'_>| {
            seen.insert(entry.key().to_vec(), (entry.version(), entry.deadline()));
        };
        assert_eq!(self.table.scan(Cursor::default(), usize::MAX, self.now, visit), None);
        let mut told = self.pupil.state.lock().unwrap().entries.clone();
        told.retain(|_, (_, deadline)| deadline.is_none_or(|at| at > self.now));
        assert_eq!(told, seen);
    }
}

fn run(kind: Kind, seeds: u64) -> BTreeSet<EventKind> {
    let one = std::env::var("ISOGRID_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let mut kinds = BTreeSet::new();
    for seed in one.map_or(0..seeds, |seed| seed..seed + 1) {
        let replay = std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(kind, seed);
            for _ in 0..STEPS {
                world.step();
                world.check();
            }
            kinds.append(&mut world.pupil.state.lock().unwrap().kinds);
        });
        if let Err(why) = std::panic::catch_unwind(replay) {
            let package = env!("CARGO_PKG_NAME");
            println!("replay: ISOGRID_SEED={seed} cargo test -p {package} observer");
            std::panic::resume_unwind(why);
        }
    }
    kinds
}

#[test]
fn what_is_told_is_what_readers_see() {
    let kinds = run(Kind::Plain, 300);
    assert_eq!(kinds.len(), 5, "{kinds:?}: everything but evictions");
}

#[test]
fn evictions_are_told() {
    assert_eq!(run(Kind::Evicting, 300).len(), 6);
}

#[test]
fn a_journal_changes_nothing() {
    run(Kind::Journaled(false), 100);
}

#[test]
fn what_waits_for_the_journal_is_told_when_it_is_published() {
    assert_eq!(run(Kind::Journaled(true), 300).len(), 5);
}

#[test]
fn writes_carry_their_origin() {
    struct Origins(Mutex<Vec<(EventKind, u64)>>);
    impl Observer for Origins {
        fn tell(&self, events: &[Event<'_>]) {
            self.0.lock().unwrap().extend(events.iter().map(|event| (event.kind, event.origin)));
        }
    }
    let table =
        Table::new(&TableConfig { segments: Some(1), ..TableConfig::default() }, 0).unwrap();
    let origins = Arc::new(Origins(Mutex::default()));
    table.set_observer(Arc::clone(&origins) as Arc<dyn Observer>);
    let (hash, new) = (table.hash(b"k"), NewEntry::default());
    let by = |origin: u64| table.pin().by(origin);
    by(1).entry(hash, b"k", 0).unwrap().put(&new).unwrap();
    table.observe(true);
    by(2).entry(hash, b"k", 0).unwrap().put(&new).unwrap();
    let prepared = by(3).entry(hash, b"k", 0).unwrap().prepare_put(&new).unwrap();
    table.publish(&[prepared], 0);
    let mut transaction = table.transaction(Isolation::Snapshot, 0);
    transaction.set_origin(4);
    transaction.put(b"k", &NewEntry { deadline: Some(5), ..new }).unwrap();
    transaction.commit(0).unwrap();
    table.maintain(10, 10);
    by(5).entry(hash, b"k", 10).unwrap().put(&new).unwrap();
    by(6).entry(hash, b"k", 10).unwrap().remove().unwrap();
    table.observe(false);
    by(7).entry(hash, b"k", 10).unwrap().put(&new).unwrap();
    use EventKind::{Create, Expire, Remove, Update};
    let expected =
        [(Update, 2), (Update, 3), (Update, 4), (Expire, 0), (Create, 5), (Remove, 6)].to_vec();
    assert_eq!(*origins.0.lock().unwrap(), expected);
    assert_eq!(table.told(0), 8, "what is not told is counted all the same");
}
