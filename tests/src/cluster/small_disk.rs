//! A disk of one node that is so small that it can be full.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::harness::Mount;

/// How much it has room for. Servers refuse writes while less than 64 MiB are free.
const BYTES: u64 = 256 << 20;

/// A file system in memory; gone when this is.
pub struct SmallDisk(Mount);

/// Whether this user may make one.
#[must_use]
pub fn may_mount() -> bool {
    SmallDisk::mount().is_some()
}

impl SmallDisk {
    /// One; `None` when this user may not mount.
    pub fn mount() -> Option<SmallDisk> {
        Mount::memory(BYTES).map(SmallDisk)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        if let Ok(mut file) = File::create(self.ballast()) {
            for piece in [&[0; 1 << 16][..], &[0]] {
                while file.write_all(piece).is_ok() {}
            }
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        let _ = std::fs::remove_file(self.ballast());
    }
}
