//! What does not open, and says why.

use isogrid_engine::disk::{Disk, MemoryDisk};
use isogrid_grid::id::NodeId;

use super::super::StorageError;
use super::super::kept::Kept;
use super::fixture::{CLUSTER, folder, promise, saves, settings};

/// The disk of a member that was started twice.
fn member() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (records, data) = (saves(1, 30), Some([7; 16]));
    let (mut kept, _) = Kept::open(folder(&disk), data, CLUSTER).unwrap();
    kept.become_member((NodeId(1), settings(CLUSTER)), records.first()).unwrap();
    for save in &records[1..] {
        kept.append(save).unwrap();
    }
    kept.rest().unwrap();
    drop(Kept::open(folder(&disk), data, CLUSTER).unwrap());
    disk
}

/// The disk of a member that was let in, and has heard nothing yet.
fn newcomer() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (mut kept, _) = Kept::open(folder(&disk), None, CLUSTER).unwrap();
    kept.become_member((NodeId(4), settings(CLUSTER)), None).unwrap();
    disk
}

/// The disk of a process that has promised to found a cluster of this name.
fn founder(name: &str) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (mut kept, _) = Kept::open(folder(&disk), None, name).unwrap();
    kept.promise(&promise(name, 3)).unwrap();
    disk
}

fn text(disk: &MemoryDisk, name: &str) -> String {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn put(disk: &MemoryDisk, name: &str, text: &str) {
    let file = disk.open(name).unwrap();
    file.set_len(0).unwrap();
    file.write_at(0, text.as_bytes()).unwrap();
}

/// Changes lines of a file as another release would: the checksum fits.
fn rewrite(disk: &MemoryDisk, name: &str, from: &str, to: &str) {
    let old = text(disk, name);
    let lines = old.split_at(old.rfind("crc32c ").unwrap()).0.replace(from, to);
    assert_ne!(lines, old, "{from:?} is in it");
    put(disk, name, &format!("{lines}crc32c {:08x}\n", crc32c::crc32c(lines.as_bytes())));
}

fn log_of(disk: &MemoryDisk) -> String {
    disk.list().unwrap().into_iter().find(|name| name.starts_with("raft/")).unwrap()
}

fn all(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let file = disk.open(&name).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        (name, bytes)
    };
    disk.list().unwrap().into_iter().map(read).collect()
}

/// What the end of a log at rest takes.
const MARK_BYTES: u64 = 24;

type Case = (&'static str, fn() -> MemoryDisk, fn(&MemoryDisk), &'static [&'static str]);

const CASES: [Case; 15] = [
    (
        "a lost identity",
        member,
        |disk| disk.remove("identity").unwrap(),
        &[
            "identity: it is missing beside a promise or a Raft log",
            "Move the folder `cluster` aside",
        ],
    ),
    (
        "a lost identity of a founder",
        || founder(CLUSTER),
        |disk| disk.remove("identity").unwrap(),
        &["identity: it is missing beside a promise or a Raft log"],
    ),
    (
        "a lost log",
        member,
        |disk| disk.remove(&log_of(disk)).unwrap(),
        &["raft/: the Raft log of a member is missing"],
    ),
    (
        "a log of an earlier day",
        member,
        |disk| {
            let log = log_of(disk);
            disk.open(&log).unwrap().set_len(64).unwrap();
        },
        &["raft/: the log ends before record 17; it had got to 21"],
    ),
    (
        "the log of a member that was let in, cut to its header",
        newcomer,
        |disk| disk.open(&log_of(disk)).unwrap().set_len(64).unwrap(),
        &["raft/: the log ends before record 1; it had got to 2"],
    ),
    (
        "a bit of the log turned over",
        member,
        |disk| {
            assert!(disk.flip(&log_of(disk), 64 * 8 + 300));
        },
        &["raft/wal-", "damaged at byte 64, where record", "do not repair it"],
    ),
    (
        "a bit of its last record turned over",
        member,
        |disk| {
            let log = log_of(disk);
            let end = disk.open(&log).unwrap().len().unwrap() - MARK_BYTES;
            assert!(disk.flip(&log, end * 8 - 1));
        },
        &["raft/wal-", "damaged at byte", "where record 20 should be"],
    ),
    (
        "a bit of the identity turned over",
        member,
        |disk| assert!(disk.flip("identity", 200)),
        &["identity: its checksum is not that of its lines"],
    ),
    (
        "a bit of the promise turned over",
        || founder(CLUSTER),
        |disk| {
            assert!(disk.flip("promise", 200));
        },
        &["promise: its checksum is not that of its lines"],
    ),
    (
        "a promise of something else",
        || founder(CLUSTER),
        |disk| {
            rewrite(disk, "promise", "founding ", "founding 00");
        },
        &["promise: it is no founding"],
    ),
    (
        "a newer identity",
        member,
        |disk| rewrite(disk, "identity", "identity 1", "identity 2"),
        &["identity: it says \"cluster identity 2\", this release knows \"cluster identity 1\""],
    ),
    (
        "a newer promise",
        || founder(CLUSTER),
        |disk| {
            rewrite(disk, "promise", "promise 1", "promise 2");
        },
        &["promise: it says \"cluster promise 2\", this release knows"],
    ),
    (
        "a line of a newer release",
        member,
        |disk| {
            rewrite(disk, "identity", "lease_ms", "colour red\nlease_ms");
        },
        &["identity: a line of it is not known"],
    ),
    (
        "the disk of another member",
        member,
        |disk| {
            rewrite(disk, "identity", "storage ", "storage 0000000000000000000000000000000");
            let old = text(disk, "identity");
            let storage = old.lines().find(|line| line.starts_with("storage")).unwrap();
            rewrite(disk, "identity", storage, "storage 0000000000000000000000000000002a");
        },
        &["raft/wal-", "not of 0000000000000000000000000000002a", "it is another node's"],
    ),
    (
        "the founder of another cluster",
        || founder("test"),
        |_| {},
        &["promise: this node is of the cluster \"test\", not of \"prod\""],
    ),
];

#[test]
fn what_is_not_as_it_was_left_is_refused_by_name_and_left_alone() {
    for (what, disk, harm, words) in CASES {
        let disk = disk();
        harm(&disk);
        let before = all(&disk);
        let error = Kept::open(folder(&disk), None, CLUSTER).err();
        let error = error.unwrap_or_else(|| panic!("{what} is not refused"));
        let said = error.to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{what}: {said}");
        assert!(error.is_refusal(), "{what}: {error:?}");
        assert!(all(&disk) == before, "{what}: something was changed");
    }
}

#[test]
fn a_node_of_another_cluster_or_with_other_data_is_refused() {
    let disk = member();
    let open = |data, cluster| Kept::open(folder(&disk), data, cluster).map(drop);
    let other = open(None, "test").unwrap_err();
    assert!(matches!(&other, StorageError::OtherCluster { kept, .. } if kept == "prod"));
    let said = open(Some([8; 16]), CLUSTER).unwrap_err();
    assert!(matches!(said, StorageError::OtherData { .. }), "{said}");
    assert!(said.to_string().contains(&"07".repeat(16)), "{said}");
    // Without data, and with its own again.
    open(None, CLUSTER).unwrap();
    open(Some([7; 16]), CLUSTER).unwrap();
}

/// The first files are gone, and what is left does not begin with a whole state.
#[test]
fn a_log_without_its_beginning_is_refused() {
    let disk = MemoryDisk::new();
    let records = saves(2, 60);
    let (mut kept, opened) = Kept::open(folder(&disk), None, CLUSTER).unwrap();
    kept.become_member((NodeId(1), settings(CLUSTER)), records.first()).unwrap();
    drop(kept);
    let raft = folder(&disk).raft;
    let mut config = super::super::log::config(opened.storage);
    config.file_bytes = 100;
    let (mut wal, _) = isogrid_engine::wal::Wal::open(raft, &config, &mut |_, _| Ok(())).unwrap();
    for save in records[1..].iter().filter(|save| !save.is_empty() && !save.begins_anew()) {
        wal.append(|out| {
            out.push(0);
            out.extend(save.encode());
        })
        .unwrap();
        wal.roll().unwrap();
    }
    wal.close().unwrap();
    drop(Kept::open(folder(&disk), None, CLUSTER).unwrap());
    disk.remove(&log_of(&disk)).unwrap();
    let said = Kept::open(folder(&disk), None, CLUSTER).unwrap_err().to_string();
    assert!(said.contains("the files with the records before it are missing"), "{said}");
}
