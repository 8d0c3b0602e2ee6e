//! The same on a real disk, mapped into memory.

use std::path::PathBuf;

use isogrid_engine::disk::FileDisk;
use isogrid_engine::snapshot_file::{SnapshotFile, SnapshotFileError};

use super::*;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("isogrid-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_mapped_file_is_read_by_several_threads_while_a_newer_one_replaces_it() {
    let folder = Folder::new("snapshot-real");
    let disk = FileDisk::open(&folder.0).unwrap();
    let (old, new) = (filled(20_000), filled(10));
    put_value(&old, b"large", &[3; 3 << 20]);
    save(&disk, &header(), &old);
    let path = folder.0.join(NAME);
    let file = SnapshotFile::open(&path).unwrap();
    save(&disk, &header(), &new);
    let expected = contents(&old, NOW);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(records(&file), expected));
        }
    });
    assert!(file.verify(&mut |_| ()).unwrap().is_empty());
    assert_eq!(records(&SnapshotFile::open(&path).unwrap()), contents(&new, NOW));
    assert_eq!(records(&open(&disk)), contents(&new, NOW));
    assert_eq!(disk.list().unwrap(), [NAME]);
}

#[test]
fn files_that_are_none_are_refused() {
    let folder = Folder::new("snapshot-none");
    let disk = FileDisk::open(&folder.0).unwrap();
    let path = folder.0.join(NAME);
    let missing = SnapshotFile::open(&path).unwrap_err();
    assert!(matches!(missing, SnapshotFileError::Io { .. }), "{missing}");
    for bytes in [b"".as_slice(), b"short", &[0; 5_000]] {
        std::fs::write(&path, bytes).unwrap();
        for error in [
            SnapshotFile::open(&path).unwrap_err(),
            SnapshotFile::open_on(&disk, NAME).unwrap_err(),
        ] {
            let place = path.display().to_string();
            assert!(matches!(&error, SnapshotFileError::Damaged(_)), "{error}");
            assert!(error.to_string().starts_with(&place), "{error}");
        }
    }
}
