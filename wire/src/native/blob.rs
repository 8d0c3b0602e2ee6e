//! The types that hold an application's own bytes: keys, values and JSON documents.

use std::sync::Arc;

use serde::de::{DeserializeOwned, IgnoredAny};

use super::codec::{Codec, bytes_len, put_bytes};
use super::reader::{Malformed, Reader};
use super::schema::Type;
use super::sink::{Sink, put_varint};

/// A key of 1 to `max_key` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<'a>(pub &'a [u8]);

impl<'a> Codec<'a> for Key<'a> {
    const TYPE: Type = Type::Key;
    const LEN_MIN: usize = 2;

    #[inline]
    fn encoded_len(&self) -> usize {
        bytes_len(self.0)
    }

    #[inline]
    fn encode<S: Sink>(&self, out: &mut S) {
        put_bytes(self.0, out);
    }

    #[inline(always)]
    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        input.key().map(Key)
    }
}

/// A value of 0 to `max_value` bytes. What was decoded is always inline.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Copied into the output.
    Inline(&'a [u8]),
    /// Spliced into an [`crate::Output`] without a copy.
    Shared(&'a Arc<[u8]>),
}

impl<'a> Value<'a> {
    /// The bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Value::Inline(bytes) => bytes,
            Value::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl<'a> Codec<'a> for Value<'a> {
    const TYPE: Type = Type::Value;
    const LEN_MIN: usize = 1;

    #[inline]
    fn encoded_len(&self) -> usize {
        bytes_len(self.bytes())
    }

    #[inline(always)]
    fn encode<S: Sink>(&self, out: &mut S) {
        match self {
            Value::Inline(bytes) => put_bytes(bytes, out),
            Value::Shared(bytes) => {
                put_varint(bytes.len() as u64, out);
                out.put_shared(bytes);
            }
        }
    }

    #[inline]
    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        input.value().map(Value::Inline)
    }
}

/// One JSON object, as text. Keys that the reader does not know are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(pub &'a str);

/// Largest JSON document in bytes.
pub const JSON_LEN_MAX: usize = 1 << 20;
/// Deepest nesting of arrays and objects in a JSON document.
pub const JSON_DEPTH_MAX: usize = 32;

impl Json<'_> {
    /// The document of no keys.
    pub const EMPTY: Json<'static> = Json("{}");

    /// The document as a type.
    ///
    /// # Errors
    ///
    /// [`Malformed::Json`] when a key is missing or of another type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Malformed> {
        serde_json::from_str(self.0).map_err(|_| Malformed::Json)
    }
}

/// Checks that `text` is one JSON object within the limits.
///
/// # Errors
///
/// [`Malformed::Json`].
pub(super) fn check_json(text: &str) -> Result<(), Malformed> {
    let object = text.trim_start().starts_with('{');
    // The depth first: the parser behind it is recursive.
    if text.len() > JSON_LEN_MAX || !object || depth(text) > JSON_DEPTH_MAX {
        return Err(Malformed::Json);
    }
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|_| Malformed::Json)
}

/// How deep arrays and objects nest, strings apart.
fn depth(text: &str) -> usize {
    let (mut now, mut most, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => now += 1,
            b'}' | b']' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}

impl<'a> Codec<'a> for Json<'a> {
    const TYPE: Type = Type::Json;
    const LEN_MIN: usize = 3;

    fn encoded_len(&self) -> usize {
        bytes_len(self.0.as_bytes())
    }

    fn encode<S: Sink>(&self, out: &mut S) {
        put_bytes(self.0.as_bytes(), out);
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let text = <&str>::decode(input)?;
        check_json(text)?;
        Ok(Json(text))
    }
}
