//! Counters that are kept as decimal text, as caches have always kept them.

use std::borrow::Cow;

/// Reads a value as a number: blanks in front, then digits, then a blank, a NUL or the end. `None`
/// when it is no number below 2^64.
///
/// This is C's `strtoull` with the checks that memcached makes around it: a minus sign is refused
/// unless the result is not negative.
pub(crate) fn parse(value: &[u8]) -> Option<u64> {
    let blanks = value.iter().take_while(|byte| is_blank(**byte)).count();
    let text = value.get(blanks..)?;
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at_checked(len)?;
    if rest.first().is_some_and(|byte| !is_blank(*byte) && *byte != 0) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
    let number = if negative { number.wrapping_neg() } else { number };
    (!negative || number <= u64::MAX / 2).then_some(number)
}

/// C's `isspace`, which knows the vertical tab too.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// A number's digits, in a buffer of its own.
pub(crate) struct Digits {
    bytes: [u8; 20],
    from: usize,
}

impl Digits {
    pub fn of(mut number: u64) -> Digits {
        let mut bytes = [b'0'; 20];
        let mut from = bytes.len();
        for digit in bytes.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
            from -= 1;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        Digits { bytes, from }
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }
}

/// Blanks that a shorter number is padded with, so that the value keeps its length. Only a value
/// that begins with a number and goes on with blanks needs more than a few.
pub(crate) fn padding(old_len: usize, digits: usize) -> Cow<'static, [u8]> {
    const BLANKS: [u8; 64] = [b' '; 64];
    let len = old_len.saturating_sub(digits);
    BLANKS.get(..len).map_or_else(|| vec![b' '; len].into(), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_clients_write_them() {
        for (text, number) in [
            ("0", Some(0)),
            ("10", Some(10)),
            (" 1", Some(1)),
            ("1 ", Some(1)),
            ("99 ", Some(99)),
            ("+5", Some(5)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("184467440737095516150", None),
            ("", None),
            ("a", None),
            ("1a", None),
            ("-1", None),
            ("-0", Some(0)),
            (" ", None),
            ("\r\nget a", None),
            ("+", None),
            ("- 5", None),
            ("\u{b}5\u{b}", Some(5)),
            ("5\n7", Some(5)),
            ("5\0x", Some(5)),
            ("5\u{80}", None),
            ("000018446744073709551615", Some(u64::MAX)),
        ] {
            assert_eq!(parse(text.as_bytes()), number, "{text:?}");
        }
    }

    #[test]
    fn digits_and_padding() {
        for number in [0, 7, 10, 99, 100, u64::MAX] {
            assert_eq!(Digits::of(number).as_bytes(), number.to_string().as_bytes());
        }
        for (old_len, digits, blanks) in [(3, 2, 1), (2, 2, 0), (1, 2, 0), (65, 1, 64), (99, 1, 98)]
        {
            assert_eq!(*padding(old_len, digits), vec![b' '; blanks], "{old_len} {digits}");
        }
    }
}
