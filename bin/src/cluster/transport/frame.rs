//! Frames on a connection.
//!
//! | bytes | |
//! |---|---|
//! | 0..4 | length of the payload, little-endian as the rest |
//! | 4..8 | CRC32C of the payload |
//! | 8..12 | CRC32C of bytes 0..8, so that a damaged length is not waited for |
//! | 12.. | payload; none of it: a sign of life |

use thiserror::Error;

/// Bytes before the payload.
pub const HEADER_LEN: usize = 12;
/// A sign of life: the header of no payload.
pub const KEEP_ALIVE: [u8; HEADER_LEN] = [0, 0, 0, 0, 0, 0, 0, 0, 0x8a, 0xb2, 0x28, 0x8c];

/// What a connection's buffer is at rest, and what it may stay grown to, bytes.
const BUFFER_LEN: usize = 64 << 10;
const BUFFER_KEPT_MAX: usize = 1 << 20;

/// Why what came is no frame. Nothing after it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadFrame {
    /// The header's checksum is wrong.
    #[error("the header of a frame is damaged")]
    Header,
    /// It is longer than it may be.
    #[error("a frame of {0} bytes is longer than this process takes")]
    TooLong(usize),
    /// The payload's checksum is wrong.
    #[error("the payload of a frame is damaged")]
    Payload,
}

/// The header of a payload, which is shorter than 4 GiB.
pub fn header(payload: &[u8]) -> [u8; HEADER_LEN] {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let crc = crc32c::crc32c(payload).to_le_bytes();
    let own = crc32c::crc32c_append(crc32c::crc32c(&len), &crc).to_le_bytes();
    let mut header = [0; HEADER_LEN];
    for (to, from) in header.iter_mut().zip(len.into_iter().chain(crc).chain(own)) {
        *to = from;
    }
    header
}

/// The length, header included, of the frame that our own `encoded` bytes begin with.
pub fn first_len(encoded: &[u8]) -> usize {
    encoded.first_chunk().map_or(0, |len| HEADER_LEN.saturating_add(from_le(*len)))
}

fn from_le(bytes: [u8; 4]) -> usize {
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
}

/// Cuts what comes over a connection into frames.
pub struct Decoder {
    buffer: Vec<u8>,
    filled: usize,
    encoded_len_max: usize,
}

impl Decoder {
    /// For frames of at most `encoded_len_max` bytes with their headers.
    pub fn new(encoded_len_max: usize) -> Self {
        Decoder { buffer: vec![0; BUFFER_LEN], filled: 0, encoded_len_max }
    }

    /// Where to read to; never empty. The buffer doubles when it is full, so nobody makes it large
    /// without having sent half as much.
    pub fn room(&mut self) -> &mut [u8] {
        if self.filled == self.buffer.len() {
            let len = self.buffer.len().saturating_mul(2).min(self.encoded_len_max);
            self.buffer.resize(len.max(self.filled + HEADER_LEN), 0);
        }
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// The whole frames among what is there, `read` more bytes of it.
    pub fn frames(&mut self, read: usize) -> Frames<'_> {
        self.filled += read;
        let all = self.buffer.get(..self.filled).unwrap_or_default();
        let frame_len_max = self.encoded_len_max.saturating_sub(HEADER_LEN);
        Frames { rest: all, frame_len_max, taken: Taken::default() }
    }

    /// Forgets what was taken.
    pub fn advance(&mut self, taken: &Taken) {
        let left = self.filled.saturating_sub(taken.len);
        if taken.len > 0 {
            self.buffer.copy_within(taken.len.min(self.filled)..self.filled, 0);
            self.filled = left;
        }
        if self.buffer.len() > BUFFER_KEPT_MAX && left <= BUFFER_LEN {
            self.buffer.truncate(BUFFER_LEN);
            self.buffer.shrink_to_fit();
        }
    }
}

/// What [`Frames`] has gone over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bytes, signs of life included.
    pub len: usize,
    /// Frames that hold something.
    pub frames: usize,
    /// Their bytes, headers included.
    pub bytes: usize,
    /// Whether there was a sign of life.
    pub keep_alive: bool,
    /// What is no frame, behind those that are.
    pub bad: Option<BadFrame>,
}

/// The frames of one read, in order; signs of life are left out.
pub struct Frames<'a> {
    rest: &'a [u8],
    frame_len_max: usize,
    /// So far.
    pub taken: Taken,
}

impl<'a> Frames<'a> {
    /// The next payload; `None` when the rest is not all there.
    fn cut(&mut self) -> Result<Option<&'a [u8]>, BadFrame> {
        let Some((header, rest)) = self.rest.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, c0, c1, c2, c3, own @ ..] = *header;
        let checked = [l0, l1, l2, l3, c0, c1, c2, c3];
        if crc32c::crc32c(&checked).to_le_bytes() != own {
            return Err(BadFrame::Header);
        }
        let len = from_le([l0, l1, l2, l3]);
        if len > self.frame_len_max {
            return Err(BadFrame::TooLong(len));
        }
        let Some((payload, rest)) = rest.split_at_checked(len) else { return Ok(None) };
        if crc32c::crc32c(payload).to_le_bytes() != [c0, c1, c2, c3] {
            return Err(BadFrame::Payload);
        }
        self.rest = rest;
        self.taken.len += HEADER_LEN + len;
        Ok(Some(payload))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while self.taken.bad.is_none() {
            match self.cut() {
                Ok(Some([])) => self.taken.keep_alive = true,
                Ok(Some(payload)) => {
                    self.taken.frames += 1;
                    self.taken.bytes += HEADER_LEN + payload.len();
                    return Some(payload);
                }
                Ok(None) => return None,
                Err(bad) => self.taken.bad = Some(bad),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
