//! One entry in a block. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | parts that follow the lengths: 1 flags, 2 deadline, 4 max-idle, 8 version, 16 marks; 32, which has no bytes: the entry had been read |
//! | 5 | sequence number |
//! | 2 | segment |
//! | 2 | length of the key in bytes |
//! | 4 | length of the value in bytes |
//! | 4 | part 1: the client's flags |
//! | 8 | part 2: deadline, ms since the Unix epoch |
//! | 4, 4 | part 4: max-idle, ms, and how long ago the last access was when the file was begun, ms |
//! | 8 | part 8: version, where it was chosen by the writer; else it is `epoch << 40 \| seq` |
//! | 4 | part 16: marks |
//! | .. | key, value |

use super::fields::{Fields, put_u40};
use crate::env::Timestamp;
use crate::table::{Entry, Marks, SEQ_BITS};

const FLAGS: u8 = 1;
const DEADLINE: u8 = 2;
const IDLE: u8 = 4;
const VERSION: u8 = 8;
const MARKS: u8 = 16;
const HOT: u8 = 32;
const KNOWN: u8 = FLAGS | DEADLINE | IDLE | VERSION | MARKS | HOT;

/// How long an entry lives without being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// So long after its last access, ms.
    pub max: u32,
    /// The last access was so long before the file was begun, ms.
    pub age: u32,
}

/// One entry of a snapshot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The client's 32 bits.
    pub flags: u32,
    /// When it expires.
    pub deadline: Option<Timestamp>,
    /// How long it lives without being read.
    pub idle: Option<Idle>,
    /// Its version when the writer chose it; `None` = the table's own, `epoch << 40 | seq`.
    pub chosen_version: Option<u64>,
    /// What it is marked with.
    pub marks: Marks,
    /// Whether it had been read since it was stored.
    pub hot: bool,
    /// The segment that it was in.
    pub segment: u16,
    /// Its sequence number there.
    pub seq: u64,
}

impl<'a> Record<'a> {
    /// The version of the entry in a table that wrote in `epoch`.
    #[must_use]
    pub fn version(&self, epoch: u32) -> u64 {
        self.chosen_version.unwrap_or(u64::from(epoch) << SEQ_BITS | self.seq)
    }

    /// An entry of a table at the time that the file is begun.
    pub(super) fn of(entry: &Entry<'a>, created: Timestamp) -> Record<'a> {
        let idle = entry.max_idle().zip(entry.idle_age(created));
        let (segment, seq) = entry.place();
        Record {
            key: entry.key(),
            value: entry.value(),
            flags: entry.flags(),
            deadline: entry.deadline(),
            idle: idle.map(|(max, age)| Idle { max, age }),
            chosen_version: entry.chosen_version(),
            marks: entry.marks(),
            hot: entry.with_access().was_fetched(),
            segment,
            seq,
        }
    }

    /// Appends everything but the value.
    pub(super) fn encode_head(&self, to: &mut Vec<u8>) {
        let parts = [
            (self.flags != 0, FLAGS),
            (self.deadline.is_some(), DEADLINE),
            (self.idle.is_some(), IDLE),
            (self.chosen_version.is_some(), VERSION),
            (self.marks != Marks::default(), MARKS),
            (self.hot, HOT),
        ];
        to.push(parts.iter().fold(0, |set, (is, bit)| if *is { set | bit } else { set }));
        put_u40(to, self.seq);
        to.extend_from_slice(&self.segment.to_le_bytes());
        // A table keeps keys below 64 KiB and values up to 1 GiB.
        let key_len = u16::try_from(self.key.len()).unwrap_or(u16::MAX);
        let value_len = u32::try_from(self.value.len()).unwrap_or(u32::MAX);
        to.extend_from_slice(&key_len.to_le_bytes());
        to.extend_from_slice(&value_len.to_le_bytes());
        if self.flags != 0 {
            to.extend_from_slice(&self.flags.to_le_bytes());
        }
        if let Some(deadline) = self.deadline {
            to.extend_from_slice(&deadline.to_le_bytes());
        }
        if let Some(Idle { max, age }) = self.idle {
            to.extend_from_slice(&max.to_le_bytes());
            to.extend_from_slice(&age.to_le_bytes());
        }
        if let Some(version) = self.chosen_version {
            to.extend_from_slice(&version.to_le_bytes());
        }
        if self.marks != Marks::default() {
            to.extend_from_slice(&self.marks.bits().to_le_bytes());
        }
        to.extend_from_slice(self.key);
    }

    /// Reads the next entry of a block's payload; `None` = this is none.
    fn decode(fields: &mut Fields<'a>) -> Option<Record<'a>> {
        let parts = fields.u8().filter(|parts| parts & !KNOWN == 0)?;
        let has = |bit: u8| parts & bit != 0;
        let (seq, segment) = (fields.u40()?, fields.u16()?);
        let (key_len, value_len) = (fields.u16()?, fields.u32()?);
        let flags = if has(FLAGS) { fields.u32()? } else { 0 };
        let deadline = if has(DEADLINE) { Some(fields.u64()?) } else { None };
        let idle =
            if has(IDLE) { Some(Idle { max: fields.u32()?, age: fields.u32()? }) } else { None };
        let chosen_version = if has(VERSION) { Some(fields.u64()?) } else { None };
        let bits = if has(MARKS) { fields.u32()? } else { 0 };
        let marks = Marks::of_bits(bits)?;
        let key = fields.take(usize::from(key_len)).filter(|key| !key.is_empty())?;
        let value = fields.take(usize::try_from(value_len).ok()?)?;
        let hot = has(HOT);
        Some(Record { key, value, flags, deadline, idle, chosen_version, marks, hot, segment, seq })
    }
}

/// The entries of one block, in the order of the file.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    fields: Fields<'a>,
    left: u32,
}

/// A block whose checksum fits does not hold what its head says: the program that wrote it was
/// another one, or in error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Records<'a> {
    pub(super) fn new(payload: &'a [u8], entries: u32) -> Self {
        Records { fields: Fields(payload), left: entries }
    }

    /// Reads them all once, so that going through them later cannot fail.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        let mut fields = self.fields;
        for _ in 0..self.left {
            Record::decode(&mut fields).ok_or(Malformed)?;
        }
        if fields.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.left = self.left.checked_sub(1)?;
        Record::decode(&mut self.fields)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Records<'_> {}
