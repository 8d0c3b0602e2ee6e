//! Commands that are not compared with memcached 1.6.18, each with the reason. Keep it short.

use std::ops::RangeInclusive;

const STORES: [&str; 6] = ["set", "add", "replace", "append", "prepend", "cas"];

/// Flags with which an item expires at once.
const EXPIRED_AT_ONCE: [&str; 4] = ["T-1", "T2592001", "N-1", "N2592001"];

/// Whether 1.6.18 takes a number of 2^63 and more for none: it looks for a minus sign, and does
/// not stop at the end of the value but goes on in the memory behind it, up to the next zero byte.
/// That is told by what isogrid answers, which a step of `delta` led to; it is not known to those
/// that asked for no answer or for no value.
pub fn minus_behind_number(command: &[u8], left: &[u8], right: &[u8]) -> bool {
    let not_a_number: &[u8] = b"Non-numeric server-side value for incr or decr";
    let refused = left.starts_with(b"CLIENT_ERROR cannot increment or decrement")
        || left.get(24..) == Some(not_a_number);
    refused && number_before(command, right).is_none_or(|before| before >= 1 << 63)
}

/// The number that was counted from, as far as the answer tells it.
fn number_before(command: &[u8], answer: &[u8]) -> Option<u64> {
    let word = |bytes: &[u8], at: usize| -> Option<u64> {
        Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    };
    if let [0x80, opcode, ..] = command {
        let (after, delta) = (word(answer, 24)?, word(command, 24)?);
        let up = matches!(opcode, 0x05 | 0x15);
        return Some(if up { after.wrapping_sub(delta) } else { after.saturating_add(delta) });
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (line, answer) = (text(command), text(answer));
    let words: Vec<&str> = line.split_whitespace().collect();
    let flag = |letter| words.iter().skip(2).find_map(|word| word.strip_prefix(letter));
    let (delta, up) = match words[..] {
        ["incr", _, delta, ..] => (delta.parse().ok()?, true),
        ["decr", _, delta, ..] => (delta.parse().ok()?, false),
        ["ma", ..] => {
            let up = flag('M').is_none_or(|mode| mode.starts_with(['I', 'i', '+']));
            (flag('D').map_or(Some(1), |delta| delta.parse().ok())?, up)
        }
        _ => return None,
    };
    let after: u64 = answer.split_whitespace().last()?.parse().ok()?;
    Some(if up { after.wrapping_sub(delta) } else { after.saturating_add(delta) })
}

/// Why a line or a packet is left out; None when it is compared.
pub fn skipped(command: &[u8]) -> Option<&'static str> {
    if let [0x80, _, _, _, _, ..] = command { packet(command) } else { text(command) }
}

fn packet(command: &[u8]) -> Option<&'static str> {
    let [_, opcode, key_high, key_low, extras, ..] = command else { return None };
    let body = u32::from_be_bytes(command.get(8..12)?.try_into().ok()?);
    let said = (u32::from(*key_high) << 8) + u32::from(*key_low) + u32::from(*extras);
    if *opcode > 0x24 && body > 0 {
        return Some("1.6.18 loses its step behind an unknown packet with a body");
    }
    if matches!(opcode, 0x08 | 0x18) && command.len() != 24 + body as usize + b"mg ~ k O0\r\n".len()
    {
        return Some("1.6.18 does nothing when the time of a flush is long ago");
    }
    (matches!(opcode, 0x10 | 0x1c..=0x1e | 0x23 | 0x24) && body != said)
        .then_some("1.6.18 takes the value of a touch or a stat for the next request")
}

/// The first arm that fits gives the reason.
fn text(command: &[u8]) -> Option<&'static str> {
    let line = command.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split([' ', '\r']).filter(|word| !word.is_empty()).collect();
    let has = |letters: &[char]| words.iter().skip(2).any(|word| word.starts_with(letters));
    match words.first().copied().unwrap_or_default() {
        word if !arity(word).contains(&words.len()) => {
            Some("newer versions answer lines with too few or too many arguments otherwise")
        }
        _ if line.strip_suffix('\r').unwrap_or(&line).contains(['\r', '\0']) => {
            Some("a carriage return within a line ends a number in 1.6.18")
        }
        "mg" | "ma" if has(&['t']) && words.iter().any(|word| EXPIRED_AT_ONCE.contains(word)) => {
            Some("1.6.18 shows the seconds of what has just expired modulo 2^32")
        }
        "ma" if has(&['q']) && has(&['N']) => Some("1.6.18 forgets q of a counter that it creates"),
        "get" | "gets" | "gat" | "gats" if words.iter().any(|word| word.len() > 250) => {
            Some("1.6.18 touches the keys before one that is too long, and may drop their answers")
        }
        "mg" if words.iter().any(|word| word.len() > 250) => {
            Some("1.6.18 creates the item of N though the opaque is too long")
        }
        "ma" if has(&['T']) && !words.iter().any(|word| matches!(*word, "MD" | "Md" | "M-")) => {
            Some("1.6.18 forgets T of a counter that outgrows its text, which only goes upwards")
        }
        "flush_all"
            if words
                .get(1)
                .is_some_and(|delay| delay.trim_start_matches('0').parse::<u64>().is_ok()) =>
        {
            Some("a delayed flush takes place in another round")
        }
        "incr" | "decr" | "verbosity" | "cache_memlimit" | "slabs" | "lru_crawler"
            if words.iter().any(|number| number.starts_with("-0")) =>
        {
            Some("1.6.18 takes -0 for a number")
        }
        "stats" if words.len() == 1 => Some("figures of another process"),
        "mg" | "ms" | "md" | "ma" if has(&['E', 'x']) => Some("newer versions know E and x"),
        "mg" | "ms" | "md" | "ma" | "me" if has(&['b']) && words.get(1).is_some_and(is_odd) => {
            Some("1.6.18 passes over bytes of a base64 key that are not base64")
        }
        "mg" | "ms" | "md" | "ma" if mistakes(&words) > 1 => {
            Some("which of two mistakes is told first does not matter")
        }
        "mg" if has(&['C']) => Some("newer versions know C of mg"),
        "ms" if has(&['s', 'N']) => Some("newer versions know s and N of ms"),
        word if STORES.contains(&word) && words.get(4).is_some_and(|len| is_odd_len(len)) => {
            Some("1.6.18 takes lengths modulo 2^32")
        }
        word if is_refused(word, &words) => {
            Some("the data of a refused line is never taken for commands here")
        }
        _ => None,
    }
}

/// How many words a line must have, the command among them.
fn arity(word: &str) -> RangeInclusive<usize> {
    match word {
        "cas" => 6..=7,
        "set" | "add" | "replace" | "append" | "prepend" => 5..=6,
        "incr" | "decr" | "touch" => 3..=4,
        "delete" => 2..=3,
        "slabs" => 3..=3,
        "gat" | "gats" | "ms" => 3..=20,
        "get" | "gets" | "mg" | "md" | "ma" | "me" => 2..=20,
        _ => 0..=20,
    }
}

/// Flags that are wrong or there twice.
fn mistakes(words: &[&str]) -> usize {
    const WRONG: [&str; 12] =
        ["Fx", "Tx", "Cx", "Dx", "M", "MX", "Madd", "Mincr", "Z", "T", "?", "S"];
    let flags = words.get(2..).unwrap_or_default();
    let twice = |(at, flag): &(usize, &&str)| {
        flags.iter().take(*at).any(|before| before.get(..1) == flag.get(..1))
    };
    let key_len = words.get(1).map_or(0, |key| key.len());
    let bad_base64 = flags.contains(&"b") && !key_len.is_multiple_of(4);
    usize::from(bad_base64)
        + flags.iter().filter(|flag| WRONG.contains(flag)).count()
        + flags.iter().enumerate().filter(twice).count()
}

/// Base64 with something else in it.
fn is_odd(key: &&str) -> bool {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    let stray = key.trim_end_matches('=').contains('=') || !key.chars().all(of_base64);
    key.contains(of_base64) && stray
}

/// A length that the newer versions refuse otherwise.
fn is_odd_len(len: &str) -> bool {
    len.starts_with("-0") || len.parse::<i64>().is_ok_and(|len| i32::try_from(len).is_err())
}

/// Whether a storage line is wrong in anything but the length of its data.
fn is_refused(word: &str, words: &[&str]) -> bool {
    match words {
        [_, key, len, ..] if word == "ms" => key.len() > 250 && len.parse::<i32>().is_ok(),
        [_, key, flags, exptime, len, more @ ..] if STORES.contains(&word) => {
            let cas = more.first().is_some_and(|cas| cas.parse::<u64>().is_ok());
            let right = key.len() <= 250
                && flags.parse::<u32>().is_ok()
                && exptime.parse::<i32>().is_ok()
                && (word != "cas" || cas);
            len.parse::<i32>().is_ok() && !right
        }
        _ => false,
    }
}
