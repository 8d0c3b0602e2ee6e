//! The write-ahead log on disks that lose power, fill up, fail and rot. What was promised must be
//! there afterwards, and nothing else.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

#[path = "wal/damage.rs"]
mod damage;
#[path = "wal/faults.rs"]
mod faults;
#[path = "wal/files.rs"]
mod files;
#[path = "wal/format.rs"]
mod format;
#[path = "wal/group.rs"]
mod group;
#[path = "wal/history.rs"]
mod history;
#[path = "wal/promise.rs"]
mod promise;

use std::sync::Arc;

use isogrid_engine::disk::Disk;
use isogrid_engine::wal::{Recovery, Wal, WalConfig, WalError, WalKind};

/// Small files, so that a short history has many.
const FILE_BYTES: u64 = 2 << 10;

fn config() -> WalConfig {
    WalConfig { file_bytes: FILE_BYTES, ..WalConfig::new([7; 16], WalKind::Data) }
}

/// What opening a log gave.
struct Opened {
    wal: Wal,
    recovery: Recovery,
    records: Vec<(u64, Vec<u8>)>,
}

fn open(disk: &(impl Disk + Clone + 'static)) -> Result<Opened, WalError> {
    open_as(disk, &config())
}

fn open_as(disk: &(impl Disk + Clone + 'static), config: &WalConfig) -> Result<Opened, WalError> {
    let mut records = Vec::new();
    let (wal, recovery) = Wal::open(Arc::new(disk.clone()), config, &mut |lsn, payload| {
        records.push((lsn.0, payload.to_vec()));
        Ok(())
    })?;
    Ok(Opened { wal, recovery, records })
}

/// The names of the log's files, oldest first.
fn names(disk: &dyn Disk) -> Vec<String> {
    let mut names = disk.list().unwrap();
    names.retain(|name| name.starts_with("wal-") && name.ends_with(".log"));
    names.sort();
    names
}
