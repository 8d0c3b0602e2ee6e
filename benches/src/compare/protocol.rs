//! What the servers speak: memcached's text protocol and Redis's RESP and GNP, each as four functions
//! from bytes to bytes. Replies are checked: a wrong key, a short value or an error line is an
//! error of the run, not a fast answer.

use std::io::{Read, Write};

use super::{Result, gnp, memcached_text, resp};

/// Bytes of every key: `k` and 15 digits.
pub const KEY_BYTES: usize = 16;

/// A server's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// memcached's classic text commands `get` and `set`.
    MemcachedText,
    /// Redis: GET, MGET and SET.
    Resp,
    /// The same, and WAIT behind the sets of a batch until a replica has them.
    RespWait,
    /// Ours: GET and PUT, of one key.
    Native {
        /// The cache, by its number on the server.
        object: u32,
    },
}

/// What one complete reply said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reply {
    /// Bytes of the whole reply.
    pub length: usize,
    /// Keys that were found.
    pub hits: usize,
    /// Bytes of their values.
    pub value_bytes: usize,
    /// The server had no memory for a set.
    pub refused: bool,
}

impl Protocol {
    /// Says what a new connection says before its first request.
    pub fn introduce(self, stream: &mut (impl Read + Write)) -> Result<()> {
        match self {
            Self::MemcachedText | Self::Resp | Self::RespWait => Ok(()),
            Self::Native { .. } => gnp::introduce(stream),
        }
    }

    /// Appends a get of one or several keys.
    pub fn encode_get(self, ids: &[u64], out: &mut Vec<u8>) {
        match self {
            Self::MemcachedText => memcached_text::encode_get(ids, out),
            Self::Resp | Self::RespWait => resp::encode_get(ids, out),
            Self::Native { object } => gnp::encode_get(object, ids, out),
        }
    }

    /// Appends a set.
    pub fn encode_set(self, id: u64, value: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::MemcachedText => memcached_text::encode_set(id, value, out),
            Self::Resp | Self::RespWait => resp::encode_set(id, value, out),
            Self::Native { object } => gnp::encode_set(object, id, value, out),
        }
    }

    /// Reads the reply to a get of `ids`; `None` while it is incomplete.
    pub fn decode_get(self, ids: &[u64], input: &[u8]) -> Result<Option<Reply>> {
        match self {
            Self::MemcachedText => memcached_text::decode_get(ids, input),
            Self::Resp | Self::RespWait => resp::decode_get(ids, input),
            Self::Native { .. } => gnp::decode_get(input),
        }
    }

    /// Reads the reply to a set; `None` while it is incomplete.
    pub fn decode_set(self, input: &[u8]) -> Result<Option<Reply>> {
        match self {
            Self::MemcachedText => memcached_text::decode_set(input),
            Self::Resp | Self::RespWait => resp::decode_set(input),
            Self::Native { .. } => gnp::decode_set(input),
        }
    }
}

/// The key of a number.
pub fn key(id: u64) -> [u8; KEY_BYTES] {
    let mut key = *b"k000000000000000";
    let mut rest = id;
    for digit in key.iter_mut().skip(1).rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    key
}

/// Appends a number in decimal.
pub fn push_number(number: usize, out: &mut Vec<u8>) {
    if number >= 10 {
        push_number(number / 10, out);
    }
    out.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
}

/// The first line without its CR LF, and what follows it; `None` while the line is incomplete.
pub fn split_line(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = input.iter().position(|&byte| byte == b'\n')?;
    let (line, rest) = input.split_at_checked(end + 1)?;
    Some((line.strip_suffix(b"\r\n")?, rest))
}

/// A value of `size` bytes with its CR LF off the front; `None` while it is incomplete.
pub fn skip_value(input: &[u8], size: usize) -> Result<Option<&[u8]>> {
    let Some((block, rest)) = input.split_at_checked(size + 2) else { return Ok(None) };
    match block.ends_with(b"\r\n") {
        true => Ok(Some(rest)),
        false => Err(format!("a value is not {size} bytes long").into()),
    }
}

/// A decimal number.
pub fn parse_number(digits: &[u8]) -> Result<usize> {
    Ok(std::str::from_utf8(digits)?.parse()?)
}

/// The error for a reply that is none of those expected.
pub fn unexpected(line: &[u8]) -> Box<dyn std::error::Error> {
    format!("unexpected reply: {}", line.escape_ascii()).into()
}
