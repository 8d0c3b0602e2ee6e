//! Reads what is whole of a file that is not.

use std::ops::Range;

use super::block::{BlockKind, HEAD_BYTES, Head};
use super::error::SnapshotFileError;
use super::fields::Fields;
use super::footer::{CacheSection, END_BYTES};
use super::header::{self, HEADER_BYTES, SnapshotHeader};
use super::reader::{Block, Bytes, parse_header};
use super::source::Source;

/// Bytes that are searched at once for the head of a block.
const SEARCH_BYTES: u64 = 1 << 20;

/// What a salvage found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvage {
    /// What the file says of itself.
    pub header: SnapshotHeader,
    /// Whole blocks of entries, which were all visited.
    pub blocks: u64,
    /// Their entries.
    pub entries: u64,
    /// What is gone, in the order of the file.
    pub lost: Vec<Lost>,
}

/// A part of the file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Its bytes; empty where blocks are missing that have left no trace.
    pub bytes: Range<u64>,
    /// The numbers of the blocks that were there; no end is known where the file breaks off.
    pub first_block: u32,
    /// How many blocks they are, as far as it is known.
    pub blocks: Option<u32>,
    /// How many entries they hold, as far as it is known.
    pub entries: Option<u64>,
}

/// Gives every whole block of entries to `visit`, in the order of the file, with what its cache is
/// where that is known: neither its section nor the footer may be whole. Nothing is written.
///
/// # Errors
/// [`SnapshotFileError::Damaged`] when neither the header nor its copy at the end is whole: then
/// nothing can be told from anything. [`SnapshotFileError::Foreign`], [`SnapshotFileError::Io`].
pub fn salvage(
    place: &str,
    source: &dyn Source,
    visit: &mut dyn FnMut(Option<&CacheSection>, &Block<'_>),
) -> Result<Salvage, SnapshotFileError> {
    let bytes = Bytes { source, place };
    let (raw, parsed) = either_header(&bytes)?;
    let seed = header::seed(&raw);
    let footer = bytes.footer(&raw, seed, parsed.caches).unwrap_or_default();
    let caches = (0..).zip(footer.caches).collect();
    let mut search = Search { bytes, seed, at: HEADER_BYTES as u64, next: 0, caches, visit };
    let mut found = Salvage { header: parsed.header, blocks: 0, entries: 0, lost: Vec::new() };
    search.run(&mut found)?;
    Ok(found)
}

/// The header, or its copy at the end of the file.
fn either_header(
    bytes: &Bytes<'_>,
) -> Result<([u8; HEADER_BYTES], header::Parsed), SnapshotFileError> {
    let first = bytes.get(0, HEADER_BYTES as u64)?;
    let parsed = parse_header(&first, bytes.place);
    if let (Ok(parsed), Some(raw)) = (&parsed, first.first_chunk()) {
        return Ok((*raw, *parsed));
    }
    let copy = bytes.source.len().saturating_sub((HEADER_BYTES + END_BYTES) as u64);
    let last = bytes.get(copy, HEADER_BYTES as u64)?;
    match (parse_header(&last, bytes.place), last.first_chunk()) {
        (Ok(parsed), Some(raw)) => Ok((*raw, parsed)),
        // Of the two, the first says where the damage is.
        _ => parsed.and(parse_header(&last, bytes.place)).map(|parsed| ([0; HEADER_BYTES], parsed)),
    }
}

/// Where a salvage has got to.
struct Search<'s, 'v> {
    bytes: Bytes<'s>,
    seed: u32,
    at: u64,
    /// The number of the block that is due.
    next: u32,
    caches: std::collections::BTreeMap<u32, CacheSection>,
    visit: &'v mut dyn FnMut(Option<&CacheSection>, &Block<'_>),
}

impl Search<'_, '_> {
    fn run(&mut self, found: &mut Salvage) -> Result<(), SnapshotFileError> {
        let end = self.bytes.source.len();
        while self.at < end {
            let head = self.head(self.at)?.filter(|head| head.number >= self.next);
            let Some(head) = head else {
                let lost = self.at;
                self.at = self.search(lost + 1)?;
                let resumed = self.head(self.at)?.filter(|_| self.at < end);
                let blocks = resumed.map(|head| head.number - self.next);
                let bytes = lost..self.at;
                found.lost.push(Lost { bytes, first_block: self.next, blocks, entries: None });
                self.next = resumed.map_or(self.next, |head| head.number);
                continue;
            };
            if head.number > self.next {
                let (bytes, blocks) = (self.at..self.at, Some(head.number - self.next));
                found.lost.push(Lost { bytes, first_block: self.next, blocks, entries: None });
            }
            let whole = self.block(&head, found)?;
            let after = self.at.saturating_add(head.bytes());
            if !whole {
                let bytes = self.at..after.min(end);
                let entries = Some(u64::from(head.entries));
                let first_block = head.number;
                found.lost.push(Lost { bytes, first_block, blocks: Some(1), entries });
            }
            if head.kind == BlockKind::Footer {
                return Ok(());
            }
            self.next = head.number.saturating_add(1);
            // A whole head says where the next block begins, whatever became of this one.
            self.at = after;
        }
        if found.lost.last().is_none_or(|lost| lost.bytes.end < end) {
            let (bytes, first_block) = (end..end, self.next);
            found.lost.push(Lost { bytes, first_block, blocks: None, entries: None });
        }
        Ok(())
    }

    fn head(&self, at: u64) -> Result<Option<Head>, SnapshotFileError> {
        Ok(Head::parse(&self.bytes.get(at, HEAD_BYTES as u64)?, self.seed))
    }

    /// Visits the block at hand if it is whole and of entries; whether it is whole.
    fn block(&mut self, head: &Head, found: &mut Salvage) -> Result<bool, SnapshotFileError> {
        let bytes = self.bytes.get(self.at, head.bytes())?;
        let payload = bytes.get(HEAD_BYTES..).unwrap_or_default();
        if !head.fits(payload, self.seed) {
            return Ok(false);
        }
        if head.kind == BlockKind::Section {
            let section = CacheSection::decode(&mut Fields(payload));
            self.caches.extend(section.map(|section| (head.cache, section)));
        }
        if head.kind == BlockKind::Entries {
            let Some(block) = Block::new(bytes, head) else { return Ok(false) };
            (self.visit)(self.caches.get(&head.cache), &block);
            found.blocks += 1;
            found.entries += u64::from(head.entries);
        }
        Ok(true)
    }

    /// Where the next head is, from `from` on; the end of the file if there is none.
    fn search(&self, mut from: u64) -> Result<u64, SnapshotFileError> {
        let end = self.bytes.source.len();
        while from < end {
            let part = self.bytes.get(from, SEARCH_BYTES)?;
            let heads = (from..).zip(part.windows(HEAD_BYTES));
            let is_next = |bytes: &[u8]| {
                Head::parse(bytes, self.seed).is_some_and(|head| head.number >= self.next)
            };
            if let Some((at, _)) = heads.into_iter().find(|(_, bytes)| is_next(bytes)) {
                return Ok(at);
            }
            // Heads that begin in this part and end in the next one are looked at again.
            let looked = (part.len() as u64).saturating_sub(HEAD_BYTES as u64 - 1);
            if looked == 0 || part.len() as u64 + from >= end {
                return Ok(end);
            }
            from += looked;
        }
        Ok(end)
    }
}
