//! Globs over keys, in bounded time: `*` any bytes, `?` one byte, `[a-z]` and `[^a-z]` one byte of
//! a set, `\` takes the next byte as it is.
//!
//! The matcher goes back to the last star only, so it takes at most |key| x |glob| steps and no
//! stack (R. Cox, "Glob Matching Can Be Simple And Fast Too", 2017).

use thiserror::Error;

/// Longest glob in bytes.
pub const GLOB_LEN_MAX: usize = 256;
/// Stars in a glob at the most.
pub const GLOB_STARS_MAX: usize = 16;

/// A glob that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<[Token]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Any,
    Star,
    /// Whether each byte is in the set.
    Set(Box<[bool; 256]>),
}

/// Why a glob was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GlobError {
    /// It is too long.
    #[error("a glob of {0} bytes: at most {GLOB_LEN_MAX}")]
    Length(usize),
    /// It has too many stars.
    #[error("a glob of {0} stars: at most {GLOB_STARS_MAX}")]
    Stars(usize),
    /// A `[` without `]`, an empty set, a range from high to low, or a `\` at the end.
    #[error("the glob is malformed at byte {0}")]
    Malformed(usize),
}

impl Glob {
    /// Understands a glob.
    ///
    /// # Errors
    /// [`GlobError`] says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Glob, GlobError> {
        if text.len() > GLOB_LEN_MAX {
            return Err(GlobError::Length(text.len()));
        }
        let (mut tokens, mut at) = (Vec::new(), 0);
        while let Some(byte) = text.get(at) {
            let (token, next) = match byte {
                b'*' => (Token::Star, at + 1),
                b'?' => (Token::Any, at + 1),
                b'[' => set(text, at)?,
                b'\\' => {
                    let escaped = text.get(at + 1).ok_or(GlobError::Malformed(at))?;
                    (Token::Byte(*escaped), at + 2)
                }
                byte => (Token::Byte(*byte), at + 1),
            };
            if token != Token::Star || tokens.last() != Some(&Token::Star) {
                tokens.push(token);
            }
            at = next;
        }
        let stars = tokens.iter().filter(|token| **token == Token::Star).count();
        if stars > GLOB_STARS_MAX {
            return Err(GlobError::Stars(stars));
        }
        Ok(Glob(tokens.into()))
    }

    /// Whether a key matches as a whole.
    #[must_use]
    pub fn matches(&self, key: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        // After the last star: the token behind it, and where in the key that was tried last.
        let mut back: Option<(usize, usize)> = None;
        loop {
            match (self.0.get(token), key.get(at)) {
                (None, None) => return true,
                (Some(Token::Star), _) => {
                    token += 1;
                    back = Some((token, at));
                    continue;
                }
                (Some(one), Some(byte)) if one.takes(*byte) => {
                    (token, at) = (token + 1, at + 1);
                    continue;
                }
                _ => {}
            }
            match &mut back {
                Some((behind, tried)) if *tried < key.len() => {
                    *tried += 1;
                    (token, at) = (*behind, *tried);
                }
                _ => return false,
            }
        }
    }
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Token::Byte(own) => *own == byte,
            Token::Any => true,
            Token::Star => false,
            Token::Set(set) => set.get(usize::from(byte)).copied().unwrap_or(false),
        }
    }
}

/// The set that begins at a `[`, and where the glob goes on.
fn set(text: &[u8], from: usize) -> Result<(Token, usize), GlobError> {
    let malformed = GlobError::Malformed(from);
    let not = text.get(from + 1) == Some(&b'^');
    let (mut at, mut set) = (from + 1 + usize::from(not), Box::new([false; 256]));
    let first = at;
    loop {
        let low = *text.get(at).ok_or(malformed)?;
        if low == b']' {
            break;
        }
        let (low, next) = one(text, at).ok_or(malformed)?;
        let range = text.get(next) == Some(&b'-') && text.get(next + 1) != Some(&b']');
        let (high, next) = if range { one(text, next + 1).ok_or(malformed)? } else { (low, next) };
        let bytes = set.get_mut(usize::from(low)..=usize::from(high)).ok_or(malformed)?;
        bytes.fill(true);
        at = next;
    }
    if at == first {
        return Err(malformed);
    }
    set.iter_mut().for_each(|member| *member ^= not);
    Ok((Token::Set(set), at + 1))
}

/// A byte of a set, escaped or not, and what comes after it.
fn one(text: &[u8], at: usize) -> Option<(u8, usize)> {
    match text.get(at)? {
        b'\\' => Some((*text.get(at + 1)?, at + 2)),
        byte => Some((*byte, at + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_globs_match() {
        for (glob, yes, no) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "a", "abc"], &[]),
            ("a*", &["a", "ab"], &["", "ba"]),
            ("*a", &["a", "ba", "aba"], &["", "ab"]),
            ("a*b*c", &["abc", "axbxbc", "abcc"], &["ac", "abx"]),
            ("h?llo", &["hello", "hallo"], &["hllo", "heello"]),
            ("[a-c]1", &["a1", "c1"], &["d1", "1"]),
            ("[^a-c]", &["d", "-"], &["a", "b", "c", ""]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[\\]x]", &["]", "x"], &["\\"]),
            ("\\*", &["*"], &["a", "\\*"]),
            ("user:*:name", &["user:1:name", "user::name"], &["user:1:names"]),
        ] {
            let parsed = Glob::parse(glob.as_bytes()).unwrap();
            yes.iter().for_each(|key| assert!(parsed.matches(key.as_bytes()), "{glob} {key}"));
            no.iter().for_each(|key| assert!(!parsed.matches(key.as_bytes()), "{glob} {key}"));
        }
    }

    #[test]
    fn what_is_refused() {
        let stars = "*a".repeat(GLOB_STARS_MAX + 1);
        for (glob, error) in [
            ("a".repeat(257), GlobError::Length(257)),
            (stars, GlobError::Stars(GLOB_STARS_MAX + 1)),
            ("ab[".into(), GlobError::Malformed(2)),
            ("[]".into(), GlobError::Malformed(0)),
            ("[z-a]".into(), GlobError::Malformed(0)),
            ("a\\".into(), GlobError::Malformed(1)),
        ] {
            assert_eq!(Glob::parse(glob.as_bytes()), Err(error), "{glob}");
        }
    }

    /// As the definition says, in exponential time.
    fn naive(glob: &[u8], key: &[u8]) -> bool {
        match (glob.split_first(), key.split_first()) {
            (None, _) => key.is_empty(),
            (Some((b'*', rest)), Some((_, shorter))) => naive(rest, key) || naive(glob, shorter),
            (Some((b'*', rest)), None) => naive(rest, key),
            (Some((b'?', rest)), Some((_, shorter))) => naive(rest, shorter),
            (Some((one, rest)), Some((byte, shorter))) => one == byte && naive(rest, shorter),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn globs_match_as_defined(glob in "[ab*?]{0,9}", key in "[ab]{0,10}") {
            let parsed = Glob::parse(glob.as_bytes()).unwrap();
            prop_assert_eq!(parsed.matches(key.as_bytes()), naive(glob.as_bytes(), key.as_bytes()));
        }
    }
}
