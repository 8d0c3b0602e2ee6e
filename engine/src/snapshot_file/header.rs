//! The first 64 bytes of a snapshot file, which it ends with once more. All numbers are
//! little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `isogsnp` and a zero |
//! | 8..12 | format version, 1 |
//! | 12..16 | kind: 1 checkpoint, 2 export, 3 transfer |
//! | 16..32 | storage id |
//! | 32..40 | creation time, ms since the Unix epoch |
//! | 40..48 | log position: every record up to here is contained |
//! | 48..52 | count of caches |
//! | 52..60 | zeros |
//! | 60..64 | CRC32C of bytes 0..60 |
//!
//! Magic, version and checksum keep their places in every later version.

use super::fields::Fields;
use crate::env::Timestamp;

pub(super) const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"isogsnp\0";
const FORMAT: u32 = 1;
const CHECKED: usize = HEADER_BYTES - 4;

/// What a snapshot file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// With the log behind it, the state after a restart.
    Checkpoint,
    /// A backup, or to be imported elsewhere.
    Export,
    /// On its way to another node.
    Transfer,
}

impl SnapshotKind {
    const ALL: [(u32, SnapshotKind); 3] =
        [(1, SnapshotKind::Checkpoint), (2, SnapshotKind::Export), (3, SnapshotKind::Transfer)];

    fn code(self) -> u32 {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or(0, |(code, _)| *code)
    }

    fn of(code: u32) -> Option<SnapshotKind> {
        Self::ALL.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind)
    }
}

/// What a snapshot file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// What it is for.
    pub kind: SnapshotKind,
    /// The data directory that it is of.
    pub storage_id: [u8; 16],
    /// When it was begun, ms: what had expired then is not in it.
    pub created: Timestamp,
    /// The number of a log record: it and all before it are contained; later ones may be.
    pub log_position: u64,
}

/// A header as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parsed {
    pub header: SnapshotHeader,
    pub caches: u32,
}

/// Why bytes are no header of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Cut short, overwritten or never written whole.
    Damaged(&'static str),
    /// Whole, but of another release.
    Foreign(String),
}

pub(super) fn encode(header: &SnapshotHeader, caches: u32) -> [u8; HEADER_BYTES] {
    let parts: [&[u8]; 8] = [
        &MAGIC,
        &FORMAT.to_le_bytes(),
        &header.kind.code().to_le_bytes(),
        &header.storage_id,
        &header.created.to_le_bytes(),
        &header.log_position.to_le_bytes(),
        &caches.to_le_bytes(),
        &[0; 8],
    ];
    let checked = parts.concat();
    let crc = crc32c::crc32c(&checked).to_le_bytes();
    let mut bytes = [0; HEADER_BYTES];
    bytes.iter_mut().zip(checked.iter().chain(&crc)).for_each(|(to, from)| *to = *from);
    bytes
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(HeaderError::Damaged("the file ends within its header"));
    };
    if !header.starts_with(&MAGIC) {
        return Err(HeaderError::Damaged("it does not begin as a snapshot file"));
    }
    let (checked, crc) = header.split_at(CHECKED);
    if crc32c::crc32c(checked).to_le_bytes() != crc {
        return Err(HeaderError::Damaged("the header's checksum does not fit"));
    }
    fields(Fields(checked))
}

fn fields(mut fields: Fields<'_>) -> Result<Parsed, HeaderError> {
    let short = HeaderError::Damaged("the file ends within its header");
    let read = |fields: &mut Fields<'_>| {
        fields.take(MAGIC.len())?;
        Some((fields.u32()?, fields.u32()?, fields.array()?, fields.u64()?, fields.u64()?))
    };
    let Some((format, code, storage_id, created, log_position)) = read(&mut fields) else {
        return Err(short);
    };
    if format != FORMAT {
        let found = format!("written in format {format}, this program knows {FORMAT}");
        return Err(HeaderError::Foreign(found));
    }
    let Some(kind) = SnapshotKind::of(code) else {
        return Err(HeaderError::Foreign(format!("a snapshot of kind {code}, unknown here")));
    };
    let header = SnapshotHeader { kind, storage_id, created, log_position };
    Ok(Parsed { header, caches: fields.u32().ok_or(short)? })
}

/// What every checksum behind the header begins with: it binds each block to this file, so that
/// a value that holds a snapshot file does not pass for a part of this one. Without the header's
/// own checksum: with it the sum over any header would be the same.
pub(super) fn seed(header: &[u8; HEADER_BYTES]) -> u32 {
    let (checked, _) = header.split_at(CHECKED);
    crc32c::crc32c(checked)
}
