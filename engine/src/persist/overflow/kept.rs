//! An entry outside of the table: owned, and as it stands in a store.
//!
//! A stored value is followed by what a store has no field for, as its marks say: 64 = the version
//! that the writer chose (8 bytes), 128 = when the entry was read last, ms (8 bytes).

use std::sync::Arc;

use crate::env::Timestamp;
use crate::store::Stored;
use crate::table::{Leaving, Marks, NewEntry, SEQ_BITS, Saved};

const CHOSEN: u8 = 64;
const ACCESSED: u8 = 128;

/// An entry that left memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub value: Arc<[u8]>,
    flags: u32,
    deadline: Option<Timestamp>,
    max_idle: Option<u32>,
    version: Option<u64>,
    marks: Marks,
    pub epoch: u32,
    pub seq: u64,
    accessed: Timestamp,
}

impl Kept {
    pub fn new(leaving: &Leaving<'_>) -> Kept {
        let entry = &leaving.entry;
        Kept {
            value: entry.value.concat().into(),
            flags: entry.flags,
            deadline: entry.deadline,
            max_idle: entry.max_idle,
            version: entry.version,
            marks: entry.marks,
            epoch: leaving.epoch,
            seq: leaving.seq,
            accessed: leaving.accessed,
        }
    }

    /// As the table takes it back. It counts as read at `since` at least: nobody knows what was read
    /// in an earlier life of the process.
    pub fn saved<'a>(&'a self, key: &'a [u8], since: Timestamp) -> Saved<'a> {
        let entry = NewEntry {
            value: [&self.value, b""],
            flags: self.flags,
            deadline: self.deadline,
            max_idle: self.max_idle,
            version: self.version,
            marks: self.marks,
        };
        let accessed = self.accessed.max(since);
        Saved { key, entry, epoch: self.epoch, seq: self.seq, accessed }
    }

    pub fn stored(&self) -> Stored {
        let mut value = self.value.to_vec();
        let mut marks = u8::try_from(self.marks.bits()).unwrap_or(0);
        if let Some(version) = self.version {
            marks |= CHOSEN;
            value.extend_from_slice(&version.to_le_bytes());
        }
        if self.max_idle.is_some() {
            marks |= ACCESSED;
            value.extend_from_slice(&self.accessed.to_le_bytes());
        }
        let version = u64::from(self.epoch) << SEQ_BITS | self.seq;
        let (flags, deadline, max_idle) = (self.flags, self.deadline, self.max_idle);
        Stored { value, version, flags, deadline, max_idle, marks }
    }

    /// `None` when it is nothing that [`Kept::stored`] makes.
    pub fn from_stored(stored: Stored) -> Option<Kept> {
        let Stored { mut value, version, flags, deadline, max_idle, marks } = stored;
        let mut number = |part: u8| {
            if marks & part == 0 {
                return Some(None);
            }
            let bytes = *value.last_chunk::<8>()?;
            value.truncate(value.len() - 8);
            Some(Some(u64::from_le_bytes(bytes)))
        };
        let accessed = number(ACCESSED)?.unwrap_or(0);
        let chosen = number(CHOSEN)?;
        Some(Kept {
            flags,
            deadline,
            max_idle,
            version: chosen,
            marks: Marks::of_bits(u32::from(marks & !(CHOSEN | ACCESSED)))?,
            epoch: u32::try_from(version >> SEQ_BITS).ok()?,
            seq: version & ((1 << SEQ_BITS) - 1),
            accessed,
            value: value.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_gives_back_what_it_was_given() {
        let value: &[u8] = b"value";
        let plain = NewEntry { value: [value, b"!"], ..NewEntry::default() };
        let full = NewEntry {
            flags: 7,
            deadline: Some(9),
            max_idle: Some(5),
            version: Some(u64::MAX),
            marks: Marks::STALE.with(Marks::BINARY_KEY),
            ..plain
        };
        for entry in [plain, full, NewEntry { max_idle: None, ..full }, NewEntry::default()] {
            let leaving = Leaving { key: b"k", entry, epoch: 3, seq: (1 << 40) - 1, accessed: 8 };
            let kept = Kept::new(&leaving);
            let back = Kept::from_stored(kept.stored()).expect("is one of ours");
            let accessed = if entry.max_idle.is_some() { 8 } else { 0 };
            assert_eq!(back, Kept { accessed, ..kept });
        }
        let short = Stored { marks: ACCESSED, value: vec![1; 7], ..Stored::default() };
        assert_eq!(Kept::from_stored(short), None);
    }
}
