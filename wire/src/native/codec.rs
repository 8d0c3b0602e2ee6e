//! How each type of the protocol looks in bytes, in one trait: what it is, how long it is, how it
//! is written and how it is read.
//!
//! Everything borrows from the input. A frame's length is known before its first byte is written,
//! so nothing is ever patched.

use super::reader::{Malformed, Reader};
use super::schema::Type;
use super::sink::{Sink, put_varint, varint_len};

/// A type with one encoding.
pub trait Codec<'a>: Sized {
    /// What documents and generators are told.
    const TYPE: Type;
    /// The fewest bytes that a value of this type takes.
    const LEN_MIN: usize;

    /// How many bytes [`Codec::encode`] writes.
    fn encoded_len(&self) -> usize;

    /// Appends the value.
    fn encode<S: Sink>(&self, out: &mut S);

    /// Takes a value off the front of the input.
    ///
    /// # Errors
    ///
    /// [`Malformed`] says what is wrong; the reader is then somewhere within the value.
    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed>;
}

/// Takes one value that fills all of the reader's bytes.
///
/// # Errors
///
/// As [`Codec::decode`], and [`Malformed::Trailing`] when bytes are left.
#[inline]
pub fn decode_all<'a, T: Codec<'a>>(mut input: Reader<'a>) -> Result<T, Malformed> {
    let value = T::decode(&mut input)?;
    input.end()?;
    Ok(value)
}

macro_rules! numbers {
    ($($number:ty => $kind:ident),*) => {$(
        impl<'a> Codec<'a> for $number {
            const TYPE: Type = Type::$kind;
            const LEN_MIN: usize = size_of::<$number>();

            #[inline]
            fn encoded_len(&self) -> usize {
                size_of::<$number>()
            }

            #[inline]
            fn encode<S: Sink>(&self, out: &mut S) {
                out.put(&self.to_be_bytes());
            }

            #[inline]
            fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
                input.array().map(<$number>::from_be_bytes)
            }
        }
    )*};
}

numbers!(u8 => U8, u16 => U16, u32 => U32, u64 => U64, i64 => I64);

impl<'a> Codec<'a> for bool {
    const TYPE: Type = Type::Bool;
    const LEN_MIN: usize = 1;

    #[inline]
    fn encoded_len(&self) -> usize {
        1
    }

    #[inline]
    fn encode<S: Sink>(&self, out: &mut S) {
        out.put(&[u8::from(*self)]);
    }

    #[inline]
    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        match input.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed::Bool),
        }
    }
}

/// A number that is mostly small, written as a varint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Varint(pub u64);

/// A time span in milliseconds, written as a varint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ms(pub u64);

macro_rules! varints {
    ($($varint:ident),*) => {$(
        impl<'a> Codec<'a> for $varint {
            const TYPE: Type = Type::$varint;
            const LEN_MIN: usize = 1;

            #[inline]
            fn encoded_len(&self) -> usize {
                varint_len(self.0)
            }

            #[inline]
            fn encode<S: Sink>(&self, out: &mut S) {
                put_varint(self.0, out);
            }

            #[inline]
            fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
                input.varint().map($varint)
            }
        }
    )*};
}

varints!(Varint, Ms);

/// How many bytes `bytes` has behind its length.
#[inline]
pub(super) fn bytes_len(bytes: &[u8]) -> usize {
    varint_len(bytes.len() as u64) + bytes.len()
}

#[inline(always)]
pub(super) fn put_bytes<S: Sink>(bytes: &[u8], out: &mut S) {
    put_varint(bytes.len() as u64, out);
    out.put(bytes);
}

impl<'a> Codec<'a> for &'a [u8] {
    const TYPE: Type = Type::Bytes;
    const LEN_MIN: usize = 1;

    #[inline]
    fn encoded_len(&self) -> usize {
        bytes_len(self)
    }

    #[inline]
    fn encode<S: Sink>(&self, out: &mut S) {
        put_bytes(self, out);
    }

    #[inline]
    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        input.bytes()
    }
}

impl<'a> Codec<'a> for &'a str {
    const TYPE: Type = Type::Str;
    const LEN_MIN: usize = 1;

    #[inline]
    fn encoded_len(&self) -> usize {
        bytes_len(self.as_bytes())
    }

    #[inline]
    fn encode<S: Sink>(&self, out: &mut S) {
        put_bytes(self.as_bytes(), out);
    }

    #[inline]
    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        std::str::from_utf8(input.bytes()?).map_err(|_| Malformed::Utf8)
    }
}

/// Something or nothing, behind a byte that says which.
impl<'a, T: Codec<'a>> Codec<'a> for Option<T> {
    const TYPE: Type = Type::Opt(&T::TYPE);
    const LEN_MIN: usize = 1;

    #[inline]
    fn encoded_len(&self) -> usize {
        1 + self.as_ref().map_or(0, T::encoded_len)
    }

    #[inline]
    fn encode<S: Sink>(&self, out: &mut S) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    #[inline]
    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        if bool::decode(input)? { T::decode(input).map(Some) } else { Ok(None) }
    }
}
