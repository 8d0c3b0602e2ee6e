//! Takes values off the front of bytes that an outsider sent. Every read is checked against what
//! is there; nothing is copied and nothing is allocated.

use std::fmt;

use super::error::ErrorCode;
use super::limits::Limits;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end before the value does.
    Short,
    /// A varint of more than 64 bits.
    Varint,
    /// A `str` that is not UTF-8.
    Utf8,
    /// A list that says it has more items than its bytes can hold.
    Count,
    /// A byte that says whether something follows and is neither 0 nor 1.
    Bool,
    /// A number that stands for none of the choices.
    Choice,
    /// A bit that has no meaning in a set of options.
    Bits,
    /// Not one JSON object, or larger or deeper than allowed.
    Json,
    /// A key of no bytes.
    EmptyKey,
    /// A key that is longer than the limit.
    KeyTooLarge,
    /// A value that is larger than the limit.
    ValueTooLarge,
    /// A status that this operation does not answer with.
    Status,
    /// Bytes behind the last field.
    Trailing,
    /// An extension tag that stands twice in one block.
    TagTwice,
    /// A critical extension tag that this side does not know.
    UnknownTag(u8),
}

impl Malformed {
    /// The code of the `ERR` that answers such a request.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Malformed::EmptyKey => ErrorCode::InvalidArgument,
            Malformed::KeyTooLarge => ErrorCode::KeyTooLarge,
            Malformed::ValueTooLarge => ErrorCode::ValueTooLarge,
            Malformed::UnknownTag(_) => ErrorCode::UnsupportedExt,
            _ => ErrorCode::BadEncoding,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Malformed::Short => "the body ends before its last field",
            Malformed::Varint => "a varint has more than 64 bits",
            Malformed::Utf8 => "a str is not UTF-8",
            Malformed::Count => "a list says it has more items than there are bytes",
            Malformed::Bool => "a byte should be 0 or 1",
            Malformed::Choice => "a number stands for none of the choices",
            Malformed::Bits => "an option bit has no meaning",
            Malformed::Json => "not one JSON object of at most 1 MiB and 32 levels",
            Malformed::EmptyKey => "a key has no bytes",
            Malformed::KeyTooLarge => "a key is longer than the limit",
            Malformed::ValueTooLarge => "a value is larger than the limit",
            Malformed::Status => "not a status of this operation",
            Malformed::Trailing => "bytes follow the last field",
            Malformed::TagTwice => "an extension tag stands twice",
            Malformed::UnknownTag(tag) => {
                return write!(f, "the critical extension 0x{tag:02x} is not known");
            }
        };
        f.write_str(text)
    }
}

impl std::error::Error for Malformed {}

/// The bytes that are still to be read.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    key_len_max: usize,
    value_len_max: usize,
}

impl<'a> Reader<'a> {
    /// Reads `input`, holding keys and values to `limits`.
    #[inline]
    #[must_use]
    pub fn new(input: &'a [u8], limits: &Limits) -> Self {
        let Limits { key_len_max, value_len_max, .. } = *limits;
        Reader { rest: input, key_len_max, value_len_max }
    }

    /// Reads what was held to limits before.
    #[inline]
    pub(super) fn trusted(input: &'a [u8]) -> Self {
        Reader { rest: input, key_len_max: usize::MAX, value_len_max: usize::MAX }
    }

    /// Reads some of the bytes on their own, held to the same limits.
    #[inline]
    pub(super) fn within(&self, bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, ..*self }
    }

    /// What is left.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    #[inline(always)]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// An unsigned LEB128 number of at most ten bytes.
    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        if let [byte @ ..=0x7f, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let digit = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && digit > 1 {
                return Err(Malformed::Varint);
            }
            number |= digit << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed::Varint)
    }

    /// Bytes behind a varint that counts them.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.varint()?;
        self.take(usize::try_from(len).map_err(|_| Malformed::Short)?)
    }

    /// As [`Reader::bytes`], refused as soon as the length is known to be above `max`.
    #[inline(always)]
    fn bounded(&mut self, max: usize, refusal: Malformed) -> Result<&'a [u8], Malformed> {
        let len = self.varint()?;
        let len = usize::try_from(len).ok().filter(|len| *len <= max).ok_or(refusal)?;
        self.take(len)
    }

    /// A key: at least one byte, and not more than the limit.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Result<&'a [u8], Malformed> {
        let key = self.bounded(self.key_len_max, Malformed::KeyTooLarge)?;
        if key.is_empty() { Err(Malformed::EmptyKey) } else { Ok(key) }
    }

    /// A value, not larger than the limit.
    #[inline]
    pub(super) fn value(&mut self) -> Result<&'a [u8], Malformed> {
        self.bounded(self.value_len_max, Malformed::ValueTooLarge)
    }

    /// The number of items of a list whose items have at least `item_len_min` bytes each.
    pub(super) fn count(&mut self, item_len_min: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint()?).map_err(|_| Malformed::Count)?;
        let most = self.rest.len() / item_len_min.max(1);
        if count > most { Err(Malformed::Count) } else { Ok(count) }
    }

    /// Demands that nothing is left.
    #[inline]
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}
