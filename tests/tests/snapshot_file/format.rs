//! The bytes of a file, frozen: one that was written once must be read for ever.

use isogrid_engine::disk::MemoryDisk;
use isogrid_engine::{Marks, NewEntry};

use super::*;

/// Header, section, one block of one entry, footer, the header once more, the end.
const FILE: &str = "
    69736f67736e7000 01000000 01000000 7369787465656e206279746573206964
    40420f0000000000 2a00000000000000 01000000 0000000000000000 8099c086

    01000000 00000000 00000000 00000000 1700000000000000 8b0a3753 ab71119b
    0700 64656661756c74 01000000 01 02000000 0300000000

    02000000 01000000 00000000 01000000 3600000000000000 608195df a40d07bc
    1f 0100000000 0000 0300 05000000
    04030201 40430f0000000000 4d000000 07000000 8877665544332211 01000000
    616c6c 76616c7565

    03000000 02000000 00000000 00000000 6500000000000000 841b134f 7ffc20d0
    0700 64656661756c74 01000000 01 02000000 0300000000
    0100000000000000 0800000000000000 01000000 01000000
    02000000
    01 00000000 00000000 4000000000000000 1700000000000000
    02 00000000 01000000 7700000000000000 3600000000000000

    69736f67736e7000 01000000 01000000 7369787465656e206279746573206964
    40420f0000000000 2a00000000000000 01000000 0000000000000000 8099c086
    69736f67656e6400 cd00000000000000 b201000000000000 00000000 0d040aa0
";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One segment, so that the order of entries in the file is that of two keys in one line.
fn table() -> Table {
    let table = super::table(Some(1), 1, 2);
    let new = NewEntry {
        value: [b"va", b"lue"],
        flags: 0x0102_0304,
        deadline: Some(NOW + 256),
        max_idle: Some(77),
        version: Some(0x1122_3344_5566_7788),
        marks: Marks::STALE,
    };
    put(&table, b"all", &new, NOW - 7);
    put_value(&table, b"gone", b"");
    assert!(remove(&table, b"gone", NOW));
    table
}

#[test]
fn a_file_has_always_these_bytes() {
    let disk = MemoryDisk::new();
    let header = SnapshotHeader { storage_id: *b"sixteen bytes id", ..header() };
    save(&disk, &header, &table());
    let bytes = bytes_of(&disk);
    assert_eq!(hex(&bytes), FILE.split_whitespace().collect::<String>());
    let again = super::table(Some(1), 1, 2);
    load_into(&open(&disk), &again, at(NOW));
    assert_eq!(contents(&again, NOW), contents(&table(), NOW));
}
