//! Whether an item is small enough.

use crate::Limits;

/// What memcached's item header, with the cas, takes up.
const HEADER_LEN: usize = 56;

/// What it keeps client flags other than 0 in.
const FLAGS_LEN: usize = 4;

/// Whether an item fits under memcached's `-I`, counted as memcached counts: header, key and its
/// terminator, flags, value and its line end.
pub(super) fn fits(key_len: usize, flags: u32, value_len: usize, limits: &Limits) -> bool {
    value_len_max(key_len, flags, limits).is_some_and(|max| value_len <= max)
}

/// The length in bytes of the longest value that such an item may have; `None` when the key alone
/// is too much.
pub fn value_len_max(key_len: usize, flags: u32, limits: &Limits) -> Option<usize> {
    let flags_len = if flags == 0 { 0 } else { FLAGS_LEN };
    limits.item_size_max.checked_sub(HEADER_LEN + key_len + 1 + flags_len + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_item_is_that_of_memcached() {
        let fits = |flags, len| fits(1, flags, len, &Limits::default());
        assert!(fits(0, 1_048_516) && !fits(0, 1_048_517));
        assert!(fits(1, 1_048_512) && !fits(1, 1_048_513));
        assert!(!fits(0, usize::MAX));
    }
}
