//! Opens a log: reads it, refuses what is not whole, and makes its end fit to be written on.
//!
//! Nothing is changed on the disk before everything was read and found good.

use std::io;
use std::sync::Arc;

use super::file::{self, RECORDS_AT, name_of};
use super::frame;
use super::header::{self, HEADER_BYTES, HeaderError};
use super::scan::{self, Chain, Verdict};
use super::window::Window;
use super::writer::{End, Part, Writer};
use super::{Lsn, WalConfig, WalError};
use crate::disk::{Disk, DiskFile};

/// Bytes that are written again at once.
const COPY_BYTES: u64 = 1 << 20;

/// What opening a log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The oldest record that the files go back to.
    pub first: Lsn,
    /// The number that the next record gets.
    pub next: Lsn,
    /// Records that were handed to the visitor.
    pub records: u64,
    /// What was cut off the end: writes that had not come to their end when the process or the
    /// machine stopped. Nobody was told that they are durable.
    pub torn: Option<Torn>,
}

/// The end of a log that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub place: String,
    /// Where it was cut; 0 when the whole file went.
    pub offset: u64,
    /// How many bytes went.
    pub bytes: u64,
    /// The first record that is not there.
    pub lsn: Lsn,
}

/// Gets each record in order; what it says in `Err` ends the recovery.
pub type Visit<'a> = &'a mut dyn FnMut(Lsn, &[u8]) -> Result<(), String>;

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Disk(error)
    }
}

/// Why the reading of a file ended early.
enum Stop {
    Disk(io::Error),
    Refused(u64, Lsn, String),
}

/// One recovery.
struct Reader<'a> {
    disk: &'a dyn Disk,
    config: &'a WalConfig,
    seed: u32,
    records: u64,
    torn: Option<Torn>,
}

/// One file that was read.
struct Read {
    file: Arc<dyn DiskFile>,
    part: Part,
    chain: Chain,
}

/// Reads the log in `disk`, hands the records from `config.from` on to `visit`, and makes the end
/// of the log durable.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    config: &WalConfig,
    visit: Visit<'_>,
) -> Result<(Writer, Recovery), WalError> {
    let seed = frame::seed(config);
    let mut reader = Reader { disk: &**disk, config, seed, records: 0, torn: None };
    let mut firsts = file::list(&**disk)?;
    let unborn = reader.take_unborn(&mut firsts)?;
    reader.check_reach(&firsts)?;
    let end = match reader.read_all(&firsts, unborn.as_ref().map(|part| part.first), visit)? {
        Some((older, last)) => {
            reader.remove(unborn)?;
            reader.settle(older, last)?
        }
        None => {
            reader.remove(unborn)?;
            born(&**disk, config)?
        }
    };
    let first = end.older.first().unwrap_or(&end.last).first;
    let recovery = Recovery { first, next: end.next, records: reader.records, torn: reader.torn };
    Ok((Writer::new(disk.clone(), config.clone(), end), recovery))
}

/// Hands the records of a log to `visit` as opening it does, and changes nothing. The folder must
/// not be in use.
///
/// # Errors
/// Where opening would be refused, with the same error.
pub fn read(disk: &dyn Disk, config: &WalConfig, visit: Visit<'_>) -> Result<(), WalError> {
    let seed = frame::seed(config);
    let mut reader = Reader { disk, config, seed, records: 0, torn: None };
    let mut firsts = file::list(disk)?;
    let unborn = reader.take_unborn(&mut firsts)?;
    reader.check_reach(&firsts)?;
    reader.read_all(&firsts, unborn.as_ref().map(|part| part.first), visit).map(drop)
}

/// The first file of a new log.
fn born(disk: &dyn Disk, config: &WalConfig) -> Result<End, WalError> {
    let first = Lsn::FIRST;
    let file = file::create(disk, config, first)?;
    let last = Part { first, bytes: RECORDS_AT };
    Ok(End { file, older: Vec::new(), last, next: first, at_rest: true })
}

impl Reader<'_> {
    fn place(&self, first: Lsn) -> String {
        self.disk.place(&name_of(first))
    }

    fn failed(&self, first: Lsn, action: &'static str) -> impl FnOnce(io::Error) -> WalError {
        let place = self.place(first);
        move |error| WalError::io(place, action, error)
    }

    fn damaged(&self, first: Lsn, offset: u64, lsn: Lsn, found: impl Into<String>) -> WalError {
        WalError::damaged(self.place(first), offset, lsn, found)
    }

    /// Takes the last file off the list if it was still being made: records come only when the
    /// header is durable, so nothing but a part of a header can be in it.
    fn take_unborn(&mut self, firsts: &mut Vec<Lsn>) -> Result<Option<Part>, WalError> {
        let Some(first) = firsts.last().copied() else { return Ok(None) };
        let file = file::open(self.disk, first)?;
        let mut window = self.window(first, &*file)?;
        let bytes = window.len();
        let damaged = matches!(self.header(first, &mut window)?, Err(HeaderError::Damaged(_)));
        // Files ahead of one that is being made are removed only afterwards.
        let followed = firsts.len() > 1 || first == Lsn::FIRST;
        if !damaged || bytes > HEADER_BYTES as u64 || !followed {
            return Ok(None);
        }
        firsts.pop();
        self.torn = Some(Torn { place: self.place(first), offset: 0, bytes, lsn: first });
        Ok(Some(Part { first, bytes }))
    }

    fn remove(&self, unborn: Option<Part>) -> Result<(), WalError> {
        unborn.map_or(Ok(()), |part| super::writer::remove(self.disk, part))
    }

    /// Whether the log begins early enough for its owner.
    fn check_reach(&self, firsts: &[Lsn]) -> Result<(), WalError> {
        let from = self.config.from;
        match firsts.first() {
            Some(first) if from != Lsn::NONE && *first > from => {
                let found = format!("the log begins with record {first}: files are missing");
                Err(self.damaged(*first, 0, from, found))
            }
            None if from > Lsn::FIRST => {
                Err(self.damaged(from, 0, from, "no file of the log is there"))
            }
            _ => Ok(()),
        }
    }

    fn window<'f>(&self, first: Lsn, file: &'f dyn DiskFile) -> Result<Window<'f>, WalError> {
        Window::new(file, self.seed).map_err(self.failed(first, "read"))
    }

    /// What is wrong with a file's header, if the disk can read it.
    fn header(
        &self,
        first: Lsn,
        window: &mut Window<'_>,
    ) -> Result<Result<(), HeaderError>, WalError> {
        let len = window.len().min(HEADER_BYTES as u64);
        let bytes = window.get(0, len).map_err(self.failed(first, "read"))?.unwrap_or_default();
        Ok(header::check(bytes, self.config, first))
    }

    /// Reads all files that have records from `from` on. The last of them may end in the middle of a
    /// record, unless the one behind it was being made, `unborn`: that begins where it ends.
    fn read_all(
        &mut self,
        firsts: &[Lsn],
        unborn: Option<Lsn>,
        visit: Visit<'_>,
    ) -> Result<Option<(Vec<Part>, Read)>, WalError> {
        let (mut parts, mut last): (Vec<Part>, Option<Read>) = (Vec::new(), None);
        for (at, first) in firsts.iter().copied().enumerate() {
            let after = firsts.get(at + 1).copied();
            if let Some(read) = last.take() {
                self.check_joint(&read, first)?;
                parts.push(read.part);
            }
            if after.is_some_and(|after| after <= self.config.from) {
                let bytes = file::open(self.disk, first)?.len();
                parts.push(Part { first, bytes: bytes.map_err(self.failed(first, "read"))? });
            } else {
                last = Some(self.read(first, after.or(unborn).is_none(), visit)?);
            }
        }
        if let Some(read) = &last {
            unborn.map_or(Ok(()), |unborn| self.check_joint(read, unborn))?;
            self.check_end(read)?;
        }
        Ok(last.map(|last| (parts, last)))
    }

    /// Whether the next file goes on where this one ends.
    fn check_joint(&self, read: &Read, after: Lsn) -> Result<(), WalError> {
        let (next, end) = (read.chain.next, read.chain.end);
        if next == after {
            return Ok(());
        }
        let found = if next < after {
            format!("the next file begins with record {after}: one between them is missing")
        } else {
            format!("the next file begins with record {after} already")
        };
        Err(self.damaged(read.part.first, end, next, found))
    }

    /// Whether the log ends late enough for its owner.
    fn check_end(&self, last: &Read) -> Result<(), WalError> {
        let next = last.chain.next;
        if self.config.from <= next {
            return Ok(());
        }
        let found = format!("the log ends here; its owner had got as far as {}", self.config.from);
        Err(self.damaged(last.part.first, last.chain.end, next, found))
    }

    /// Reads one file; `torn_end`: it may end in the middle of a record.
    fn read(&mut self, first: Lsn, torn_end: bool, visit: Visit<'_>) -> Result<Read, WalError> {
        let file = file::open(self.disk, first)?;
        let mut window = self.window(first, &*file)?;
        self.header(first, &mut window)?.map_err(|error| match error {
            HeaderError::Damaged(found) => self.damaged(first, 0, first, found),
            HeaderError::Foreign(found, hint) => {
                WalError::Foreign { place: self.place(first), found, hint }
            }
        })?;
        let chain = self.follow(first, &mut window, visit)?;
        let len = window.len();
        if chain.end < len {
            self.judge(first, &mut window, &chain, torn_end)?;
            let (place, lsn) = (self.place(first), chain.next);
            self.torn = Some(Torn { place, offset: chain.end, bytes: len - chain.end, lsn });
        }
        Ok(Read { file, part: Part { first, bytes: chain.end }, chain })
    }

    fn follow(
        &mut self,
        first: Lsn,
        window: &mut Window<'_>,
        visit: Visit<'_>,
    ) -> Result<Chain, WalError> {
        let (from, records) = (self.config.from, &mut self.records);
        let chain = scan::follow(window, first, |at, lsn, payload: &[u8]| {
            if lsn < from {
                return Ok(());
            }
            *records += 1;
            visit(lsn, payload).map_err(|reason| Stop::Refused(at, lsn, reason))
        });
        chain.map_err(|stop| match stop {
            Stop::Disk(error) => self.failed(first, "read")(error),
            Stop::Refused(offset, lsn, reason) => {
                WalError::Refused { place: self.place(first), offset, lsn, reason }
            }
        })
    }

    /// Refuses a file whose chain ends before it does, unless that is a torn end.
    fn judge(
        &self,
        first: Lsn,
        window: &mut Window<'_>,
        chain: &Chain,
        torn_end: bool,
    ) -> Result<(), WalError> {
        if !torn_end {
            let found = "no whole record, though a later file was begun after it";
            return Err(self.damaged(first, chain.end, chain.next, found));
        }
        let verdict = scan::judge(window, chain.end, chain.next);
        match verdict.map_err(self.failed(first, "read"))? {
            Verdict::Torn => Ok(()),
            Verdict::Damaged(found) => Err(self.damaged(first, chain.end, chain.next, found)),
        }
    }

    /// Makes the end of the log durable, to be written on.
    ///
    /// Records that are not known to be durable are written again over themselves: the kernel may
    /// have failed to write them and dropped that fact together with the error, and then a sync
    /// says that all is well (the first file's header may be such a case too).
    fn settle(&self, older: Vec<Part>, last: Read) -> Result<End, WalError> {
        let Read { file, part, chain } = last;
        let settled = || -> io::Result<()> {
            if file.len()? > chain.end {
                file.set_len(chain.end)?;
            }
            let from = if chain.unproven_from == RECORDS_AT { 0 } else { chain.unproven_from };
            rewrite(&*file, from, chain.end)?;
            file.sync_all()?;
            self.disk.sync_folder()
        };
        settled().map_err(self.failed(part.first, "make the end of the log durable"))?;
        Ok(End { file, older, last: part, next: chain.next, at_rest: chain.at_rest })
    }
}

fn rewrite(file: &dyn DiskFile, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        let len = (to - from).min(COPY_BYTES);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        if file.read_at(from, &mut bytes)? != bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(from, &bytes)?;
        from += len;
    }
    Ok(())
}
