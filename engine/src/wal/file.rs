//! Names of log files, and how a new one comes to be.

use std::io;
use std::sync::Arc;

use super::header::{self, HEADER_BYTES};
use super::{Lsn, WalConfig, WalError};
use crate::disk::{Disk, DiskFile, is_out_of_space};

const PREFIX: &str = "wal-";
const SUFFIX: &str = ".log";
const DIGITS: usize = 16;

/// The name of the file that begins with this record.
pub(crate) fn name_of(first: Lsn) -> String {
    format!("{PREFIX}{:0DIGITS$x}{SUFFIX}", first.0)
}

/// The first record of the file of this name; `None` when it is no log file's name.
fn first_of(name: &str) -> Option<Lsn> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let first = u64::from_str_radix(digits, 16).ok().map(Lsn)?;
    (name_of(first) == name && first != Lsn::NONE).then_some(first)
}

/// The first records of all log files, in order.
pub(crate) fn list(disk: &dyn Disk) -> Result<Vec<Lsn>, WalError> {
    let names = disk.list().map_err(|e| WalError::io(disk.place(""), "list the folder", e))?;
    let mut found: Vec<Lsn> = names.iter().filter_map(|name| first_of(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// Opens the file that begins with record `first`.
pub(crate) fn open(disk: &dyn Disk, first: Lsn) -> Result<Arc<dyn DiskFile>, WalError> {
    let name = name_of(first);
    disk.open(&name).map_err(|e| WalError::io(disk.place(&name), "open the file", e))
}

/// Makes the file that begins with record `first`: durable, and its name too, when this returns.
///
/// On a full disk nothing of it is left, and the log can go on without it.
pub(crate) fn create(
    disk: &dyn Disk,
    config: &WalConfig,
    first: Lsn,
) -> Result<Arc<dyn DiskFile>, WalError> {
    let name = name_of(first);
    let place = || disk.place(&name);
    make(disk, config, first, &name).map_err(|error| {
        if !is_out_of_space(&error) {
            return WalError::failed(place(), "begin a new file", error);
        }
        match unmake(disk, &name) {
            Ok(()) => WalError::out_of_space(place(), "begin a new file", error),
            Err(error) => WalError::failed(place(), "take a new file back", error),
        }
    })
}

fn make(
    disk: &dyn Disk,
    config: &WalConfig,
    first: Lsn,
    name: &str,
) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(name)?;
    file.write_at(0, &header::encode(config, first))?;
    file.sync_all()?;
    disk.sync_folder()?;
    Ok(file)
}

fn unmake(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => disk.sync_folder(),
    }
}

/// Where the first record of a file begins.
pub(crate) const RECORDS_AT: u64 = HEADER_BYTES as u64;
