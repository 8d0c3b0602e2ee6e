//! `touch`.

use std::borrow::Cow;

use super::{BAD_LINE, Line, Text, exptime, refuse, refuse_arguments, whole};
use crate::memcached::decoder::Parsed;
use crate::memcached::{Refusal, Request};

/// `touch <key> <exptime> [noreply]`
pub(super) fn touch(mut line: Line<'_>) -> Parsed<'_> {
    let Some(key) = line.words.next() else {
        return refuse(BAD_LINE);
    };
    let text = Text::reply_unless(line.words.end_in_noreply());
    let Some(time) = line.words.next() else {
        return refuse(BAD_LINE);
    };
    if !line.accepts(key) {
        return refuse_arguments(BAD_LINE, text);
    }
    match exptime(time) {
        Some(exptime) => whole(Request::Touch { key: Cow::Borrowed(key), exptime }, text),
        None => refuse_arguments(Refusal::Client("invalid exptime argument"), text),
    }
}
