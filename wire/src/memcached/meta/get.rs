//! `mg`.

use super::{Head, Verb, head, refuse, whole};
use crate::memcached::decoder::Parsed;
use crate::memcached::text::{BAD_LINE, Line};
use crate::memcached::{Get, Keys, Request};

/// `mg <key> <flag>*`
pub(in crate::memcached) fn get(mut line: Line<'_>) -> Parsed<'_> {
    let Some(key) = line.words.next() else {
        return refuse(BAD_LINE);
    };
    match head(line, key, Verb::Get) {
        Ok(Head { key, flags, meta }) => {
            let get = Get {
                keys: Keys::One(key),
                touch: flags.touch,
                // The item that is created is touched too.
                vivify: flags.vivify.map(|_| flags.created),
                recache: flags.recache,
                no_bump: flags.no_bump,
                unless_cas: flags.cas,
                new_cas: flags.new_cas,
                order: flags.order,
            };
            whole(Request::Get(get), meta)
        }
        Err(refusal) => refuse(refusal),
    }
}
