//! One record on disk: 24 bytes and the payload. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | CRC32C of the rest, payload included, begun with that of the storage id and the kind |
//! | 4..8 | length of the payload; `FFFFFFFF` = a mark, without payload |
//! | 8..16 | number of the record; of a mark: of the record that comes next |
//! | 16..24 | number up to which everything was durable when this was written |
//! | 24.. | payload |
//!
//! A **mark** is written when the log has come to rest, so that its last records are known to be
//! durable too, and where numbers are left out. That the checksum begins with the storage id,
//! which clients never see, keeps a value from passing for a record.

use super::{Lsn, WalConfig};

pub(crate) const FRAME_BYTES: usize = 24;
const MARK: u32 = u32::MAX;

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    crc: u32,
    len: u32,
    pub lsn: Lsn,
    pub durable: Lsn,
}

/// What every checksum of a log begins with.
pub(crate) fn seed(config: &WalConfig) -> u32 {
    let kind = crc32c::crc32c(&config.kind.code().to_le_bytes());
    crc32c::crc32c_append(kind, &config.storage_id)
}

/// Fills in the head of the record that `frame` is, whose payload stands in its place.
pub(crate) fn seal(frame: &mut [u8], seed: u32, lsn: Lsn, durable: Lsn) {
    let len = u32::try_from(frame.len().saturating_sub(FRAME_BYTES)).unwrap_or(MARK);
    fill(frame, seed, len, lsn, durable);
}

/// A mark: the next record is `lsn`.
pub(crate) fn mark(seed: u32, lsn: Lsn, durable: Lsn) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    fill(&mut frame, seed, MARK, lsn, durable);
    frame
}

fn fill(frame: &mut [u8], seed: u32, len: u32, lsn: Lsn, durable: Lsn) {
    if let Some((head, numbers)) = frame.split_first_chunk_mut::<8>()
        && let Some(numbers) = numbers.first_chunk_mut::<16>()
    {
        *head = (u64::from(len) << 32).to_le_bytes();
        *numbers = (u128::from(durable.0) << 64 | u128::from(lsn.0)).to_le_bytes();
    }
    let crc = checksum(seed, frame);
    if let Some(head) = frame.first_chunk_mut::<4>() {
        *head = crc.to_le_bytes();
    }
}

/// Of all of a frame but the checksum itself.
fn checksum(seed: u32, frame: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, frame.get(4..).unwrap_or_default())
}

impl Head {
    pub fn parse(bytes: &[u8]) -> Option<Head> {
        let (crc, rest) = bytes.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (lsn, rest) = rest.split_first_chunk::<8>()?;
        let durable = rest.first_chunk::<8>()?;
        Some(Head {
            crc: u32::from_le_bytes(*crc),
            len: u32::from_le_bytes(*len),
            lsn: Lsn(u64::from_le_bytes(*lsn)),
            durable: Lsn(u64::from_le_bytes(*durable)),
        })
    }

    pub fn is_mark(&self) -> bool {
        self.len == MARK
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> u64 {
        FRAME_BYTES as u64 + if self.is_mark() { 0 } else { u64::from(self.len) }
    }

    /// Whether `frame`, which begins with this head, is as it was written.
    pub fn fits(&self, seed: u32, frame: &[u8]) -> bool {
        frame.len() >= FRAME_BYTES && checksum(seed, frame) == self.crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_with_any_bit_turned_does_not_fit() {
        let mut record = [&[0; FRAME_BYTES][..], b"a payload"].concat();
        seal(&mut record, 7, Lsn(3), Lsn(2));
        for mut frame in [record, mark(7, Lsn(4), Lsn(3)).to_vec()] {
            let fits =
                |seed, frame: &[u8]| Head::parse(frame).is_some_and(|head| head.fits(seed, frame));
            assert!(fits(7, &frame) && !fits(8, &frame), "of this log alone");
            for bit in 0..frame.len() * 8 {
                frame[bit / 8] ^= 1 << (bit % 8);
                assert!(!fits(7, &frame), "bit {bit}");
                frame[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(!fits(7, &frame[..frame.len() - 1]), "cut off");
        }
    }
}
