//! `md`.

use super::{Head, Verb, head, refuse, whole};
use crate::memcached::decoder::Parsed;
use crate::memcached::text::{BAD_LINE, Line};
use crate::memcached::{Delete, Request};

/// `md <key> <flag>*`
pub(in crate::memcached) fn delete(mut line: Line<'_>) -> Parsed<'_> {
    let Some(key) = line.words.next() else {
        return refuse(BAD_LINE);
    };
    match head(line, key, Verb::Delete) {
        Ok(Head { key, flags, meta }) => {
            let delete = Delete {
                key,
                cas: flags.cas,
                invalidate: flags.invalidate,
                // The tombstone of `x` is a new item: its expiry counts even without `I`.
                exptime: flags.touch.filter(|_| flags.invalidate || flags.drop_value),
                drop_value: flags.drop_value,
                new_cas: flags.new_cas,
            };
            whole(Request::Delete(delete), meta)
        }
        Err(refusal) => refuse(refusal),
    }
}
