//! The bytes of what a store holds. Each record ends with a CRC32C over the tree key that it
//! stands under and over all of its other bytes: a flipped bit, a record under another's key and
//! a piece of another value are all refused.
//!
//! ```text
//! head      format u8 | shape u8 | version u64 | [flags u32] [deadline u64] [idle u32] [marks u8]
//!           | body | crc u32
//! body      the stream itself, or (shape CHUNKED) length u32 | chunk id u64
//! stream    [key length u16 | key]  (shape LONG_KEY)  value
//! chunk     up to 4096 bytes of the stream | crc u32
//! applied   format u8 | position u64 | next chunk id u64 | digest u64 | crc u32
//! marks     64 versions u64 | crc u32
//! ```
//! Numbers are little-endian. [`FORMAT`] is part of every head and of `applied`; a changed meaning
//! is a new number.

use xxhash_rust::xxh64::xxh64;

use super::Stored;

/// The format that this code writes and the only one that it reads.
pub(super) const FORMAT: u8 = 1;
/// Bytes of a stream in one record. Sixteen records a leaf stay far below sled's blob limit of
/// 128 KiB a page (R56).
pub(super) const CHUNK_BYTES: usize = 4096;
/// Segments in one record of marks.
pub(super) const MARKS_A_RECORD: usize = 64;
const CRC_BYTES: usize = 4;

const FLAGS: u8 = 1;
const DEADLINE: u8 = 2;
const IDLE: u8 = 4;
const MARKS: u8 = 8;
const CHUNKED: u8 = 16;
const LONG_KEY: u8 = 32;
const SHAPES: u8 = 63;

/// Why bytes are not a record.
pub(super) type Reason = &'static str;

/// Where the stream of an entry is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Inline(&'a [u8]),
    Chunked { len: u32, id: u64 },
}

/// A head, read.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// The entry with an empty value.
    pub(super) stored: Stored,
    pub(super) long_key: bool,
    pub(super) body: Body<'a>,
}

/// The record of `applied`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Applied {
    pub(super) position: u64,
    pub(super) next_id: u64,
    /// The sum of [`fingerprint`] over all other records.
    pub(super) digest: u64,
}

/// What a record adds to the digest of a tree: its key and its checksum, mixed.
pub(super) fn fingerprint(tree_key: &[u8], record: &[u8]) -> u64 {
    let crc = record.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
    xxh64(tree_key, u64::from(crc))
}

/// Ends a record that is to stand under `tree_key`.
fn seal(tree_key: &[u8], mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(tree_key), &bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The bytes before the checksum.
fn open<'a>(tree_key: &[u8], record: &'a [u8]) -> Result<&'a [u8], Reason> {
    let at = record.len().checked_sub(CRC_BYTES).ok_or("too short")?;
    let (bytes, crc) = record.split_at_checked(at).ok_or("too short")?;
    let found = crc32c::crc32c_append(crc32c::crc32c(tree_key), bytes);
    if crc == found.to_le_bytes() { Ok(bytes) } else { Err("checksum") }
}

pub(super) fn head(tree_key: &[u8], stored: &Stored, long_key: bool, body: &Body) -> Vec<u8> {
    let inline = if let Body::Inline(stream) = body { stream.len() } else { 12 };
    let mut out = Vec::with_capacity(inline + 31);
    let shape = [
        (stored.flags != 0, FLAGS),
        (stored.deadline.is_some(), DEADLINE),
        (stored.max_idle.is_some(), IDLE),
        (stored.marks != 0, MARKS),
        (matches!(body, Body::Chunked { .. }), CHUNKED),
        (long_key, LONG_KEY),
    ];
    let shape = shape.iter().filter(|(has, _)| *has).fold(0, |shape, (_, bit)| shape | bit);
    out.extend_from_slice(&[FORMAT, shape]);
    out.extend_from_slice(&stored.version.to_le_bytes());
    if stored.flags != 0 {
        out.extend_from_slice(&stored.flags.to_le_bytes());
    }
    stored.deadline.inspect(|deadline| out.extend_from_slice(&deadline.to_le_bytes()));
    stored.max_idle.inspect(|idle| out.extend_from_slice(&idle.to_le_bytes()));
    if stored.marks != 0 {
        out.push(stored.marks);
    }
    match body {
        Body::Inline(stream) => out.extend_from_slice(stream),
        Body::Chunked { len, id } => {
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        }
    }
    seal(tree_key, out)
}

pub(super) fn read_head<'a>(tree_key: &[u8], record: &'a [u8]) -> Result<Head<'a>, Reason> {
    let mut rest = open(tree_key, record)?;
    let rest = &mut rest;
    let [format, shape] = take(rest)?;
    if format != FORMAT || shape & !SHAPES != 0 {
        return Err("a format that this version does not know");
    }
    let has = |bit| shape & bit != 0;
    let stored = Stored {
        value: Vec::new(),
        version: u64::from_le_bytes(take(rest)?),
        flags: if has(FLAGS) { u32::from_le_bytes(take(rest)?) } else { 0 },
        deadline: has(DEADLINE).then(|| take(rest).map(u64::from_le_bytes)).transpose()?,
        max_idle: has(IDLE).then(|| take(rest).map(u32::from_le_bytes)).transpose()?,
        marks: if has(MARKS) { u8::from_le_bytes(take(rest)?) } else { 0 },
    };
    let body = if has(CHUNKED) {
        let (len, id) = (u32::from_le_bytes(take(rest)?), u64::from_le_bytes(take(rest)?));
        Body::Chunked { len, id }
    } else {
        Body::Inline(rest)
    };
    Ok(Head { stored, long_key: has(LONG_KEY), body })
}

/// Cuts the first bytes off.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Reason> {
    let (first, after) = rest.split_first_chunk().ok_or("too short")?;
    *rest = after;
    Ok(*first)
}

/// The stream of an entry with a long key.
pub(super) fn stream(key: &[u8], value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(key.len()).unwrap_or(u16::MAX);
    [&len.to_le_bytes()[..], key, value].concat()
}

/// The key and the value that a stream with a long key holds.
pub(super) fn split_stream(stream: &[u8]) -> Result<(&[u8], &[u8]), Reason> {
    let mut rest = stream;
    let len = u16::from_le_bytes(take(&mut rest)?);
    rest.split_at_checked(usize::from(len)).ok_or("too short")
}

pub(super) fn chunk(tree_key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + CRC_BYTES);
    out.extend_from_slice(bytes);
    seal(tree_key, out)
}

pub(super) fn read_chunk<'a>(tree_key: &[u8], record: &'a [u8]) -> Result<&'a [u8], Reason> {
    open(tree_key, record)
}

pub(super) fn applied(tree_key: &[u8], applied: Applied) -> Vec<u8> {
    let numbers = [applied.position, applied.next_id, applied.digest].map(u64::to_le_bytes);
    seal(tree_key, [&[FORMAT][..], numbers.as_flattened()].concat())
}

pub(super) fn read_applied(tree_key: &[u8], record: &[u8]) -> Result<Applied, Reason> {
    let mut rest = open(tree_key, record)?;
    let [format] = take(&mut rest)?;
    if format != FORMAT {
        return Err("a format that this version does not know");
    }
    let mut number = || take(&mut rest).map(u64::from_le_bytes);
    Ok(Applied { position: number()?, next_id: number()?, digest: number()? })
}

pub(super) fn marks(tree_key: &[u8], marks: &[u64; MARKS_A_RECORD]) -> Vec<u8> {
    seal(tree_key, marks.iter().flat_map(|mark| mark.to_le_bytes()).collect())
}

pub(super) fn read_marks(tree_key: &[u8], record: &[u8]) -> Result<[u64; MARKS_A_RECORD], Reason> {
    let (numbers, rest) = open(tree_key, record)?.as_chunks::<8>();
    let marks: Vec<u64> = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    marks.try_into().ok().filter(|_| rest.is_empty()).ok_or("length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        Stored {
            value: Vec::new(),
            version: 1 << 40 | 77,
            flags: 5,
            deadline: Some(1_700_000_000_000),
            max_idle: Some(1000),
            marks: 8,
        }
    }

    /// The bytes are frozen: what was written once is read for ever.
    #[test]
    fn golden_bytes() {
        let bytes = head(b"k", &stored(), false, &Body::Inline(b"abc"));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "010f4d000000000100000500000000\
        68e5cf8b010000e8030000086162635fa6990e";

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let long = Body::Chunked { len: 9, id: 3 };
        let heads = [(Body::Inline(b"value"), false), (long, true)];
        for (body, long_key) in heads {
            let good = head(b"key", &stored(), long_key, &body);
            let read = read_head(b"key", &good).expect("whole");
            assert_eq!((read.stored, read.long_key, &read.body), (stored(), long_key, &body));
            assert!(read_head(b"other", &good).is_err(), "under another's key");
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(read_head(b"key", &bad).is_err(), "bit {bit}");
            }
            for len in 0..good.len() {
                assert!(read_head(b"key", &good[..len]).is_err(), "cut to {len}");
            }
        }
    }

    #[test]
    fn the_records_of_positions_come_back() {
        let at = Applied { position: 5, next_id: 9, digest: 7 };
        let bytes = applied(b"a", at);
        assert_eq!(read_applied(b"a", &bytes), Ok(at));
        assert_eq!(read_applied(b"a", &bytes[1..]), Err("checksum"));
        let mut all = [0; MARKS_A_RECORD];
        all[63] = u64::MAX;
        assert_eq!(read_marks(b"m", &marks(b"m", &all)), Ok(all));
        assert_eq!(read_marks(b"m", &chunk(b"m", b"12345678")), Err("length"));
    }
}
