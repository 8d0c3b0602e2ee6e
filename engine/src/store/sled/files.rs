//! The files of the folder beside sled's own: which of sled's to delete before it is opened, and
//! the checkpoint file by which a store that lost its newest part is told from a whole one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::{Error, Position};

/// `store <format> position <n> crc <hex>`
const CHECKPOINT: &str = "checkpoint";
/// The records (`record.rs`), and sled's settings as this code sets them. A change of either that
/// older folders do not fit is a new number.
const FORMAT: &str = "1";

fn io_error(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::io(path, &error)
}

/// Files of the folder whose names begin with `prefix`.
fn named(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(io_error(folder))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error(folder))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Bytes that a folder takes on disk, blocks that are not there left out.
pub(super) fn size(folder: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for path in named(folder, "")? {
        // A file may go while we look: sled renames its snapshots.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        bytes += if metadata.is_dir() { size(&path)? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Deletes snapshots that keep sled from opening: half-written and empty ones (spacejam/sled#1533).
/// sled makes them anew from its log.
pub(super) fn delete_broken_snapshots(folder: &Path) -> Result<(), Error> {
    for path in named(folder, "snap.")? {
        let empty = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0);
        if empty || path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&path).map_err(io_error(&path))?;
        }
    }
    Ok(())
}

/// Deletes all snapshots.
pub(super) fn delete_snapshots(folder: &Path) -> Result<(), Error> {
    let snapshots = named(folder, "snap.")?;
    snapshots.iter().try_for_each(|path| fs::remove_file(path).map_err(io_error(path)))
}

/// Deletes the file in which sled keeps its settings; sled writes it anew.
pub(super) fn delete_settings(folder: &Path) -> Result<(), Error> {
    let settings = named(folder, "conf")?;
    settings.iter().try_for_each(|path| fs::remove_file(path).map_err(io_error(path)))
}

/// Blob files: sled never syncs them, and our chunks are too small to need any.
pub(super) fn blobs(folder: &Path) -> usize {
    named(&folder.join("blobs"), "").map_or(0, |blobs| blobs.len())
}

/// Refuses when less than `bytes` are free where `path` is.
pub(super) fn need_space(path: &Path, bytes: u64) -> Result<(), Error> {
    let stat = rustix::fs::statvfs(path).map_err(|error| Error::io(path, &error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < bytes { Err(Error::OutOfSpace(path.into())) } else { Ok(()) }
}

/// Moves the folder aside and gives back where it is now.
pub(super) fn quarantine(folder: &Path, now: u64) -> Result<PathBuf, Error> {
    let free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
    let name = |n: u64| folder.with_file_name(format!("quarantine-{}", now + n));
    let target = (0..1000).map(name).find(free).unwrap_or_else(|| name(1000));
    fs::rename(folder, &target).map_err(io_error(folder))?;
    Ok(target)
}

/// Notes that everything up to `position` is durable. Called only when it is.
pub(super) fn write_checkpoint(folder: &Path, position: Position) -> Result<(), Error> {
    let (target, new) = (folder.join(CHECKPOINT), folder.join("checkpoint.new"));
    let text = format!("store {FORMAT} position {position}");
    let text = format!("{text} crc {:08x}\n", crc32c::crc32c(text.as_bytes()));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &target)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(io_error(&target))
}

/// What the checkpoint file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checkpoint {
    /// There is none: a new folder, or one that never came to its first checkpoint.
    Absent,
    At(Position),
    /// It cannot be read; what the store has lost cannot be told.
    Unreadable,
}

/// Reads the checkpoint file.
///
/// # Errors
/// [`Error::Incompatible`] when another version wrote it.
pub(super) fn read_checkpoint(folder: &Path) -> Result<Checkpoint, Error> {
    let bytes = match fs::read(folder.join(CHECKPOINT)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Checkpoint::Absent),
        read => read.map_err(io_error(folder))?,
    };
    let Some((text, crc)) =
        std::str::from_utf8(&bytes).ok().and_then(|all| all.split_once(" crc "))
    else {
        return Ok(Checkpoint::Unreadable);
    };
    if crc != format!("{:08x}\n", crc32c::crc32c(text.as_bytes())) {
        return Ok(Checkpoint::Unreadable);
    }
    let position = text.strip_prefix(&format!("store {FORMAT} position "));
    match position.map(str::parse) {
        Some(Ok(position)) => Ok(Checkpoint::At(Position(position))),
        _ => Err(Error::Incompatible { path: folder.into(), reason: text.to_owned() }),
    }
}
