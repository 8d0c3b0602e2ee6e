//! `incr` and `decr`.

use std::borrow::Cow;

use super::{BAD_LINE, Line, Text, refuse, refuse_arguments, unsigned, whole};
use crate::memcached::decoder::Parsed;
use crate::memcached::{Arithmetic, Refusal, Request};

/// `incr <key> <delta> [noreply]`, `decr <key> <delta> [noreply]`
pub(super) fn arithmetic(mut line: Line<'_>, up: bool) -> Parsed<'_> {
    let Some(key) = line.words.next() else {
        return refuse(BAD_LINE);
    };
    let text = Text::reply_unless(line.words.end_in_noreply());
    let Some(delta) = line.words.next() else {
        return refuse(BAD_LINE);
    };
    if !line.accepts(key) {
        return refuse_arguments(BAD_LINE, text);
    }
    match unsigned(delta) {
        Some(delta) => {
            let count = Arithmetic { delta, ..Arithmetic::of(Cow::Borrowed(key), up) };
            whole(Request::Arithmetic(count), text)
        }
        None => refuse_arguments(Refusal::Client("invalid numeric delta argument"), text),
    }
}
