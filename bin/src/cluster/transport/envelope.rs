//! What each side of a handshake sends: a body in an envelope.
//!
//! | bytes | |
//! |---|---|
//! | 0..8 | `ISOPEER\n` |
//! | 8..12 | length of the body, little-endian as the rest; at most 1,024 |
//! | 12..16 | CRC32C of the body |
//! | 16.. | body |

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::handshake::NoHandshake;

/// What each side begins with.
pub const MAGIC: [u8; 8] = *b"ISOPEER\n";
const BODY_LEN_MAX: usize = 1_024;
const TEXT_LEN_MAX: usize = 512;
/// What a TLS connection begins with.
const TLS_FIRST: u8 = crate::server::tls::FIRST_BYTE;

/// What is sent for a body.
pub fn seal(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&MAGIC[..], &len, &crc32c::crc32c(body).to_le_bytes(), body].concat()
}

/// Adds a text with its length, cut to what it may be.
pub fn put_text(body: &mut Vec<u8>, text: &str) {
    let text = text.get(..text.floor_char_boundary(TEXT_LEN_MAX)).unwrap_or_default();
    body.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    body.extend_from_slice(text.as_bytes());
}

/// Reads an envelope; gives its body.
///
/// # Errors
/// [`NoHandshake`].
pub async fn read_body(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, NoHandshake> {
    let (mut magic, mut len) = ([0; MAGIC.len()], 0);
    while len < MAGIC.len() {
        let read = stream.read(magic.get_mut(len..).unwrap_or_default()).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        len += read;
        // At the first wrong byte: who speaks something else may wait for an answer to less.
        let came = magic.get(..len).unwrap_or_default();
        if !MAGIC.starts_with(came) {
            let is_tls = came.first() == Some(&TLS_FIRST);
            return Err(if is_tls { NoHandshake::Tls } else { NoHandshake::NoPeer(came.to_vec()) });
        }
    }
    let (mut len, mut crc) = ([0; 4], [0; 4]);
    stream.read_exact(&mut len).await?;
    stream.read_exact(&mut crc).await?;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > BODY_LEN_MAX {
        return Err(NoHandshake::Damaged);
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    match crc32c::crc32c(&body).to_le_bytes() == crc {
        true => Ok(body),
        false => Err(NoHandshake::Damaged),
    }
}

/// Fields of a body, one after the other.
pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    /// The next bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    /// The next number.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next text.
    pub fn text(&mut self) -> Option<String> {
        let len = self.u16()?;
        let (text, rest) = self.0.split_at_checked(len.into())?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}
