//! What becomes of each file in a repair: nothing is changed here.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::super::file::{self, RECORDS_AT, name_of};
use super::super::frame::{FRAME_BYTES, Head};
use super::super::header::{self, HEADER_BYTES, HeaderError};
use super::super::scan::{self, Verdict};
use super::super::window::Window;
use super::super::{Lsn, WalConfig, WalError};
use super::{FileReport, FileState, Lost, Report, Suspect};
use crate::disk::{Disk, DiskFile};

/// A part of a file as it will be.
pub(super) enum Piece {
    /// These bytes of the old one.
    Old(u64, u64),
    /// Numbers up to this one are left out.
    Mark(Lsn),
}

/// One file: what it will be, and whether it is that already.
pub(super) struct Plan {
    pub first: Lsn,
    /// `None`: there is no such file yet.
    pub file: Option<Arc<dyn DiskFile>>,
    pub pieces: Vec<Piece>,
    pub is_whole: bool,
    /// The number that comes after its last record.
    next: Lsn,
    records: u64,
    bytes: u64,
    /// Bytes of a torn end.
    torn: u64,
}

/// Looks at all files of a log.
pub(super) struct Planner<'a> {
    pub disk: &'a dyn Disk,
    pub config: &'a WalConfig,
    pub seed: u32,
    pub report: Report,
    pub suspect: Suspect<'a>,
}

impl Planner<'_> {
    pub fn plan(&mut self) -> Result<Vec<Plan>, WalError> {
        let firsts = file::list(self.disk)?;
        let mut plans = Vec::new();
        plans.extend(self.front(firsts.first().copied()));
        for (at, first) in firsts.iter().enumerate() {
            plans.push(self.file(*first, firsts.get(at + 1).copied(), firsts.len() == 1)?);
        }
        if let Some(last) = plans.last_mut() {
            self.reach(last);
        }
        self.report.files = plans.iter().map(|plan| self.tell(plan)).collect();
        self.report.records = plans.iter().map(|plan| plan.records).sum();
        Ok(plans)
    }

    fn place(&self, first: Lsn) -> String {
        self.disk.place(&name_of(first))
    }

    fn tell(&self, plan: &Plan) -> FileReport {
        let state = match (&plan.file, plan.is_whole, plan.torn) {
            (None, ..) => FileState::Missing,
            (_, false, _) => FileState::Damaged,
            (_, true, 0) => FileState::Whole,
            (_, true, bytes) => FileState::Torn { bytes },
        };
        let (place, first, next) = (self.place(plan.first), plan.first, plan.next);
        FileReport { place, bytes: plan.bytes, first, next, records: plan.records, state }
    }

    /// A file in the place of those that the owner needs and that are missing ahead of the first.
    fn front(&mut self, first: Option<Lsn>) -> Option<Plan> {
        let from = self.config.from;
        if from == Lsn::NONE || first.is_some_and(|first| first <= from) {
            return None;
        }
        self.lose(&self.place(from), RECORDS_AT..RECORDS_AT, from, first);
        let pieces = first.map(Piece::Mark).into_iter().collect();
        let next = first.unwrap_or(from);
        Some(Plan {
            first: from,
            file: None,
            pieces,
            is_whole: false,
            next,
            records: 0,
            bytes: 0,
            torn: 0,
        })
    }

    /// Lets the log go on behind what its owner has, where it ends before that.
    fn reach(&mut self, last: &mut Plan) {
        let from = self.config.from;
        if last.next >= from {
            return;
        }
        let end =
            last.pieces.iter().map(|piece| if let Piece::Old(_, end) = piece { *end } else { 0 });
        let end = end.max().unwrap_or(0);
        let known = self.report.lost.last().is_some_and(|lost| lost.last.is_none());
        if !known {
            self.lose(&self.place(last.first), end..last.bytes.max(end), last.next, None);
        }
        last.pieces.push(Piece::Mark(from));
        (last.next, last.is_whole) = (from, false);
    }

    /// Looks for all that is whole in one file; `after` is where the next one begins.
    fn file(&mut self, first: Lsn, after: Option<Lsn>, only: bool) -> Result<Plan, WalError> {
        let place = self.place(first);
        let failed = |error| WalError::io(place.clone(), "read", error);
        let file = file::open(self.disk, first)?;
        let mut window = Window::new(&*file, self.seed).map_err(failed)?;
        let len = window.len().min(HEADER_BYTES as u64);
        let bytes = window.get(0, len).map_err(failed)?.unwrap_or_default();
        let header = header::check(bytes, self.config, first);
        if let Err(HeaderError::Foreign(found, hint)) = header {
            return Err(WalError::Foreign { place, found, hint });
        }
        // A last file that was still being made: opening removes it.
        let unborn = after.is_none()
            && header.is_err()
            && window.len() <= HEADER_BYTES as u64
            && (!only || first == Lsn::FIRST);
        let mut plan = Plan {
            first,
            file: Some(file.clone()),
            pieces: Vec::new(),
            is_whole: header.is_ok() || unborn,
            next: first,
            records: 0,
            bytes: window.len(),
            torn: if unborn { window.len() } else { 0 },
        };
        if !unborn {
            self.salvage(&mut plan, &mut window, after, &place).map_err(failed)?;
        }
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
                plan.records += u64::from(!head.is_mark());
                next = if head.is_mark() { head.lsn } else { head.lsn.next() };
                at += head.frame_bytes();
            }
            plan.pieces.push(Piece::Old(from, at));
            let torn = |window: &mut Window<'_>| scan::judge(window, at, next);
            if at >= window.len() || after.is_none() && torn(window)? == Verdict::Torn {
                plan.torn = window.len().saturating_sub(at);
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
            self.suspect(window, at..to, next..resumed.unwrap_or(Lsn(u64::MAX)))?;
            plan.pieces.extend(resumed.filter(|lsn| *lsn > next).map(Piece::Mark));
            (at, next) = (to, resumed.unwrap_or(next).max(next));
            if found.is_none() {
                break;
            }
        }
        if let Some(after) = after.filter(|after| *after > next) {
            self.lose(place, at..at, next, Some(after));
            plan.pieces.push(Piece::Mark(after));
            (next, plan.is_whole) = (after, false);
        }
        plan.next = next;
        Ok(())
    }

    fn lose(&mut self, place: &str, bytes: Range<u64>, first: Lsn, resumed: Option<Lsn>) {
        self.report.lost.push(Lost {
            place: place.to_owned(),
            from: bytes.start,
            to: bytes.end,
            first,
            last: resumed.map(Lsn::previous),
        });
    }

    /// Tells of what looks like a record in bytes that are lost: the checksum does not fit, but
    /// its head may be as it was.
    fn suspect(
        &mut self,
        window: &mut Window<'_>,
        bytes: Range<u64>,
        mut numbers: Range<Lsn>,
    ) -> io::Result<()> {
        let mut at = bytes.start;
        while let Some(room) = bytes.end.checked_sub(at + FRAME_BYTES as u64) {
            let head = window.get(at, FRAME_BYTES as u64)?.and_then(Head::parse);
            let is_due = |head: &Head| numbers.contains(&head.lsn) && head.durable < head.lsn;
            let Some(head) = head.filter(|head| !head.is_mark() && is_due(head)) else {
                at += 1;
                continue;
            };
            let len = head.frame_bytes() - FRAME_BYTES as u64;
            let payload = window.get(at + FRAME_BYTES as u64, len.min(room))?;
            (self.suspect)(head.lsn, payload.unwrap_or_default());
            numbers.start = head.lsn.next();
            at += if len <= room { head.frame_bytes() } else { 1 };
        }
        Ok(())
    }
}
