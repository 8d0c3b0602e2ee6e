//! Whether two answers are the same.

use std::collections::BTreeMap;

use super::escape::escape;
use super::token::{Token, tokens};

/// Which cas unique of the left server is which of the right one, in the order they were seen.
#[derive(Debug, Clone, Default)]
pub struct Pairs {
    left: Vec<u64>,
    right: Vec<u64>,
    to_right: BTreeMap<u64, u64>,
    to_left: BTreeMap<u64, u64>,
}

impl Pairs {
    /// The cas uniques of the left server.
    pub fn left(&self) -> &[u64] {
        &self.left
    }

    /// Those of the right one, at the same places.
    pub fn right(&self) -> &[u64] {
        &self.right
    }

    /// Remembers a pair; false when one of the two already has another partner.
    fn agree(&mut self, left: u64, right: u64) -> bool {
        match (self.to_right.get(&left), self.to_left.get(&right)) {
            (None, None) if (left == 0) == (right == 0) => {
                self.to_right.insert(left, right);
                self.to_left.insert(right, left);
                if left != 0 {
                    self.left.push(left);
                    self.right.push(right);
                }
                true
            }
            (partner, _) => partner == Some(&right),
        }
    }
}

/// Compares two answers; the error says where they part.
pub fn compare(left: &[u8], right: &[u8], pairs: &mut Pairs) -> Result<(), String> {
    let (left, right) = (tokens(left), tokens(right));
    for (left, right) in left.iter().zip(&right) {
        let same = match (left, right) {
            (Token::Cas(left), Token::Cas(right)) => pairs.agree(*left, *right),
            (Token::Seconds(left), Token::Seconds(right)) => left.abs_diff(*right) <= 1,
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
            compare(left.as_bytes(), right.as_bytes(), &mut pairs).is_ok()
        };
        assert!(same("HD c1\r\n", "HD c10\r\n"));
        assert!(same("HD c2\r\n", "HD c11\r\n"));
        assert!(same("HD c1\r\n", "HD c10\r\n"));
        assert!(!same("HD c1\r\n", "HD c11\r\n"), "a change that the left one did not make");
        assert!(!same("HD c3\r\n", "HD c10\r\n"), "a change that the right one did not make");
        assert!(!same("HD c4\r\n", "HD c0\r\n"), "0 says that there is none");
        assert_eq!((pairs.left(), pairs.right()), (&[1, 2][..], &[10, 11][..]));
    }

    #[test]
    fn seconds_may_tick() {
        let mut pairs = Pairs::default();
        let mut same = |left: &str, right: &str| {
            compare(left.as_bytes(), right.as_bytes(), &mut pairs).is_ok()
        };
        assert!(same("HD t9\r\n", "HD t10\r\n"));
        assert!(!same("HD t9\r\n", "HD t11\r\n"));
        assert!(!same("HD t0\r\n", "HD t-1\r\n"));
    }

    #[test]
    fn nothing_may_be_missing() {
        let mut pairs = Pairs::default();
        assert!(compare(b"END\r\n", b"", &mut pairs).is_err());
        assert!(compare(b"END\r\n", b"END\r\nEND\r\n", &mut pairs).is_err());
    }
}
