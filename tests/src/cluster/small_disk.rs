//! A disk of one node that is so small that it can be full.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::temporary;

/// How much it has room for, MiB. Servers refuse writes while less than 64 are free.
const MIB: usize = 256;

/// A file system in memory; gone when this is.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

/// Whether this user may make one.
#[must_use]
pub fn may_mount() -> bool {
    SmallDisk::mount(temporary("mount")).is_ok()
}

impl SmallDisk {
    /// One in this folder, which is made.
    ///
    /// # Errors
    /// When this user may not mount.
    pub fn mount(folder: PathBuf) -> io::Result<SmallDisk> {
        std::fs::create_dir_all(&folder)?;
        let size = format!("size={MIB}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "isogrid-test"]).arg(&folder);
        if mount.output()?.status.success() {
            return Ok(SmallDisk(folder));
        }
        std::fs::remove_dir(&folder)?;
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
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

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = |folder: &Path| Command::new("umount").arg("-l").arg(folder).output();
        let _ = unmounted(&self.0);
        let _ = std::fs::remove_dir(&self.0);
    }
}
