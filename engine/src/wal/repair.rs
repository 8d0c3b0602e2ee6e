//! Salvages a log that does not open: keeps what is whole, lists what is lost, and puts every
//! file that it changes aside first.

use std::io;
use std::sync::Arc;

use super::file::{self, RECORDS_AT, name_of};
use super::frame::{self, Head};
use super::header::{self, HEADER_BYTES, HeaderError};
use super::scan::{self, Verdict};
use super::window::Window;
use super::{Lsn, WalConfig, WalError};
use crate::disk::{Disk, DiskFile};

const COPY_BYTES: u64 = 1 << 20;

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Log files that were read.
    pub files: usize,
    /// Whole records, which are all in the log now.
    pub records: u64,
    /// Files that were written anew, and where the damaged ones are kept.
    pub replaced: Vec<(String, String)>,
    /// What is gone. Its numbers stay empty.
    pub lost: Vec<Lost>,
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

/// A part of a file as it will be.
enum Piece {
    /// These bytes of the old one.
    Old(u64, u64),
    /// Numbers up to this one are left out.
    Mark(Lsn),
}

/// One file: what it will be, and whether it is that already.
struct Plan {
    first: Lsn,
    file: Arc<dyn DiskFile>,
    pieces: Vec<Piece>,
    is_whole: bool,
}

struct Repair<'a> {
    disk: &'a dyn Disk,
    config: &'a WalConfig,
    seed: u32,
    report: Report,
}

/// Makes a log open again that is damaged. A torn end is no damage and is left to opening; what
/// is missing ahead of the first file cannot be seen from here.
///
/// Files are replaced one by one, each in one step, and kept as `<name>.damaged-<n>`: a repair
/// that is interrupted may be started again. The folder must not be in use.
///
/// # Errors
/// [`WalError::Foreign`]: it is another log's, or of a newer release; nothing was changed.
/// [`WalError::Io`]: the disk failed or is full.
pub fn repair(disk: &dyn Disk, config: &WalConfig) -> Result<Report, WalError> {
    let mut repair = Repair { disk, config, seed: frame::seed(config), report: Report::default() };
    let firsts = file::list(disk)?;
    repair.report.files = firsts.len();
    let mut plans = Vec::new();
    for (at, first) in firsts.iter().enumerate() {
        plans.push(repair.plan(*first, firsts.get(at + 1).copied())?);
    }
    for plan in plans.iter().filter(|plan| !plan.is_whole) {
        let failed = |error| WalError::io(disk.place(&name_of(plan.first)), "replace", error);
        let kept = repair.replace(plan).map_err(failed)?;
        let place = disk.place(&name_of(plan.first));
        repair.report.replaced.push((place, disk.place(&kept)));
    }
    Ok(repair.report)
}

impl Repair<'_> {
    /// Looks for all that is whole in one file; `after` is where the next one begins.
    fn plan(&mut self, first: Lsn, after: Option<Lsn>) -> Result<Plan, WalError> {
        let place = self.disk.place(&name_of(first));
        let failed = |error| WalError::io(place.clone(), "read", error);
        let file = file::open(self.disk, first)?;
        let mut window = Window::new(&*file, self.seed).map_err(failed)?;
        let mut plan = Plan { first, file: file.clone(), pieces: Vec::new(), is_whole: true };
        let len = window.len().min(HEADER_BYTES as u64);
        let bytes = window.get(0, len).map_err(failed)?.unwrap_or_default();
        match header::check(bytes, self.config, first) {
            Err(HeaderError::Foreign(found, hint)) => {
                return Err(WalError::Foreign { place, found, hint });
            }
            found => plan.is_whole = found.is_ok(),
        }
        self.salvage(&mut plan, &mut window, after, &place).map_err(failed)?;
        Ok(plan)
    }

    fn salvage(
        &mut self,
        plan: &mut Plan,
        window: &mut Window<'_>,
        after: Option<Lsn>,
        place: &str,
    ) -> io::Result<()> {
        let (mut at, mut next) = (RECORDS_AT, plan.first);
        let ours = |head: &Head| {
            after.is_none_or(|after| head.lsn.0 < after.0 + u64::from(head.is_mark()))
        };
        loop {
            let from = at;
            while let Some((head, _)) = window.frame(at, next)?.filter(|(head, _)| ours(head)) {
                if head.lsn != next && !head.is_mark() {
                    break;
                }
                self.report.records += u64::from(!head.is_mark());
                next = if head.is_mark() { head.lsn } else { head.lsn.next() };
                at += head.frame_bytes();
            }
            plan.pieces.push(Piece::Old(from, at));
            let torn = |window: &mut Window<'_>| scan::judge(window, at, next);
            if at >= window.len() || after.is_none() && torn(window)? == Verdict::Torn {
                break;
            }
            plan.is_whole = false;
            let found = match scan::search(window, at, next, ours) {
                Err(Some(error)) => return Err(error),
                Err(None) | Ok(None) => None,
                Ok(found) => found,
            };
            let (to, resumed) =
                found.map_or((window.len(), after), |(to, head)| (to, Some(head.lsn)));
            self.lose(place, at..to, next, resumed);
            plan.pieces.extend(resumed.filter(|lsn| *lsn > next).map(Piece::Mark));
            (at, next) = (to, resumed.unwrap_or(next).max(next));
            if found.is_none() {
                break;
            }
        }
        if let Some(after) = after.filter(|after| *after > next) {
            self.lose(place, at..at, next, Some(after));
            plan.pieces.push(Piece::Mark(after));
            plan.is_whole = false;
        }
        Ok(())
    }

    fn lose(&mut self, place: &str, bytes: std::ops::Range<u64>, first: Lsn, resumed: Option<Lsn>) {
        self.report.lost.push(Lost {
            place: place.to_owned(),
            from: bytes.start,
            to: bytes.end,
            first,
            last: resumed.map(Lsn::previous),
        });
    }

    /// Keeps a copy of the file, then puts the new one in its place. Gives the copy's name.
    fn replace(&self, plan: &Plan) -> io::Result<String> {
        let name = name_of(plan.first);
        let new = format!("{name}.repaired");
        let names = self.disk.list()?;
        if names.contains(&new) {
            self.disk.remove(&new)?;
        }
        let mut copies = (1..).map(|n: u64| format!("{name}.damaged-{n}"));
        let kept = copies.find(|kept| !names.contains(kept)).unwrap_or_default();
        let copy = self.disk.create(&kept)?;
        move_bytes(&*plan.file, 0..plan.file.len()?, &*copy, 0)?;
        copy.sync_all()?;
        self.write(plan, &*self.disk.create(&new)?)?;
        self.disk.sync_folder()?;
        self.disk.rename(&new, &name)?;
        self.disk.sync_folder()?;
        Ok(kept)
    }

    fn write(&self, plan: &Plan, to: &dyn DiskFile) -> io::Result<()> {
        to.write_at(0, &header::encode(self.config, plan.first))?;
        let mut at = RECORDS_AT;
        for piece in &plan.pieces {
            match piece {
                Piece::Old(from, end) => at = move_bytes(&*plan.file, *from..*end, to, at)?,
                Piece::Mark(lsn) => {
                    let mark = frame::mark(self.seed, *lsn, lsn.previous());
                    to.write_at(at, &mark)?;
                    at += mark.len() as u64;
                }
            }
        }
        to.sync_all()
    }
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
