//! SCAN: pages of a snapshot as they are asked for by credit.

use std::collections::VecDeque;

use isogrid_grid::Cache;
use isogrid_grid::events::{Glob, Page, Scan, ScanError, ScanOptions, Scanned};
use isogrid_wire::native::cache::{self, ScanReply, ScanTrailer};
use isogrid_wire::native::{ErrorCode, List, ReadOptions};

use super::entry::View;
use super::failure::Failure;
use super::live::{FRAME_BYTES, ITEMS_MAX, Step, Turn};
use super::reply::Given;

/// A scan under way.
pub struct Scanning {
    scan: Scan,
    /// The cache's number.
    pub object: u32,
    parts: u16,
    batch: usize,
    /// Found and not sent yet: a page may be larger than the credit.
    found: VecDeque<Scanned>,
    finished: Vec<u16>,
    /// From where a client goes on that has all that was sent.
    cursor: Vec<u8>,
    ended: bool,
}

impl Scanning {
    /// Begins a scan.
    ///
    /// # Errors
    /// The pattern, the segments or the cursor cannot be used.
    pub fn open(
        cache: &Cache,
        object: u32,
        scan: &cache::Scan<'_>,
        now: u64,
    ) -> Result<Scanning, Failure> {
        let options = ScanOptions {
            glob: scan.glob.map(glob).transpose()?,
            segments: scan.segments.map(segments),
            value: scan.read.has(ReadOptions::VALUE),
        };
        let opened = cache.scan(options, scan.cursor, now).map_err(|error| {
            let code = match error {
                ScanError::Segment(_) => ErrorCode::OutOfRange,
                ScanError::Cursor | ScanError::OtherCache => ErrorCode::InvalidArgument,
            };
            Failure::new(code, error.to_string())
        })?;
        let batch = usize::try_from(scan.batch).unwrap_or(ITEMS_MAX);
        Ok(Scanning {
            scan: opened,
            object,
            parts: scan.read.switches,
            batch: if batch == 0 { ITEMS_MAX } else { batch.min(ITEMS_MAX) },
            found: VecDeque::new(),
            finished: Vec::new(),
            cursor: scan.cursor.unwrap_or_default().to_vec(),
            ended: false,
        })
    }

    /// Sends a page.
    pub fn poll(&mut self, turn: &mut Turn<'_>) -> Step {
        if turn.credit == 0 && !self.ended {
            return Step::default();
        }
        let items = self.batch.min(turn.credit);
        if self.found.is_empty() && !self.ended {
            let mut page = Page::default();
            self.scan.page(turn.now, items, FRAME_BYTES, &mut page);
            self.found.extend(page.entries);
            self.finished.extend(page.finished.into_iter().map(super::live::segment));
            self.ended = page.ended;
        }
        let sent = self.send(turn, items);
        let over = self.ended && self.found.is_empty();
        let end = over.then(|| Given::answer(&ScanReply::Ended {}));
        Step { sent, more: !over && turn.credit > sent, end }
    }

    fn send(&mut self, turn: &mut Turn<'_>, items: usize) -> usize {
        let sent = items.min(self.found.len());
        let all = sent == self.found.len();
        if sent == 0 && !(all && self.ended && !self.finished.is_empty()) {
            return 0;
        }
        if all {
            self.cursor = self.scan.cursor().unwrap_or_default();
        }
        let sending: Vec<Scanned> = self.found.drain(..sent).collect();
        let entries: Vec<_> = sending
            .iter()
            .map(|found| View::owned(&found.entry).parts(self.parts, &found.key, turn.now))
            .collect();
        let finished = if all { std::mem::take(&mut self.finished) } else { Vec::new() };
        let trailer = ScanTrailer { cursor: &self.cursor, finished: List::of(&finished) };
        turn.to.items(&entries, &trailer, turn.out);
        sent
    }
}

/// A pattern over keys.
///
/// # Errors
/// What is wrong with it.
pub fn glob(text: &str) -> Result<Glob, Failure> {
    Glob::parse(text.as_bytes()).map_err(|error| Failure::invalid(format!("`glob`: {error}")))
}

/// The segments of a set of bits.
pub fn segments(bits: &[u8]) -> Vec<u32> {
    let bit = |(at, byte): (usize, &u8)| {
        let (at, byte) = (u32::try_from(at).unwrap_or(u32::MAX / 8), *byte);
        (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| at * 8 + bit)
    };
    bits.iter().enumerate().flat_map(bit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bit_of_the_first_byte_is_segment_0() {
        assert_eq!(segments(&[0b1000_0001, 0, 0b10]), [0, 7, 17]);
        assert_eq!(segments(&[]), [0u32; 0]);
    }
}
