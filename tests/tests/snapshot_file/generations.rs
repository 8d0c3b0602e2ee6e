//! Tables that live on in file after file: whatever is done to one, the next goes on from it.

use std::sync::Arc;

use isogrid_tests::seeds;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What is done to the table.
#[derive(Debug, Clone)]
enum Op {
    Put(u8, usize, Fields),
    Remove(u8),
    Read(u8),
    Prepare(u8, bool),
    Clear,
    Wait(u64),
    Maintain,
    /// Holds a snapshot from here on, or gives it up: old versions stay linked meanwhile.
    Hold,
    /// Writes a file, and goes on with a table that was given it: segments, seed, epochs later.
    Again(Option<u32>, u64, u32),
    /// Gives the table its last file once more: nothing may change.
    Twice,
}

/// Everything but the value.
#[derive(Debug, Clone)]
struct Fields {
    flags: u32,
    ttl: Option<u64>,
    idle: Option<u32>,
    version: Option<u64>,
    marks: bool,
}

fn fields() -> impl Strategy<Value = Fields> {
    let some = |below: u64| proptest::option::weighted(0.3, 1..below);
    (0..3_u32, some(300), some(300), some(1_000), any::<bool>()).prop_map(
        |(flags, ttl, idle, version, marks)| {
            let idle = idle.and_then(|ms| u32::try_from(ms).ok());
            Fields { flags, ttl, idle, version, marks }
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..24_u8;
    let size = prop_oneof![8 => 0..200_usize, 1 => 15_000..20_000_usize, 1 => 60_000..90_000_usize];
    let segments = proptest::option::of((0..4_u32).prop_map(|shift| 1 << shift));
    prop_oneof![
        12 => (key(), size, fields()).prop_map(|(key, size, fields)| Op::Put(key, size, fields)),
        4 => key().prop_map(Op::Remove),
        4 => key().prop_map(Op::Read),
        2 => (key(), any::<bool>()).prop_map(|(key, publish)| Op::Prepare(key, publish)),
        1 => Just(Op::Clear),
        4 => (1..60_u64).prop_map(Op::Wait),
        2 => Just(Op::Maintain),
        2 => Just(Op::Hold),
        3 => (segments, any::<u64>(), 0..2_u32).prop_map(|(s, seed, more)| Op::Again(s, seed, more)),
        1 => Just(Op::Twice),
    ]
}

/// One table after the other.
struct Lives {
    table: Arc<Table>,
    now: u64,
    epoch: u32,
    disk: MemoryDisk,
    /// The last version that each key had, deletions included.
    last: BTreeMap<u8, u64>,
}

impl Lives {
    fn again(&mut self, segments: Option<u32>, seed: u64, epochs: u32) {
        let header = SnapshotHeader { created: self.now, ..header() };
        let before = contents(&self.table, self.now);
        save(&self.disk, &header, &self.table);
        self.epoch += epochs;
        let config = config(segments, seed, self.epoch);
        self.table = Arc::new(Table::new(&config, self.now).unwrap());
        let counts = load_into(&open(&self.disk), &self.table, at(self.now));
        assert_eq!(counts.stored, before.len() as u64, "{counts:?}");
        assert_eq!(contents(&self.table, self.now), before);
        assert_eq!(self.table.usage().entries, before.len() as u64);
    }

    fn put(&mut self, key: u8, new: &NewEntry<'_>) {
        let version = put(&self.table, &[key], new, self.now);
        self.given(key, version, new.version);
    }

    /// The table's own numbers only go up, over all lives.
    fn given(&mut self, key: u8, version: u64, chosen: Option<u64>) {
        if chosen.is_none() {
            let before = self.last.insert(key, version).unwrap_or(0);
            assert!(version > before, "key {key}: {version:x} after {before:x}");
        }
    }

    fn prepare(&mut self, key: u8, publish: bool) {
        let (hash, new) = (self.table.hash(&[key]), NewEntry::default());
        let pinned = self.table.pin();
        let prepared = pinned.entry(hash, &[key], self.now).unwrap().prepare_put(&new).unwrap();
        drop(pinned);
        if publish {
            self.table.publish(&[prepared], self.now);
            self.given(key, prepared.version, None);
        } else {
            self.table.abort(&[prepared], self.now);
        }
    }

    fn play(&mut self, op: &Op) {
        match op {
            Op::Put(key, size, fields) => {
                let value = vec![*key; *size];
                let marks = if fields.marks { Marks::LEASED } else { Marks::default() };
                self.put(
                    *key,
                    &NewEntry {
                        value: [&value, b""],
                        flags: fields.flags,
                        deadline: fields.ttl.map(|ttl| self.now + ttl),
                        max_idle: fields.idle,
                        version: fields.version,
                        marks,
                    },
                );
            }
            Op::Remove(key) => _ = remove(&self.table, &[*key], self.now),
            Op::Read(key) => {
                let pinned = self.table.pin();
                let _seen = pinned.get(self.table.hash(&[*key]), &[*key], self.now);
            }
            Op::Prepare(key, publish) => self.prepare(*key, *publish),
            Op::Clear => self.table.clear(self.now).unwrap(),
            Op::Wait(ms) => self.now += ms,
            Op::Maintain => while self.table.maintain(self.now, 100) {},
            Op::Again(segments, seed, epochs) => self.again(*segments, *seed, *epochs),
            Op::Twice => self.twice(),
            Op::Hold => {}
        }
    }

    fn twice(&self) {
        if self.disk.list().unwrap().is_empty() {
            return;
        }
        let before = contents(&self.table, self.now);
        let counts = load_into(&open(&self.disk), &self.table, at(self.now));
        let after = contents(&self.table, self.now);
        // What is there is as it was; what is not was deleted or expired meanwhile.
        assert!(before.iter().all(|(key, seen)| after.get(key) == Some(seen)), "{counts:?}");
    }
}

/// Plays `ops`; every second part between two [`Op::Hold`] under a snapshot of its beginning.
fn play(lives: &mut Lives, ops: &[Op]) {
    for (n, part) in ops.split(|op| matches!(op, Op::Hold)).enumerate() {
        let table = lives.table.clone();
        let _held = (n % 2 == 1).then(|| table.snapshot(lives.now));
        part.iter().for_each(|op| lives.play(op));
    }
}

fn holds(ops: &[Op]) -> Result<(), TestCaseError> {
    let played = std::panic::catch_unwind(|| {
        let table = Arc::new(table(Some(4), 1, 1));
        let disk = MemoryDisk::new();
        let mut lives = Lives { table, now: NOW, epoch: 1, disk, last: BTreeMap::new() };
        play(&mut lives, ops);
        lives.again(Some(2), 9, 0);
    });
    played.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        TestCaseError::fail(text.unwrap_or("panicked").to_owned())
    })
}

#[test]
fn a_table_lives_on_in_its_files() {
    let test = "snapshot_file::a_table_lives_on_in_its_files";
    seeds::check(test, &vec(op(), 1..80), |ops| holds(ops));
}
