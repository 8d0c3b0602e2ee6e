//! Tables that are kept, on a disk in memory: what comes back after kills and power cuts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::disk::MemoryDisk;
use crate::env::{ManualClock, split_mix};
use crate::table::NewEntry;
use crate::wal::CommitHook;
use crate::{Isolation, TableConfig};

mod late;

const NOW: u64 = 1_000_000;
const KEYS: u64 = 24;

/// Flags, deadline, max-idle, version, and length and checksum of the value of each key.
type Image = BTreeMap<String, (u32, Option<u64>, Option<u32>, u64, usize, u32)>;

struct Life {
    table: Arc<Table>,
    persistence: Persistence,
    recovered: Recovered,
}

impl Life {
    fn begin(disk: &MemoryDisk, mode: PersistMode, segments: u32, seed: u64) -> Life {
        Life::on(Arc::new(disk.clone()), Arc::new(disk.clone()), mode, (segments, seed))
    }

    /// With a disk for the log and one for snapshot files.
    fn on(
        log: Arc<dyn Disk>,
        snapshots: Arc<dyn Disk>,
        mode: PersistMode,
        (segments, seed): (u32, u64),
    ) -> Life {
        let config = TableConfig { segments: Some(segments), seed, ..TableConfig::default() };
        let table = Arc::new(Table::new(&config, NOW).unwrap());
        let kept = KeptTable {
            name: "default".to_owned(),
            table: Arc::clone(&table),
            mode,
            preload: Preload::All,
        };
        let config = PersistConfig {
            log,
            snapshots,
            mapped: false,
            storage_id: [3; 16],
            store: None,
            log_bytes: 1 << 20,
            log_file_bytes: 4 << 10,
            dropped: Vec::new(),
        };
        let clock = Arc::new(ManualClock::at(NOW));
        let (persistence, recovered) = Persistence::open(config, vec![kept], clock).unwrap();
        Life { table, persistence, recovered }
    }

    fn image(&self) -> Image {
        let (mut image, mut cursor) = (Image::new(), Some(crate::Cursor::default()));
        while let Some(from) = cursor {
            cursor = self.table.scan(from, 100, NOW, |entry| {
                let shown = (
                    entry.flags(),
                    entry.deadline(),
                    entry.max_idle(),
                    entry.version(),
                    entry.value().len(),
                    crc32c::crc32c(entry.value()),
                );
                image.insert(String::from_utf8_lossy(entry.key()).into_owned(), shown);
            });
        }
        image
    }

    /// One random change.
    fn change(&self, rng: &mut u64) {
        let key = format!("key-{}", split_mix(rng) % KEYS).into_bytes();
        let value =
            split_mix(rng).to_le_bytes().repeat(usize::try_from(split_mix(rng) % 40).unwrap());
        let pinned = self.table.pin();
        let part = |rng: &mut u64| split_mix(rng).is_multiple_of(4);
        let new = NewEntry {
            value: [&value, b"!"],
            flags: if part(rng) { 7 } else { 0 },
            deadline: part(rng).then_some(NOW + 5_000),
            max_idle: part(rng).then_some(60_000),
            version: part(rng).then_some(77),
            ..NewEntry::default()
        };
        match split_mix(rng) % 20 {
            0 => self.table.clear(NOW).unwrap(),
            1..=2 => {
                let mut all = self.table.transaction(Isolation::Snapshot, NOW);
                for n in 0..4 {
                    all.put(format!("key-{n}").as_bytes(), &new).unwrap();
                }
                all.remove(&key).unwrap();
                all.commit(NOW).unwrap();
            }
            kind => {
                let mut entry = pinned.entry(self.table.hash(&key), &key, NOW).unwrap();
                match kind {
                    3 => drop(entry.remove().unwrap()),
                    4..=5 => {
                        if let Some(there) = entry.get() {
                            let value = there.value().to_vec();
                            let version = there.chosen_version();
                            entry
                                .rewrite(&NewEntry { value: [&value, b""], version, ..new })
                                .unwrap();
                        }
                    }
                    _ => drop(entry.put(&new).unwrap()),
                }
            }
        }
    }
}

/// What a crash leaves is what there was after one of the changes, none before the last that was
/// promised; and no version is given out twice.
fn lives(mode: PersistMode, seed: u64) {
    let mut rng = seed;
    let mut disk = MemoryDisk::new();
    let mut image = Image::new();
    let mut highest = 0;
    for life in 0..4u32 {
        let segments = 1 << (split_mix(&mut rng) % 4);
        let run = Life::begin(&disk, mode, segments, split_mix(&mut rng));
        assert_eq!(run.image(), image, "seed {seed}, life {life}: {:?}", run.recovered);
        let power = split_mix(&mut rng).is_multiple_of(2);
        let (mut history, mut promised) = (vec![image.clone()], 0);
        for _ in 0..split_mix(&mut rng) % 60 {
            run.change(&mut rng);
            match (mode, split_mix(&mut rng) % 6) {
                (PersistMode::Sync, _) => {
                    run.persistence.log.wait_durable(run.persistence.last()).unwrap()
                }
                (_, 0) => run.persistence.checkpoint().unwrap(),
                (_, 1) => run.persistence.log.wait_durable(run.persistence.last()).unwrap(),
                (_, 2) if !power => {
                    let (since, last) = (run.persistence.moment(), run.persistence.last());
                    run.persistence.flush(since, last).unwrap()
                }
                _ => {
                    history.push(run.image());
                    continue;
                }
            }
            history.push(run.image());
            promised = history.len() - 1;
        }
        let after = if power { disk.crash(split_mix(&mut rng)) } else { disk.copy() };
        drop(run);
        let found = Life::begin(&after.copy(), mode, 2, 9);
        image = found.image();
        let at = history.iter().rposition(|before| *before == image);
        let replay = format!("ISOGRID_SEED={seed} cargo test --lib persist");
        let last = history.last();
        assert!(
            at.is_some(),
            "life {life}: a state that never was: {image:?} not {last:?}; {replay}"
        );
        assert!(at >= Some(promised), "life {life}: {at:?} before {promised}; {replay}");
        // Versions of this life are above all that were ever seen.
        let own = history.iter().flat_map(|image| image.values()).map(|v| v.3).max().unwrap_or(0);
        highest = own.max(highest);
        let pinned = found.table.pin();
        let mut entry = pinned.entry(found.table.hash(b"next"), b"next", NOW).unwrap();
        let version = entry.put(&NewEntry::default()).unwrap();
        assert!(version > highest, "life {life}: {version} again; {replay}");
        disk = after;
    }
}

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("ISOGRID_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("ISOGRID_PERSIST_LIVES").ok().and_then(|n| n.parse().ok());
    given.map_or(0..count.unwrap_or(60), |seed: u64| seed..seed + 1)
}

#[test]
fn what_a_crash_leaves_is_a_state_that_was() {
    seeds().for_each(|seed| lives(PersistMode::Async, seed));
}

#[test]
fn what_was_acknowledged_in_sync_is_there_after_any_crash() {
    seeds().for_each(|seed| lives(PersistMode::Sync, seed));
}

/// The keys are in other segments in the next life, whose sequence numbers say nothing of when
/// they were written.
#[test]
fn a_clear_takes_what_was_there_before_it_and_nothing_else() {
    for (segments, again) in [(1, 8), (8, 1), (4, 4)] {
        let disk = MemoryDisk::new();
        let life = Life::begin(&disk, PersistMode::Async, segments, 1);
        let put = |keys: std::ops::Range<u32>| {
            let pinned = life.table.pin();
            for key in keys.map(|n| format!("key-{n}").into_bytes()) {
                let mut entry = pinned.entry(life.table.hash(&key), &key, NOW).unwrap();
                entry.put(&NewEntry::default()).unwrap();
            }
        };
        put(0..40);
        life.table.clear(NOW).unwrap();
        put(30..50);
        life.persistence.log.wait_durable(life.persistence.last()).unwrap();
        let image = life.image();
        assert_eq!(image.len(), 20);
        let found = Life::begin(&disk.copy(), PersistMode::Async, again, 77);
        assert_eq!(found.image(), image, "{segments} segments, then {again}");
    }
}

#[test]
fn sync_changes_are_seen_when_they_are_durable() {
    let disk = MemoryDisk::new();
    let life = Life::begin(&disk, PersistMode::Sync, 4, 1);
    let pinned = life.table.pin();
    let hash = life.table.hash(b"a");
    let put = pinned.entry(hash, b"a", NOW).unwrap().put(&NewEntry::default());
    assert!(put.is_ok());
    assert!(pinned.entry(hash, b"a", NOW).unwrap().get().is_some(), "writers see it at once");
    life.persistence.log.wait_durable(life.persistence.last()).unwrap();
    assert!(pinned.peek(hash, b"a", NOW).is_some());
}

/// A change that waited behind a refused one was taken back with it, but its own record fitted
/// again and became durable: its client was told OK and found the old value.
#[test]
fn a_change_that_was_taken_back_is_not_acknowledged() {
    let disk = MemoryDisk::new();
    let life = Life::begin(&disk, PersistMode::Sync, 1, 1);
    let Life { table, persistence, .. } = &life;
    let pinned = table.pin();
    let put = |key: &[u8]| {
        pinned.entry(table.hash(key), key, NOW).unwrap().put(&NewEntry::default()).unwrap();
        persistence.last()
    };
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let since = persistence.moment();
    let (refused, behind) = (put(b"refused"), put(b"behind"));
    let full = WalError::out_of_space(String::new(), "write", std::io::Error::other("full"));
    persistence.hook.refused(refused..=refused, &full);
    persistence.log.wait_durable(behind).unwrap();
    assert!(pinned.peek(table.hash(b"behind"), b"behind", NOW).is_none(), "it is taken back");
    let told = persistence.poll_durable(&mut cx, since, behind);
    assert!(matches!(told, Poll::Ready(Err(WalError::Doubtful))), "{told:?}");
    assert!(persistence.is_out_of_space(), "the log has what memory has not");
    persistence.checkpoint().unwrap();
    let (since, last) = (persistence.moment(), put(b"after"));
    persistence.log.wait_durable(last).unwrap();
    assert!(matches!(persistence.poll_durable(&mut cx, since, last), Poll::Ready(Ok(()))));
    let image = life.image();
    drop(life);
    let again = Life::begin(&disk, PersistMode::Sync, 1, 1);
    assert_eq!(again.image(), image);
    assert_eq!(image.keys().collect::<Vec<_>>(), ["after"]);
}

#[test]
fn a_full_disk_refuses_changes_whole_and_takes_them_again_when_there_is_room() {
    let disk = MemoryDisk::new();
    let life = Life::begin(&disk, PersistMode::Async, 1, 1);
    disk.set_capacity(Some(1));
    life.persistence.checkpoints.space.measure();
    let pinned = life.table.pin();
    let put = |key: &[u8]| {
        pinned.entry(life.table.hash(key), key, NOW).unwrap().put(&NewEntry::default())
    };
    let refused = crate::Error::Unrecorded(crate::Unrecorded::OutOfSpace);
    assert_eq!(put(b"a"), Err(refused));
    assert!(pinned.peek(life.table.hash(b"a"), b"a", NOW).is_none());
    assert!(life.persistence.is_out_of_space());
    disk.set_capacity(None);
    life.persistence.checkpoints.space.measure();
    assert!(put(b"a").is_ok() && !life.persistence.is_out_of_space());
}

/// Threads share the changes of a log; what they leave is what one alone does, clears included.
#[test]
fn threads_leave_what_one_does() {
    for seed in 0..40 {
        let (disk, mut rng) = (MemoryDisk::new(), seed);
        let mut life = Life::begin(&disk, PersistMode::Async, 8, 1);
        let since = life.persistence.moment();
        (0..400).for_each(|_| life.change(&mut rng));
        life.persistence.flush(since, life.persistence.last()).unwrap();
        let expected = life.image();
        for threads in [0, 1, 3] {
            let config = TableConfig { segments: Some(8), seed: 9, ..TableConfig::default() };
            let table = Arc::new(Table::new(&config, NOW).unwrap());
            let (name, mode) = ("default".to_owned(), PersistMode::Async);
            let kept = [KeptTable { name, table: Arc::clone(&table), mode, preload: Preload::All }];
            let wal = wal_config([3; 16], Lsn::NONE);
            replaying(&kept, None, NOW, threads, |replay| {
                crate::wal::read(&disk, &wal, &mut |_, bytes| replay.record(bytes))
            })
            .unwrap();
            life.table = table;
            assert_eq!(life.image(), expected, "seed {seed}, {threads} threads");
        }
    }
}

#[test]
fn a_checkpoint_lets_the_log_begin_anew() {
    let disk = MemoryDisk::new();
    let life = Life::begin(&disk, PersistMode::Async, 2, 1);
    let mut rng = 5;
    for round in 0..20 {
        (0..50).for_each(|_| life.change(&mut rng));
        life.persistence.checkpoint().unwrap();
        let bytes = life.persistence.log_bytes();
        assert!(bytes < 64 << 10, "round {round}: {bytes} bytes of log");
    }
    let image = life.image();
    life.persistence.close().unwrap();
    let again = Life::begin(&disk, PersistMode::Async, 2, 1);
    assert_eq!((again.image(), again.recovered.changes), (image, 0));
}
