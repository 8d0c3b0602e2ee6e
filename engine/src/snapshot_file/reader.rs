//! A whole snapshot file, open to be read.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use super::block::{BlockKind, HEAD_BYTES, Head};
use super::error::{Damage, SnapshotFileError};
use super::footer::{CacheSection, END_BYTES, Footer, parse_end};
use super::header::{self, HEADER_BYTES, HeaderError, Parsed, SnapshotHeader};
use super::map::Mapped;
use super::record::Records;
use super::source::{DiskSource, Source};
use super::write::Progress;
use crate::disk::Disk;

/// What to do with a file of a later release.
const NEWER: &str = "use the release that wrote it, or a newer one";

/// A snapshot file whose header and footer are whole. Blocks are checked as they are read;
/// threads may read different ones at once.
#[derive(Debug)]
pub struct SnapshotFile {
    source: Box<dyn Source>,
    place: String,
    seed: u32,
    header: SnapshotHeader,
    footer: Footer,
}

/// A block of entries, checked.
#[derive(Debug, Clone)]
pub struct Block<'f> {
    /// Head and payload.
    bytes: Cow<'f, [u8]>,
    entries: u32,
    /// The number of the cache that the entries are of.
    pub cache: usize,
    /// The number of the block.
    pub number: u32,
}

impl<'f> Block<'f> {
    /// The block that `bytes` are, whose checksum fits.
    pub(super) fn new(bytes: Cow<'f, [u8]>, head: &Head) -> Option<Block<'f>> {
        let cache = usize::try_from(head.cache).ok()?;
        let block = Block { bytes, entries: head.entries, cache, number: head.number };
        block.records().check().ok()?;
        Some(block)
    }

    /// Bytes of the block.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Its entries, in the order of the file.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records::new(self.bytes.get(HEAD_BYTES..).unwrap_or_default(), self.entries)
    }
}

impl SnapshotFile {
    /// Opens the file at `path`, mapped into memory: entries are read without a copy. Nobody may
    /// cut the file while it is open, or the process ends with `SIGBUS` (a newer file that is
    /// renamed over it is fine).
    ///
    /// # Errors
    /// [`SnapshotFileError::Damaged`] when it is not whole, [`SnapshotFileError::Foreign`] when
    /// it is of another release, [`SnapshotFileError::Io`] when it cannot be read.
    pub fn open(path: &Path) -> Result<SnapshotFile, SnapshotFileError> {
        let place = path.display().to_string();
        let mapped = Mapped::open(path)
            .map_err(|e| SnapshotFileError::disk(place.clone(), "open the file", e))?;
        SnapshotFile::new(place, Box::new(mapped))
    }

    /// Opens a file of a [`Disk`]; each block that is read is a copy.
    ///
    /// # Errors
    /// As [`SnapshotFile::open`].
    pub fn open_on(disk: &dyn Disk, name: &str) -> Result<SnapshotFile, SnapshotFileError> {
        let place = disk.place(name);
        let opened = disk.open(name).and_then(DiskSource::new);
        let source =
            opened.map_err(|e| SnapshotFileError::disk(place.clone(), "open the file", e))?;
        SnapshotFile::new(place, Box::new(source))
    }

    /// Opens what `source` holds; errors call it `place`.
    ///
    /// # Errors
    /// As [`SnapshotFile::open`].
    pub fn new(place: String, source: Box<dyn Source>) -> Result<SnapshotFile, SnapshotFileError> {
        let bytes = Bytes { source: &*source, place: &place };
        let head = bytes.get(0, HEADER_BYTES as u64)?;
        let Parsed { header, caches } = parse_header(&head, &place)?;
        let seed = head.first_chunk().map_or(0, header::seed);
        let footer = bytes.footer(&head, seed, caches)?;
        Ok(SnapshotFile { source, place, seed, header, footer })
    }

    /// Refuses a file of another data directory.
    ///
    /// # Errors
    /// [`SnapshotFileError::Foreign`].
    pub fn check_storage(&self, storage_id: &[u8; 16]) -> Result<(), SnapshotFileError> {
        if self.header.storage_id == *storage_id {
            return Ok(());
        }
        let hex = |id: &[u8; 16]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (theirs, ours) = (hex(&self.header.storage_id), hex(storage_id));
        Err(SnapshotFileError::Foreign {
            place: self.place.clone(),
            found: format!("the snapshot of storage {theirs}, not of {ours}"),
            hint: "it is another node's: put the right directory back, or import the file",
        })
    }

    /// What the file says of itself.
    #[must_use]
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Where the file is, for messages.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.source.len()
    }

    /// What it holds, cache by cache.
    #[must_use]
    pub fn caches(&self) -> &[CacheSection] {
        &self.footer.caches
    }

    /// The number of the cache of this name, and what it is.
    #[must_use]
    pub fn cache(&self, name: &str) -> Option<(usize, &CacheSection)> {
        self.caches().iter().enumerate().find(|(_, cache)| cache.name == name)
    }

    /// The numbers of the blocks that hold a cache's entries, in order; to be given to
    /// [`SnapshotFile::block`], from any of them on.
    #[must_use]
    pub fn blocks(&self, cache: usize) -> Range<u32> {
        self.caches().get(cache).map_or(0..0, |cache| cache.blocks.clone())
    }

    /// Reads and checks a block of entries.
    ///
    /// # Errors
    /// [`SnapshotFileError::Damaged`] names the place; other blocks can still be read.
    /// [`SnapshotFileError::Caller`] when it is no block of entries.
    pub fn block(&self, number: u32) -> Result<Block<'_>, SnapshotFileError> {
        let info = usize::try_from(number).ok().and_then(|at| self.footer.blocks.get(at));
        let Some(info) = info.filter(|info| info.kind == BlockKind::Entries) else {
            let text = format!("{}: block {number} holds no entries", self.place);
            return Err(SnapshotFileError::Caller(text));
        };
        let (bytes, head) = self.checked(number, info.offset, info.end())?;
        Block::new(bytes, &head)
            .ok_or_else(|| self.damaged(info.offset, number, "what it holds are no entries"))
    }

    /// Bytes of a block whose head and checksum are as they should be.
    fn checked(
        &self,
        number: u32,
        from: u64,
        end: u64,
    ) -> Result<(Cow<'_, [u8]>, Head), SnapshotFileError> {
        let bytes = Bytes { source: &*self.source, place: &self.place }.get(from, end - from)?;
        let at = usize::try_from(number).ok();
        let info = at.and_then(|at| self.footer.blocks.get(at));
        let head = Head::parse(&bytes, self.seed)
            .filter(|head| info.is_some_and(|info| info.is_of(head, number)))
            .ok_or_else(|| self.damaged(from, number, "its head is not as it was written"))?;
        let payload = bytes.get(HEAD_BYTES..).unwrap_or_default();
        if !head.fits(payload, self.seed) {
            return Err(self.damaged(from, number, "its checksum does not fit"));
        }
        Ok((bytes, head))
    }

    fn damaged(&self, offset: u64, block: u32, found: &str) -> SnapshotFileError {
        SnapshotFileError::damaged(&self.place, offset, Some(block), found)
    }

    /// Reads everything once. Gives the damage that was found, block by block: none = the file
    /// is as it was written.
    ///
    /// # Errors
    /// [`SnapshotFileError::Io`]: the disk could not be read.
    pub fn verify(
        &self,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Damage>, SnapshotFileError> {
        let mut damage = Vec::new();
        let entries_total = self.caches().iter().map(|cache| cache.entries).sum();
        let mut done = Progress { entries: 0, entries_total, bytes: 0 };
        for (number, info) in (0u32..).zip(&self.footer.blocks) {
            match self.verify_block(number) {
                Ok(()) => {}
                Err(SnapshotFileError::Damaged(found)) => damage.push(*found),
                Err(error) => return Err(error),
            }
            done.entries += u64::from(info.entries);
            done.bytes = info.end();
            progress(done);
        }
        Ok(damage)
    }

    fn verify_block(&self, number: u32) -> Result<(), SnapshotFileError> {
        let at = usize::try_from(number).ok();
        let Some(info) = at.and_then(|at| self.footer.blocks.get(at)) else { return Ok(()) };
        if info.kind == BlockKind::Entries {
            return self.block(number).map(|_| ());
        }
        let (bytes, _) = self.checked(number, info.offset, info.end())?;
        let mut section = Vec::new();
        let cache = usize::try_from(info.cache).ok().and_then(|at| self.caches().get(at));
        cache.into_iter().for_each(|cache| cache.encode(&mut section));
        if bytes.get(HEAD_BYTES..) == Some(section.as_slice()) {
            return Ok(());
        }
        Err(self.damaged(info.offset, number, "it describes another cache than the footer"))
    }
}

/// A source and what errors call it.
pub(super) struct Bytes<'s> {
    pub source: &'s dyn Source,
    pub place: &'s str,
}

impl<'s> Bytes<'s> {
    /// Up to `len` bytes: fewer where the file ends.
    pub fn get(&self, offset: u64, len: u64) -> Result<Cow<'s, [u8]>, SnapshotFileError> {
        let read = self.source.read(offset, len);
        read.map_err(|e| SnapshotFileError::disk(self.place.to_owned(), "read the file", e))
    }

    /// The footer of a file with this header.
    pub fn footer(
        &self,
        header: &[u8],
        seed: u32,
        caches: u32,
    ) -> Result<Footer, SnapshotFileError> {
        let len = self.source.len();
        let damaged =
            |at: u64, found: &str| Err(SnapshotFileError::damaged(self.place, at, None, found));
        let end = len.saturating_sub(END_BYTES as u64);
        let copy = end.saturating_sub(HEADER_BYTES as u64);
        let Some(offset) = parse_end(&self.get(end, END_BYTES as u64)?, len, seed) else {
            return damaged(
                end,
                "it does not end as a snapshot file: it was cut off or copied in part",
            );
        };
        if *self.get(copy, HEADER_BYTES as u64)? != *header {
            return damaged(copy, "the copy of the header is another one");
        }
        let block = self.get(offset, copy.saturating_sub(offset))?;
        let payload = block.get(HEAD_BYTES..).unwrap_or_default();
        let is_footer = |head: &Head| head.kind == BlockKind::Footer && head.fits(payload, seed);
        let head = Head::parse(&block, seed).filter(is_footer);
        let footer = head.and_then(|_| Footer::decode(payload, caches, offset));
        match footer {
            Some(footer) => Ok(footer),
            None => damaged(offset, "the footer is not as it was written"),
        }
    }
}

pub(super) fn parse_header(bytes: &[u8], place: &str) -> Result<Parsed, SnapshotFileError> {
    header::parse(bytes).map_err(|error| match error {
        HeaderError::Damaged(found) => SnapshotFileError::damaged(place, 0, None, found),
        HeaderError::Foreign(found) => {
            SnapshotFileError::Foreign { place: place.to_owned(), found, hint: NEWER }
        }
    })
}
