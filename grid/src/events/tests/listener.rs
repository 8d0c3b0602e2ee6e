//! Whoever does to an empty map what a listener is told has what the cache has.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use isogrid_engine::table::EventKind::{self, Create, Evict, Expire, Remove, Update};
use isogrid_engine::{TableConfig, Timestamp};

use super::super::*;
use super::seeds;
use super::world::{Content, Kind, World, put};
use crate::structure::cache::{Cache, CacheConfig, Removal};

/// A consumer that takes what it is told when it pleases.
struct Consumer {
    listener: Listener,
    glob: Option<Glob>,
    /// Whether it does writes of its own to its map.
    writes: bool,
    known: Content,
    /// The last number of each segment.
    seqs: BTreeMap<u32, u64>,
    /// After a resync it scans, page by page, before it listens on.
    scan: Option<Scan>,
    resyncs: u64,
}

impl Consumer {
    fn new(cache: &Cache, options: ListenOptions, now: Timestamp) -> Consumer {
        let (glob, writes) = (options.glob.clone(), options.no_loop != 0);
        let listener = cache.listen(options, now).unwrap();
        let (known, seqs) = (Content::new(), BTreeMap::new());
        Consumer { listener, glob, writes, known, seqs, scan: None, resyncs: 0 }
    }

    fn step(&mut self, cache: &Cache, now: Timestamp, credit: usize) {
        if let Some(mut scan) = self.scan.take() {
            let mut page = Page::default();
            scan.page(now, credit, 1 << 20, &mut page);
            let found = page.entries.into_iter();
            let found = found.map(|one| (one.key.to_vec(), one.entry.version.unwrap()));
            self.known.extend(found);
            self.scan = Some(scan).filter(|_| !page.ended);
            return;
        }
        let mut notices = Vec::new();
        assert_eq!(self.listener.poll(now, credit, &mut notices), notices.len());
        assert!(notices.len() <= credit);
        for notice in notices {
            self.learn(cache, notice, now);
        }
    }

    fn learn(&mut self, cache: &Cache, notice: Notice, now: Timestamp) {
        match notice {
            Notice::Entry { key, entry, .. } => {
                let before = self.known.insert(key.to_vec(), entry.version.unwrap());
                assert!(before.is_none() || self.writes, "each entry once");
            }
            Notice::Event { kind, at, key, entry, .. } => {
                let before = self.seqs.insert(at.segment, at.seq).unwrap_or(0);
                assert!(at.seq > before, "{kind:?} {at:?} comes in order");
                match entry {
                    Some(entry) => self.known.insert(key.to_vec(), entry.version.unwrap()),
                    None => self.known.remove(&*key),
                };
                assert_eq!(matches!(kind, Create | Update), self.known.contains_key(&*key));
            }
            Notice::Clear(segments) => {
                let gone = |key: &Vec<u8>| {
                    segments.iter().any(|at| at.segment == cache.hash(key).segment())
                };
                self.known.retain(|key, _| !gone(key));
            }
            Notice::Resync(segments) => {
                assert_eq!(segments.len(), cache.table().segment_count());
                self.resyncs += 1;
                self.known.clear();
                let options = ScanOptions { glob: self.glob.clone(), ..ScanOptions::default() };
                self.scan = Some(cache.scan(options, None, now).unwrap());
            }
        }
    }

    fn drain(&mut self, cache: &Cache, now: Timestamp) {
        while self.scan.is_some() || self.listener.is_ready(Waker::noop()) {
            self.step(cache, now, 1_000);
        }
    }
}

/// What the consumers of a history are told of, and how much may wait for them.
fn options(world: &mut World) -> ListenOptions {
    let initial = world.draw(2) == 0;
    let glob = (world.draw(3) == 0).then(|| Glob::parse(b"even*").unwrap());
    let items = 1 + world.size(12);
    let bytes = if world.draw(2) == 0 { 2_000 } else { 1 << 20 };
    let limits = BacklogLimits { items, bytes };
    ListenOptions { initial, glob, limits, value: world.draw(2) == 0, ..ListenOptions::default() }
}

fn history(kind: Kind, seed: u64) -> (u64, EventMetrics) {
    let mut world = World::new(kind, seed);
    let cache = Arc::clone(&world.cache);
    let mut consumers = Vec::new();
    for _ in 0..200 {
        world.step();
        match world.draw(12) {
            0 if consumers.len() < 4 => {
                let initial = options(&mut world);
                // Who does not ask for what there is already knows it.
                let known = if initial.initial { Content::new() } else { world.content() };
                let mut consumer = Consumer::new(&cache, initial, world.now);
                let of_glob = |key: &[u8]| consumer.glob.as_ref().is_none_or(|g| g.matches(key));
                consumer.known = known.into_iter().filter(|(key, _)| of_glob(key)).collect();
                consumers.push(consumer);
            }
            1..=4 if !consumers.is_empty() => {
                let who = world.size(consumers.len() as u64);
                let credit = 1 + world.size(6);
                consumers[who].step(&cache, world.now, credit);
            }
            5 if world.draw(10) == 0 => drop(consumers.pop()),
            _ => {}
        }
    }
    world.settle();
    let mut resyncs = 0;
    for consumer in &mut consumers {
        consumer.drain(&cache, world.now);
        let mut content = world.content();
        content.retain(|key, _| consumer.glob.as_ref().is_none_or(|glob| glob.matches(key)));
        assert_eq!(consumer.known, content, "glob {:?}", consumer.glob);
        resyncs += consumer.resyncs;
    }
    (resyncs, cache.event_metrics())
}

fn histories(test: &str, kind: Kind) {
    let (resyncs, coalesced) = (Cell::new(0), Cell::new(0));
    seeds(test, 250, |seed| {
        let (lost, metrics) = history(kind, seed);
        resyncs.set(resyncs.get() + lost);
        coalesced.set(coalesced.get() + metrics.events_coalesced);
    });
    let (resyncs, coalesced) = (resyncs.into_inner(), coalesced.into_inner());
    if std::env::var_os("ISOGRID_SEED").is_none() {
        assert!(resyncs > 100 && coalesced > 100, "{resyncs} resyncs, {coalesced} coalesced");
    }
}

#[test]
fn a_slow_consumer_ends_with_what_the_cache_has() {
    histories("a_slow_consumer_ends_with_what_the_cache_has", Kind::Plain);
}

#[test]
fn so_it_does_where_entries_are_evicted() {
    histories("so_it_does_where_entries_are_evicted", Kind::Evicting);
}

#[test]
fn so_it_does_where_writes_wait_for_a_journal_and_may_be_taken_back() {
    histories("so_it_does_where_writes_wait", Kind::Synced);
}

/// A consumer that does its own writes to its map and is told of those of others only.
#[test]
fn a_writer_need_not_be_told_of_its_own_writes() {
    seeds("a_writer_need_not_be_told_of_its_own_writes", 300, |seed| {
        let mut world = World::new(Kind::Plain, seed);
        let cache = Arc::clone(&world.cache);
        (0..10).for_each(|_| world.step());
        let options = ListenOptions { no_loop: 9, initial: true, ..ListenOptions::default() };
        let mut consumer = Consumer::new(&cache, options, world.now);
        for _ in 0..150 {
            match world.draw(4) {
                0 => world.step(),
                1 => consumer.step(&cache, world.now, 3),
                own => {
                    let key = if own == 2 { world.write(9) } else { world.remove(9) };
                    match world.content().get(&key) {
                        Some(version) => drop(consumer.known.insert(key, *version)),
                        None => drop(consumer.known.remove(&key)),
                    }
                }
            }
        }
        world.settle();
        consumer.drain(&cache, world.now);
        assert_eq!(consumer.known, world.content());
        let own = |notice: &Notice| matches!(notice, Notice::Event { .. });
        world.write(9);
        let mut told = Vec::new();
        consumer.listener.poll(world.now, 10, &mut told);
        assert!(!told.iter().any(own), "{told:?}");
    });
}

fn small() -> Cache {
    let table = TableConfig { segments: Some(1), seed: 1, ..TableConfig::default() };
    Cache::new("small", CacheConfig { table, ..CacheConfig::default() }, 0).unwrap()
}

fn set(cache: &Cache, key: &[u8], value: &[u8]) {
    cache.batch(0).put(cache.hash(key), key, &put(value, None)).unwrap();
}

fn delete(cache: &Cache, key: &[u8]) {
    cache.batch(0).remove(cache.hash(key), key, &Removal::default()).unwrap();
}

type Value = Option<Vec<u8>>;

/// The kinds, values and previous values that wait.
fn told(listener: &mut Listener) -> Vec<(EventKind, Value, Value)> {
    let mut notices = Vec::new();
    listener.poll(0, 100, &mut notices);
    let event = |notice| match notice {
        Notice::Event { kind, entry, previous, .. } => {
            let value = |entry: isogrid_engine::table::OwnedEntry| entry.value.to_vec();
            (kind, entry.map(value), previous.map(value))
        }
        other => panic!("{other:?}"),
    };
    notices.into_iter().map(event).collect()
}

#[test]
fn events_of_one_key_become_one() {
    let all = Kinds::ALL;
    let ends = Kinds::of(&[Create, Remove]);
    // What there is before, what is done (a value is put, a dash deletes), whom it is told, and
    // what of it is told.
    for (before, done, kinds, kind, previous) in [
        ("", "a", all, Some(Create), ""),
        ("", "ab", all, Some(Create), ""),
        ("", "a-", all, Some(Remove), ""),
        ("", "a-b", all, Some(Create), ""),
        ("x", "a", all, Some(Update), "x"),
        ("x", "abc", all, Some(Update), "x"),
        ("x", "-", all, Some(Remove), "x"),
        ("x", "a-", all, Some(Remove), "x"),
        ("x", "-a", all, Some(Update), "x"),
        ("x", "-a-", all, Some(Remove), "x"),
        ("x", "-a", ends, Some(Create), "x"),
        ("x", "a", ends, None, ""),
        ("x", "a", Kinds::of(&[Expire, Evict]), None, ""),
    ] {
        let cache = small();
        before.bytes().for_each(|value| set(&cache, b"k", &[value]));
        let options = ListenOptions { kinds, previous: true, ..ListenOptions::default() };
        let mut listener = cache.listen(options, 0).unwrap();
        for step in done.bytes() {
            if step == b'-' { delete(&cache, b"k") } else { set(&cache, b"k", &[step]) }
        }
        let last = done.bytes().last().filter(|step| *step != b'-').map(|value| vec![value]);
        let previous = Some(previous.as_bytes().to_vec()).filter(|value| !value.is_empty());
        let expected: Vec<_> = kind.map(|kind| (kind, last, previous)).into_iter().collect();
        assert_eq!(told(&mut listener), expected, "{before:?}, then {done:?}");
    }
}

#[test]
fn events_come_in_the_order_of_the_last_changes() {
    let cache = small();
    let mut listener = cache.listen(ListenOptions::default(), 0).unwrap();
    [b"a", b"b", b"c", b"a"].into_iter().for_each(|key| set(&cache, key, b""));
    let mut notices = Vec::new();
    assert_eq!(listener.poll(0, 2, &mut notices), 2);
    assert_eq!(listener.poll(0, 2, &mut notices), 1);
    let keys = notices.iter().map(|notice| match notice {
        Notice::Event { key, at, .. } => (key.to_vec(), at.seq),
        other => panic!("{other:?}"),
    });
    let expected = [(b"b".to_vec(), 2), (b"c".to_vec(), 3), (b"a".to_vec(), 4)];
    assert_eq!(keys.collect::<Vec<_>>(), expected);
}

#[test]
fn a_clear_is_one_notice_and_makes_what_waits_needless() {
    let cache = World::new(Kind::Plain, 1).cache;
    let mut listener = cache.listen(ListenOptions::default(), 0).unwrap();
    (0..20_u8).for_each(|key| set(&cache, &[key], b""));
    cache.clear(1, 1).unwrap();
    cache.clear(1, 1).unwrap();
    set(&cache, b"after", b"");
    let mut notices = Vec::new();
    listener.poll(0, 100, &mut notices);
    match &notices[..] {
        [Notice::Clear(segments), Notice::Event { kind: Create, key, .. }] => {
            assert_eq!((segments.len(), &**key), (4, &b"after"[..]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn too_much_is_one_resync_and_the_node_s_budget_holds_for_all() {
    let cache = small();
    let budget = Arc::new(Budget::new(10_000));
    cache.set_event_budget(Arc::clone(&budget));
    let limits = BacklogLimits { items: 10, bytes: 1 << 20 };
    let options = ListenOptions { limits, ..ListenOptions::default() };
    let mut few = cache.listen(options, 0).unwrap();
    let mut many = cache.listen(ListenOptions::default(), 0).unwrap();
    let poll = |listener: &mut Listener| {
        let mut notices = Vec::new();
        listener.poll(0, 100, &mut notices);
        notices
    };
    (0..11_u8).for_each(|key| set(&cache, &[key], b""));
    assert!(matches!(&poll(&mut few)[..], [Notice::Resync(_)]), "eleven do not fit in ten");
    assert_eq!(poll(&mut few), [], "told once");
    assert_eq!(poll(&mut many).len(), 11);
    assert_eq!(budget.used(), 0);
    (0..100_u8).for_each(|key| {
        set(&cache, &[key], &[1; 200]);
        assert!(budget.used() <= 10_000);
    });
    assert!(matches!(&poll(&mut many)[..], [Notice::Resync(_)]));
    set(&cache, b"later", b"");
    assert!(matches!(&poll(&mut many)[..], [Notice::Event { .. }]), "it goes on from there");
    assert_eq!(cache.event_metrics().resyncs, 2);
    set(&cache, b"more", b"");
    drop((few, many));
    cache.maintain(0, 10);
    assert_eq!((budget.used(), cache.event_metrics().listeners), (0, 0));
}

#[test]
fn a_sleeper_is_woken_once_there_is_something() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let cache = small();
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let options = ListenOptions { kinds: Kinds::of(&[Create]), ..ListenOptions::default() };
    let mut listener = cache.listen(options, 0).unwrap();
    assert!(!listener.is_ready(&waker));
    delete(&cache, b"k");
    assert_eq!(count.0.load(Ordering::Relaxed), 0, "nothing for it");
    set(&cache, b"k", b"");
    set(&cache, b"l", b"");
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(listener.is_ready(&waker));
    assert_eq!(told(&mut listener).len(), 2);
    assert!(!listener.is_ready(&waker));
}

#[test]
fn threads_that_write_and_listeners_that_come_and_go() {
    let cache = Arc::new(World::new(Kind::Plain, 3).cache);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2_u64)
            .map(|thread| {
                let cache = Arc::clone(&cache);
                scope.spawn(move || {
                    let mut rng = thread;
                    for _ in 0..20_000 {
                        let draw = isogrid_engine::env::split_mix(&mut rng);
                        let key = [b'k', (draw % 64) as u8];
                        if draw.is_multiple_of(5) {
                            delete(&cache, &key)
                        } else {
                            set(&cache, &key, b"v")
                        }
                    }
                })
            })
            .collect();
        let mut stays: Option<Consumer> = None;
        while !writers.iter().all(|writer| writer.is_finished()) {
            for initial in [true, false] {
                let options = ListenOptions { initial, ..ListenOptions::default() };
                let mut consumer = Consumer::new(&cache, options, 0);
                (0..20).for_each(|_| consumer.step(&cache, 0, 8));
                stays = stays.or(Some(consumer).filter(|_| initial));
            }
            stays.iter_mut().for_each(|consumer| consumer.step(&cache, 0, 64));
        }
        if let Some(mut consumer) = stays {
            consumer.drain(&cache, 0);
            assert_eq!(consumer.known, super::world::content(cache.table(), 0));
        }
    });
}

/// The cache costs nothing more when its last consumer is gone, and the next one misses nothing.
#[test]
fn telling_ends_with_the_last_consumer_and_begins_with_the_next() {
    let cache = small();
    for _ in 0..3 {
        let mut listener = cache.listen(ListenOptions::default(), 0).unwrap();
        set(&cache, b"k", b"");
        assert_eq!(told(&mut listener).len(), 1);
        drop(listener);
        cache.maintain(0, 10);
        set(&cache, b"k", b"");
    }
    let listeners: Vec<_> =
        (0..WATCHERS_MAX).map(|_| cache.listen(ListenOptions::default(), 0).unwrap()).collect();
    assert_eq!(cache.listen(ListenOptions::default(), 0).err(), Some(WatchError::TooMany));
    drop(listeners);
    assert!(cache.listen(ListenOptions::default(), 0).is_ok());
}

#[test]
fn consumers_may_go_to_another_thread() {
    fn may<T: Send>() {}
    may::<Listener>();
    may::<Tracker>();
    may::<Scan>();
}
