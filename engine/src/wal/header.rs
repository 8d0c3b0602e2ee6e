//! The first 64 bytes of a log file. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `isogwal` and a zero |
//! | 8..12 | format version, 1 |
//! | 12..16 | kind: 1 data, 2 raft |
//! | 16..32 | storage id |
//! | 32..40 | number of the first record |
//! | 40..60 | zeros |
//! | 60..64 | CRC32C of bytes 0..60 |
//!
//! Magic, version and checksum keep their places in every later version.

use super::{Lsn, WalConfig};

pub(crate) const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"isogwal\0";
const FORMAT: u32 = 1;
const CHECKED: usize = HEADER_BYTES - 4;

/// Why a header is not the one that belongs here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Cut short, overwritten or never written whole.
    Damaged(&'static str),
    /// Whole, but of another log.
    Foreign(String, &'static str),
}

/// The header of the file that begins with record `first`.
pub(crate) fn encode(config: &WalConfig, first: Lsn) -> [u8; HEADER_BYTES] {
    let parts: [&[u8]; 6] = [
        &MAGIC,
        &FORMAT.to_le_bytes(),
        &config.kind.code().to_le_bytes(),
        &config.storage_id,
        &first.0.to_le_bytes(),
        &[0; 20],
    ];
    let checked = parts.concat();
    let crc = crc32c::crc32c(&checked).to_le_bytes();
    let mut header = [0; HEADER_BYTES];
    header.iter_mut().zip(checked.iter().chain(&crc)).for_each(|(to, from)| *to = *from);
    header
}

/// Whether `bytes` are the header of this log's file that begins with `first`.
pub(crate) fn check(bytes: &[u8], config: &WalConfig, first: Lsn) -> Result<(), HeaderError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(HeaderError::Damaged("the file ends within its header"));
    };
    if *header == encode(config, first) {
        return Ok(());
    }
    let (checked, crc) = header.split_at(CHECKED);
    if !header.starts_with(&MAGIC) {
        return Err(HeaderError::Damaged("the header does not begin as one of a log file"));
    }
    if crc32c::crc32c(checked).to_le_bytes() != crc {
        return Err(HeaderError::Damaged("the header's checksum does not fit"));
    }
    Err(foreign(checked, config))
}

/// A whole header that is not ours: what is different.
fn foreign(header: &[u8], config: &WalConfig) -> HeaderError {
    let field = |at: usize, len: usize| header.get(at..at + len).unwrap_or_default();
    let format = number(field(8, 4));
    if format != u64::from(FORMAT) {
        let found = format!("written in format {format}, this program knows {FORMAT}");
        return HeaderError::Foreign(found, "use the release that wrote it, or a newer one");
    }
    if number(field(12, 4)) != u64::from(config.kind.code()) {
        let found = format!("a log of kind {}, not {}", number(field(12, 4)), config.kind.code());
        return HeaderError::Foreign(found, "this folder is another log's: check the paths");
    }
    if field(16, 16) != config.storage_id {
        let (theirs, ours) = (hex(field(16, 16)), hex(&config.storage_id));
        let found = format!("the log of storage {theirs}, not of {ours}");
        return HeaderError::Foreign(found, "it is another node's: put the right directory back");
    }
    let found = format!("begins with record {}, unlike its name", number(field(32, 8)));
    HeaderError::Foreign(found, "it was renamed or copied: give it its own name back")
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
