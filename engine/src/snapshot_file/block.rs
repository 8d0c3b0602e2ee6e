//! One block: 32 bytes and the payload. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | kind: 1 section, 2 entries, 3 footer |
//! | 4..8 | number of the block in the file, from 0 |
//! | 8..12 | number of the cache, from 0; 0 in the footer |
//! | 12..16 | entries |
//! | 16..24 | length of the payload in bytes |
//! | 24..28 | CRC32C of the payload |
//! | 28..32 | CRC32C of bytes 0..28 |
//! | 32.. | payload |
//!
//! Both checksums begin with that of the file's header.

use super::fields::Fields;

pub(super) const HEAD_BYTES: usize = 32;
const CHECKED: usize = HEAD_BYTES - 4;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// What a cache is; its entries follow.
    Section,
    /// Entries of one cache.
    Entries,
    /// What is in the file.
    Footer,
}

impl BlockKind {
    pub fn code(self) -> u32 {
        match self {
            BlockKind::Section => 1,
            BlockKind::Entries => 2,
            BlockKind::Footer => 3,
        }
    }

    pub fn of(code: u32) -> Option<BlockKind> {
        [BlockKind::Section, BlockKind::Entries, BlockKind::Footer]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub kind: BlockKind,
    pub number: u32,
    pub cache: u32,
    pub entries: u32,
    /// Bytes of the payload.
    pub len: u64,
    pub crc: u32,
}

impl Head {
    pub fn encode(&self, seed: u32) -> [u8; HEAD_BYTES] {
        let numbers = [self.kind.code(), self.number, self.cache, self.entries];
        let mut checked: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        checked.extend_from_slice(&self.len.to_le_bytes());
        checked.extend_from_slice(&self.crc.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &checked).to_le_bytes();
        let mut bytes = [0; HEAD_BYTES];
        bytes.iter_mut().zip(checked.iter().chain(&crc)).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// The head that `bytes` begin with, if they are as they were written.
    pub fn parse(bytes: &[u8], seed: u32) -> Option<Head> {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        let (checked, crc) = head.split_at(CHECKED);
        if crc32c::crc32c_append(seed, checked).to_le_bytes() != crc {
            return None;
        }
        let mut fields = Fields(checked);
        Some(Head {
            kind: BlockKind::of(fields.u32()?)?,
            number: fields.u32()?,
            cache: fields.u32()?,
            entries: fields.u32()?,
            len: fields.u64()?,
            crc: fields.u32()?,
        })
    }

    /// Whether `payload` is as it was written.
    pub fn fits(&self, payload: &[u8], seed: u32) -> bool {
        payload.len() as u64 == self.len && crc32c::crc32c_append(seed, payload) == self.crc
    }

    /// Bytes of the whole block.
    pub fn bytes(&self) -> u64 {
        self.len.saturating_add(HEAD_BYTES as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_with_any_bit_turned_is_none() {
        const SEED: u32 = 7;
        let mut payload = b"a payload".to_vec();
        let (len, crc) = (payload.len() as u64, crc32c::crc32c_append(SEED, &payload));
        let head = Head { kind: BlockKind::Entries, number: 1, cache: 2, entries: 3, len, crc };
        let mut bytes = head.encode(SEED);
        assert_eq!((Head::parse(&bytes, SEED), Head::parse(&bytes, SEED + 1)), (Some(head), None));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::parse(&bytes, SEED), None, "bit {bit} of the head");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(head.fits(&payload, SEED) && !head.fits(&payload, SEED + 1));
        for bit in 0..payload.len() * 8 {
            payload[bit / 8] ^= 1 << (bit % 8);
            assert!(!head.fits(&payload, SEED), "bit {bit} of the payload");
            payload[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(!head.fits(&payload[1..], SEED), "cut off");
    }
}
