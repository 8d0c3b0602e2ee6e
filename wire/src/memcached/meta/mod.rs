//! The meta protocol: `mg ms md ma mn me`, a key and flags of one letter.

mod arithmetic;
mod base64;
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
