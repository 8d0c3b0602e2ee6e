//! Near caches that follow the rule, with answers and invalidations that overtake each other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use isogrid_engine::TableConfig;

use super::super::*;
use super::seeds;
use super::world::{Content, Kind, World, put};
use crate::structure::cache::{Cache, CacheConfig, Written};

/// What readers could see of each key after each step, with the number of the segment's last event.
type History = BTreeMap<Vec<u8>, Vec<(u64, Option<u64>)>>;

fn remember(history: &mut History, world: &World) {
    let content = world.content();
    for key in 0..world.keys {
        for kind in ["even", "odd"] {
            let key = format!("{kind}{key}").into_bytes();
            let segment = world.cache.hash(&key).segment() as usize;
            let state = (world.cache.table().told(segment), content.get(&key).copied());
            history.entry(key).or_default().push(state);
        }
    }
}

/// A near cache and its two ways to the server, in each of which things stay in order.
struct Near {
    tracker: Tracker,
    reads: bool,
    origin: u64,
    copies: BTreeMap<Vec<u8>, Option<u64>>,
    /// Keys with the number of the read that reserved them.
    reserved: BTreeMap<Vec<u8>, u64>,
    answers: VecDeque<(u64, Vec<u8>, Option<u64>)>,
    invalidations: VecDeque<Invalidation>,
    next: u64,
    /// For each key the number of the last invalidation that was worked off.
    heard: BTreeMap<Vec<u8>, u64>,
    resyncs: usize,
}

impl Near {
    fn new(world: &mut World, kind: Kind, number: u64) -> Near {
        let reads = world.draw(2) == 0;
        let mode = if reads { TrackMode::Reads } else { TrackMode::Prefixes(vec![vec![]]) };
        // A write that waits for the journal is answered when it is published; here it is answered
        // at once, so that all must hear of it.
        let origin = if kind == Kind::Synced { 0 } else { number * world.draw(2) };
        let limits = BacklogLimits { items: 1 + world.size(6), bytes: 1 << 20 };
        let options = TrackOptions { limits, no_loop: origin, ..TrackOptions::new(mode) };
        Near {
            tracker: world.cache.track(options).unwrap(),
            reads,
            origin,
            copies: BTreeMap::new(),
            reserved: BTreeMap::new(),
            answers: VecDeque::new(),
            invalidations: VecDeque::new(),
            next: 0,
            heard: BTreeMap::new(),
            resyncs: 0,
        }
    }

    fn step(&mut self, world: &mut World) {
        match world.draw(6) {
            0 | 1 => self.read(world),
            2 => self.take_answer(),
            3 => self.push(1 + world.size(3)),
            4 => self.take_invalidation(&world.cache),
            _ => self.write(world),
        }
    }

    /// Sends a read; the server does it, and the answer is on its way.
    fn read(&mut self, world: &mut World) {
        let key = world.key();
        self.next += 1;
        self.reserved.insert(key.clone(), self.next);
        let (batch, hash) = (world.cache.batch(world.now), world.cache.hash(&key));
        let entry = match self.reads {
            true => batch.get_tracked(&self.tracker, hash, &key),
            false => batch.get(hash, &key),
        };
        self.answers.push_back((self.next, key, entry.map(|entry| entry.version())));
    }

    fn take_answer(&mut self) {
        let Some((number, key, version)) = self.answers.pop_front() else { return };
        if self.reserved.get(&key) == Some(&number) {
            self.reserved.remove(&key);
            self.copies.insert(key, version);
        }
    }

    /// The server sends some of what waits.
    fn push(&mut self, credit: usize) {
        let mut out = Vec::new();
        assert!(self.tracker.poll(credit, &mut out) <= credit);
        self.invalidations.extend(out);
    }

    fn take_invalidation(&mut self, cache: &Cache) {
        match self.invalidations.pop_front() {
            Some(Invalidation::Key { at, key }) => self.drop_key(&key, at.seq),
            Some(Invalidation::Resync(segments)) => {
                self.resyncs += 1;
                let keys: Vec<_> =
                    self.copies.keys().chain(self.reserved.keys()).cloned().collect();
                for key in keys {
                    let own = cache.hash(&key).segment();
                    let at = segments.iter().find(|at| at.segment == own);
                    at.into_iter().for_each(|at| self.drop_key(&key, at.seq));
                }
            }
            None => {}
        }
    }

    fn drop_key(&mut self, key: &[u8], seq: u64) {
        self.copies.remove(key);
        self.reserved.remove(key);
        let heard = self.heard.entry(key.to_vec()).or_default();
        *heard = seq.max(*heard);
    }

    /// A write of its own: copy and reservation go.
    fn write(&mut self, world: &mut World) {
        let key = world.write(self.origin);
        self.copies.remove(&key);
        self.reserved.remove(&key);
    }

    /// No copy is older than the last invalidation of its key that was worked off.
    fn check(&self, history: &History) {
        for (key, version) in &self.copies {
            let states = &history[key];
            let heard = self.heard.get(key).copied().unwrap_or(0);
            let since = states.iter().position(|(told, _)| *told >= heard).unwrap();
            let holds = states[since..].iter().any(|(_, state)| state == version);
            assert!(holds, "{} {version:?} since {heard}: {states:?}", key.escape_ascii());
        }
    }

    /// Everything arrives: each copy is what the cache has.
    fn drain(&mut self, cache: &Cache, content: &Content) {
        while !self.answers.is_empty() {
            self.take_answer();
        }
        self.push(usize::MAX);
        while !self.invalidations.is_empty() {
            self.take_invalidation(cache);
        }
        for (key, version) in &self.copies {
            assert_eq!(content.get(key), version.as_ref(), "{}", key.escape_ascii());
        }
    }
}

/// Copies that were left at the end, and resyncs.
fn history(kind: Kind, seed: u64) -> (usize, usize) {
    let mut world = World::new(kind, seed);
    world.keys = 10;
    let cache = Arc::clone(&world.cache);
    let mut nears: Vec<_> = (1..4).map(|number| Near::new(&mut world, kind, number)).collect();
    let mut history = History::new();
    for _ in 0..300 {
        if world.draw(4) == 0 {
            world.step();
        }
        let near = world.size(3);
        nears[near].step(&mut world);
        remember(&mut history, &world);
        nears.iter().for_each(|near| near.check(&history));
    }
    world.settle();
    let content = world.content();
    nears.iter_mut().for_each(|near| near.drain(&cache, &content));
    let copies = nears.iter().map(|near| near.copies.len()).sum();
    (copies, nears.iter().map(|near| near.resyncs).sum())
}

fn histories(test: &str, kind: Kind) {
    let (copies, resyncs) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    seeds(test, 120, |seed| {
        let (kept, lost) = history(kind, seed);
        copies.set(copies.get() + kept);
        resyncs.set(resyncs.get() + lost);
    });
    if std::env::var_os("ISOGRID_SEED").is_none() {
        assert!(copies.get() > 50 && resyncs.get() > 100, "{copies:?} copies, {resyncs:?} resyncs");
    }
}

#[test]
fn a_copy_is_never_older_than_the_last_invalidation() {
    histories("a_copy_is_never_older_than_the_last_invalidation", Kind::Plain);
}

#[test]
fn nor_is_it_where_entries_are_evicted() {
    histories("nor_is_it_where_entries_are_evicted", Kind::Evicting);
}

#[test]
fn nor_is_it_where_writes_wait_for_a_journal() {
    histories("nor_is_it_where_writes_wait_for_a_journal", Kind::Synced);
}

fn small() -> Cache {
    let table = TableConfig { segments: Some(1), seed: 1, ..TableConfig::default() };
    Cache::new("small", CacheConfig { table, ..CacheConfig::default() }, 0).unwrap()
}

fn set(cache: &Cache, key: &[u8], origin: u64) {
    cache.batch(0).by(origin).put(cache.hash(key), key, &put(b"", None)).unwrap();
}

fn told(tracker: &Tracker) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    tracker.poll(usize::MAX, &mut out);
    let key = |one| match one {
        Invalidation::Key { key, .. } => key.to_vec(),
        Invalidation::Resync(_) => b"resync".to_vec(),
    };
    out.into_iter().map(key).collect()
}

#[test]
fn a_registration_is_for_one_change_and_not_for_one_s_own() {
    let cache = small();
    let options = TrackOptions { no_loop: 5, ..TrackOptions::new(TrackMode::Reads) };
    let tracker = cache.track(options).unwrap();
    let read = |key: &[u8]| cache.batch(0).get_tracked(&tracker, cache.hash(key), key).is_some();
    assert!(!read(b"a") && !read(b"b"));
    set(&cache, b"a", 0);
    set(&cache, b"a", 0);
    set(&cache, b"c", 0);
    assert_eq!(told(&tracker), [b"a"]);
    set(&cache, b"b", 5);
    assert_eq!(told(&tracker), [b""; 0], "its own write");
    set(&cache, b"b", 0);
    assert_eq!(told(&tracker), [b"b"], "the registration outlives it");
    assert!(read(b"a") && read(b"b"));
    assert_eq!(cache.event_metrics().registrations, 2);
    cache.clear(1, 1).unwrap();
    assert_eq!(told(&tracker), [b"resync"]);
    assert_eq!(cache.event_metrics().registrations, 0);
    assert!(!read(b"a"));
    drop(tracker);
    assert_eq!(cache.event_metrics().registrations, 0);
}

#[test]
fn prefixes_choose() {
    let cache = small();
    let prefixes = TrackMode::Prefixes(vec![b"user:".to_vec(), b"x".to_vec()]);
    let tracker = cache.track(TrackOptions::new(prefixes)).unwrap();
    for key in [&b"user:1"[..], b"users", b"x", b"y", b"user:1"] {
        set(&cache, key, 0);
    }
    assert_eq!(told(&tracker), [&b"user:1"[..], b"x"]);
    let many = TrackMode::Prefixes(vec![vec![]; PREFIXES_MAX + 1]);
    let refused = cache.track(TrackOptions::new(many)).err();
    assert_eq!(refused, Some(WatchError::Prefixes(PREFIXES_MAX + 1)));
}

/// Where others serve the cache, the table's own events say nothing, and clear no registrations.
#[test]
fn a_tracker_of_what_changes_elsewhere_hears_of_that_alone() {
    let cache = small();
    let elsewhere = |mode| TrackOptions { elsewhere: true, ..TrackOptions::new(mode) };
    let reads = cache.track(elsewhere(TrackMode::Reads)).unwrap();
    let others = cache.track(elsewhere(TrackMode::Reads)).unwrap();
    let all = cache.track(elsewhere(TrackMode::Prefixes(vec![b"a".to_vec()]))).unwrap();
    let at = |key: &[u8]| SegmentSeq { segment: cache.hash(key).segment(), seq: 7 };
    let changed = |key: &[u8]| {
        reads.changed(at(key), key);
        all.changed(at(key), key);
    };
    [&b"a"[..], b"b"].iter().for_each(|key| reads.register(key));
    others.register(b"a");
    set(&cache, b"a", 0);
    cache.clear(1, 1).unwrap();
    assert_eq!((told(&reads), told(&all)), (vec![], vec![]));
    for _ in 0..2 {
        changed(b"c");
        changed(b"a");
    }
    assert_eq!((told(&reads), told(&all)), (vec![b"a".to_vec()], vec![b"a".to_vec()]));
    assert_eq!(cache.event_metrics().registrations, 2, "another one's, and that of b");
    others.changed(at(b"a"), b"a");
    assert_eq!(told(&others), [b"a"]);
    reads.missed(Some(at(b"b")));
    all.missed(None);
    assert_eq!((told(&reads), told(&all)), (vec![b"resync".to_vec()], vec![b"resync".to_vec()]));
    drop(reads);
    assert_eq!(cache.event_metrics().registrations, 0);
}

/// Nothing is forgotten in silence: what has no room is invalidated.
#[test]
fn a_full_table_invalidates_the_oldest() {
    let cache = small();
    let tracker = cache.track(TrackOptions::new(TrackMode::Reads)).unwrap();
    let mut out = Vec::new();
    for n in 0..20_000_u32 {
        tracker.register(&n.to_be_bytes());
        tracker.poll(usize::MAX, &mut out);
    }
    let metrics = cache.event_metrics();
    assert!(metrics.registrations_evicted > 1_000);
    assert_eq!(metrics.registrations + metrics.registrations_evicted, 20_000);
    let keys = out.iter().map(|one| match one {
        Invalidation::Key { key, .. } => key.to_vec(),
        other @ Invalidation::Resync(_) => panic!("{other:?}"),
    });
    let oldest = (0..20_000_u32).map(|n| n.to_be_bytes().to_vec());
    let oldest = oldest.take(usize::try_from(metrics.registrations_evicted).unwrap());
    assert!(keys.eq(oldest), "the oldest, each once");
}

#[test]
fn numbers_tell_whether_anything_has_changed() {
    let world = World::new(Kind::Plain, 1);
    let seq = || world.cache.part_seq(&[0, 1, 2, 3, 4]);
    let before = seq();
    assert_eq!(before[4], None);
    set(&world.cache, b"k", 0);
    let own = world.cache.hash(b"k").segment() as usize;
    for (at, (before, after)) in before.iter().zip(seq()).enumerate() {
        assert_eq!(*before == after, at != own && at < 4 || at == 4, "segment {at}");
    }
    let other = World::new(Kind::Plain, 2).cache.part_seq(&[0]);
    assert_ne!(other[0].unwrap().life, before[0].unwrap().life);
}

/// A write between a read and its registration would be told to nobody. And more: what a poll gives
/// has the invalidations of all writes that were acknowledged before it.
#[test]
fn no_write_slips_between_a_read_and_its_registration() {
    let cache = small();
    let tracker = cache.track(TrackOptions::new(TrackMode::Reads)).unwrap();
    let (hash, acknowledged) = (cache.hash(b"k"), AtomicU64::new(0));
    let (mut copy, mut kept) = (None, 0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..50_000 {
                match cache.batch(0).put(hash, b"k", &put(b"", None)) {
                    Ok(Written::Done { version, .. }) => {
                        acknowledged.store(version, Ordering::Release);
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
        while !writer.is_finished() {
            if copy.is_none() {
                let batch = cache.batch(0);
                let entry = batch.get_tracked(&tracker, hash, b"k");
                copy = entry.map(|entry| entry.version());
            }
            let least = acknowledged.load(Ordering::Acquire);
            copy = copy.filter(|_| told(&tracker).is_empty());
            assert!(copy.is_none_or(|version| version >= least), "{copy:?}, not {least}");
            kept += u64::from(copy.is_some());
        }
    });
    assert!(kept > 0);
}
