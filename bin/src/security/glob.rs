//! Patterns of names: `*` stands for any run of characters, everything else for itself.

use std::fmt::{self, Display, Formatter};

/// No pattern is longer.
const LEN_MAX: usize = 256;
/// No pattern has more stars.
const STARS_MAX: usize = 16;

/// A pattern. Matching is a loop without recursion, whose time is bounded by the lengths of
/// pattern and name multiplied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is empty, too long, or has too many stars.
    pub fn parse(text: &str) -> Result<Self, String> {
        let stars = text.matches('*').count();
        if text.is_empty() || text.len() > LEN_MAX || stars > STARS_MAX {
            return Err(format!(
                "`{text}` is no pattern of names: 1 to {LEN_MAX} bytes, at most {STARS_MAX} stars"
            ));
        }
        Ok(Glob(text.to_owned()))
    }

    /// Whether every name matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether `name` matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where to go on when a later part does not match: behind the last star, one byte on.
        let mut again = None;
        while n < name.len() {
            match (pattern.get(p), name.get(n)) {
                (Some(b'*'), _) => {
                    again = Some((p + 1, n));
                    p += 1;
                }
                (Some(want), Some(have)) if want == have => (p, n) = (p + 1, n + 1),
                _ => {
                    let Some((behind, from)) = again else { return false };
                    again = Some((behind, from + 1));
                    (p, n) = (behind, from + 1);
                }
            }
        }
        pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
    }
}

impl Display for Glob {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches() {
        for (pattern, name, matches) in [
            ("*", "", true),
            ("*", "orders", true),
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("orders*", "orders", true),
            ("orders*", "order", false),
            ("*.eu", "orders.eu", true),
            ("*.eu", "orders.eu.x", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-", false),
            ("*ab*ab*", "abab", true),
            ("*ab*ab*", "aba", false),
            ("?", "a", false),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(name), matches, "{pattern} {name}");
        }
    }

    /// The pattern that takes exponential time where matching calls itself.
    #[test]
    fn the_worst_pattern_ends() {
        let glob = Glob::parse(&format!("{}b", "*a".repeat(16))).unwrap();
        assert!(!glob.matches(&"a".repeat(100_000)));
    }

    #[test]
    fn bounds() {
        for (text, good) in [
            (String::new(), false),
            ("a".repeat(256), true),
            ("a".repeat(257), false),
            ("*".repeat(16), true),
            ("*".repeat(17), false),
        ] {
            assert_eq!(Glob::parse(&text).is_ok(), good, "{text}");
        }
    }
}
