//! `stats`, `flush_all`, `verbosity`, `cache_memlimit`, `shutdown` and `watch`.

use super::{BAD_LINE, Line, Text, exptime, refuse, refuse_arguments, unsigned, whole};
use crate::memcached::decoder::Parsed;
use crate::memcached::{Refusal, Request};

/// memcached cannot run with less memory.
const MEBIBYTES_MIN: u64 = 8;

/// More was meant as bytes.
const MEBIBYTES_MAX: u64 = 1_000_000_000;

/// What `watch` can follow.
const TOPICS: [&[u8]; 10] = [
    b"connevents",
    b"deletions",
    b"evictions",
    b"fetchers",
    b"mutations",
    b"proxyevents",
    b"proxyreqs",
    b"proxyuser",
    b"rawcmds",
    b"sysevents",
];

/// `stats [argument]`
pub(super) fn stats(line: Line<'_>) -> Parsed<'_> {
    whole(Request::Stats { argument: line.words.rest() }, Text::default())
}

/// `flush_all [exptime] [noreply]`
pub(super) fn flush_all(mut line: Line<'_>) -> Parsed<'_> {
    if line.words.count() > 2 {
        return refuse(Refusal::Unknown);
    }
    let text = Text::reply_unless(line.words.end_in_noreply());
    let delay = match line.words.next() {
        None => None,
        Some(b"noreply") => None,
        Some(time) => match exptime(time) {
            None => return refuse_arguments(Refusal::Client("invalid exptime argument"), text),
            delay => delay,
        },
    };
    whole(Request::FlushAll { delay }, text)
}

/// `verbosity <level> [noreply]`
pub(super) fn verbosity(mut line: Line<'_>) -> Parsed<'_> {
    let text = Text::reply_unless(line.words.end_in_noreply());
    let count = line.words.count();
    let Some(level) = line.words.next().filter(|_| count <= 2) else {
        return refuse(Refusal::Unknown);
    };
    match unsigned(level) {
        Some(level) => {
            let level = u32::try_from(level).unwrap_or(u32::MAX);
            whole(Request::Verbosity { level }, text)
        }
        None => refuse_arguments(BAD_LINE, text),
    }
}

/// `cache_memlimit <mebibytes> [noreply]`
pub(super) fn memory_limit(mut line: Line<'_>) -> Parsed<'_> {
    let text = Text::reply_unless(line.words.end_in_noreply());
    let count = line.words.count();
    let Some(limit) = line.words.next().filter(|_| count <= 2) else {
        return refuse(Refusal::Unknown);
    };
    match unsigned(limit) {
        None => refuse_arguments(Refusal::Unknown, text),
        Some(..MEBIBYTES_MIN) => {
            let why = "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m";
            refuse_arguments(Refusal::Line(why), text)
        }
        Some(mebibytes) if mebibytes > MEBIBYTES_MAX => {
            let why = "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes";
            refuse_arguments(Refusal::Line(why), text)
        }
        Some(mebibytes) => whole(Request::MemoryLimit { mebibytes }, text),
    }
}

/// `shutdown [graceful]`
pub(super) fn shutdown(line: Line<'_>) -> Parsed<'_> {
    let graceful = match line.words.rest() {
        b"" => false,
        b"graceful" => true,
        _ => return refuse(Refusal::Client("invalid shutdown mode")),
    };
    whole(Request::Shutdown { graceful }, Text::default())
}

/// `watch [topic]*`
pub(super) fn watch(mut line: Line<'_>) -> Parsed<'_> {
    let topics = line.words.rest();
    let text = Text::reply_unless(line.words.end_in_noreply());
    if !line.words.all(|topic| TOPICS.contains(&topic)) {
        return refuse_arguments(Refusal::Unknown, text);
    }
    whole(Request::Watch { topics }, text)
}
