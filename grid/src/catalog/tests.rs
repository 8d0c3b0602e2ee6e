//! The catalog on a disk in memory: random changes, kills, power cuts and failing disks.

mod spy;

use std::collections::{BTreeMap, BTreeSet};

use isogrid_engine::disk::{Disk, Fault, MemoryDisk};
use isogrid_engine::env::split_mix;
use isogrid_engine::persist::behind::{BehindConfig, BehindOnDemand};
use isogrid_engine::persist::{PersistConfig, Persistence};
use isogrid_engine::store::memory::MemoryStore;
use isogrid_engine::store::{Report, Store};
use isogrid_engine::{ManualClock, NewEntry};

use super::*;
use spy::Spy;

const NOW: u64 = 1_000_000;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const DECLARED: &str = "d";
const MODES: [&str; 4] = ["none", "async", "sync", "behind"];

/// A running node: its catalog and where it keeps things.
struct Node {
    catalog: Catalog,
    persistence: Arc<Persistence>,
    behind: Arc<BehindOnDemand>,
}

/// Folders of one disk, as in a data directory: the log and the checkpoints do not mind names
/// that are none of theirs.
fn start(disk: &MemoryDisk, declared: &CacheOptions) -> Result<Node, String> {
    start_on(Arc::new(disk.clone()), &Arc::default(), declared)
}

fn start_on(
    folder: Arc<dyn Disk>,
    store: &Arc<MemoryStore>,
    declared: &CacheOptions,
) -> Result<Node, String> {
    let limits = CatalogLimits { bytes: 1 << 40, ..CatalogLimits::default() };
    let catalog = Catalog::new(limits, Allocator::default(), 1);
    catalog.declare(DECLARED, declared.clone(), None, NOW).map_err(|e| e.to_string())?;
    let file = CatalogFile::new(Arc::clone(&folder));
    catalog.load(&file.read().map_err(|e| e.to_string())?, NOW).map_err(|e| e.to_string())?;
    let config = PersistConfig {
        log: Arc::clone(&folder),
        snapshots: folder,
        mapped: false,
        store: None,
        storage_id: [3; 16],
        log_bytes: 1 << 20,
        log_file_bytes: 16 << 10,
        dropped: catalog.dropped(),
    };
    let (persistence, recovered) =
        Persistence::open(config, catalog.kept_tables(), Arc::new(ManualClock::at(NOW)))
            .map_err(|e| e.to_string())?;
    let persistence = Arc::new(persistence);
    let behind = written_behind(store);
    let tables = catalog.behind_tables();
    if !tables.is_empty() || store.applied().is_ok_and(|at| at.0 > 0) {
        behind.begin(tables).map_err(|e| e.to_string())?;
    }
    let found = !recovered.unclaimed.is_empty();
    catalog
        .keep_in(file, Arc::clone(&persistence), Arc::clone(&behind), PersistMode::Async, found)
        .map_err(|e| e.to_string())?;
    Ok(Node { catalog, persistence, behind })
}

fn written_behind(store: &Arc<MemoryStore>) -> Arc<BehindOnDemand> {
    let store = Arc::clone(store);
    let open = Box::new(move || {
        let (store, storage_id) = (Arc::clone(&store) as Arc<dyn Store>, [3; 16]);
        let report = Report { applied: store.applied()?, ..Report::default() };
        Ok(BehindConfig { store, report, storage_id })
    });
    Arc::new(BehindOnDemand::new(open, Arc::new(ManualClock::at(NOW))))
}

fn put(cache: &Cache, key: u8, value: u64) -> bool {
    let pinned = cache.table().pin();
    let key = [key];
    let mut entry = pinned.entry(cache.hash(&key), &key, NOW).unwrap();
    entry.put(&NewEntry { value: [&value.to_le_bytes(), b""], ..NewEntry::default() }).is_ok()
}

fn entries(cache: &Cache) -> BTreeMap<u8, u64> {
    let pinned = cache.table().pin();
    let value = |key: u8| {
        let entry = pinned.peek(cache.hash(&[key]), &[key], NOW)?;
        Some((key, u64::from_le_bytes(entry.value().try_into().unwrap())))
    };
    (0..10).filter_map(value).collect()
}

/// What ought to be there.
#[derive(Debug, Clone, PartialEq)]
struct Expected {
    id: u32,
    options: CacheOptions,
    entries: BTreeMap<u8, u64>,
}

type Model = BTreeMap<String, Expected>;

fn image(node: &Node) -> Model {
    let index = node.catalog.index();
    let expected = |object: &Arc<Object>| {
        let (id, options) = (object.id, object.options.clone());
        let entries = entries(object.cache.as_ref().unwrap());
        (object.name.clone(), Expected { id, options, entries })
    };
    index.caches().map(expected).collect()
}

/// One random change to node and model.
fn change(node: &Node, model: &mut Model, ids: &mut BTreeSet<u32>, rng: &mut u64) {
    let name = NAMES[usize::try_from(split_mix(rng) % 4).unwrap()];
    let ttl = format!("{}s", split_mix(rng) % 3 + 1);
    let persist = MODES[usize::try_from(split_mix(rng) % 4).unwrap()];
    let wanted = [("ttl", ttl.as_str()), ("persist", persist), ("segments", "2")];
    let options = CacheOptions::default().with(&wanted).unwrap();
    match split_mix(rng) % 16 {
        0..4 => {
            match (node.catalog.resolve(Kind::Cache, name, Some(&wanted), NOW), model.get(name)) {
                (Ok(resolved), Some(there)) => {
                    assert_eq!((resolved.object.id, resolved.created), (there.id, false));
                    assert_eq!(there.options, there.options.with(&wanted).unwrap());
                }
                (Err(CatalogError::Exists { differences, .. }), Some(there)) => {
                    let want = there.options.with(&wanted).unwrap();
                    assert_eq!(differences, there.options.differences(&want));
                }
                (Ok(resolved), None) => {
                    let id = resolved.object.id;
                    assert!(resolved.created && ids.insert(id), "the id {id} was given before");
                    let expected = Expected { id, options, entries: BTreeMap::new() };
                    model.insert(name.to_owned(), expected);
                }
                (made, _) => panic!("{:?}", made.err()),
            }
        }
        4 => match (node.catalog.alter(name, &wanted[..1]), model.get_mut(name)) {
            (Ok(object), Some(there)) => {
                there.options = there.options.with(&wanted[..1]).unwrap();
                assert_eq!(object.options, there.options);
            }
            (Err(CatalogError::NotFound { .. }), None) => {}
            (altered, there) => panic!("{:?} {there:?}", altered.err()),
        },
        5 => {
            let held = node.catalog.cache(name);
            let dropped = node.catalog.drop_object(Kind::Cache, name, NOW);
            assert_eq!(dropped.is_ok(), model.remove(name).is_some());
            if let Some(held) = held {
                assert!(!put(&held, 1, 1) && held.table().usage().entries == 0);
            }
        }
        6 => node.persistence.checkpoint().unwrap(),
        _ => {
            if let Some((cache, there)) = node.catalog.cache(name).zip(model.get_mut(name)) {
                let (key, value) = (u8::try_from(split_mix(rng) % 10).unwrap(), split_mix(rng));
                assert!(put(&cache, key, value));
                there.entries.insert(key, value);
            }
        }
    }
}

/// What a restart makes of the model: what is not kept is gone, and the configuration has the
/// last word about what it declares.
fn restarted(model: &Model, declared: &CacheOptions, node: &Node) -> Model {
    let mut after = model.clone();
    let own = node.catalog.find(Kind::Cache, DECLARED).unwrap().id;
    let new = Expected { id: own, options: declared.clone(), entries: BTreeMap::new() };
    after.entry(DECLARED.to_owned()).or_insert(new).options = declared.clone();
    for (name, there) in &mut after {
        let place = |options: &CacheOptions| match options.persist {
            PersistMode::None => 0,
            PersistMode::Async | PersistMode::Sync => 1,
            PersistMode::Behind => 2,
        };
        let before = model.get(name).map_or(0, |before| place(&before.options));
        if before != place(&there.options) || before == 0 {
            there.entries.clear();
        }
    }
    after
}

fn lives(seed: u64) {
    let replay = format!("cd grid; ISOGRID_SEED={seed} cargo test catalog");
    let (mut rng, mut disk, store) = (seed, MemoryDisk::new(), Arc::default());
    let (mut model, mut ids) = (Model::new(), BTreeSet::new());
    for life in 0..6 {
        let persist = MODES[usize::try_from(split_mix(&mut rng) % 4).unwrap()];
        let declared = CacheOptions::default().with(&[("persist", persist)]).unwrap();
        let node = start_on(Arc::new(disk.clone()), &store, &declared)
            .unwrap_or_else(|why| panic!("{life}: {why}; {replay}"));
        model = restarted(&model, &declared, &node);
        assert_eq!(image(&node), model, "life {life}; {replay}");
        ids.insert(node.catalog.find(Kind::Cache, DECLARED).unwrap().id);
        for _ in 0..split_mix(&mut rng) % 50 {
            change(&node, &mut model, &mut ids, &mut rng);
        }
        node.persistence.wait_durable(node.persistence.last()).unwrap();
        assert_eq!(image(&node), model, "life {life}; {replay}");
        // As a SIGTERM does. What a kill leaves of what waits is the engine's to say.
        node.behind.get().map(|behind| behind.close(&mut |_| true));
        store.reopen().unwrap();
        let power = split_mix(&mut rng).is_multiple_of(2);
        disk = if power { disk.crash(split_mix(&mut rng)) } else { disk.copy() };
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let given = std::env::var("ISOGRID_SEED").ok().and_then(|seed| seed.parse().ok());
    given.map_or(0..count, |seed: u64| seed..seed + 1)
}

#[test]
fn after_any_end_the_caches_are_those_that_were_acknowledged() {
    seeds(60).for_each(lives);
}

/// The process ends at every single thing that it does to the disk while a cache with data is
/// dropped and made again: it is the old one whole, absent, or the new one empty.
#[test]
fn a_kill_at_any_step_of_drop_and_create_leaves_old_none_or_new() {
    let declared = CacheOptions::default();
    let (mut old, mut none, mut new) = (0, 0, 0);
    let disk = MemoryDisk::new();
    let spy = Spy::on(&disk);
    let node = start_on(Arc::new(spy.clone()), &Arc::default(), &declared).unwrap();
    let wanted = [("persist", "sync"), ("segments", "1")];
    let first = node.catalog.resolve(Kind::Cache, "a", Some(&wanted), NOW).unwrap().object;
    assert!(put(first.cache.as_ref().unwrap(), 1, 7));
    node.persistence.wait_durable(node.persistence.last()).unwrap();
    spy.forget();
    node.catalog.drop_object(Kind::Cache, "a", NOW).unwrap();
    node.catalog.resolve(Kind::Cache, "a", Some(&wanted), NOW).unwrap();
    node.persistence.checkpoint().unwrap();
    for (step, left) in spy.images().into_iter().enumerate() {
        let again = start(&left, &declared).unwrap_or_else(|why| panic!("step {step}: {why}"));
        match image(&again).get("a") {
            None => none += 1,
            Some(there) if there.id == first.id => {
                assert_eq!(there.entries, BTreeMap::from([(1, 7)]), "step {step}");
                old += 1;
            }
            Some(there) => {
                assert_eq!(there.entries, BTreeMap::new(), "step {step}");
                new += 1;
            }
        }
    }
    assert!(old > 5 && none > 5 && new > 5, "{old} {none} {new}");
}

/// A disk that fails at any call loses no cache that was there, and a catalog whose file is in
/// doubt is written again.
#[test]
fn a_failing_disk_refuses_the_change_and_loses_nothing() {
    let declared = CacheOptions::default();
    let mut refused = 0;
    for call in 1..40 {
        let disk = MemoryDisk::new();
        let node = start(&disk, &declared).unwrap();
        let wanted = [("persist", "async"), ("segments", "1")];
        node.catalog.resolve(Kind::Cache, "a", Some(&wanted), NOW).unwrap();
        let before = image(&node);
        disk.fail_at(disk.calls() + call, Fault::Space);
        let changes = [
            node.catalog.alter("a", &[("ttl", "5s")]).err(),
            node.catalog.drop_object(Kind::Cache, "a", NOW).err(),
        ];
        refused += changes.iter().flatten().count();
        disk.fail_at(u64::MAX, Fault::Space);
        let mut after = before;
        match &changes {
            [_, None] => drop(after.remove("a")),
            [None, Some(_)] => {
                after.get_mut("a").unwrap().options.ttl = Some(5_000);
            }
            [Some(_), Some(_)] => {}
        }
        node.catalog.mend();
        assert_eq!(image(&node), after, "call {call}");
        let again = start(&disk.crash(call), &declared).unwrap();
        assert_eq!(image(&again), after, "call {call}");
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn what_speaks_against_a_change_is_said_and_nothing_is_changed() {
    let limits = CatalogLimits { caches: 3, bytes: 512 << 20, cache_bytes_min: 2 << 20 };
    let catalog = Catalog::new(limits, Allocator::default(), 1);
    let make = |name: &str, options: &[(&str, &str)]| {
        let made = catalog.resolve(Kind::Cache, name, Some(options), NOW);
        made.map(|resolved| resolved.created).map_err(|error| error.to_string())
    };
    assert_eq!(make("orders", &[("memory", "256MiB"), ("ttl", "10m")]), Ok(true));
    assert_eq!(make("orders", &[("ttl", "600s")]), Ok(false));
    for (name, options, told) in [
        (
            "orders",
            &[("ttl", "5m"), ("max_idle", "1m")][..],
            "\"orders\" is there with other options: ttl: have 10m, want 5m; \
             max_idle: have off, want 1m",
        ),
        ("no/name", &[], "\"no/name\" is no name: 1 to 64 of A-Z, a-z, 0-9, _, . and -"),
        (
            "x",
            &[("mode", "distributed")],
            "mode: \"distributed\" is not local or invalidated; replicated and distributed caches \
             are those of the configuration",
        ),
        ("x", &[("tttl", "5m")], "a cache has no option \"tttl\""),
        ("x", &[("persist", "async")], "persist = async: this node has no data directory"),
        (
            "x",
            &[("memory", "1MiB")],
            "memory: \"1MiB\" is not at least as much as the largest item (limits.max_item_size)",
        ),
        (
            "x",
            &[("memory", "257MiB")],
            "bytes of all caches: 537919488 is more than the limit of 536870912",
        ),
    ] {
        assert_eq!(make(name, options), Err(told.to_owned()));
    }
    let told = |altered: Result<Arc<Object>, CatalogError>| altered.err().unwrap().to_string();
    assert_eq!(
        told(catalog.alter("orders", &[("ttl", "1s"), ("eviction", "lru")])),
        "\"orders\" cannot change while the cache runs: eviction: have w-tinylfu, want lru"
    );
    assert_eq!(
        told(catalog.alter("orders", &[("memory", "1GiB")])),
        "bytes of all caches: 1073741824 is more than the limit of 536870912"
    );
    assert_eq!(told(catalog.alter("order", &[])), "there is no cache \"order\"");
    assert!(catalog.drop_object(Kind::Locks, "default", NOW).is_err());
    assert_eq!(catalog.alter("orders", &[("memory", "5MiB")]).unwrap().options.ttl, Some(600_000));
    assert_eq!(catalog.cache("orders").unwrap().table().usage().max_bytes, 5 << 20);
    let small = [("memory", "2MiB")];
    assert_eq!((make("b", &small), make("c", &small)), (Ok(true), Ok(true)));
    assert_eq!(make("d", &small), Err("caches: 4 is more than the limit of 3".to_owned()));
}

#[test]
fn an_altered_default_holds_for_what_is_stored_from_then_on() {
    let catalog = Catalog::new(CatalogLimits::default(), Allocator::default(), 1);
    let resolved = catalog.resolve(Kind::Cache, "a", Some(&[("ttl", "10s")]), NOW).unwrap();
    let cache = resolved.object.cache.clone().unwrap();
    let deadline = || cache.deadline(crate::structure::cache::Lifespan::Default, NOW);
    assert_eq!(deadline(), Some(NOW + 10_000));
    catalog.alter("a", &[("ttl", "off")]).unwrap();
    assert_eq!(deadline(), None);
    catalog.alter("a", &[("ttl", "1s")]).unwrap();
    assert_eq!(deadline(), Some(NOW + 1_000));
}

#[test]
fn one_of_many_makes_the_cache_and_the_others_open_it() {
    let catalog = Catalog::new(CatalogLimits::default(), Allocator::default(), 1);
    let make = || {
        let resolved = catalog.resolve(Kind::Cache, "a", Some(&[("ttl", "1s")]), NOW).unwrap();
        (resolved.object.id, resolved.created)
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(all.iter().filter(|(_, created)| *created).count(), 1);
    assert!(all.iter().all(|(id, _)| *id == all[0].0));
}
