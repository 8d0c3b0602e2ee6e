//! Random commands of the classic text protocol.

use super::command::Command;
use super::random::Random;

/// Few keys, so that commands meet.
pub const KEYS: [&str; 4] = ["a", "b", "n", "k\u{e9}"];
/// Never, long, in the past, longer than 30 days and so in 1970, in 2033.
pub const EXPTIMES: [&str; 6] = ["0", "0", "2000", "-1", "2592001", "2000000000"];
const FLAGS: [&str; 4] = ["0", "7", "65536", "4294967295"];
const DELTAS: [&str; 5] = ["1", "9", "100", "18446744073709551615", "0"];

pub fn command(random: &mut Random) -> Command {
    let key = random.pick(&KEYS);
    match random.below(20) {
        0..=6 => store(random, key),
        7..=9 => get(random),
        10 | 11 => gat(random),
        12 => plain(random, &format!("delete {key}")),
        13 | 14 => count(random, key),
        15 => {
            let exptime = random.pick(&EXPTIMES);
            plain(random, &format!("touch {key} {exptime}"))
        }
        16 => cas(random, key),
        17 => flush(random),
        _ => other(random),
    }
}

/// A value: a number as often as not, else bytes that look like line ends and commands.
pub fn value(random: &mut Random) -> Vec<u8> {
    match random.below(9) {
        0 => b"0".to_vec(),
        1 => b"10".to_vec(),
        2 => random.below(2_000).to_string().into_bytes(),
        3 => b"18446744073709551615".to_vec(),
        4 => Vec::new(),
        5 => b"5 ".to_vec(),
        6 => b"\r\nget a\r\n\x00\x80".to_vec(),
        7 => vec![b'x'; random.below(6_000)],
        _ => b"text".to_vec(),
    }
}

fn noreply(random: &mut Random) -> &'static str {
    if random.once_in(5) { " noreply" } else { "" }
}

fn plain(random: &mut Random, line: &str) -> Command {
    let noreply = noreply(random);
    Command::new(format!("{line}{noreply}\r\n"))
}

fn with_data(line: &str, value: &[u8]) -> Command {
    Command::new([line.as_bytes(), b"\r\n", value, b"\r\n"].concat())
}

fn store(random: &mut Random, key: &str) -> Command {
    let word = random.pick(&["set", "set", "set", "add", "replace", "append", "prepend"]);
    let (flags, exptime, value) = (random.pick(&FLAGS), random.pick(&EXPTIMES), value(random));
    let noreply = noreply(random);
    with_data(&format!("{word} {key} {flags} {exptime} {}{noreply}", value.len()), &value)
}

fn cas(random: &mut Random, key: &str) -> Command {
    let (flags, exptime, value) = (random.pick(&FLAGS), random.pick(&EXPTIMES), value(random));
    let noreply = noreply(random);
    let line = format!("cas {key} {flags} {exptime} {} {{cas}}{noreply}", value.len());
    with_data(&line, &value).with_decimal_cas(random.below(4))
}

fn some_keys(random: &mut Random) -> String {
    let keys: Vec<&str> = (0..=random.below(4)).map(|_| random.pick(&KEYS)).collect();
    keys.join(" ")
}

fn get(random: &mut Random) -> Command {
    let word = random.pick(&["get", "gets"]);
    Command::new(format!("{word} {}\r\n", some_keys(random)))
}

fn gat(random: &mut Random) -> Command {
    let (word, exptime) = (random.pick(&["gat", "gats"]), random.pick(&EXPTIMES));
    Command::new(format!("{word} {exptime} {}\r\n", some_keys(random)))
}

fn count(random: &mut Random, key: &str) -> Command {
    let (word, delta) = (random.pick(&["incr", "decr"]), random.pick(&DELTAS));
    plain(random, &format!("{word} {key} {delta}"))
}

/// A delayed flush takes place at the next second of a server's own clock, so none is here.
fn flush(random: &mut Random) -> Command {
    let word = random.pick(&["flush_all", "flush_all 0", "flush_all x"]);
    plain(random, word)
}

fn other(random: &mut Random) -> Command {
    let line = random.pick(&[
        "version",
        "version  ",
        "  version",
        "VERSION",
        "Get a",
        "foo",
        "verbosity",
        "verbosity 0",
        "verbosity x",
        "verbosity 0 noreply",
        "verbosity noreply",
        "stats reset",
        "stats nope",
        "stats detail",
        "config get cluster",
        "cache_memlimit x",
        "cache_memlimit 1",
        "gat 1",
        "gat x a",
        "touch a x",
        "incr a x",
        "decr n -1",
        "set a -1 0 1",
        "set a 0 0 -1",
        "set a 0 0 2147483647",
        "set a 0 x 1",
        "set a 0 0 noreply",
        "add a 0 0 noreply",
        "append a 0 0 noreply",
        "touch a noreply",
        "incr a noreply",
        "incr a x noreply",
        "slabs reassign noreply",
        "slabs automove noreply",
        "lru_crawler noreply",
        "lru_crawler sleep noreply",
        "watch nope",
        "watch noreply",
        "watch fetchers noreply",
        "delete a 0",
        "delete a 0 noreply",
        "get a\u{1}b",
        "slabs automove 1",
        "slabs automove x",
        "refresh_certs",
        "quit",
        "GET / HTTP/1.1",
        "get kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
    ]);
    let end = random.pick(&["\r\n", "\r\n", "\n"]);
    Command::new(format!("{line}{end}"))
}
