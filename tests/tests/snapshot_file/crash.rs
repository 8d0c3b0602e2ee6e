//! Power cuts and failing disks at every call: a name means a whole file, the old or the new one.

use std::io;
use std::sync::{Arc, Mutex};

use isogrid_engine::disk::{Disk, DiskFile, Fault, MemoryDisk};
use isogrid_engine::snapshot_file::{SnapshotFileError, remove_unfinished, write};

use super::*;

/// Power cuts that are tried at each call.
const CUTS: u64 = 12;

/// A disk that keeps what a power cut just before each of its calls may leave.
#[derive(Debug, Clone)]
struct Watched {
    disk: MemoryDisk,
    cuts: Arc<Mutex<Vec<MemoryDisk>>>,
}

#[derive(Debug)]
struct WatchedFile(Watched, Arc<dyn DiskFile>);

impl Watched {
    fn new(disk: MemoryDisk) -> Self {
        Watched { disk, cuts: Arc::default() }
    }

    fn cut(&self) -> &MemoryDisk {
        let mut cuts = self.cuts.lock().unwrap();
        let first = cuts.len() as u64;
        cuts.extend((0..CUTS).map(|n| self.disk.crash(first + n)));
        &self.disk
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WatchedFile(self.clone(), file))
    }
}

impl Disk for Watched {
    fn list(&self) -> io::Result<Vec<String>> {
        self.cut().list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.cut().create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.cut().open(name).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.cut().rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.cut().remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.cut().sync_folder()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.cut().free_bytes()
    }

    fn place(&self, name: &str) -> String {
        self.disk.place(name)
    }
}

impl DiskFile for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.cut();
        self.1.len()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.cut();
        self.1.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.cut();
        self.1.write_at(offset, bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.cut();
        self.1.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.cut();
        self.1.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.cut();
        self.1.sync_all()
    }
}

/// Two tables whose files take several writes each.
fn tables() -> [(Table, Contents); 2] {
    [300, 200].map(|n| {
        let table = filled(n);
        put_value(&table, b"large", &vec![7; 650_000 + n as usize]);
        let contents = contents(&table, NOW);
        (table, contents)
    })
}

/// The file on a disk is whole and one of `may`; `None` among them = there may be none.
fn check(disk: &MemoryDisk, may: &[Option<&Contents>], what: &str) {
    let found = match SnapshotFile::open_on(disk, NAME) {
        Ok(file) => {
            assert!(file.verify(&mut |_| ()).unwrap().is_empty(), "{what}: damaged");
            Some(records(&file))
        }
        Err(error) => {
            assert!(matches!(error, SnapshotFileError::Io { .. }), "{what}: {error}");
            None
        }
    };
    assert!(may.contains(&found.as_ref()), "{what}: neither the old nor the new file");
    remove_unfinished(disk).unwrap();
    let names = disk.list().unwrap();
    assert!(names.iter().all(|name| name == NAME), "{what}: {names:?}");
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new_file() {
    let [(first, one), (second, two)] = tables();
    // What a write before that did not come to its end has left: a whole file of another name.
    let left_over = || {
        let disk = MemoryDisk::new();
        save(&disk, &header(), &second);
        disk.rename(NAME, &format!("{NAME}.unfinished")).unwrap();
        disk.sync_folder().unwrap();
        disk
    };
    for left in [MemoryDisk::new(), left_over()] {
        let disk = Watched::new(left);
        for (table, may) in [(&first, [None, Some(&one)]), (&second, [Some(&one), Some(&two)])] {
            save(&disk, &header(), table);
            let cuts = std::mem::take(&mut *disk.cuts.lock().unwrap());
            assert!(cuts.len() as u64 > 8 * CUTS);
            let new = cuts.iter().filter(|cut| cut.list().unwrap().contains(&NAME.to_owned()));
            assert!(new.count() > 0);
            for (n, cut) in cuts.iter().enumerate() {
                check(cut, &may, &format!("cut {n}"));
            }
            // What was reported as written is there whatever happens.
            for seed in 0..CUTS {
                check(&disk.disk.crash(seed), &may[1..], "after the end");
            }
        }
    }
}

#[test]
fn a_failing_disk_leaves_the_old_or_the_new_file() {
    let [(first, one), (second, two)] = tables();
    let mut failed = 0;
    for fault in [Fault::Space, Fault::Io, Fault::Short] {
        for call in 1.. {
            let disk = MemoryDisk::new();
            save(&disk, &header(), &first);
            disk.fail_at(disk.calls() + call, fault);
            let what = format!("{fault:?} at call {call}");
            let result = write(&disk, NAME, &header(), &[("default", &second)], &mut |_| ());
            disk.fail_at(0, fault);
            let Err(error) = result else {
                check(&disk, &[Some(&two)], &what);
                break;
            };
            failed += 1;
            match error {
                SnapshotFileError::OutOfSpace { .. } => assert_eq!(fault, Fault::Space, "{what}"),
                SnapshotFileError::Io { .. } => assert_ne!(fault, Fault::Space, "{what}"),
                other => panic!("{what}: {other}"),
            }
            assert!(!disk.list().unwrap().contains(&format!("{NAME}.unfinished")), "{what}");
            for seed in 0..CUTS {
                check(&disk.crash(seed), &[Some(&one), Some(&two)], &what);
            }
            check(&disk, &[Some(&one), Some(&two)], &what);
        }
    }
    assert!(failed > 20, "only {failed} calls");
}

#[test]
fn a_full_disk_is_said_so_and_tried_again() {
    let (table, disk) = (filled(5_000), MemoryDisk::new());
    disk.set_capacity(Some(10_000));
    let error = write(&disk, NAME, &header(), &[("default", &table)], &mut |_| ()).unwrap_err();
    assert!(matches!(error, SnapshotFileError::OutOfSpace { .. }), "{error}");
    assert!(disk.list().unwrap().is_empty());
    disk.set_capacity(None);
    save(&disk, &header(), &table);
    check(&disk, &[Some(&contents(&table, NOW))], "with room");
}
