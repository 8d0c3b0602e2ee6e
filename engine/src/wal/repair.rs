//! Salvages a log that does not open: keeps what is whole, lists what is lost, and puts every
//! file that it changes aside first.

mod plan;

use std::io;

use super::file::{RECORDS_AT, name_of};
use super::header;
use super::{Lsn, WalConfig, WalError, frame};
use crate::disk::{Disk, DiskFile};
use plan::{Piece, Plan, Planner};

const COPY_BYTES: u64 = 1 << 20;

/// What a log is like, and what a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The log's files as they were found, in order.
    pub files: Vec<FileReport>,
    /// Whole records: all are in the log after a repair.
    pub records: u64,
    /// Files that were written anew, and where the damaged ones are kept; those that were not
    /// there before have none.
    pub replaced: Vec<(String, Option<String>)>,
    /// What is gone. Its numbers stay empty.
    pub lost: Vec<Lost>,
}

/// One file of a log as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub place: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The number that it begins with.
    pub first: Lsn,
    /// The number that comes after it.
    pub next: Lsn,
    /// Whole records.
    pub records: u64,
    /// Whether it is as it should be.
    pub state: FileState,
}

/// What a file of a log is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// As it was written.
    Whole,
    /// It ends in a write that did not come to its end; opening cuts it off.
    Torn {
        /// Bytes of it.
        bytes: u64,
    },
    /// A log with this file does not open.
    Damaged,
    /// It is not there, and a log without it does not open.
    Missing,
}

/// Records that could not be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The file.
    pub place: String,
    /// The first byte that belongs to no whole record.
    pub from: u64,
    /// The first byte after that, which does again; `from` when a file is missing here.
    pub to: u64,
    /// The first record that is lost.
    pub first: Lsn,
    /// The last one; `None` at the end of the log, where nobody knows how many there were.
    pub last: Option<Lsn>,
}

/// Gets what looks like a record, its number and its payload, in bytes that are lost. Its checksum
/// does not fit: any of it may be wrong.
pub type Suspect<'a> = &'a mut dyn FnMut(Lsn, &[u8]);

impl Report {
    /// Whether the log opens without a repair.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let opens =
            |file: &FileReport| matches!(file.state, FileState::Whole | FileState::Torn { .. });
        self.files.iter().all(opens)
    }
}

/// Says what is whole and what a [`repair()`] would lose. Nothing is changed; the folder must not
/// be in use.
///
/// # Errors
/// As [`repair()`].
pub fn survey(
    disk: &dyn Disk,
    config: &WalConfig,
    suspect: Suspect<'_>,
) -> Result<Report, WalError> {
    look(disk, config, suspect).map(|(_, report)| report)
}

fn look(
    disk: &dyn Disk,
    config: &WalConfig,
    suspect: Suspect<'_>,
) -> Result<(Vec<Plan>, Report), WalError> {
    let (seed, report) = (frame::seed(config), Report::default());
    let mut planner = Planner { disk, config, seed, report, suspect };
    let plans = planner.plan()?;
    Ok((plans, planner.report))
}

/// Makes a log open again that is damaged. A torn end is no damage and is left to opening. What is
/// missing ahead of the first file, and at the end, is told by `config.from`: the log begins with
/// that record then and goes on behind it.
///
/// Files are replaced one by one, each in one step, and kept as `<name>.damaged-<n>`: a repair
/// that is interrupted may be started again. The folder must not be in use.
///
/// # Errors
/// [`WalError::Foreign`]: it is another log's, or of a newer release; nothing was changed.
/// [`WalError::Io`]: the disk failed or is full.
pub fn repair(
    disk: &dyn Disk,
    config: &WalConfig,
    suspect: Suspect<'_>,
) -> Result<Report, WalError> {
    let (plans, mut report) = look(disk, config, suspect)?;
    for plan in plans.iter().filter(|plan| !plan.is_whole) {
        let place = disk.place(&name_of(plan.first));
        let failed = |error| WalError::io(place.clone(), "replace", error);
        let kept = replace(disk, config, plan).map_err(failed)?;
        report.replaced.push((place, kept.map(|kept| disk.place(&kept))));
    }
    Ok(report)
}

/// Keeps a copy of the file, then puts the new one in its place. Gives the copy's name.
fn replace(disk: &dyn Disk, config: &WalConfig, plan: &Plan) -> io::Result<Option<String>> {
    let name = name_of(plan.first);
    let new = format!("{name}.repaired");
    let names = disk.list()?;
    if names.contains(&new) {
        disk.remove(&new)?;
    }
    let kept = plan.file.as_ref().map(|file| {
        let mut copies = (1..).map(|n: u64| format!("{name}.damaged-{n}"));
        let kept = copies.find(|kept| !names.contains(kept)).unwrap_or_default();
        let copy = disk.create(&kept)?;
        move_bytes(&**file, 0..file.len()?, &*copy, 0)?;
        copy.sync_all()?;
        Ok::<_, io::Error>(kept)
    });
    let kept = kept.transpose()?;
    write(config, plan, &*disk.create(&new)?)?;
    disk.sync_folder()?;
    disk.rename(&new, &name)?;
    disk.sync_folder()?;
    Ok(kept)
}

fn write(config: &WalConfig, plan: &Plan, to: &dyn DiskFile) -> io::Result<()> {
    let seed = frame::seed(config);
    to.write_at(0, &header::encode(config, plan.first))?;
    let mut at = RECORDS_AT;
    for piece in &plan.pieces {
        match (piece, &plan.file) {
            (Piece::Old(from, end), Some(file)) => {
                at = move_bytes(&**file, *from..*end, to, at)?;
            }
            (Piece::Old(..), None) => {}
            (Piece::Mark(lsn), _) => {
                let mark = frame::mark(seed, *lsn, lsn.previous());
                to.write_at(at, &mark)?;
                at += mark.len() as u64;
            }
        }
    }
    to.sync_all()
}

/// Copies bytes and says where the copy ends.
fn move_bytes(
    from: &dyn DiskFile,
    mut bytes: std::ops::Range<u64>,
    to: &dyn DiskFile,
    mut at: u64,
) -> io::Result<u64> {
    while bytes.start < bytes.end {
        let len = (bytes.end - bytes.start).min(COPY_BYTES);
        let mut copied = vec![0; usize::try_from(len).unwrap_or(0)];
        if from.read_at(bytes.start, &mut copied)? != copied.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(at, &copied)?;
        (bytes.start, at) = (bytes.start + len, at + len);
    }
    Ok(at)
}
