//! `ma`.

use super::{Head, Verb, head, refuse, whole};
use crate::memcached::decoder::Parsed;
use crate::memcached::text::{BAD_LINE, Line};
use crate::memcached::{Arithmetic, Refusal, Request};

/// `ma <key> <flag>*`
pub(in crate::memcached) fn arithmetic(mut line: Line<'_>) -> Parsed<'_> {
    let Some(key) = line.words.next() else {
        return refuse(BAD_LINE);
    };
    match head(line, key, Verb::Arithmetic) {
        Ok(head) => count(head),
        Err(refusal) => refuse(refusal),
    }
}

fn count(Head { key, flags, meta }: Head<'_>) -> Parsed<'_> {
    let up = match flags.mode {
        None | Some(b'I' | b'+') => true,
        Some(b'D' | b'-') => false,
        Some(_) => return refuse(Refusal::Client("invalid mode for ma M token")),
    };
    let arithmetic = Arithmetic {
        delta: flags.delta.unwrap_or(1),
        create: flags.vivify.map(|_| (flags.initial, flags.created)),
        touch: flags.touch,
        // To `ma` a cas of 0 means any.
        cas: flags.cas.filter(|cas| *cas != 0),
        new_cas: flags.new_cas,
        order: flags.order,
        ..Arithmetic::of(key, up)
    };
    whole(Request::Arithmetic(arithmetic), meta)
}
