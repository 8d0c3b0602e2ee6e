//! The lines that caches live by, when they have arrived whole: a classic `get` or `gets` of one
//! key, and a `set` with its block. They are decoded, and a get is answered, without the general
//! vocabulary, whose structs are many times as long.

use super::{LINE_END_LEN, Text};
use crate::memcached::{Exptime, Framing, Value, size};
use crate::{Limits, Output};

/// A `get` or `gets` of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainGet<'a> {
    /// The key.
    pub key: &'a [u8],
    text: Text,
}

impl<'a> PlainGet<'a> {
    /// The request that `input` begins with and the length of its line. `None` when the line is
    /// any other, or may be: then the general decoder has the word.
    #[inline]
    pub(in crate::memcached) fn parse(
        input: &'a [u8],
        key_len_max: usize,
    ) -> Option<(Self, usize)> {
        let (with_cas, rest) = match input {
            [b'g', b'e', b't', b' ', rest @ ..] => (false, rest),
            [b'g', b'e', b't', b's', b' ', rest @ ..] => (true, rest),
            _ => return None,
        };
        let (word, behind) = word(rest, key_len_max)?;
        let behind = behind.strip_prefix(b"\n")?;
        let key = word.strip_suffix(b"\r").unwrap_or(word);
        let get = PlainGet { key, text: Text::get(with_cas) };
        (1..=key_len_max).contains(&key.len()).then_some((get, input.len() - behind.len()))
    }

    /// Answers with the item that was found.
    #[inline]
    pub fn hit(&self, flags: u32, cas: u64, value: &Value<'_>, out: &mut Output) {
        self.text.value(self.key, flags, cas, value, b"\r\nEND\r\n", out);
    }

    /// How any other answer looks.
    #[must_use]
    pub fn framing(&self) -> Framing<'static> {
        Framing::Text(self.text)
    }

    /// Answers that there is none.
    #[inline]
    pub fn miss(&self, out: &mut Output) {
        out.put(b"END\r\n");
    }
}

/// A `set`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainSet<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The client's 32 bits.
    pub flags: u32,
    /// Expiry.
    pub exptime: Exptime,
    /// The value.
    pub value: &'a [u8],
    text: Text,
}

impl<'a> PlainSet<'a> {
    /// As [`PlainGet::parse`], with the length of line and block.
    #[inline]
    pub(in crate::memcached) fn parse(input: &'a [u8], limits: &Limits) -> Option<(Self, usize)> {
        let (key, rest) = word(input.strip_prefix(b"set ")?, limits.key_len_max)?;
        let (flags, rest) = number(rest)?;
        let (exptime, rest) = number(rest)?;
        let (len, rest) = number(rest)?;
        let (noreply, block) = match rest.strip_prefix(b"\r\n") {
            Some(block) => (false, block),
            None => (true, rest.strip_prefix(b" noreply\r\n")?),
        };
        let len = len as usize;
        let (value, behind) = block.split_at_checked(len)?;
        let behind = behind.strip_prefix(b"\r\n")?;
        let fits = (1..=limits.key_len_max).contains(&key.len())
            && size::fits(key.len(), flags, len, limits);
        let exptime = Exptime::from(exptime);
        let set = PlainSet { key, flags, exptime, value, text: Text::reply_unless(noreply) };
        fits.then_some((set, input.len() - behind.len()))
    }

    /// How its replies look.
    #[must_use]
    pub fn framing(&self) -> Framing<'static> {
        Framing::Text(self.text)
    }
}

/// The word that `rest` begins with, if it ends within the length of a key, and what is behind.
#[inline]
fn word(rest: &[u8], key_len_max: usize) -> Option<(&[u8], &[u8])> {
    let searched = rest.get(..key_len_max + LINE_END_LEN).unwrap_or(rest);
    rest.split_at_checked(memchr::memchr2(b' ', b'\n', searched)?)
}

/// A blank and a number below 10^9.
#[inline]
fn number(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (blank, mut rest) = rest.split_first()?;
    let mut number = 0;
    let start = rest.len();
    while let Some((digit @ b'0'..=b'9', behind)) = rest.split_first() {
        if start - rest.len() == 9 {
            return None;
        }
        number = number * 10 + u32::from(*digit - b'0');
        rest = behind;
    }
    (*blank == b' ' && rest.len() < start).then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_sets_without_anything_unusual() {
        for (input, expect) in [
            ("set k 0 0 2\r\nhi\r\n", Some(("k", 0, 0, "hi", 17))),
            (
                "set key 7 60 5 noreply\r\n\r\n\n\r\n\r\nget a\r\n",
                Some(("key", 7, 60, "\r\n\n\r\n", 31)),
            ),
            ("set k 999999999 0 0\r\n\r\n", Some(("k", 999_999_999, 0, "", 23))),
            ("set k 1000000000 0 0\r\n\r\n", None),
            ("set abcdefgh 0 0 0\r\n\r\n", Some(("abcdefgh", 0, 0, "", 22))),
            ("set abcdefghi 0 0 0\r\n\r\n", None),
            ("set k 0 0 2\r\nhi", None),
            ("set k 0 0 2\r\nhi\r", None),
            ("set k 0 0 2\r\nhiho", None),
            ("set k 0 0 2\nhi\r\n", None),
            ("set k 0 0 2 \r\nhi\r\n", None),
            ("set k 0 0  2\r\nhi\r\n", None),
            ("set k 0 -1 2\r\nhi\r\n", None),
            ("set k 0 0\r\nhi\r\n", None),
            ("set k\r\n", None),
            ("set  0 0 0\r\n\r\n", None),
            (
                "set k 0 0 70\r\n1234567890123456789012345678901234567890123456789012345678901234567890\r\n",
                None,
            ),
            ("add k 0 0 2\r\nhi\r\n", None),
        ] {
            let limits = Limits { key_len_max: 8, item_size_max: 128, ..Limits::default() };
            let seen = PlainSet::parse(input.as_bytes(), &limits).map(|(set, len)| {
                let text = |bytes| std::str::from_utf8(bytes).expect("text");
                (text(set.key), set.flags, set.exptime, text(set.value), len)
            });
            assert_eq!(seen, expect, "{input:?}");
        }
    }

    #[test]
    fn only_whole_lines_of_one_key() {
        for (input, expect) in [
            ("get a\r\n", Some(("a", 7))),
            ("get a\nget b\r\n", Some(("a", 6))),
            ("gets key\r\nrest", Some(("key", 10))),
            ("get a\r\r\n", Some(("a\r", 8))),
            ("get abcdefgh\r\n", Some(("abcdefgh", 14))),
            ("get abcdefghi\r\n", None),
            ("get abcdefghi\n", None),
            ("get \r\n", None),
            ("get\r\n", None),
            ("get  a\r\n", None),
            ("get a \r\n", None),
            ("get a b\r\n", None),
            (" get a\r\n", None),
            ("gat 0 a\r\n", None),
            ("GET a\r\n", None),
            ("get a\r", None),
            ("get ", None),
            ("", None),
        ] {
            let parsed = PlainGet::parse(input.as_bytes(), 8);
            let seen = parsed.map(|(get, len)| (std::str::from_utf8(get.key).expect("text"), len));
            assert_eq!(seen, expect, "{input:?}");
        }
    }
}
