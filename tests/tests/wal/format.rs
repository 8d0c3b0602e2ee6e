//! The bytes on disk, frozen: a log that was written once must be read for ever.

use isogrid_engine::disk::{Disk, MemoryDisk};
use isogrid_engine::wal::{Lsn, WalConfig, WalKind};

use super::{names, open_as};

/// A header, two records of which the second knows that the first is durable, and a mark.
const RAFT_LOG: &str = "
    69736f6777616c00 01000000 02000000 7369787465656e206279746573206964
    0100000000000000 0000000000000000000000000000000000000000 a8197dbb
    f267744c 05000000 0100000000000000 0000000000000000 6669727374
    99dde1c2 00000000 0200000000000000 0100000000000000
    cffe93a8 ffffffff 0300000000000000 0200000000000000
";

fn config() -> WalConfig {
    WalConfig::new(*b"sixteen bytes id", WalKind::Raft)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_log_has_always_these_bytes() {
    let disk = MemoryDisk::new();
    let mut log = open_as(&disk, &config()).unwrap().wal;
    log.append(|buffer| buffer.extend(b"first")).unwrap();
    log.sync().unwrap();
    log.append(|_| ()).unwrap();
    log.close().unwrap();
    assert_eq!(names(&disk), ["wal-0000000000000001.log"]);
    let file = disk.open("wal-0000000000000001.log").unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(hex(&bytes), RAFT_LOG.split_whitespace().collect::<String>());
    let opened = open_as(&disk, &config()).unwrap();
    assert_eq!(opened.records, [(1, b"first".to_vec()), (2, Vec::new())]);
    assert_eq!(opened.recovery.next, Lsn(3));
}
