//! A power cut lost a change of a deadline, and with it the changes that followed, and yet the
//! deadline was there: the checkpoint had read the entry late, when the log had been waited for
//! already. A file must not know more than the log keeps.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::disk::{DiskFile, Fault};

const ENTRIES: u64 = 64;
const DEADLINE: u64 = NOW + 9_000;

type Act = Box<dyn Fn(u64) + Send + Sync>;

/// Does something ahead of each write to a file, with the number of the write.
#[derive(Clone)]
struct Watched {
    disk: MemoryDisk,
    writes: Arc<AtomicU64>,
    act: Arc<Mutex<Option<Act>>>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl Disk for Watched {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(name)?;
        Ok(Arc::new(WatchedFile { file, watched: self.clone() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync_folder()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn place(&self, name: &str) -> String {
        self.disk.place(name)
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn DiskFile>,
    watched: Watched,
}

impl DiskFile for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let number = self.watched.writes.fetch_add(1, Ordering::Relaxed);
        if let Some(act) = &*self.watched.act.lock() {
            act(number);
        }
        self.file.write_at(offset, bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn put(table: &Table, key: u64, deadline: Option<u64>) {
    let (key, value) = (key.to_le_bytes(), [7; 40_000]);
    let pinned = table.pin();
    let mut entry = pinned.entry(table.hash(&key), &key, NOW).unwrap();
    let new = NewEntry { value: [&value, b""], deadline, ..NewEntry::default() };
    // A change of the deadline alone keeps the version.
    if deadline.is_some() {
        entry.rewrite(&new).unwrap();
    } else {
        entry.put(&new).unwrap();
    }
}

/// A checkpoint during whose write number `at` all deadlines change, while the log fails. Whether
/// the write took place.
fn checkpoint(at: u64) -> bool {
    let (log, snapshots) = (MemoryDisk::new(), MemoryDisk::new());
    let (writes, act) = (Arc::default(), Arc::default());
    let watched = Watched { disk: snapshots.clone(), writes, act };
    let life =
        Life::on(Arc::new(log.clone()), Arc::new(watched.clone()), PersistMode::Async, (8, 1));
    (0..ENTRIES).for_each(|key| put(&life.table, key, None));
    life.persistence.wait_durable(life.persistence.last()).unwrap();
    let (table, failing) = (Arc::clone(&life.table), log.clone());
    watched.writes.store(0, Ordering::Relaxed);
    *watched.act.lock() = Some(Box::new(move |number| {
        if number == at {
            failing.fail_at(failing.calls() + 1, Fault::Io);
            (0..ENTRIES).for_each(|key| put(&table, key, Some(DEADLINE)));
        }
    }));
    let _ = life.persistence.checkpoint();
    *watched.act.lock() = None;
    let again = Life::on(
        Arc::new(log.crash(at)),
        Arc::new(snapshots.crash(at)),
        PersistMode::Async,
        (8, 1),
    );
    let changed = again.image().values().filter(|entry| entry.1.is_some()).count();
    assert!(changed == 0, "write {at}: {changed} deadlines of which the log knows nothing");
    watched.writes.load(Ordering::Relaxed) > at
}

#[test]
fn a_snapshot_file_knows_nothing_that_the_log_may_lose() {
    let writes = (0..).take_while(|at| checkpoint(*at)).count();
    assert!(writes > 3, "the file was written in {writes} parts");
}
