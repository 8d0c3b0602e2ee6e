//! Sizes and durations as people write them: `512MiB`, `64k`, `10s`, `1h`.

use std::time::Duration;

/// Suffixes of a size, in the order in which one is looked for when writing. As in memcached,
/// `k`, `m` and `g` are powers of 1,024.
const SIZES: [(&str, u64); 5] =
    [("tib", 1 << 40), ("gib", 1 << 30), ("mib", 1 << 20), ("kib", 1 << 10), ("b", 1)];

/// Suffixes of a duration, in milliseconds.
const SPANS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Bytes: a whole number with an optional unit; `None` when it is not one.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = match unit.as_str() {
        "" => "b".to_owned(),
        short @ ("k" | "m" | "g" | "t") => format!("{short}ib"),
        decimal_looking @ ("kb" | "mb" | "gb" | "tb") => decimal_looking.replace('b', "ib"),
        other => other.to_owned(),
    };
    scale(number, &unit, &SIZES)
}

/// A duration: a whole number with a unit; `None` when it is not one. Only 0 needs no unit.
#[must_use]
pub fn parse_span(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    if number == 0 && unit.is_empty() {
        return Some(Duration::ZERO);
    }
    scale(number, &unit, &SPANS).map(Duration::from_millis)
}

/// The shortest exact spelling of `bytes`.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let (unit, factor) = largest(bytes, &SIZES);
    let unit = match unit {
        "tib" => "TiB",
        "gib" => "GiB",
        "mib" => "MiB",
        "kib" => "KiB",
        _ => "",
    };
    format!("{}{unit}", bytes / factor)
}

/// The shortest exact spelling of `span`, to the millisecond.
#[must_use]
pub fn show_span(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let (unit, factor) = largest(millis, &SPANS);
    format!("{}{unit}", millis / factor)
}

fn split(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.replace('_', "").parse().ok()?, unit.trim().to_ascii_lowercase()))
}

fn scale(number: u64, unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

fn largest(number: u64, units: &[(&'static str, u64)]) -> (&'static str, u64) {
    let fits = |(_, factor): &&(&str, u64)| number > 0 && number.is_multiple_of(*factor);
    units.iter().find(fits).copied().unwrap_or(("b", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("64k", Some(64 << 10)),
            ("64KiB", Some(64 << 10)),
            ("1 MB", Some(1 << 20)),
            ("512MiB", Some(512 << 20)),
            ("2g", Some(2 << 30)),
            ("1_000", Some(1_000)),
            ("1.5g", None),
            ("-1", None),
            ("", None),
            ("MiB", None),
            ("10s", None),
            ("99999999TiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn spans() {
        let millis = |n| Some(Duration::from_millis(n));
        for (text, span) in [
            ("0", millis(0)),
            ("500ms", millis(500)),
            ("10s", millis(10_000)),
            ("2m", millis(120_000)),
            ("1h", millis(3_600_000)),
            ("30 d", millis(2_592_000_000)),
            ("10", None),
            ("10x", None),
            ("s", None),
        ] {
            assert_eq!(parse_span(text), span, "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for bytes in [0, 1, 1_000, 1_024, 1_536, 1 << 20, 256 << 20, 3 << 30, u64::MAX] {
            assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }
        for millis in [0, 1, 999, 1_000, 61_000, 3_600_000, 86_400_000] {
            let span = Duration::from_millis(millis);
            assert_eq!(parse_span(&show_span(span)), Some(span));
        }
    }
}
