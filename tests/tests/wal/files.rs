//! The same on a real disk.

use std::path::PathBuf;
use std::sync::Arc;

use isogrid_engine::disk::{Disk, FileDisk, FolderLock, LockError, Reserve};
use isogrid_engine::wal::{Log, LogConfig, Wal, WalConfig, repair};

use super::config;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("isogrid-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }

    fn disk(&self) -> Arc<FileDisk> {
        Arc::new(FileDisk::open(self.0.join("deeper/wal")).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(disk: Arc<FileDisk>, config: &WalConfig) -> (Wal, Vec<Vec<u8>>) {
    let mut found = Vec::new();
    let opened = Wal::open(disk, config, &mut |_, payload| {
        found.push(payload.to_vec());
        Ok(())
    });
    (opened.unwrap().0, found)
}

#[test]
fn a_log_of_files() {
    let folder = Folder::new("wal-files");
    let disk = folder.disk();
    let (mut log, found) = open(disk.clone(), &config());
    assert!(found.is_empty());
    let payloads: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; usize::from(n) * 10]).collect();
    for payload in &payloads {
        log.append(|buffer| buffer.extend(payload)).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    let (mut log, found) = open(disk.clone(), &config());
    assert_eq!(found, payloads);
    let before = disk.list().unwrap().len();
    let gone = log.truncate_below(log.durable()).unwrap();
    assert!(gone >= 2 && disk.list().unwrap().len() == before - gone);
    assert!(disk.free_bytes().unwrap() > 0);
    drop(log);

    // One byte of the first file that is left.
    let mut names = disk.list().unwrap();
    names.sort();
    let file = disk.open(&names[0]).unwrap();
    file.write_at(80, b"?").unwrap();
    let error = Wal::open(disk.clone(), &config(), &mut |_, _| Ok(())).unwrap_err().to_string();
    let place = disk.path().join(&names[0]).display().to_string();
    assert!(error.starts_with(&format!("{place}: damaged at byte 64")), "{error}");
    let report = repair(&*disk, &config(), &mut |_, _| ()).unwrap();
    assert_eq!((report.replaced.len(), report.lost.len()), (1, 1));
    assert_eq!(open(disk, &config()).1.len() as u64, report.records);
}

#[test]
fn a_shared_log_of_files() {
    let folder = Folder::new("wal-shared");
    let disk = folder.disk();
    let config = LogConfig::new(config());
    let (log, _) = Log::open(disk.clone(), &config, Arc::new(()), &mut |_, _| Ok(())).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let log = log.clone();
            scope.spawn(move || {
                for n in 0..50_u8 {
                    let lsn = log.append(|buffer| buffer.extend([thread, n])).unwrap();
                    log.wait_durable(lsn).unwrap();
                }
            });
        }
    });
    log.close().unwrap();
    let (_, found) = open(disk, &config.wal);
    assert_eq!(found.len(), 200);
    for thread in 0..4 {
        let own: Vec<u8> = found.iter().filter(|p| p[0] == thread).map(|p| p[1]).collect();
        assert!(own.into_iter().eq(0..50), "out of order");
    }
}

#[test]
fn a_folder_has_one_owner() {
    let folder = Folder::new("lock");
    let disk = FileDisk::open(&folder.0).unwrap();
    let lock = FolderLock::acquire(&folder.0).unwrap();
    let error = FolderLock::acquire(&folder.0).unwrap_err();
    let own = std::process::id().to_string();
    assert!(matches!(&error, LockError::InUse { holder, .. } if *holder == own), "{error}");
    drop(lock);
    FolderLock::acquire(&folder.0).unwrap();
    let missing = FolderLock::acquire(&disk.path().join("nowhere")).unwrap_err();
    assert!(matches!(missing, LockError::Io { .. }), "{missing}");
}

#[test]
fn a_reserve_holds_real_space() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new("reserve");
    let disk = Arc::new(FileDisk::open(&folder.0).unwrap());
    let reserve = Reserve::open(disk.clone(), 2 << 20).unwrap();
    let held = || std::fs::metadata(folder.0.join("reserve")).map(|found| found.blocks() * 512);
    assert!(held().unwrap() >= 2 << 20);
    reserve.release().unwrap();
    assert!(held().is_err());
    assert!(reserve.refill().unwrap() && held().unwrap() >= 2 << 20);
}
