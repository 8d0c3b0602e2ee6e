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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memcached::decoder::tests::only;

    fn check(line: &str, touch: Option<Exptime>, keys: &[&str]) {
        let Request::Get(get) = only(line.as_bytes()) else { panic!("{line} is no get") };
        let names: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
        assert_eq!(get.keys.iter().collect::<Vec<_>>(), names, "{line}");
        assert_eq!(get, Get { touch, ..Get::of(get.keys.clone()) }, "{line}");
    }

    #[test]
    fn one_key_or_many() {
        check("get a\r\n", None, &["a"]);
        check("gets a\n", None, &["a"]);
        check("  get  a  b a \r\n", None, &["a", "b", "a"]);
        check("gat 0 a\r\n", Some(0), &["a"]);
        check("gats -1 a b\r\n", Some(-1), &["a", "b"]);
        check("gat 4294967295 a\r\n", Some(-1), &["a"]);
    }
}
