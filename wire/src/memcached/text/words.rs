//! The words and numbers of a command line.

/// The words of a line: what lies between blanks.
#[derive(Debug, Clone, Copy)]
pub(in crate::memcached) struct Words<'a>(pub &'a [u8]);

impl<'a> Words<'a> {
    /// The next `N` words, when there are so many.
    pub fn leading<const N: usize>(&mut self) -> Option<[&'a [u8]; N]> {
        let mut words = [&[][..]; N];
        for word in &mut words {
            *word = self.next()?;
        }
        Some(words)
    }

    /// The first word. Commands are short: looking at each byte is quicker than a search.
    #[inline]
    pub fn command(&mut self) -> Option<&'a [u8]> {
        let rest = trim_start(self.0);
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        self.split(rest, end)
    }

    #[inline]
    fn split(&mut self, rest: &'a [u8], end: usize) -> Option<&'a [u8]> {
        let (word, behind) = rest.split_at_checked(end)?;
        self.0 = behind;
        (!word.is_empty()).then_some(word)
    }

    /// What is left of the line, without the blanks around it.
    pub fn rest(&self) -> &'a [u8] {
        let mut rest = trim_start(self.0);
        while let Some((b' ', before)) = rest.split_last() {
            rest = before;
        }
        rest
    }

    /// Whether the last word that is left is `noreply`.
    pub fn end_in_noreply(&self) -> bool {
        let rest = self.rest();
        rest.strip_suffix(b"noreply")
            .is_some_and(|before| matches!(before.last(), None | Some(b' ')))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = trim_start(self.0);
        let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
        self.split(rest, end)
    }
}

/// `line` without its leading blanks.
#[inline]
pub(in crate::memcached) fn trim_start(mut line: &[u8]) -> &[u8] {
    while let Some((b' ', behind)) = line.split_first() {
        line = behind;
    }
    line
}

/// An unsigned number of up to 64 bits, as `strtoull` reads it; negative ones are refused.
pub(in crate::memcached) fn unsigned(word: &[u8]) -> Option<u64> {
    let digits = word.strip_prefix(b"+").unwrap_or(word);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The client's 32 bits. memcached reads 64 and keeps the lower half.
pub(in crate::memcached) fn client_flags(word: &[u8]) -> Option<u32> {
    u32::try_from(unsigned(word)? & u64::from(u32::MAX)).ok()
}

/// A signed number of up to 64 bits, as `strtoll` reads it.
pub(in crate::memcached) fn signed(word: &[u8]) -> Option<i64> {
    match word.strip_prefix(b"-") {
        Some([b'+', ..]) => None,
        Some(digits) => 0i64.checked_sub_unsigned(unsigned(digits)?),
        None => i64::try_from(unsigned(word)?).ok(),
    }
}

/// An expiry time. memcached reads 64 bits and keeps the lower 32, sign and all: 4294967295 is
/// -1.
pub(in crate::memcached) fn exptime(word: &[u8]) -> Option<i64> {
    Some((signed(word)? << 32) >> 32)
}

/// The length of a data block: 0 to 2^31 - 3.
pub(in crate::memcached) fn length(word: &[u8]) -> Option<usize> {
    let length = usize::try_from(unsigned(word)?).ok()?;
    (length <= i32::MAX as usize - 2).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lie_between_blanks() {
        let words: Vec<&[u8]> = Words(b"  get  a b\tc ").collect();
        assert_eq!(words, [&b"get"[..], b"a", b"b\tc"]);
        assert_eq!(Words(b"  ").next(), None);
        assert_eq!(Words(b" a  b ").rest(), b"a  b");
        assert_eq!(Words(b"a b").leading::<3>(), None);
        assert_eq!(Words(b"a b c").leading::<2>(), Some([&b"a"[..], b"b"]));
    }

    #[test]
    fn noreply_is_a_whole_last_word() {
        for (line, expect) in [
            (&b"noreply"[..], true),
            (b" 0 noreply  ", true),
            (b"noreply 0", false),
            (b"xnoreply", false),
            (b"", false),
        ] {
            assert_eq!(Words(line).end_in_noreply(), expect, "{line:?}");
        }
    }

    #[test]
    fn numbers_are_read_as_memcached_reads_them() {
        for (word, expect) in [
            ("0", Some(0)),
            ("+7", Some(7)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("9999999999999999999999999", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("+", None),
            ("1x", None),
        ] {
            assert_eq!(unsigned(word.as_bytes()), expect, "{word}");
        }
        for (word, expect) in [
            ("-1", Some(-1)),
            ("4294967295", Some(-1)),
            ("2147483647", Some(2_147_483_647)),
            ("-9223372036854775808", Some(0)),
            ("9223372036854775808", None),
            ("--1", None),
            ("-+1", None),
            ("x", None),
        ] {
            assert_eq!(exptime(word.as_bytes()), expect, "{word}");
        }
        assert_eq!(client_flags(b"4294967296"), Some(0));
        assert_eq!(length(b"2147483645"), Some(2_147_483_645));
        assert_eq!(length(b"2147483646"), None);
        assert_eq!(length(b"-1"), None);
    }
}
