//! `set`, `add`, `replace`, `append`, `prepend` and `cas`.
//!
//! Once the length of the data block is known, the block belongs to the command whatever else is
//! wrong with its line: it is never taken for commands.

use std::borrow::Cow;

use super::{BAD_LINE, LINE_END_LEN, Line, Text, client_flags, exptime, length, refuse, unsigned};
use crate::memcached::decoder::Parsed;
use crate::memcached::{Framing, Refusal, Request, Store, StoreMode, size};

/// `<command> <key> <flags> <exptime> <length> [noreply]`
pub(super) fn store(line: Line<'_>, mode: StoreMode) -> Parsed<'_> {
    parse(line, mode, false)
}

/// `cas <key> <flags> <exptime> <length> <cas> [noreply]`
pub(super) fn cas(line: Line<'_>) -> Parsed<'_> {
    parse(line, StoreMode::Set, true)
}

fn parse(mut line: Line<'_>, mode: StoreMode, with_cas: bool) -> Parsed<'_> {
    // Before the words are taken: as memcached, who forgets the length is silent all the same.
    let text = Text::reply_unless(line.words.end_in_noreply());
    let Some([key, flags, time, len]) = line.words.leading() else {
        return refuse(BAD_LINE);
    };
    if with_cas && line.words.rest().is_empty() {
        return refuse(BAD_LINE);
    }
    let Some(len) = length(len) else {
        return super::refuse_arguments(BAD_LINE, text);
    };
    let Some(store) = fields(line, [key, flags, time], mode, with_cas) else {
        return with_block(Request::Refused(BAD_LINE), text, len);
    };
    if !size::fits(key.len(), store.flags, len, &line.limits) {
        return with_block(too_large(store), text, len);
    }
    match line.data(len) {
        None => Parsed::Incomplete { block: len + LINE_END_LEN },
        Some(Ok(value)) => with_block(Request::Store(Store { value, ..store }), text, len),
        Some(Err(refusal)) => with_block(Request::Refused(refusal), text, len),
    }
}

/// All but the value, when the line is right.
fn fields<'a>(
    mut line: Line<'a>,
    [key, flags, time]: [&'a [u8]; 3],
    mode: StoreMode,
    with_cas: bool,
) -> Option<Store<'a>> {
    let cas = if with_cas { Some(unsigned(line.words.next()?)?) } else { None };
    let store = Store {
        flags: client_flags(flags)?,
        exptime: exptime(time)?,
        cas,
        ..Store::of(Cow::Borrowed(key), mode)
    };
    line.accepts(key).then_some(store)
}

/// Only `set` promises that the old value is gone whatever happens.
fn too_large(store: Store<'_>) -> Request<'_> {
    if store.mode == StoreMode::Set && store.cas.is_none() {
        Request::StoreTooLarge { key: store.key }
    } else {
        Request::Refused(Refusal::TooLarge)
    }
}

fn with_block<'a>(request: Request<'a>, text: Text, len: usize) -> Parsed<'a> {
    let block = (len + LINE_END_LEN) as u64;
    Parsed::Request { request, framing: Framing::Text(text), block }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memcached::decoder::tests::only;

    fn check(input: &str, expect: &Store<'_>) {
        assert_eq!(only(input.as_bytes()), Request::Store(expect.clone()), "{input}");
    }

    #[test]
    fn the_words_of_a_store() {
        let plain = |mode| Store { value: b"hi", ..Store::of(Cow::Borrowed(b"k"), mode) };
        check("set k 0 0 2\r\nhi\r\n", &plain(StoreMode::Set));
        check("add k 0 0 2 noreply\r\nhi\r\n", &plain(StoreMode::Add));
        check("replace  k 0 0 2\nhi\r\n", &plain(StoreMode::Replace));
        check("prepend k 0 0 02\r\nhi\r\n", &plain(StoreMode::Prepend));
        let full = Store { flags: 7, exptime: -1, ..plain(StoreMode::Append) };
        check("append k 7 -1 2\r\nhi\r\n", &full);
        let cas = Store { cas: Some(u64::MAX), ..plain(StoreMode::Set) };
        check("cas k 0 0 2 18446744073709551615\r\nhi\r\n", &cas);
    }

    #[test]
    fn a_data_block_may_hold_line_ends() {
        let value = b"\r\n\0\r\n";
        let expect = Store { value, ..Store::of(Cow::Borrowed(b"k"), StoreMode::Set) };
        check("set k 0 0 5\r\n\r\n\0\r\n\r\n", &expect);
    }
}
