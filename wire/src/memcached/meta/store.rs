//! `ms`.

use super::{Head, Meta, Verb, head, refuse};
use crate::memcached::decoder::Parsed;
use crate::memcached::text::{BAD_LINE, LINE_END_LEN, Line, length};
use crate::memcached::{Framing, Refusal, Request, Store, StoreMode, size};

/// `ms <key> <length> <flag>*`
///
/// Once the length is known the data block belongs to the command, whatever is wrong with its
/// flags.
pub(in crate::memcached) fn store(mut line: Line<'_>) -> Parsed<'_> {
    let Some([key, len]) = line.words.leading() else {
        return refuse(BAD_LINE);
    };
    let Some(len) = length(len) else {
        return refuse(BAD_LINE);
    };
    let (store, meta) = match head(line, key, Verb::Store).and_then(fields) {
        Ok(fields) => fields,
        Err(refusal) => return with_block(Request::Refused(refusal), Meta::plain(), len),
    };
    if !size::fits(store.key.len(), store.flags, len, &line.limits) {
        return with_block(Request::StoreTooLarge { key: store.key }, meta, len);
    }
    match line.data(len) {
        None => Parsed::Incomplete { block: len + LINE_END_LEN },
        Some(Ok(value)) => with_block(Request::Store(Store { value, ..store }), meta.of(len), len),
        Some(Err(refusal)) => with_block(Request::Refused(refusal), meta, len),
    }
}

/// All but the value.
fn fields(Head { key, flags, meta }: Head<'_>) -> Result<(Store<'_>, Meta<'_>), Refusal> {
    let mode = match flags.mode {
        None | Some(b'S') => StoreMode::Set,
        Some(b'E') => StoreMode::Add,
        Some(b'A') => StoreMode::Append,
        Some(b'P') => StoreMode::Prepend,
        Some(b'R') => StoreMode::Replace,
        Some(_) => return Err(Refusal::Client("invalid mode for ms M token")),
    };
    let joins = matches!(mode, StoreMode::Append | StoreMode::Prepend);
    let store = Store {
        key_binary: flags.base64,
        flags: flags.client_flags,
        exptime: flags.touch.unwrap_or(0),
        max_idle_ms: flags.max_idle_ms,
        cas: flags.cas.filter(|_| mode != StoreMode::Add),
        new_cas: flags.new_cas,
        invalidate: flags.invalidate,
        vivify: flags.vivify.filter(|_| joins),
        ..Store::of(key, mode)
    };
    Ok((store, meta))
}

fn with_block<'a>(request: Request<'a>, meta: Meta<'a>, len: usize) -> Parsed<'a> {
    let block = (len + LINE_END_LEN) as u64;
    Parsed::Request { request, framing: Framing::Meta(meta), block }
}
