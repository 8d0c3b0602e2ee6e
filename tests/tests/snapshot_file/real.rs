//! The same on a real disk, mapped into memory.

use std::path::PathBuf;
use std::process::Command;

use isogrid_engine::disk::FileDisk;
use isogrid_engine::snapshot_file::{SnapshotFile, SnapshotFileError};

use isogrid_tests::harness::{isogrid, run};

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

/// What `isogrid snapshot verify` says: exit code, stdout, stderr.
fn verify(path: &std::path::Path) -> (Option<i32>, String, String) {
    let output = run(Command::new(isogrid()).args(["snapshot", "verify"]).arg(path));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    // Beside errors, stderr says how far it has got.
    let told = text(output.stderr);
    let errors: String =
        told.split_inclusive('\n').filter(|line| !line.starts_with("checking: ")).collect();
    (output.status.code(), text(output.stdout), errors)
}

#[test]
fn the_command_verifies() {
    let folder = Folder::new("snapshot-verify");
    let disk = FileDisk::open(&folder.0).unwrap();
    let path = folder.0.join(NAME);
    let (sessions, others) = (filled(5_000), filled(3));
    let caches = [("sessions", &sessions), ("a\nb", &others)];
    write(&disk, NAME, &header(), &caches, &mut |_| ()).unwrap();
    let (code, out, err) = verify(&path);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let file = SnapshotFile::open(&path).unwrap();
    let blocks = file.blocks(0);
    let row = format!("sessions  5000  {}  4  1  {}  0", file.caches()[0].bytes, blocks.len());
    let rows: Vec<String> =
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join("  ")).collect();
    for expected in
        ["state  whole", "kind  checkpoint", "log  every  record  up  to  42", row.as_str()]
    {
        assert!(rows.iter().any(|row| row == expected), "no {expected:?} in {out}");
    }
    assert!(out.contains("a\\nb"), "one row a cache: {out}");
    drop(file);

    let file = disk.open(NAME).unwrap();
    file.write_at(1_000, b"????").unwrap();
    let (code, out, err) = verify(&path);
    assert!(code == Some(1) && out.contains("state    damaged in 1 block\n"), "{out}");
    let place = path.display();
    assert!(err.starts_with(&format!("error: {place}: damaged at byte ")), "{err}");
    assert!(err.contains("in block 1: its checksum does not fit"), "{err}");

    file.set_len(file.len().unwrap() - 1).unwrap();
    let (code, out, err) = verify(&path);
    assert!(code == Some(1) && out.is_empty() && err.contains("cut off"), "{out}{err}");
    let (code, _, err) = verify(&folder.0.join("none"));
    assert!(code == Some(1) && err.contains("cannot open the file"), "{err}");
}
