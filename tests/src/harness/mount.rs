//! File systems that live for a test: small ones that fill up, and ones on an image file that can
//! be copied as a power cut would leave them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{run, temporary};

/// A mounted file system; dropped, it is unmounted.
pub struct Mount {
    place: PathBuf,
}

impl Mount {
    /// `size` bytes of memory. `None`, and a note, where that is not permitted.
    pub fn memory(size: u64) -> Option<Mount> {
        Mount::new(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
    }

    /// The file system in an image file. `None`, and a note, where that is not permitted.
    pub fn image(image: &Path) -> Option<Mount> {
        Mount::new(&["-o", "loop", &image.to_string_lossy()])
    }

    fn new(what: &[&str]) -> Option<Mount> {
        let place = temporary("mount");
        std::fs::create_dir(&place).unwrap();
        let done = run(Command::new("mount").args(what).arg(&place));
        if done.status.success() {
            return Some(Mount { place });
        }
        let why = String::from_utf8_lossy(&done.stderr);
        eprintln!("mount {what:?} does not work, so this is not checked: {why}");
        std::fs::remove_dir(&place).unwrap();
        None
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.place
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that was killed a moment ago may still be letting go of its files.
        for _ in 0..100 {
            if run(Command::new("umount").arg(&self.place)).status.success() {
                let _ = std::fs::remove_dir(&self.place);
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        eprintln!("{} cannot be unmounted", self.place.display());
    }
}

/// An image file of an empty ext4. `None`, and a note, when there is no mkfs.
pub fn image(bytes: u64) -> Option<PathBuf> {
    let path = temporary("image");
    std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    match Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&path).output() {
        Ok(done) if done.status.success() => Some(path),
        done => {
            eprintln!("mkfs.ext4 does not work, so this is not checked: {done:?}");
            let _ = std::fs::remove_file(&path);
            None
        }
    }
}
