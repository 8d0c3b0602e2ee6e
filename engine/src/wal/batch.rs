//! Records that wait to be written, encoded as they will stand in the file.

use super::frame::{FRAME_BYTES, seal};
use super::{Lsn, WalError};

/// A buffer that is kept between writes holds at most so many bytes.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The encoded records, in order and without gaps.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where the whole records end: what is behind was left by an encoder that panicked.
    whole: usize,
    next: Lsn,
    records: u64,
    seed: u32,
    payload_max: usize,
}

/// Records on their way to the file.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    pub bytes: Vec<u8>,
    /// The first of them.
    pub first: Lsn,
    /// The one after the last of them.
    pub next: Lsn,
}

impl Batch {
    pub fn new(next: Lsn, seed: u32, payload_max: usize) -> Self {
        Batch { bytes: Vec::new(), whole: 0, next, records: 0, seed, payload_max }
    }

    /// Appends the payload that `encode` puts at the end of the buffer it is given.
    ///
    /// # Panics
    /// When `encode` takes away what was in the buffer.
    pub fn append(
        &mut self,
        durable: Lsn,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Lsn, WalError> {
        let at = self.whole;
        self.bytes.truncate(at);
        self.bytes.resize(at + FRAME_BYTES, 0);
        encode(&mut self.bytes);
        let len = self.bytes.len().checked_sub(at + FRAME_BYTES).expect("encoders only append");
        if len > self.payload_max {
            self.bytes.truncate(at);
            return Err(WalError::TooLong { len, max: self.payload_max });
        }
        let lsn = self.next;
        let frame = self.bytes.get_mut(at..).unwrap_or_default();
        seal(frame, self.seed, lsn, durable);
        self.whole = self.bytes.len();
        self.next = lsn.next();
        self.records += 1;
        Ok(lsn)
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.whole
    }

    /// The number that the next record gets.
    pub fn next(&self) -> Lsn {
        self.next
    }

    /// All that waits, in exchange for an empty buffer; `None` when nothing does.
    pub fn take(&mut self, spare: &mut Vec<u8>) -> Option<Filled> {
        if self.records == 0 {
            return None;
        }
        self.bytes.truncate(std::mem::take(&mut self.whole));
        let first = Lsn(self.next.0 - std::mem::take(&mut self.records));
        let bytes = std::mem::replace(&mut self.bytes, std::mem::take(spare));
        Some(Filled { bytes, first, next: self.next })
    }
}

impl Filled {
    /// Its buffer, to be used again.
    pub fn recycle(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.bytes
    }
}
