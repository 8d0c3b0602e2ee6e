//! What the conformance suite cannot know: folders that crashes and bad disks leave.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use super::super::{Damage, suite};
use super::*;
use crate::env::split_mix;

/// Bit flips for each kind of file; a seed of them.
const FLIPS: &str = "ISOGRID_FLIPS";
const FLIPS_DEFAULT: u64 = 5;
const SEED: &str = "ISOGRID_SEED";
/// A read of everything that takes longer hangs.
const HANG: Duration = Duration::from_secs(60);

const CACHE: CacheId = CacheId(3);

/// A folder for one test, deleted at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("engine-store-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder for tests");
        Folder(path)
    }

    fn config(&self) -> SledConfig {
        SledConfig { open_timeout_ms: 20_000, ..SledConfig::new(self.0.join("store")) }
    }

    fn open(&self) -> (SledStore, Report) {
        SledStore::open(self.config()).expect("opens")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn entry(n: u64, len: usize) -> Stored {
    let mut rng = n;
    let value = (0..len).map(|_| split_mix(&mut rng).to_le_bytes()[0]).collect();
    Stored { value, version: n, flags: 5, ..Stored::default() }
}

fn commit(store: &SledStore, position: u64, puts: &[(Vec<u8>, Stored)]) -> Result<(), Error> {
    let mut batch = Batch::new(usize::MAX);
    puts.iter().try_for_each(|(key, stored)| batch.put(CACHE, key, stored.clone()))?;
    batch.advance(Position(position));
    store.commit(&batch)
}

fn records(store: &SledStore) -> usize {
    store.read(|handle| Ok(handle.db.len())).expect("reads")
}

#[test]
fn conforms() {
    let folder = Folder::new();
    let count = AtomicU32::new(0);
    let path = folder.0.clone();
    suite::run(&suite::Bed {
        open: Box::new(move || {
            let n = count.fetch_add(1, Ordering::Relaxed);
            Box::new(SledStore::open(SledConfig::new(path.join(n.to_string()))).expect("opens").0)
        }),
        restart: Box::new(|store| {
            store.close()?;
            store.reopen().map(|report| report.applied)
        }),
    });
}

#[test]
fn no_chunk_is_left_behind() {
    let folder = Folder::new();
    let (store, _) = folder.open();
    let (short, long) = (b"key".to_vec(), vec![b'k'; 1000]);
    for key in [&short, &long] {
        for (len, chunks) in [(100_000, 25), (3, 0), (5000, 2), (9000, 3), (0, 0), (8192, 2)] {
            commit(&store, 1, &[(key.clone(), entry(1, len))]).expect("commits");
            let for_key = usize::from(key == &long && len == 8192);
            assert_eq!(records(&store), 2 + chunks + for_key, "{len} bytes");
        }
        let mut batch = Batch::default();
        batch.advance(Position(1));
        batch.delete(CACHE, key).expect("fits");
        store.commit(&batch).expect("commits");
        assert_eq!(records(&store), 1);
        // The store forgets that it held chunks; the folder tells it.
        commit(&store, 1, &[(key.clone(), entry(1, 5000))]).expect("commits");
        store.checkpoint().expect("a checkpoint");
        store.reopen().expect("reopens");
        commit(&store, 1, &[(key.clone(), entry(1, 5))]).expect("commits");
        assert_eq!(records(&store), 2);
        store.clear(CACHE).expect("clears");
        assert_eq!(records(&store), 1);
    }
}

/// What a crash leaves beside a whole log: spacejam/sled#1533.
#[test]
fn snapshots_that_keep_sled_from_opening_are_deleted() {
    let folder = Folder::new();
    let (store, _) = folder.open();
    commit(&store, 5, &[(b"key".to_vec(), entry(5, 10))]).expect("commits");
    store.checkpoint().expect("a checkpoint");
    drop(store);
    for name in
        ["snap.7FFFFFFFFFFFFFFF.generating", "snap.7FFFFFFFFFFFFFFF", "snap.0000000000000001"]
    {
        fs::write(folder.config().path.join(name), b"").expect("writes");
        let (store, report) = folder.open();
        let expect = Report { applied: Position(5), ..Report::default() };
        assert_eq!(report, expect, "{name}");
        assert_eq!(store.get(CACHE, b"key"), Ok(Some(entry(5, 10))), "{name}");
    }
    // A snapshot of rubbish is no reason to lose the log either.
    fs::write(folder.config().path.join("snap.7FFFFFFFFFFFFFFF"), [9; 100]).expect("writes");
    assert_eq!(folder.open().1.applied, Position(5));
}

#[test]
fn a_lost_file_is_not_taken_for_an_empty_store() {
    let folder = Folder::new();
    let (store, _) = folder.open();
    commit(&store, 5, &[(b"key".to_vec(), entry(5, 10))]).expect("commits");
    store.checkpoint().expect("a checkpoint");
    drop(store);
    fs::remove_file(folder.config().path.join("db")).expect("is there");
    let (store, report) = folder.open();
    let quarantined = report.quarantined.expect("put aside");
    assert_eq!(quarantined.checkpoint, Some(Position(5)));
    assert!(quarantined.path.is_dir(), "{}", quarantined.path.display());
    assert_eq!((report.applied, store.get(CACHE, b"key")), (Position(0), Ok(None)));
}

#[test]
fn a_log_older_than_its_checkpoint_is_put_aside() {
    let folder = Folder::new();
    let (store, _) = folder.open();
    commit(&store, 5, &[]).expect("commits");
    store.checkpoint().expect("a checkpoint");
    drop(store);
    files::write_checkpoint(&folder.config().path, Position(6)).expect("writes");
    let quarantined = folder.open().1.quarantined.expect("put aside");
    assert!(quarantined.reason.contains("at 5 after a checkpoint at 6"), "{}", quarantined.reason);
}

#[test]
fn refuses_what_is_anothers_and_leaves_it_alone() {
    let folder = Folder::new();
    let (store, _) = folder.open();
    let path = folder.config().path;
    let refused = SledStore::open(folder.config()).map(|_| ()).expect_err("in use");
    assert_eq!(refused, Error::InUse(path.clone()));
    drop(store);
    let text = "store 2 position 9";
    let file = format!("{text} crc {:08x}\n", crc32c::crc32c(text.as_bytes()));
    fs::write(path.join("checkpoint"), &file).expect("writes");
    let refused = SledStore::open(folder.config()).map(|_| ()).expect_err("another version");
    assert_eq!(refused, Error::Incompatible { path: path.clone(), reason: text.to_owned() });
    assert_eq!(fs::read_to_string(path.join("checkpoint")).expect("reads"), file);
}

#[test]
fn blobs_raise_an_alarm() {
    let folder = Folder::new();
    drop(folder.open());
    fs::write(folder.config().path.join("blobs/123"), b"x").expect("writes");
    assert!(folder.open().1.alarms.iter().any(|alarm| alarm.contains("1 blob")));
}

/// Sixteen of the largest records in each page, and every page rewritten several times.
#[test]
fn no_page_grows_into_a_blob() {
    let folder = Folder::new();
    let (store, _) = folder.open();
    for round in 0..4u64 {
        let key = |n: u64| format!("{n:0250}").into_bytes();
        let puts: Vec<_> = (0..300).map(|n| (key(n), entry(n + round, 4096))).collect();
        commit(&store, round, &puts).expect("commits");
        let key = |n: u64| format!("{n:065535}").into_bytes();
        let puts: Vec<_> = (0..20).map(|n| (key(n), entry(n, 50_000))).collect();
        commit(&store, round, &puts).expect("commits");
        store.checkpoint().expect("a checkpoint");
    }
    assert_eq!(files::blobs(&folder.config().path), 0);
}

/// A damaged entry is named, others are read, and a new value heals it.
#[test]
fn damage_stays_with_its_entry() {
    let folder = Folder::new();
    let (store, _) = folder.open();
    let keys: Vec<_> = (0..30u64).map(|n| (format!("{n}").into_bytes(), entry(n, 6000))).collect();
    commit(&store, 1, &keys).expect("commits");
    let tree_key = super::super::layout::chunk(CACHE, 4, 1);
    // Behind the store's back.
    let broken = store.read(|handle| {
        let mut record = handle.record(&tree_key)?.expect("a chunk").to_vec();
        record[7] ^= 16;
        handle.db.insert(&tree_key, record).map_err(|error| sort(&handle.path, error))
    });
    broken.expect("inserts");
    let model = keys.iter().cloned().collect();
    assert_eq!(suite::audit(&store, CACHE, &model), (1, 0));
    let page = store.scan(&Scan { bytes_max: usize::MAX, ..Scan::all(CACHE) }).expect("scans");
    let damaged: Vec<_> = page.entries.iter().filter_map(|entry| entry.as_ref().err()).collect();
    let [Damage::Entry { cache: 3, key, reason: "checksum" }] = damaged[..] else {
        panic!("{damaged:?}");
    };
    commit(&store, 1, &[(key.clone(), model[key].clone())]).expect("commits");
    assert_eq!(suite::audit(&store, CACHE, &model), (0, 0));
}

/// What sled shows after it skipped a damaged part of its log: an entry of before, whole in
/// itself.
#[test]
fn an_older_entry_makes_a_store_suspect() {
    let folder = Folder::new();
    let (store, _) = folder.open();
    let key = b"key".to_vec();
    commit(&store, 1, &[(key.clone(), entry(1, 10))]).expect("commits");
    let tree_key = super::super::layout::entry(CACHE, &key);
    let old = store.read(|handle| handle.record(&tree_key)).expect("reads").expect("is there");
    commit(&store, 2, &[(key.clone(), entry(2, 10))]).expect("commits");
    store.checkpoint().expect("a checkpoint");
    commit(&store, 3, &[]).expect("commits");
    let reverted = store
        .read(|handle| handle.db.insert(&tree_key, old).map_err(|error| sort(&handle.path, error)));
    reverted.expect("inserts");
    let report = store.reopen().expect("reopens");
    assert_eq!((report.suspect, report.applied), (true, Position(2)), "{report:?}");
    commit(&store, 2, &[(key.clone(), entry(2, 10))]).expect("a replay is taken");
    let report = store.reopen().expect("reopens");
    assert!(!report.suspect, "{report:?}");
}

/// Entries of all shapes, written in many batches and overwritten, so that every file has content.
fn fill(folder: &Folder) -> BTreeMap<Vec<u8>, Stored> {
    let mut model = BTreeMap::new();
    for run in 0..3u64 {
        let (store, _) = folder.open();
        for step in 0..10u64 {
            let key = |n: u64| format!("key {}", (n * 7 + step * 50) % 500).into_bytes();
            let lens = [100, 0, 3000, 30, 9000];
            let puts: Vec<_> = (0..100u64)
                .map(|n| {
                    (
                        key(n),
                        entry(
                            run << 20 | step << 10 | n,
                            lens[usize::try_from(n % 5).expect("small")],
                        ),
                    )
                })
                .collect();
            commit(&store, run * 10 + step, &puts).expect("commits");
            model.extend(puts);
        }
        store.checkpoint().expect("a checkpoint");
    }
    model
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("reads").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copies");
        }
    }
}

fn files_of_kind(path: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).expect("reads").map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind))
        })
        .collect()
}

/// GOALS G15: one flipped bit in any file never shows a wrong value, never loses one silently,
/// never ends the process and never hangs it.
#[test]
fn flipped_bits_are_found() {
    let whole = Folder::new();
    let model = fill(&whole);
    let (first, flips) = (number(SEED, 0), number(FLIPS, FLIPS_DEFAULT));
    for kind in ["db", "conf", "snap.", "checkpoint"] {
        let mut outcomes = BTreeMap::<&str, u32>::new();
        for seed in first..first + flips {
            println!("{kind}: replay with {SEED}={seed} {FLIPS}=1");
            let folder = Folder::new();
            copy(&whole.config().path, &folder.config().path);
            let files = files_of_kind(&folder.config().path, kind);
            assert!(!files.is_empty(), "no file of kind {kind}");
            flip(&files, seed);
            *outcomes.entry(outcome(folder, model.clone())).or_default() += 1;
        }
        println!("{kind}: {outcomes:?}");
    }
}

fn flip(files: &[PathBuf], seed: u64) {
    let mut rng = seed;
    let mut draw = |below: usize| usize::try_from(split_mix(&mut rng)).expect("64 bits") % below;
    let path = &files[draw(files.len())];
    let mut bytes = fs::read(path).expect("reads");
    // Not in the zeros that sled leaves at the end of its segments.
    let mut at = draw(bytes.len());
    while bytes[at] == 0 {
        at = draw(bytes.len());
    }
    bytes[at] ^= 1 << draw(8);
    fs::write(path, bytes).expect("writes");
}

/// Opens and reads all of a folder on a thread of its own.
fn outcome(folder: Folder, model: BTreeMap<Vec<u8>, Stored>) -> &'static str {
    let (send, receive) = mpsc::channel();
    let worker = thread::spawn(move || {
        let (store, report) = folder.open();
        if report.suspect {
            assert_eq!(report.applied, Position(29), "back to the checkpoint");
            let aside = store.put_aside("suspect").expect("an empty store");
            assert!(aside.quarantined.is_some() && aside.applied == Position(0), "{aside:?}");
            let _ = send.send("suspect");
            return;
        }
        let (damaged, missing) = suite::audit(&store, CACHE, &model);
        if report.quarantined.is_some() {
            assert_eq!((report.applied, missing), (Position(0), model.len()), "an empty store");
            let _ = send.send("quarantined");
            return;
        }
        assert_eq!((missing, report.applied), (0, Position(29)), "lost without a word");
        let known = if damaged > 0 { "damage named" } else { "all read" };
        let _ = send.send(if report.alarms.is_empty() { known } else { "all read, alarm" });
    });
    match receive.recv_timeout(HANG) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(worker.join().expect_err("it panicked"))
        }
    }
}

/// GOALS G16: a disk that fills up stops writes with the right error, not reads, and what was
/// durable is there when space has come back, in the same process.
#[test]
fn a_full_disk_is_survived() {
    let folder = Folder::new();
    let mount = folder.0.join("small");
    fs::create_dir_all(&mount).expect("a folder");
    let mut mounting = Command::new("mount");
    mounting.args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&mount);
    if !mounting.status().is_ok_and(|status| status.success()) {
        println!("skipped: no permission to mount a tmpfs");
        return;
    }
    let result = std::panic::catch_unwind(|| fill_the_disk(&mount));
    let unmounted = Command::new("umount").arg("-l").arg(&mount).status();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert!(unmounted.expect("umount runs").success());
}

fn fill_the_disk(mount: &Path) {
    let ballast = mount.join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).expect("fits");
    let config = SledConfig { open_timeout_ms: 20_000, ..SledConfig::new(mount.join("store")) };
    let (store, _) = SledStore::open(config).expect("opens");
    let key = |n: u64| format!("key {n}").into_bytes();
    let mut durable = Position(0);
    let error = (1..1000).find_map(|n| {
        let written = commit(&store, n, &[(key(n), entry(n, 20_000))]);
        let checkpoint = written.and_then(|()| store.checkpoint());
        checkpoint.map(|position| durable = position).err()
    });
    let full = Error::OutOfSpace(mount.join("store"));
    assert_eq!(error, Some(full.clone()));
    assert_eq!(commit(&store, 5000, &[]), Err(full.clone()), "no write is taken");
    assert_eq!(store.get(CACHE, &key(1)), Ok(Some(entry(1, 20_000))), "reads go on");
    assert_eq!(store.reopen(), Err(full), "still full");
    assert_eq!(store.get(CACHE, &key(1)), Ok(Some(entry(1, 20_000))), "and still");
    fs::remove_file(&ballast).expect("is there");
    let report = store.reopen().expect("space is back");
    assert_eq!(report.quarantined, None);
    assert!(report.applied >= durable && durable > Position(0), "{report:?}, not {durable}");
    for n in 1..=report.applied.0 {
        assert_eq!(store.get(CACHE, &key(n)), Ok(Some(entry(n, 20_000))), "entry {n}");
    }
    commit(&store, 5000, &[(key(5000), entry(5000, 20_000))]).expect("writes are taken again");
    assert_eq!(store.checkpoint(), Ok(Position(5000)));
}
