//! Whether two answers are the same.

use std::collections::BTreeMap;

use super::escape::escape;
use super::token::{Token, tokens};

/// Which cas unique of the left server is which of the right one. memcached has one counter for all
/// items; here an item's only have to differ from each other.
#[derive(Debug, Clone, Default)]
pub struct Pairs {
    seen: BTreeMap<Vec<u8>, Vec<(u64, u64)>>,
    to_right: BTreeMap<u64, u64>,
    to_left: BTreeMap<(Vec<u8>, u64), u64>,
}

impl Pairs {
    /// The cas uniques of a key in the order they were seen, left and right.
    pub fn seen(&self, key: &[u8]) -> &[(u64, u64)] {
        self.seen.get(key).map_or(&[], Vec::as_slice)
    }

    /// Remembers a pair; false when one of the two already has another partner.
    fn agree(&mut self, left: u64, right: u64, key: &[u8]) -> bool {
        if left == 0 || right == 0 {
            return left == right;
        }
        if !self.to_right.contains_key(&left) {
            self.seen.entry(key.to_vec()).or_default().push((left, right));
        }
        *self.to_right.entry(left).or_insert(right) == right
            && *self.to_left.entry((key.to_vec(), right)).or_insert(left) == left
    }
}

/// Seconds: one that ticks between the two turns, and one that memcached's clock, which ticks once
/// a second, is late.
const CLOCKS_APART_MAX: u64 = 2;

/// How 1.6.18 answers an empty line, and how newer versions do.
const EMPTY_LINE: [&[u8]; 2] = [b"ERROR\r\n", b"CLIENT_ERROR bad command line format\r\n"];

/// Whether two answers to a spoiled command are as good as the same: which of two mistakes in a line
/// is told does not matter.
fn is_alike(left: &[u8], right: &[u8]) -> bool {
    let client_error = |line: &[u8]| line.starts_with(b"CLIENT_ERROR ");
    left == right || [left, right] == EMPTY_LINE || client_error(left) && client_error(right)
}

/// Compares two answers to a command about `key`; the error says where they part. Where commands
/// are `spoiled`, data may be taken for commands, and lines have several mistakes.
pub fn compare(
    left: &[u8],
    right: &[u8],
    key: &[u8],
    spoiled: bool,
    pairs: &mut Pairs,
) -> Result<(), String> {
    let (left, right) = (tokens(left), tokens(right));
    for (left, right) in left.iter().zip(&right) {
        let same = match (left, right) {
            (Token::Cas(left, of), Token::Cas(right, _)) => {
                pairs.agree(*left, *right, of.as_deref().unwrap_or(key))
            }
            (Token::Seconds(left), Token::Seconds(right)) => {
                left.abs_diff(*right) <= CLOCKS_APART_MAX
            }
            (Token::Bytes(left), Token::Bytes(right)) if spoiled => is_alike(left, right),
            _ => left == right,
        };
        if !same {
            return Err(format!("{} here, {} there", shown(left), shown(right)));
        }
    }
    match left.len().cmp(&right.len()) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(format!("{} more there", shown(&right[left.len()]))),
        std::cmp::Ordering::Greater => Err(format!("{} more here", shown(&left[right.len()]))),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Bytes(bytes) => escape(bytes),
        token => format!("{token:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cas_uniques_need_the_same_partner_each_time() {
        let mut pairs = Pairs::default();
        let mut same = |left: &str, right: &str| {
            compare(left.as_bytes(), right.as_bytes(), b"a", false, &mut pairs).is_ok()
        };
        assert!(same("HD c1\r\n", "HD c10\r\n"));
        assert!(same("HD c2\r\n", "HD c11\r\n"));
        assert!(same("HD c1\r\n", "HD c10\r\n"));
        assert!(!same("HD c1\r\n", "HD c11\r\n"), "a change that the left one did not make");
        assert!(!same("HD c3\r\n", "HD c10\r\n"), "a change that the right one did not make");
        assert!(!same("HD c4\r\n", "HD c0\r\n"), "0 says that there is none");
        assert!(same("VALUE b 0 0 5\r\n\r\n", "VALUE b 0 0 10\r\n\r\n"), "of another key");
        assert_eq!(pairs.seen(b"b"), [(5, 10)]);
        assert_eq!(pairs.seen(b"a")[..2], [(1, 10), (2, 11)]);
    }

    #[test]
    fn seconds_may_tick() {
        let mut pairs = Pairs::default();
        let mut same = |left: &str, right: &str| {
            compare(left.as_bytes(), right.as_bytes(), b"a", false, &mut pairs).is_ok()
        };
        assert!(same("HD t9\r\n", "HD t10\r\n"));
        assert!(!same("HD t9\r\n", "HD t12\r\n"));
        assert!(!same("HD t0\r\n", "HD t-1\r\n"));
    }

    #[test]
    fn nothing_may_be_missing() {
        let mut pairs = Pairs::default();
        assert!(compare(b"END\r\n", b"", b"a", false, &mut pairs).is_err());
        assert!(compare(b"END\r\n", b"END\r\nEND\r\n", b"a", false, &mut pairs).is_err());
    }
}
