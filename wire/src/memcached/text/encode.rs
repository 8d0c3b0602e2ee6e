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
        self.value(key, item.flags, item.cas, &item.value, b"\r\n", out);
    }

    /// A `VALUE` line, the value and what comes behind it.
    #[inline]
    pub(super) fn value(
        self,
        key: &[u8],
        flags: u32,
        cas: u64,
        value: &Value<'_>,
        end: &[u8],
        out: &mut Output,
    ) {
        let len = value.bytes().len() as u64;
        let mut numbers = Backwards::new();
        numbers.put(b"\r\n");
        if self.with_cas {
            numbers.number(cas);
        }
        numbers.number(len);
        numbers.number(u64::from(flags));
        let (numbers, head_len) = (numbers.bytes(), 6 + key.len() + numbers.bytes().len());
        match value {
            Value::Inline(bytes) => {
                let mut fill = Fill(out.room(head_len + bytes.len() + end.len()));
                fill.head(key, numbers);
                fill.put(bytes);
                fill.put(end);
            }
            Value::Shared(bytes) => {
                Fill(out.room(head_len)).head(key, numbers);
                out.put_shared((*bytes).clone());
                out.put(end);
            }
        }
    }
}

/// The end of a `VALUE` line: three numbers and the line end. Digits come lowest first, so it is
/// written from its end.
struct Backwards {
    bytes: [u8; 3 * 21 + 2],
    start: usize,
}

impl Backwards {
    #[inline]
    fn new() -> Self {
        let bytes = [0; 3 * 21 + 2];
        Backwards { bytes, start: bytes.len() }
    }

    #[inline]
    fn put(&mut self, piece: &[u8]) {
        for byte in piece.iter().rev() {
            self.start -= 1;
            if let Some(place) = self.bytes.get_mut(self.start) {
                *place = *byte;
            }
        }
    }

    /// A blank and a number.
    #[inline]
    fn number(&mut self, mut number: u64) {
        while let digit @ 10.. = number {
            self.put(&[b'0' + u8::try_from(digit % 10).unwrap_or(0)]);
            number /= 10;
        }
        self.put(&[b' ', b'0' + u8::try_from(number).unwrap_or(0)]);
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// Room that is filled from the front.
struct Fill<'a>(&'a mut [u8]);

impl<'a> Fill<'a> {
    #[inline]
    fn take(&mut self, len: usize) -> &'a mut [u8] {
        let room = std::mem::take(&mut self.0);
        let (front, behind) = room.split_at_mut_checked(len).unwrap_or_default();
        self.0 = behind;
        front
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.take(bytes.len()).copy_from_slice(bytes);
    }

    #[inline]
    fn head(&mut self, key: &[u8], numbers: &[u8]) {
        self.put(b"VALUE ");
        self.put(key);
        self.put(numbers);
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
        Refusal::Client(why) | Refusal::Denied(why) => put_line(&["CLIENT_ERROR ", why], out),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn encoded(text: Text, reply: &Reply<'_>) -> String {
        let mut out = Output::new();
        text.encode(reply, &mut out);
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn a_large_value_goes_out_without_a_copy() {
        let value: Arc<[u8]> = Arc::from(&b"large"[..]);
        let item = Item {
            value: Value::Shared(&value),
            flags: u32::MAX,
            cas: 9,
            ttl: None,
            last_access: 0,
            fetched: false,
            won: false,
            stale: false,
            lease_sent: false,
            unchanged: false,
            key_binary: false,
        };
        let mut out = Output::new();
        Text::get(true).encode(&Reply::Item { key: b"k", item }, &mut out);
        assert_eq!(out.to_vec(), b"VALUE k 4294967295 5 9\r\nlarge\r\n");
        assert_eq!((Arc::strong_count(&value), out.len() - out.buffered_len()), (2, 5));
    }

    #[test]
    fn every_line() {
        for (reply, expect) in [
            (Reply::NonNumeric, "CLIENT_ERROR cannot increment or decrement non-numeric value"),
            (Reply::TooLarge, "SERVER_ERROR object too large for cache"),
            (Reply::OutOfMemory, "SERVER_ERROR out of memory storing object"),
            (Reply::Version("1.6.45"), "VERSION 1.6.45"),
            (Reply::Stat { name: "pid", value: "1" }, "STAT pid 1"),
            (Reply::Line("BUSY wait"), "BUSY wait"),
            (Reply::Raw(b"key=a\n\r\n"), "key=a\n"),
            (Reply::Refused(Refusal::Server("gone")), "SERVER_ERROR gone"),
        ] {
            assert_eq!(encoded(Text::default(), &reply), format!("{expect}\r\n"));
            assert_eq!(encoded(Text::reply_unless(true), &reply), "");
        }
    }
}
