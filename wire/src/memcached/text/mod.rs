//! The classic text protocol: a line of words, and behind a store its data block.

mod admin;
mod arithmetic;
mod delete;
mod encode;
mod get;
mod login;
mod plain;
mod store;
mod touch;
mod tuning;
mod words;

pub use encode::Text;
pub(super) use encode::{lines, put_block};
pub use login::{LOGIN_LEN_MAX, Login};
pub use plain::{PlainGet, PlainSet};
pub(super) use words::{Words, client_flags, exptime, length, signed, unsigned};

use super::decoder::Parsed;
use super::{Framing, Refusal, Request, StoreMode, meta};
use crate::Limits;
use words::trim_start;

/// The refusal of a line that does not have the words its command needs.
pub(super) const BAD_LINE: Refusal = Refusal::Client("bad command line format");

/// The refusal of a data block that does not end where it should.
pub(super) const BAD_CHUNK: Refusal = Refusal::Client("bad data chunk");

/// The `\r\n` behind a data block.
pub(super) const LINE_END_LEN: usize = 2;

/// memcached gives up looking for `get` behind this many blanks.
const LEADING_BLANKS_MAX: usize = 100;

/// A command line and what lies behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// The words behind the command.
    pub words: Words<'a>,
    /// What has arrived behind the line end.
    pub block: &'a [u8],
    /// What is accepted.
    pub limits: Limits,
}

/// Decodes the command of `line`; `block` is what has arrived behind its line end.
pub(super) fn parse<'a>(line: &'a [u8], block: &'a [u8], limits: Limits) -> Parsed<'a> {
    let mut words = Words(line);
    let Some(command) = words.command() else {
        return refuse(BAD_LINE);
    };
    let line = Line { words, block, limits };
    match command {
        b"get" => get::get(line, false),
        b"gets" => get::get(line, true),
        b"gat" => get::gat(line, false),
        b"gats" => get::gat(line, true),
        b"mg" => meta::get(line),
        b"ms" => meta::store(line),
        b"md" => meta::delete(line),
        b"ma" => meta::arithmetic(line),
        b"mn" => meta::noop(),
        b"me" => meta::debug(line),
        b"set" => store::store(line, StoreMode::Set),
        b"add" => store::store(line, StoreMode::Add),
        b"replace" => store::store(line, StoreMode::Replace),
        b"append" => store::store(line, StoreMode::Append),
        b"prepend" => store::store(line, StoreMode::Prepend),
        b"cas" => store::cas(line),
        b"delete" => delete::delete(line),
        b"incr" => arithmetic::arithmetic(line, true),
        b"decr" => arithmetic::arithmetic(line, false),
        b"touch" => touch::touch(line),
        b"version" => whole(Request::Version, Text::default()),
        b"quit" => whole(Request::Quit, Text::quit()),
        b"stats" => admin::stats(line),
        b"flush_all" => admin::flush_all(line),
        b"verbosity" => admin::verbosity(line),
        b"cache_memlimit" => admin::memory_limit(line),
        b"shutdown" => admin::shutdown(line),
        b"refresh_certs" => whole(Request::RefreshCerts, Text::default()),
        b"watch" => admin::watch(line),
        b"lru_crawler" => tuning::lru_crawler(line),
        b"lru" => tuning::lru(line),
        b"slabs" => tuning::slabs(line),
        _ => unknown(command, line),
    }
}

/// Whether a line, ended or not, is longer than its command may make it. Only lines of keys to
/// get may be long.
pub(super) fn too_long(line: &[u8], limits: &Limits) -> bool {
    if line.len() <= limits.line_len_max {
        return false;
    }
    let len = line.strip_suffix(b"\r").unwrap_or(line).len();
    let command = trim_start(line);
    let of_keys = line.len() - command.len() <= LEADING_BLANKS_MAX
        && [&b"get "[..], b"gets ", b"gat ", b"gats "].iter().any(|get| command.starts_with(get));
    len > if of_keys { limits.get_line_len_max } else { limits.line_len_max }
}

/// An unknown command. A browser or a crawler is not answered at all, so that a web page cannot
/// speak to the cache through its visitors.
fn unknown<'a>(command: &'a [u8], line: Line<'a>) -> Parsed<'a> {
    if line.words.last().unwrap_or(command).starts_with(b"HTTP/") {
        return Parsed::Close("an HTTP request");
    }
    refuse(Refusal::Unknown)
}

fn whole<'a>(request: Request<'a>, text: Text) -> Parsed<'a> {
    Parsed::whole(request, Framing::Text(text))
}

fn refuse<'a>(refusal: Refusal) -> Parsed<'a> {
    whole(Request::Refused(refusal), Text::default())
}

/// Refuses the arguments of a line whose sender may not want to hear of it.
fn refuse_arguments<'a>(refusal: Refusal, text: Text) -> Parsed<'a> {
    whole(Request::Refused(refusal), text)
}

impl<'a> Line<'a> {
    /// Whether `key` may be the key of an item.
    pub fn accepts(&self, key: &[u8]) -> bool {
        (1..=self.limits.key_len_max).contains(&key.len())
    }

    /// The data block of `length` bytes with its line end, once all of it has arrived.
    pub fn data(&self, length: usize) -> Option<Result<&'a [u8], Refusal>> {
        let block = self.block.get(..length + LINE_END_LEN)?;
        Some(block.strip_suffix(b"\r\n").ok_or(BAD_CHUNK))
    }
}
