//! The bytes of a scan's cursor, which clients keep and do not look into:
//!
//! ```text
//! 0   u8   format, 1                       25  u64  place in the segment
//! 1   u128 life of the table               33  u64  number of the snapshot, 0 = none
//! 17  u32  segments of the table           41  u32  check value of all before
//! 21  u32  segment
//! ```
//!
//! The check value finds damage, not malice: a cursor that somebody makes up leads to another
//! place of a cache that its owner may read anyway.

const FORMAT: u8 = 1;
const LEN: usize = 45;
const CHECKED: usize = 41;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SavedCursor {
    pub life: u128,
    pub segments: u32,
    pub segment: u32,
    pub position: u64,
    pub snapshot: u64,
}

impl SavedCursor {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.push(FORMAT);
        bytes.extend(self.life.to_le_bytes());
        bytes.extend(self.segments.to_le_bytes());
        bytes.extend(self.segment.to_le_bytes());
        bytes.extend(self.position.to_le_bytes());
        bytes.extend(self.snapshot.to_le_bytes());
        let check = check(&bytes);
        bytes.extend(check.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<SavedCursor> {
        let body = bytes.get(..CHECKED)?;
        let sealed = bytes.get(CHECKED..)? == check(body).to_le_bytes();
        if !sealed || body.first() != Some(&FORMAT) {
            return None;
        }
        Some(SavedCursor {
            life: u128::from_le_bytes(field(body, 1)?),
            segments: u32::from_le_bytes(field(body, 17)?),
            segment: u32::from_le_bytes(field(body, 21)?),
            position: u64::from_le_bytes(field(body, 25)?),
            snapshot: u64::from_le_bytes(field(body, 33)?),
        })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// FNV-1a (Fowler, Noll, Vo), 32 bits.
fn check(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_no_other_bytes_do() {
        let saved =
            SavedCursor { life: 7 << 100, segments: 256, segment: 3, position: 9, snapshot: 5 };
        let bytes = saved.encode();
        assert_eq!(SavedCursor::decode(&bytes), Some(saved));
        for len in 0..bytes.len() {
            assert_eq!(SavedCursor::decode(&bytes[..len]), None, "{len} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SavedCursor::decode(&bent), None, "bit {bit}");
        }
        assert_eq!(SavedCursor::decode(&[&bytes[..], b"x"].concat()), None);
    }
}
