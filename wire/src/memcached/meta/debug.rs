//! `me` and `mn`.

use std::borrow::Cow;

use super::{Meta, refuse, whole};
use crate::base64;
use crate::memcached::Request;
use crate::memcached::decoder::Parsed;
use crate::memcached::text::{BAD_LINE, Line};

/// `me <key> [b]`
pub(in crate::memcached) fn debug(mut line: Line<'_>) -> Parsed<'_> {
    let Some(key) = line.words.next().filter(|key| line.accepts(key)) else {
        return refuse(BAD_LINE);
    };
    let base64 = line.words.next() == Some(b"b");
    let key = if base64 { base64::decode(key).map(Cow::Owned) } else { Some(Cow::Borrowed(key)) };
    match key {
        Some(key) => whole(Request::Debug { key }, Meta::debug(base64)),
        None => refuse(BAD_LINE),
    }
}

/// `mn`
pub(in crate::memcached) fn noop<'a>() -> Parsed<'a> {
    whole(Request::Noop, Meta::plain())
}
