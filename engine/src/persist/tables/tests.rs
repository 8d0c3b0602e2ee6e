//! Tables that come and go: what of them is there after a crash.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{PersistConfig, Preload, Recovered};
use super::*;
use crate::disk::MemoryDisk;
use crate::env::{ManualClock, split_mix};
use crate::table::NewEntry;
use crate::{Cursor, Error, TableConfig};

const NOW: u64 = 1_000_000;
const NAMES: [&str; 3] = ["a", "b", "c"];

type Image = BTreeMap<Vec<u8>, Vec<u8>>;

fn table(seed: u64) -> Arc<Table> {
    let config = TableConfig { segments: Some(4), seed, ..TableConfig::default() };
    Arc::new(Table::new(&config, NOW).unwrap())
}

fn kept(name: &str, mode: PersistMode, seed: u64) -> KeptTable {
    KeptTable { name: name.to_owned(), table: table(seed), mode, preload: Preload::All }
}

fn put(table: &Table, key: &[u8], value: &[u8]) -> Result<u64, Error> {
    let pinned = table.pin();
    let mut entry = pinned.entry(table.hash(key), key, NOW).unwrap();
    entry.put(&NewEntry { value: [value, b""], ..NewEntry::default() })
}

fn image(table: &Table) -> Image {
    let (mut image, mut cursor) = (Image::new(), Some(Cursor::default()));
    while let Some(from) = cursor {
        cursor = table.scan(from, 100, NOW, |entry| {
            image.insert(entry.key().to_vec(), entry.value().to_vec());
        });
    }
    image
}

fn open(
    disk: &MemoryDisk,
    tables: Vec<KeptTable>,
    dropped: &BTreeSet<String>,
) -> Result<(Persistence, Recovered), PersistError> {
    let config = PersistConfig {
        log: Arc::new(disk.clone()),
        snapshots: Arc::new(disk.clone()),
        mapped: false,
        storage_id: [3; 16],
        log_bytes: 1 << 20,
        log_file_bytes: 4 << 10,
        store: None,
        dropped: dropped.iter().cloned().collect(),
    };
    Persistence::open(config, tables, Arc::new(ManualClock::at(NOW)))
}

/// What the catalog's file would say: written whole, at moments of its own.
#[derive(Clone, Default)]
struct Catalog {
    tables: BTreeMap<String, PersistMode>,
    dropped: BTreeSet<String>,
}

/// A process: it ends without a word, at any step of making or dropping a table.
struct Life {
    persistence: Persistence,
    tables: BTreeMap<String, KeptTable>,
    file: Catalog,
}

impl Life {
    fn begin(disk: &MemoryDisk, file: Catalog, seed: u64) -> Life {
        let make = |(name, mode): (&String, &PersistMode)| kept(name, *mode, seed);
        let tables: Vec<_> = file.tables.iter().map(make).collect();
        let (persistence, _) = open(disk, tables.clone(), &file.dropped).unwrap();
        let tables = tables.into_iter().map(|kept| (kept.name.clone(), kept)).collect();
        Life { persistence, tables, file }
    }

    /// Makes a table; the process may end ahead of the catalog's file.
    fn make(&mut self, name: &str, ends: bool, rng: &mut u64) {
        let mode =
            if split_mix(rng).is_multiple_of(2) { PersistMode::Async } else { PersistMode::Sync };
        let kept = kept(name, mode, split_mix(rng));
        self.persistence.add_table(kept.clone()).unwrap();
        if !ends {
            self.file.tables.insert(name.to_owned(), mode);
            self.file.dropped.remove(name);
            self.tables.insert(name.to_owned(), kept);
        }
    }

    /// Drops a table; the process may end behind the catalog's file.
    fn drop(&mut self, name: &str, ends: bool) {
        self.file.tables.remove(name);
        self.file.dropped.insert(name.to_owned());
        let old = self.tables.remove(name).unwrap();
        if !ends {
            self.persistence.remove_table(name, NOW);
            assert_eq!(put(&old.table, b"late", b""), Err(Error::Unrecorded(Unrecorded::Dropped)));
            assert_eq!((image(&old.table), old.table.usage().entries), (Image::new(), 0));
        }
    }

    fn images(&self) -> BTreeMap<String, Image> {
        let image = |(name, kept): (&String, &KeptTable)| (name.clone(), image(&kept.table));
        self.tables.iter().map(image).collect()
    }
}

/// Everything durable comes back, each table with its own data and none of an earlier one's.
fn lives(seed: u64) {
    let mut rng = seed;
    let (mut disk, mut file) = (MemoryDisk::new(), Catalog::default());
    let mut images = BTreeMap::new();
    for life in 0..5 {
        let mut run = Life::begin(&disk, file, split_mix(&mut rng));
        assert_eq!(
            run.images(),
            images,
            "life {life}; ISOGRID_SEED={seed} cargo test --lib persist::tables"
        );
        for step in (0..split_mix(&mut rng) % 40).rev() {
            let name = NAMES[usize::try_from(split_mix(&mut rng) % 3).unwrap()];
            match (run.tables.get(name), split_mix(&mut rng) % 8) {
                (None, 0..4) => run.make(name, step == 0, &mut rng),
                (Some(_), 0) => run.drop(name, step == 0),
                (_, 1) => run.persistence.checkpoint().unwrap(),
                (Some(kept), _) => {
                    let key = [b'0' + u8::try_from(split_mix(&mut rng) % 10).unwrap()];
                    put(&kept.table, &key, &split_mix(&mut rng).to_le_bytes()).unwrap();
                }
                _ => {}
            }
        }
        run.persistence.wait_durable(run.persistence.last()).unwrap();
        images = run.images();
        let power = split_mix(&mut rng).is_multiple_of(2);
        disk = if power { disk.crash(split_mix(&mut rng)) } else { disk.copy() };
        file = run.file.clone();
    }
}

#[test]
fn a_table_made_again_under_its_name_never_gets_old_data_back() {
    let given = std::env::var("ISOGRID_SEED").ok().and_then(|seed| seed.parse().ok());
    given.map_or(0..80, |seed: u64| seed..seed + 1).for_each(lives);
}

#[test]
fn a_writer_that_still_holds_a_dropped_table_does_not_reach_the_new_one() {
    for round in 0..20 {
        let disk = MemoryDisk::new();
        let (persistence, _) = open(&disk, Vec::new(), &BTreeSet::new()).unwrap();
        let old = kept("a", PersistMode::Async, round);
        persistence.add_table(old.clone()).unwrap();
        let new = kept("a", PersistMode::Async, round + 1);
        std::thread::scope(|scope| {
            for writer in 0..3u8 {
                let table = &old.table;
                scope.spawn(move || while put(table, &[writer], b"old").is_ok() {});
            }
            persistence.remove_table("a", NOW);
            persistence.add_table(new.clone()).unwrap();
        });
        persistence.wait_durable(persistence.last()).unwrap();
        let again = kept("a", PersistMode::Async, 9);
        let _open = open(&disk.copy(), vec![again.clone()], &BTreeSet::new()).unwrap();
        assert_eq!(image(&again.table), Image::new(), "round {round}");
    }
}

/// Until there was a catalog, a cache that nobody configured any more was gone with the next
/// checkpoint, and a line in the log was all that was said.
#[test]
fn data_that_nobody_asked_for_and_nobody_dropped_is_refused_and_stays() {
    for checkpoint in [false, true] {
        let disk = MemoryDisk::new();
        let a = kept("a", PersistMode::Async, 1);
        let (persistence, _) = open(&disk, vec![a.clone()], &BTreeSet::new()).unwrap();
        put(&a.table, b"key", b"value").unwrap();
        persistence.wait_durable(persistence.last()).unwrap();
        if checkpoint {
            persistence.checkpoint().unwrap();
        }
        drop(persistence);
        let refused = open(&disk.copy(), Vec::new(), &BTreeSet::new()).err().unwrap();
        let told = refused.to_string();
        assert!(
            matches!(refused, PersistError::Unclaimed { .. }) && told.contains(" a,"),
            "{told}"
        );
        let again = kept("a", PersistMode::Async, 2);
        let opened = open(&disk.copy(), vec![again.clone()], &BTreeSet::new()).unwrap();
        assert_eq!(image(&again.table).len(), 1);
        drop(opened);
        let dropped = BTreeSet::from(["a".to_owned()]);
        let (_, recovered) = open(&disk.copy(), Vec::new(), &dropped).unwrap();
        assert_eq!(recovered.unclaimed, ["a"]);
    }
}
