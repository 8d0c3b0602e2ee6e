//! Snapshot files: what is in one is what the table held at one moment, on disks that lose power,
//! fail and rot, and a table that is given it back is as it was.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

#[path = "snapshot_file/crash.rs"]
mod crash;
#[path = "snapshot_file/damage.rs"]
mod damage;
#[path = "snapshot_file/format.rs"]
mod format;
#[path = "snapshot_file/generations.rs"]
mod generations;
#[path = "snapshot_file/load.rs"]
mod load;
#[path = "snapshot_file/real.rs"]
mod real;
#[path = "snapshot_file/restored.rs"]
mod restored;
#[path = "snapshot_file/round_trip.rs"]
mod round_trip;

use std::collections::BTreeMap;

use isogrid_engine::disk::{Disk, MemoryDisk};
use isogrid_engine::snapshot_file::{
    RestoreCounts, RestoreTime, SnapshotFile, SnapshotHeader, SnapshotKind, Summary, restore, write,
};
use isogrid_engine::{Cursor, Marks, NewEntry, Table, TableConfig};

const NAME: &str = "test.snapshot";
const NOW: u64 = 1_000_000;

/// What a reader sees of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    value: Vec<u8>,
    flags: u32,
    deadline: Option<u64>,
    max_idle: Option<u32>,
    version: u64,
    marks: Marks,
}

type Contents = BTreeMap<Vec<u8>, Seen>;

fn header() -> SnapshotHeader {
    let kind = SnapshotKind::Checkpoint;
    SnapshotHeader { kind, storage_id: [7; 16], created: NOW, log_position: 42 }
}

fn config(segments: Option<u32>, seed: u64, epoch: u32) -> TableConfig {
    TableConfig { segments, seed, epoch, ..TableConfig::default() }
}

fn table(segments: Option<u32>, seed: u64, epoch: u32) -> Table {
    Table::new(&config(segments, seed, epoch), NOW).unwrap()
}

/// Stores an entry; gives its version.
fn put(table: &Table, key: &[u8], new: &NewEntry<'_>, now: u64) -> u64 {
    let pinned = table.pin();
    pinned.entry(table.hash(key), key, now).unwrap().put(new).unwrap()
}

fn put_value(table: &Table, key: &[u8], value: &[u8]) -> u64 {
    put(table, key, &NewEntry { value: [value, b""], ..NewEntry::default() }, NOW)
}

fn remove(table: &Table, key: &[u8], now: u64) -> bool {
    table.pin().entry(table.hash(key), key, now).unwrap().remove().unwrap()
}

fn contents(table: &Table, now: u64) -> Contents {
    let (mut found, mut cursor) = (Contents::new(), Some(Cursor::default()));
    while let Some(at) = cursor {
        cursor = table.scan(at, 100, now, |entry| {
            let seen = Seen {
                value: entry.value().to_vec(),
                flags: entry.flags(),
                deadline: entry.deadline(),
                max_idle: entry.max_idle(),
                version: entry.version(),
                marks: entry.marks(),
            };
            assert!(found.insert(entry.key().to_vec(), seen).is_none(), "{:?} twice", entry.key());
        });
    }
    found
}

fn save(disk: &dyn Disk, header: &SnapshotHeader, table: &Table) -> Summary {
    write(disk, NAME, header, &[("default", table)], &mut |_| ()).unwrap()
}

fn saved(table: &Table) -> MemoryDisk {
    let disk = MemoryDisk::new();
    save(&disk, &header(), table);
    disk
}

fn bytes_of(disk: &MemoryDisk) -> Vec<u8> {
    let file = disk.open(NAME).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn open(disk: &dyn Disk) -> SnapshotFile {
    SnapshotFile::open_on(disk, NAME).unwrap()
}

fn at(now: u64) -> RestoreTime {
    RestoreTime { now, read_until: now }
}

fn load_into(file: &SnapshotFile, table: &Table, time: RestoreTime) -> RestoreCounts {
    restore(file, 0, table, time, &mut |_| ()).unwrap()
}

/// What a file holds of its first cache, read record by record.
fn records(file: &SnapshotFile) -> Contents {
    let epoch = file.caches().first().unwrap().epoch;
    let mut found = Contents::new();
    for number in file.blocks(0) {
        for record in file.block(number).unwrap().records() {
            let seen = Seen {
                value: record.value.to_vec(),
                flags: record.flags,
                deadline: record.deadline,
                max_idle: record.idle.map(|idle| idle.max),
                version: record.version(epoch),
                marks: record.marks,
            };
            assert!(found.insert(record.key.to_vec(), seen).is_none(), "twice");
        }
    }
    found
}

/// `n` small entries.
fn filled(n: u32) -> Table {
    let table = table(Some(4), 1, 1);
    (0..n).for_each(|n| _ = put_value(&table, format!("key {n}").as_bytes(), &n.to_le_bytes()));
    table
}
