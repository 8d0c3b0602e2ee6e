//! The place that data is kept in: whether it can be written, how full it is, how long a sync
//! takes.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use isogrid_engine::persist::{DataDirectory, PersistError};
use isogrid_engine::{Clock, SystemClock};

/// Writes that are synced, so that their mean is finer than the clock.
const SYNCS: u32 = 32;
const WRITE_LEN: usize = 4096;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of statfs(2).
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// What was found at a data directory, or where one would be made.
#[derive(Debug)]
pub struct Place {
    /// The directory, or the nearest one above it that is there.
    pub path: PathBuf,
    /// Bytes that are free.
    pub free: Option<u64>,
    /// The file system lives in memory.
    pub in_memory: bool,
    /// Mean time of a synced write in microseconds, or why nothing can be written.
    pub sync_us: Result<u64, String>,
    /// A process has it.
    pub in_use: Option<String>,
}

/// Looks at the data directory `dir`.
pub fn look(dir: &Path) -> Place {
    let path = nearest(dir);
    let stat = rustix::fs::statfs(&path).ok();
    Place {
        free: free(&path),
        in_memory: stat.is_some_and(|stat| IN_MEMORY.contains(&kind(&stat))),
        sync_us: mean_sync_us(&path).map_err(|error| error.to_string()),
        in_use: holder(dir),
        path,
    }
}

/// The type of a file system; signed or not as the platform has it.
fn kind(stat: &rustix::fs::StatFs) -> u64 {
    // The magic numbers have 32 bits, wherever they are kept.
    (i128::from(stat.f_type) & 0xffff_ffff).try_into().unwrap_or_default()
}

fn nearest(dir: &Path) -> PathBuf {
    let there = dir.ancestors().find(|dir| dir.exists());
    match there {
        Some(path) if path != Path::new("") => path.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn free(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Who has the directory. One that has never been used has nobody, and is left as it is.
fn holder(dir: &Path) -> Option<String> {
    if !dir.join("meta").exists() {
        return None;
    }
    match DataDirectory::existing(dir) {
        Err(PersistError::Lock(error)) => Some(error.to_string()),
        _ => None,
    }
}

fn mean_sync_us(dir: &Path) -> io::Result<u64> {
    let path = dir.join(format!(".isogrid-doctor-{}", std::process::id()));
    let written = synced(&path);
    let removed = std::fs::remove_file(&path);
    let elapsed_ms = written?;
    removed?;
    Ok(elapsed_ms * 1000 / u64::from(SYNCS))
}

fn synced(path: &Path) -> io::Result<u64> {
    let mut file = File::create_new(path)?;
    let clock = SystemClock::new();
    let begun = clock.now();
    for _ in 0..SYNCS {
        file.write_all(&[0x5a; WRITE_LEN])?;
        file.sync_data()?;
    }
    Ok(clock.now().saturating_sub(begun))
}
