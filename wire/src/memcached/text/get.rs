//! `get`, `gets`, `gat` and `gats`.

use std::borrow::Cow;

use super::{BAD_LINE, Line, Text, Words, exptime, refuse, whole};
use crate::memcached::decoder::Parsed;
use crate::memcached::{Exptime, Get, Keys, Refusal, Request};

/// `get <key>*`, `gets <key>*`
pub(super) fn get(line: Line<'_>, with_cas: bool) -> Parsed<'_> {
    keys(line, with_cas, None)
}

/// `gat <exptime> <key>*`, `gats <exptime> <key>*`
pub(super) fn gat(mut line: Line<'_>, with_cas: bool) -> Parsed<'_> {
    let Some(time) = line.words.next() else {
        return refuse(BAD_LINE);
    };
    if line.words.rest().is_empty() {
        return refuse(BAD_LINE);
    }
    match exptime(time) {
        Some(time) => keys(line, with_cas, Some(time)),
        None => refuse(Refusal::Client("invalid exptime argument")),
    }
}

fn keys(line: Line<'_>, with_cas: bool, touch: Option<Exptime>) -> Parsed<'_> {
    let rest = line.words.rest();
    let keys = if memchr::memchr(b' ', rest).is_none() {
        line.accepts(rest).then_some(Keys::One(Cow::Borrowed(rest)))
    } else {
        Words(rest).all(|key| line.accepts(key)).then_some(Keys::Line(rest))
    };
    match keys {
        Some(keys) => whole(Request::Get(Get { touch, ..Get::of(keys) }), Text::get(with_cas)),
        None => refuse(BAD_LINE),
    }
}
