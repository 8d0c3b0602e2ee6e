//! Replies of the classic text protocol.

use crate::Output;
use crate::memcached::{Item, Refusal, Reply, Value};

/// How the replies to one classic text request look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Text {
    noreply: bool,
    with_cas: bool,
    quit: bool,
}

impl Text {
    /// Silent when the line asked for `noreply`.
    pub(super) fn reply_unless(noreply: bool) -> Self {
        Text { noreply, ..Text::default() }
    }

    /// `get`, or `gets` that shows the cas.
    pub(super) fn get(with_cas: bool) -> Self {
        Text { with_cas, ..Text::default() }
    }

    /// `quit`.
    pub(super) fn quit() -> Self {
        Text { noreply: true, quit: true, ..Text::default() }
    }

    pub(in crate::memcached) fn ends_connection(self) -> bool {
        self.quit
    }

    pub(in crate::memcached) fn encode(self, reply: &Reply<'_>, out: &mut Output) {
        if self.noreply {
            return;
        }
        match reply {
            Reply::Item { key, item } => self.item(key, item, out),
            Reply::Miss { .. } => {}
            Reply::End | Reply::StatEnd => out.put(b"END\r\n"),
            Reply::Stored { .. } => out.put(b"STORED\r\n"),
            Reply::NotStored { .. } => out.put(b"NOT_STORED\r\n"),
            Reply::Exists { .. } => out.put(b"EXISTS\r\n"),
            Reply::NotFound { .. } => out.put(b"NOT_FOUND\r\n"),
            Reply::Deleted { .. } => out.put(b"DELETED\r\n"),
            Reply::Touched { .. } => out.put(b"TOUCHED\r\n"),
            Reply::Number { value, .. } => {
                out.put_decimal(*value);
                out.put(b"\r\n");
            }
            Reply::Ok => out.put(b"OK\r\n"),
            Reply::Noop => out.put(b"MN\r\n"),
            _ => lines(reply, out),
        }
    }

    fn item(self, key: &[u8], item: &Item<'_>, out: &mut Output) {
        out.put(b"VALUE ");
        out.put(key);
        out.put_u8(b' ');
        out.put_decimal(u64::from(item.flags));
        out.put_u8(b' ');
        out.put_decimal(item.value.bytes().len() as u64);
        if self.with_cas {
            out.put_u8(b' ');
            out.put_decimal(item.cas);
        }
        out.put(b"\r\n");
        put_block(&item.value, out);
    }
}

/// A data block and its line end.
pub(in crate::memcached) fn put_block(value: &Value<'_>, out: &mut Output) {
    match value {
        Value::Inline(bytes) => out.put(bytes),
        Value::Shared(bytes) => out.put_shared((*bytes).clone()),
    }
    out.put(b"\r\n");
}

/// Replies that classic text and meta have in common.
pub(in crate::memcached) fn lines(reply: &Reply<'_>, out: &mut Output) {
    match reply {
        Reply::Version(version) => put_line(&["VERSION ", version], out),
        Reply::Stat { name, value } => put_line(&["STAT ", name, " ", value], out),
        Reply::Reset => put_line(&["RESET"], out),
        Reply::Line(line) => put_line(&[line], out),
        Reply::Raw(bytes) => out.put(bytes),
        Reply::NonNumeric => refused(Refusal::Client(NON_NUMERIC), out),
        Reply::TooLarge => refused(Refusal::TooLarge, out),
        Reply::OutOfMemory => refused(Refusal::Server("out of memory storing object"), out),
        Reply::Refused(refusal) => refused(*refusal, out),
        _ => {}
    }
}

const NON_NUMERIC: &str = "cannot increment or decrement non-numeric value";

fn refused(refusal: Refusal, out: &mut Output) {
    match refusal {
        Refusal::Unknown => put_line(&["ERROR"], out),
        Refusal::Client(why) => put_line(&["CLIENT_ERROR ", why], out),
        Refusal::Server(why) => put_line(&["SERVER_ERROR ", why], out),
        Refusal::TooLarge => put_line(&["SERVER_ERROR object too large for cache"], out),
        Refusal::Line(line) => put_line(&[line], out),
    }
}

fn put_line(parts: &[&str], out: &mut Output) {
    for part in parts {
        out.put(part.as_bytes());
    }
    out.put(b"\r\n");
}
