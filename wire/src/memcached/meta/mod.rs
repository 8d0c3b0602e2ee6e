//! The meta protocol: `mg ms md ma mn me`, a key and flags of one letter.

mod arithmetic;
mod debug;
mod delete;
mod encode;
mod flags;
mod get;
mod store;

pub(super) use arithmetic::arithmetic;
pub(super) use debug::{debug, noop};
pub(super) use delete::delete;
pub use encode::Meta;
pub(super) use get::get;
pub(super) use store::store;

use std::borrow::Cow;

use super::decoder::Parsed;
use super::text::{BAD_LINE, Line};
use super::{Framing, Key, Refusal, Request};
use crate::base64;
use encode::Verb;
use flags::Flags;

/// The most words a meta line may have.
const WORDS_MAX: usize = 20;

/// A meta line without its data block.
struct Head<'a> {
    key: Key<'a>,
    flags: Flags,
    meta: Meta<'a>,
}

/// Reads the flags behind `<command> <key>`, or behind the length of a store.
fn head<'a>(line: Line<'a>, key: &'a [u8], verb: Verb) -> Result<Head<'a>, Refusal> {
    let words_before = if verb == Verb::Store { 3 } else { 2 };
    if !line.accepts(key) {
        return Err(BAD_LINE);
    }
    if line.words.count() + words_before > WORDS_MAX {
        return Err(Refusal::Client("options flags are too long"));
    }
    let (flags, key) = read(line, key, verb).map_err(|why| match verb {
        Verb::Delete | Verb::Arithmetic => Refusal::Client("invalid or duplicate flag"),
        _ => Refusal::Client(why),
    })?;
    if flags.opaque_too_long {
        return Err(Refusal::Client("opaque token too long"));
    }
    let meta = Meta::new(verb, &flags, line.words.rest());
    Ok(Head { key, flags, meta })
}

fn read<'a>(line: Line<'a>, key: &'a [u8], verb: Verb) -> Result<(Flags, Key<'a>), &'static str> {
    let flags = Flags::parse(line.words, verb)?;
    let key = if flags.base64 {
        Cow::Owned(base64::decode(key).ok_or("error decoding key")?)
    } else {
        Cow::Borrowed(key)
    };
    Ok((flags, key))
}

fn whole<'a>(request: Request<'a>, meta: Meta<'a>) -> Parsed<'a> {
    Parsed::whole(request, Framing::Meta(meta))
}

/// Errors are told even to those who asked for quiet.
fn refuse<'a>(refusal: Refusal) -> Parsed<'a> {
    whole(Request::Refused(refusal), Meta::plain())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memcached::decoder::tests::only;
    use crate::memcached::{Arithmetic, Delete, Get, Keys, Order, Store, StoreMode};

    const KEY: Key<'static> = Cow::Borrowed(b"k");

    fn check(input: &str, expect: &Request<'_>) {
        assert_eq!(only(input.as_bytes()), *expect, "{input}");
    }

    #[test]
    fn the_flags_of_mg() {
        let plain = Get::of(Keys::One(KEY));
        check("mg k v c k O1 q\r\n", &Request::Get(plain.clone()));
        let full = Get {
            touch: Some(1),
            vivify: Some(2),
            recache: Some(3),
            no_bump: true,
            unless_cas: Some(4),
            new_cas: Some(5),
            order: Order { touch_then_recache: true, ..Order::default() },
            ..plain
        };
        check("mg k T1 N2 R3 u C4 E5\r\n", &Request::Get(full.clone()));
        let turned = Get { vivify: Some(1), order: Order::default(), ..full };
        check("mg k R3 N2 T1 u C4 E5\r\n", &Request::Get(turned));
    }

    #[test]
    fn the_flags_of_ms() {
        let plain = |mode| Store { value: b"hi", ..Store::of(KEY, mode) };
        for (mode, expect) in [
            ("", StoreMode::Set),
            (" MS", StoreMode::Set),
            (" ME", StoreMode::Add),
            (" MR", StoreMode::Replace),
            (" MA", StoreMode::Append),
            (" MP", StoreMode::Prepend),
        ] {
            check(&format!("ms k 2{mode}\r\nhi\r\n"), &Request::Store(plain(expect)));
        }
        let full = Store {
            flags: 6,
            exptime: 60,
            max_idle_ms: Some(1500),
            cas: Some(7),
            new_cas: Some(8),
            invalidate: true,
            ..plain(StoreMode::Set)
        };
        check("ms k 2 F6 T60 y1500 C7 E8 I\r\nhi\r\n", &Request::Store(full));
        let create = Store { vivify: Some(30), ..plain(StoreMode::Append) };
        check("ms k 2 MA N30\r\nhi\r\n", &Request::Store(create));
        let binary = Store { key_binary: true, ..plain(StoreMode::Set) };
        check("ms aw== 2 b\r\nhi\r\n", &Request::Store(binary));
    }

    #[test]
    fn the_flags_of_md() {
        let plain = Delete::of(KEY);
        check("md k q T30\r\n", &Request::Delete(plain.clone()));
        let full = Delete {
            cas: Some(0),
            invalidate: true,
            exptime: Some(30),
            drop_value: true,
            new_cas: Some(9),
            ..plain
        };
        check("md k C0 I T30 x E9\r\n", &Request::Delete(full));
    }

    #[test]
    fn the_flags_of_ma() {
        let plain = Arithmetic::of(KEY, true);
        check("ma k C0 J5\r\n", &Request::Arithmetic(plain.clone()));
        let full = Arithmetic {
            up: false,
            delta: 2,
            create: Some((5, 9)),
            touch: Some(9),
            cas: Some(3),
            new_cas: Some(4),
            ..plain
        };
        check("ma k MD D2 N60 J5 T9 C3 E4\r\n", &Request::Arithmetic(full));
    }
}
