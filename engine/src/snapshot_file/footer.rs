//! What is in the file: its caches and its blocks. All numbers are little-endian.
//!
//! A **section** says what a cache is: length of its name (2 bytes), the name, segments (4),
//! whether a key's segment is the same on every node (1), epoch (4), and for each segment the
//! highest sequence number that had been given (5).
//!
//! The **footer** is the payload of the last block: for each cache its section, entries (8), bytes
//! of keys and values (8), and its blocks of entries, first and count (4, 4); then the number of
//! blocks before the footer (4), and for each its kind (1), cache (4), entries (4), offset (8) and
//! length of its payload (8).
//!
//! The **end** of the file is the header once more and 32 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `isogend` and a zero |
//! | 8..16 | offset of the footer's block |
//! | 16..24 | length of the file |
//! | 24..28 | zeros |
//! | 28..32 | CRC32C of bytes 0..28, begun with that of the file's header |

use std::ops::Range;

use super::block::{BlockKind, HEAD_BYTES, Head};
use super::fields::{Fields, put_u40};
use super::header::HEADER_BYTES;

pub(super) const END_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"isogend\0";
const CHECKED: usize = END_BYTES - 4;

/// One cache of a snapshot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSection {
    /// Its name.
    pub name: String,
    /// How many segments its table had.
    pub segments: u32,
    /// Whether the segment of a key depends on nothing but their number.
    pub seed_independent: bool,
    /// The epoch that the table wrote in.
    pub epoch: u32,
    /// For each segment the highest sequence number that had been given when the snapshot was
    /// taken, deleted entries included.
    pub highest: Vec<u64>,
    /// Entries.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Its blocks of entries.
    pub blocks: Range<u32>,
}

/// Where a block is and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockInfo {
    pub kind: BlockKind,
    pub cache: u32,
    pub entries: u32,
    pub offset: u64,
    /// Bytes of the payload.
    pub len: u64,
}

impl BlockInfo {
    /// The first byte behind the block.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.len).saturating_add(HEAD_BYTES as u64)
    }

    /// Whether a head is that of this block.
    pub fn is_of(&self, head: &Head, number: u32) -> bool {
        head.number == number
            && (head.kind, head.cache, head.entries, head.len)
                == (self.kind, self.cache, self.entries, self.len)
    }
}

/// Everything that a whole file is known by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub caches: Vec<CacheSection>,
    pub blocks: Vec<BlockInfo>,
}

impl CacheSection {
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        let len = u16::try_from(self.name.len()).unwrap_or(u16::MAX);
        to.extend_from_slice(&len.to_le_bytes());
        to.extend_from_slice(self.name.as_bytes());
        to.extend_from_slice(&self.segments.to_le_bytes());
        to.push(u8::from(self.seed_independent));
        to.extend_from_slice(&self.epoch.to_le_bytes());
        self.highest.iter().for_each(|seq| put_u40(to, *seq));
    }

    /// Reads a section; what it holds is not known from here.
    pub(super) fn decode(fields: &mut Fields<'_>) -> Option<CacheSection> {
        let len = fields.u16()?;
        let name = std::str::from_utf8(fields.take(usize::from(len))?).ok()?.to_owned();
        let segments = fields.u32()?;
        let seed_independent = fields.u8()? != 0;
        let epoch = fields.u32()?;
        let highest = (0..segments).map_while(|_| fields.u40()).collect::<Vec<_>>();
        let whole = u32::try_from(highest.len()).is_ok_and(|found| found == segments);
        let (entries, bytes, blocks) = (0, 0, 0..0);
        let section = CacheSection {
            name,
            segments,
            seed_independent,
            epoch,
            highest,
            entries,
            bytes,
            blocks,
        };
        whole.then_some(section)
    }
}

impl Footer {
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        for cache in &self.caches {
            cache.encode(&mut to);
            to.extend_from_slice(&cache.entries.to_le_bytes());
            to.extend_from_slice(&cache.bytes.to_le_bytes());
            to.extend_from_slice(&cache.blocks.start.to_le_bytes());
            let count = cache.blocks.end.saturating_sub(cache.blocks.start);
            to.extend_from_slice(&count.to_le_bytes());
        }
        let count = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        to.extend_from_slice(&count.to_le_bytes());
        for block in &self.blocks {
            to.push(u8::try_from(block.kind.code()).unwrap_or(0));
            to.extend_from_slice(&block.cache.to_le_bytes());
            to.extend_from_slice(&block.entries.to_le_bytes());
            to.extend_from_slice(&block.offset.to_le_bytes());
            to.extend_from_slice(&block.len.to_le_bytes());
        }
        to
    }

    /// Reads a footer over `caches` caches whose block is at `offset`; `None` when it is none, or
    /// does not add up.
    pub fn decode(payload: &[u8], caches: u32, offset: u64) -> Option<Footer> {
        let mut fields = Fields(payload);
        let mut footer = Footer::default();
        for _ in 0..caches {
            let mut cache = CacheSection::decode(&mut fields)?;
            (cache.entries, cache.bytes) = (fields.u64()?, fields.u64()?);
            let first = fields.u32()?;
            cache.blocks = first..first.checked_add(fields.u32()?)?;
            footer.caches.push(cache);
        }
        for _ in 0..fields.u32()? {
            footer.blocks.push(BlockInfo {
                kind: BlockKind::of(u32::from(fields.u8()?))?,
                cache: fields.u32()?,
                entries: fields.u32()?,
                offset: fields.u64()?,
                len: fields.u64()?,
            });
        }
        (fields.0.is_empty() && footer.adds_up(offset)).then_some(footer)
    }

    /// Whether the blocks lie one behind the other up to the footer, and each cache is its section
    /// followed by the blocks of its entries.
    fn adds_up(&self, offset: u64) -> bool {
        let mut at = HEADER_BYTES as u64;
        for block in &self.blocks {
            if block.offset != at {
                return false;
            }
            at = block.end();
        }
        let mut blocks = self.blocks.iter().zip(0u32..).peekable();
        let whole = self.caches.iter().zip(0u32..).all(|(cache, number)| {
            let is_section = |block: &BlockInfo| {
                block.kind == BlockKind::Section && (block.cache, block.entries) == (number, 0)
            };
            let is_ours =
                |block: &BlockInfo| block.kind == BlockKind::Entries && block.cache == number;
            let begun = blocks.next_if(|(block, _)| is_section(block)).is_some();
            let (mut entries, mut last) = (0, cache.blocks.start);
            while let Some((block, at)) = blocks.next_if(|(block, _)| is_ours(block)) {
                if at != last {
                    return false;
                }
                entries += u64::from(block.entries);
                last = at.saturating_add(1);
            }
            begun && entries == cache.entries && last == cache.blocks.end
        });
        whole && blocks.next().is_none() && at == offset
    }
}

/// The last bytes of a file.
pub(super) fn encode_end(offset: u64, file_bytes: u64, seed: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(&file_bytes.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let crc = crc32c::crc32c_append(seed, &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The offset of the footer's block, if `bytes` are the end of a file of so many.
pub(super) fn parse_end(bytes: &[u8], file_bytes: u64, seed: u32) -> Option<u64> {
    let (checked, crc) = bytes.split_at_checked(CHECKED)?;
    if crc32c::crc32c_append(seed, checked).to_le_bytes() != crc || !checked.starts_with(&MAGIC) {
        return None;
    }
    let mut fields = Fields(checked);
    fields.take(MAGIC.len())?;
    let (offset, len) = (fields.u64()?, fields.u64()?);
    (len == file_bytes).then_some(offset)
}

#[cfg(test)]
mod tests;
