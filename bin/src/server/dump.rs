//! Listings of all keys: `lru_crawler metadump` and `mgdump`, a page a turn, and `stats cachedump`.

use std::fmt::Write;

use isogrid_engine::{Cursor, Entry};
use isogrid_grid::Cache;
use isogrid_wire::Output;
use isogrid_wire::memcached::{DumpFormat, Request};

/// Entries of one page.
const PAGE: usize = 512;

/// Whether a request goes through all entries: what is not read yet since the start would lack.
pub fn goes_through_all(request: &Request<'_>) -> bool {
    match request {
        Request::Dump { .. } => true,
        Request::Stats { argument } => {
            let mut words = argument.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
            matches!(words.next(), Some(b"cachedump" | b"sizes"))
        }
        _ => false,
    }
}

/// A listing under way.
pub struct Dump {
    format: DumpFormat,
    cursor: Cursor,
}

impl Dump {
    /// A listing from the start.
    pub fn new(format: DumpFormat) -> Self {
        Dump { format, cursor: Cursor::default() }
    }

    /// Writes the next page; the listing when there is more.
    pub fn page(mut self, cache: &Cache, now: u64, out: &mut Output) -> Option<Dump> {
        let format = self.format;
        let next = cache.table().scan(self.cursor, PAGE, now, |entry| {
            out.put(line(&entry.with_access(), format, now).as_bytes());
        });
        match next {
            Some(cursor) => {
                self.cursor = cursor;
                Some(self)
            }
            None => {
                out.put(if format == DumpFormat::Meta { b"END\r\n" } else { b"EN\r\n" });
                None
            }
        }
    }
}

fn line(entry: &Entry<'_>, format: DumpFormat, now: u64) -> String {
    let mut line = String::new();
    let key = encoded(entry.key());
    let _ = match format {
        DumpFormat::Meta => writeln!(
            line,
            "key={key} exp={} la={} cas={} fetch={} cls=1 size={}",
            entry.deadline().map_or(-1, |at| i64::try_from(at / 1000).unwrap_or(i64::MAX)),
            now / 1000 - u64::from(entry.idle_seconds(now)),
            entry.version(),
            if entry.was_fetched() { "yes" } else { "no" },
            entry.charge(),
        ),
        DumpFormat::MetaGet => write!(line, "mg {key}\r\n"),
    };
    line
}

/// A key in the form of URIs: what is not unreserved is `%XX`.
fn encoded(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The rows of `stats cachedump`: at most `most` entries.
pub fn cachedump(cache: &Cache, most: usize, now: u64) -> Vec<u8> {
    let (mut rows, mut left, mut cursor) = (Vec::new(), most, Some(Cursor::default()));
    while let Some(at) = cursor.filter(|_| left > 0) {
        cursor = cache.table().scan(at, left.min(PAGE), now, |entry| {
            if left > 0 {
                left -= 1;
                let expires = entry.deadline().map_or(0, |at| at / 1000);
                let figures = format!(" [{} b; {expires} s]\r\n", entry.value().len());
                rows.extend_from_slice(b"ITEM ");
                rows.extend_from_slice(entry.key());
                rows.extend_from_slice(figures.as_bytes());
            }
        });
    }
    rows
}
