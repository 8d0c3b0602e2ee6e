//! `delete`.

use std::borrow::Cow;

use super::{BAD_LINE, Line, Text, refuse, refuse_arguments, whole};
use crate::memcached::decoder::Parsed;
use crate::memcached::{Delete, Refusal, Request};

/// Old clients send a time behind the key, which must be 0.
const USAGE: Refusal = Refusal::Client("bad command line format.  Usage: delete <key> [noreply]");

/// `delete <key> [0] [noreply]`
pub(super) fn delete(mut line: Line<'_>) -> Parsed<'_> {
    let Some(key) = line.words.next() else {
        return refuse(BAD_LINE);
    };
    let text = Text::reply_unless(line.words.end_in_noreply());
    if !line.accepts(key) {
        return refuse_arguments(BAD_LINE, text);
    }
    if !matches!(line.words.rest(), b"" | b"0" | b"noreply" | b"0 noreply") {
        return refuse_arguments(USAGE, text);
    }
    whole(Request::Delete(Delete::of(Cow::Borrowed(key))), text)
}
