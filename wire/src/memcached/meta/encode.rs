//! Replies of the meta protocol: a code of two letters, then what the flags asked for, in the
//! order asked.

use super::flags::Flags;
use crate::memcached::text::{Words, lines, put_block};
use crate::memcached::{Item, Reply};
use crate::{Output, base64};

/// The command that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Store,
    Delete,
    Arithmetic,
    /// `mn`, `me` and lines that were refused: no flags come back.
    Plain,
}

/// How the reply to one meta request looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta<'a> {
    verb: Verb,
    /// The flags of the line as they were sent.
    flags: &'a [u8],
    quiet: bool,
    base64: bool,
    value: bool,
    /// The length of the value sent, for `s` where nothing was stored.
    sent_len: usize,
}

/// The figures that flags ask for.
#[derive(Default)]
struct Shown<'r> {
    key: Option<&'r [u8]>,
    key_binary: bool,
    item: Option<&'r Item<'r>>,
    cas: Option<u64>,
    size: Option<usize>,
    ttl: Option<Option<u32>>,
}

impl<'a> Meta<'a> {
    pub(super) fn new(verb: Verb, flags: &Flags, words: &'a [u8]) -> Self {
        let Flags { quiet, base64, value, .. } = *flags;
        Meta { verb, flags: words, quiet, base64, value, sent_len: 0 }
    }

    pub(in crate::memcached) fn plain() -> Self {
        Meta::new(Verb::Plain, &Flags::default(), &[])
    }

    pub(super) fn debug(base64: bool) -> Self {
        Meta { base64, ..Meta::plain() }
    }

    /// A store of so many bytes.
    pub(super) fn of(self, sent_len: usize) -> Self {
        Meta { sent_len, ..self }
    }

    pub(in crate::memcached) fn encode(&self, reply: &Reply<'_>, out: &mut Output) {
        if self.quiet && self.is_nominal(reply) {
            return;
        }
        match *reply {
            Reply::Item { key, ref item } => self.item(key, item, out),
            Reply::Miss { key } => self.coded(b"EN", Shown::key(key), out),
            Reply::Stored { key, cas, size } => {
                self.coded(b"HD", Shown { size: Some(size), ..Shown::written(key, cas) }, out);
            }
            Reply::NotStored { key } => self.unwritten(b"NS", key, out),
            Reply::Exists { key } => self.unwritten(b"EX", key, out),
            Reply::NotFound { key } => self.unwritten(b"NF", key, out),
            Reply::Deleted { key } => self.coded(b"HD", Shown::key(key), out),
            Reply::Number { key, value, cas, ttl } => {
                let shown = Shown { ttl: Some(ttl), ..Shown::written(key, cas) };
                self.number(value, shown, out);
            }
            Reply::Touched { .. } | Reply::Ok => out.put(b"HD\r\n"),
            Reply::Noop => out.put(b"MN\r\n"),
            Reply::Debug { key, ref item, size } => self.figures(key, item, size, out),
            Reply::End | Reply::StatEnd => {}
            _ => lines(reply, out),
        }
    }

    /// What `q` hides: a miss of a get, success of everything else.
    fn is_nominal(&self, reply: &Reply<'_>) -> bool {
        match self.verb {
            Verb::Get => matches!(reply, Reply::Miss { .. }),
            Verb::Store | Verb::Delete | Verb::Arithmetic => matches!(
                reply,
                Reply::Stored { .. } | Reply::Deleted { .. } | Reply::Number { .. } | Reply::Ok
            ),
            Verb::Plain => false,
        }
    }

    fn item(&self, key: &[u8], item: &Item<'_>, out: &mut Output) {
        let with_value = self.value && !item.unchanged;
        if with_value {
            out.put(b"VA ");
            out.put_decimal(item.value.bytes().len() as u64);
        } else {
            out.put(b"HD");
        }
        self.put_flags(&Shown::item(key, item), out);
        for (set, mark) in [(item.lease_sent, b" Z"), (item.stale, b" X"), (item.won, b" W")] {
            if set {
                out.put(mark);
            }
        }
        out.put(b"\r\n");
        if with_value {
            put_block(&item.value, out);
        }
    }

    fn number(&self, value: u64, shown: Shown<'_>, out: &mut Output) {
        if !self.value {
            return self.coded(b"HD", shown, out);
        }
        out.put(b"VA ");
        out.put_decimal(u64::from(value.checked_ilog10().unwrap_or(0)) + 1);
        self.put_flags(&shown, out);
        out.put(b"\r\n");
        out.put_decimal(value);
        out.put(b"\r\n");
    }

    /// A write that did not happen. To `ms` its cas is 0.
    fn unwritten(&self, code: &[u8], key: &[u8], out: &mut Output) {
        let shown = if self.verb == Verb::Store {
            Shown { size: Some(self.sent_len), ..Shown::written(key, 0) }
        } else {
            Shown::key(key)
        };
        self.coded(code, shown, out);
    }

    fn coded(&self, code: &[u8], shown: Shown<'_>, out: &mut Output) {
        out.put(code);
        self.put_flags(&shown, out);
        out.put(b"\r\n");
    }

    fn put_flags(&self, shown: &Shown<'_>, out: &mut Output) {
        for word in Words(self.flags) {
            match word.first() {
                Some(b'O') => {
                    out.put_u8(b' ');
                    out.put(word);
                }
                Some(b'k') => self.put_key(shown, out),
                Some(letter) => put_figure(*letter, shown, out),
                None => {}
            }
        }
    }

    fn put_key(&self, shown: &Shown<'_>, out: &mut Output) {
        let Some(key) = shown.key else { return };
        // A hit is shown as its item was stored, all else as it was asked for.
        let binary = if shown.item.is_some() { shown.key_binary } else { self.base64 };
        out.put(b" k");
        if binary {
            base64::encode(key, out);
            out.put(b" b");
        } else {
            out.put(key);
        }
    }

    fn figures(&self, key: &[u8], item: &Item<'_>, size: usize, out: &mut Output) {
        out.put(b"ME ");
        if item.key_binary {
            base64::encode(key, out);
        } else {
            out.put(key);
        }
        out.put(b" exp=");
        put_ttl(item.ttl, out);
        out.put(b" la=");
        out.put_decimal(u64::from(item.last_access));
        out.put(b" cas=");
        out.put_decimal(item.cas);
        out.put(if item.fetched { b" fetch=yes" } else { b" fetch=no" });
        out.put(b" cls=1 size=");
        out.put_decimal(size as u64);
        out.put(b"\r\n");
    }
}

impl<'r> Shown<'r> {
    fn key(key: &'r [u8]) -> Self {
        Shown { key: Some(key), ..Shown::default() }
    }

    fn written(key: &'r [u8], cas: u64) -> Self {
        Shown { cas: Some(cas), ..Shown::key(key) }
    }

    fn item(key: &'r [u8], item: &'r Item<'r>) -> Self {
        Shown {
            key: Some(key),
            key_binary: item.key_binary,
            item: Some(item),
            cas: Some(item.cas),
            size: Some(item.value.bytes().len()),
            ttl: Some(item.ttl),
        }
    }
}

/// The flag of `letter` with its figure, where the reply has it.
fn put_figure(letter: u8, shown: &Shown<'_>, out: &mut Output) {
    let item = shown.item;
    let figure = match letter {
        b'c' => shown.cas,
        b's' => shown.size.map(|size| size as u64),
        b'f' => item.map(|item| u64::from(item.flags)),
        b'h' => item.map(|item| u64::from(item.fetched)),
        b'l' => item.map(|item| u64::from(item.last_access)),
        b't' => {
            if let Some(ttl) = shown.ttl {
                out.put(b" t");
                put_ttl(ttl, out);
            }
            None
        }
        _ => None,
    };
    if let Some(figure) = figure {
        out.put(&[b' ', letter]);
        out.put_decimal(figure);
    }
}

fn put_ttl(ttl: Option<u32>, out: &mut Output) {
    match ttl {
        Some(seconds) => out.put_decimal(u64::from(seconds)),
        None => out.put(b"-1"),
    }
}
