//! Opening (R57): sled panics, hangs or refuses on folders that a crash or a bad disk left, so it
//! is opened on a thread of its own with a time limit, once more without its snapshots, and what
//! then still does not open is put aside.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::super::record::Applied;
use super::super::{Error, Position, Quarantined, Report, tree};
use super::files::{self, Checkpoint};
use super::{Handle, SledConfig, guarded, settings, sort, time_limit};
use crate::env::{Clock, SystemClock};

/// A lock that a handle of ours still holds goes with its last thread: how often it is tried
/// again, and after how long.
const LOCK_TRIES: u32 = 50;
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// An open folder, how far it is, and what to tell of it.
pub(super) type Found = (Handle, Applied, Report);

/// Opens a folder, whatever it takes.
pub(super) fn open(config: &SledConfig) -> Result<Found, Error> {
    let path = &config.path;
    fs::create_dir_all(path).map_err(|error| Error::io(path, &error))?;
    let checkpoint = files::read_checkpoint(path)?;
    let error = match attempt(config, &checkpoint) {
        Ok(found) => return Ok(report(found, &checkpoint)),
        Err(error) => error,
    };
    let ours = matches!(checkpoint, Checkpoint::At(_));
    let settings = ours && matches!(error, Error::Incompatible { .. });
    if !settings && !beyond_use(&error) {
        return Err(error);
    }
    if ours {
        // sled's settings follow from our format: the file is not needed to know them.
        files::delete_settings(path)?;
    }
    files::delete_snapshots(path)?;
    match attempt(config, &checkpoint) {
        Ok(found) => Ok(report(found, &checkpoint)),
        // In use by the first attempt, which hangs: the folder is no better for that.
        Err(again) if !beyond_use(&again) && !matches!(again, Error::InUse(_)) => Err(again),
        Err(_) => start_empty(config, &checkpoint, error.to_string()),
    }
}

/// Opens a folder that is there, once, and puts nothing aside.
pub(super) fn look(config: &SledConfig) -> Result<Found, Error> {
    if !config.path.is_dir() {
        return Err(Error::file(&config.path, "it is not there"));
    }
    let checkpoint = files::read_checkpoint(&config.path)?;
    attempt(config, &checkpoint).map(|found| report(found, &checkpoint))
}

/// Whether an error says that the folder is damaged, rather than that now is a bad time.
fn beyond_use(error: &Error) -> bool {
    matches!(error, Error::Damaged(_) | Error::Failed { .. })
}

/// Puts a folder aside that opened.
pub(super) fn put_aside(config: &SledConfig, reason: &str) -> Result<Found, Error> {
    let checkpoint = files::read_checkpoint(&config.path)?;
    start_empty(config, &checkpoint, reason.to_owned())
}

/// `found` with whether its entries are suspect.
fn report((handle, mut applied, suspect): (Handle, Applied, bool), found: &Checkpoint) -> Found {
    let mut alarms = Vec::new();
    let blobs = files::blobs(&handle.path);
    if blobs > 0 {
        alarms.push(format!("{blobs} blob files, which the disk may lose at a power cut"));
    }
    if *found == Checkpoint::Unreadable {
        alarms.push("the checkpoint file is damaged: a loss would not be noticed".to_owned());
    }
    if suspect {
        alarms.push("some entries may be older than they should be".to_owned());
        applied.position = if let Checkpoint::At(position) = found { position.0 } else { 0 };
    }
    let position = Position(applied.position);
    (handle, applied, Report { applied: position, suspect, quarantined: None, alarms })
}

/// Puts the folder aside and opens an empty one in its place.
fn start_empty(config: &SledConfig, found: &Checkpoint, reason: String) -> Result<Found, Error> {
    let path = files::quarantine(&config.path, SystemClock::new().now())?;
    fs::create_dir_all(&config.path).map_err(|error| Error::io(&config.path, &error))?;
    let opened = attempt(config, &Checkpoint::Absent)?;
    let (handle, applied, mut report) = report(opened, &Checkpoint::Absent);
    let checkpoint = if let Checkpoint::At(position) = found { Some(*position) } else { None };
    report.quarantined = Some(Quarantined { path, reason, checkpoint });
    Ok((handle, applied, report))
}

/// Opens sled and looks whether what it shows is what the last checkpoint left.
fn attempt(config: &SledConfig, found: &Checkpoint) -> Result<(Handle, Applied, bool), Error> {
    files::delete_broken_snapshots(&config.path)?;
    let limit = time_limit(config, files::size(&config.path)?);
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let (path, settings) = (config.path.clone(), settings(config));
    let floor = match found {
        Checkpoint::At(position) => Some(*position),
        Checkpoint::Absent | Checkpoint::Unreadable => None,
    };
    let (new, verify) = (*found == Checkpoint::Absent, config.verify);
    in_time(&config.path, limit, "opening", move || {
        let db = locked(&path, &settings)?;
        let handle = Handle { db, path };
        let applied = match tree::applied(&handle)? {
            None if new => born(&handle)?,
            None => return Err(Error::file(&handle.path, "its position is gone")),
            Some(applied) => applied,
        };
        if let Some(floor) = floor.filter(|floor| applied.position < floor.0) {
            let reason = format!("it is at {} after a checkpoint at {floor}", applied.position);
            return Err(Error::file(&handle.path, reason));
        }
        // From here on the digest is that of what is really there.
        let digest = if verify { tree::digest(&handle)? } else { applied.digest };
        let suspect = digest != applied.digest;
        Ok((handle, Applied { digest, ..applied }, suspect))
    })
}

/// Opens sled, waiting a moment for a lock that is about to go.
fn locked(path: &Path, settings: &sled::Config) -> Result<sled::Db, Error> {
    for _ in 0..LOCK_TRIES {
        match settings.open() {
            Err(sled::Error::Io(error)) if is_lock(&error) => thread::park_timeout(LOCK_WAIT),
            opened => return opened.map_err(|error| sort(path, error)),
        }
    }
    Err(Error::InUse(path.into()))
}

fn is_lock(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Makes an empty folder a store, durably, so that one whose files get lost is told from a new one.
fn born(handle: &Handle) -> Result<Applied, Error> {
    let mut batch = sled::Batch::default();
    for (tree_key, record) in tree::birth() {
        batch.insert(tree_key, record.unwrap_or_default());
    }
    handle.db.apply_batch(batch).map_err(|error| sort(&handle.path, error))?;
    handle.checkpoint(Position(0))?;
    Ok(Applied::default())
}

/// Runs `work` on a thread of its own. After `limit_ms` it is left to itself.
pub(super) fn in_time<T: Send + 'static>(
    path: &Path,
    limit_ms: u64,
    what: &str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (send, receive) = mpsc::sync_channel(1);
    let folder = path.to_owned();
    let name = format!("store {what}");
    let spawned = thread::Builder::new().name(name).spawn(move || {
        // Nobody waits any more when it came too late.
        let _ = send.send(guarded(&folder, work));
    });
    spawned.map_err(|error| Error::io(path, &error))?;
    receive.recv_timeout(Duration::from_millis(limit_ms)).unwrap_or_else(|error| {
        let reason = match error {
            RecvTimeoutError::Timeout => format!("{what} took more than {limit_ms} ms"),
            RecvTimeoutError::Disconnected => format!("{what} ended without an answer"),
        };
        Err(Error::Failed { path: path.into(), reason })
    })
}
