//! The login of a text connection, as memcached's `-Y` has it: a `set` of any key, whose block is
//! `user password`. Nothing else is understood before it.

use super::{LINE_END_LEN, Words, unsigned};
use crate::Limits;

/// A login, in text or binary, is not longer than this.
pub const LOGIN_LEN_MAX: usize = 2 << 10;

/// What a text connection says that has not logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login<'a> {
    /// Who it wants to be, and the password.
    Token {
        /// The user's name.
        user: &'a [u8],
        /// The password.
        password: &'a [u8],
    },
    /// Something else: `CLIENT_ERROR` and this.
    Refused(&'static str),
    /// Nothing whole yet: call again with at least so many bytes.
    Incomplete {
        /// Always more than there are.
        needed: usize,
    },
    /// Longer than any login: close without an answer.
    Close(&'static str),
}

impl<'a> Login<'a> {
    /// What `input` begins with, and how much of it that is.
    pub(in crate::memcached) fn parse(input: &'a [u8], limits: &Limits) -> (usize, Login<'a>) {
        let Some(end) = memchr::memchr(b'\n', input) else {
            return (0, half_line(input.len(), limits));
        };
        let (line, behind) = input.split_at_checked(end).unwrap_or_default();
        let line_len = end + 1;
        let Some(len) = block_len(line.strip_suffix(b"\r").unwrap_or(line)) else {
            return (line_len, Login::Refused("unauthenticated"));
        };
        if len > LOGIN_LEN_MAX as u64 {
            return (line_len, Login::Close("a login longer than any"));
        }
        let whole = line_len + usize::try_from(len).unwrap_or(LOGIN_LEN_MAX) + LINE_END_LEN;
        match behind.get(1..whole - end) {
            None => (0, Login::Incomplete { needed: whole }),
            Some(block) => (whole, token(block)),
        }
    }
}

fn half_line<'a>(len: usize, limits: &Limits) -> Login<'a> {
    if len > limits.line_len_max {
        Login::Close("line too long")
    } else {
        Login::Incomplete { needed: len + 1 }
    }
}

/// As memcached: key, flags and expiry may be anything.
fn block_len(line: &[u8]) -> Option<u64> {
    let [command, _, _, _, len] = Words(line).leading()?;
    unsigned(len).filter(|_| command == b"set")
}

fn token(block: &[u8]) -> Login<'_> {
    let Some(block) = block.strip_suffix(b"\r\n") else {
        return Login::Refused("bad command line termination");
    };
    match Words(block).leading() {
        Some([user, password]) => Login::Token { user, password },
        None => Login::Refused("bad authentication token format"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &[u8]) -> (usize, Login<'_>) {
        Login::parse(input, &Limits::default())
    }

    /// Asked of memcached 1.6.18 with `-Y`.
    #[test]
    fn as_memcached_answers() {
        let token = |password| Login::Token { user: b"alice", password };
        for (input, expect) in [
            ("set x 0 0 12\r\nalice secret\r\n", token(b"secret")),
            ("set x 0 0 12\nalice secret\r\n", token(b"secret")),
            ("set x a b 12 noreply\r\nalice secret\r\n", token(b"secret")),
            ("set x 0 0 14\r\n alice  secret\r\n", token(b"secret")),
            ("set x 0 0 19\r\nalice secret extra!\r\n", token(b"secret")),
            ("get a\r\n", Login::Refused("unauthenticated")),
            ("add x 0 0 12\r\n", Login::Refused("unauthenticated")),
            ("set x 0 0\r\n", Login::Refused("unauthenticated")),
            ("set x 0 0 -1\r\n", Login::Refused("unauthenticated")),
            ("set x 0 0 y\r\n", Login::Refused("unauthenticated")),
            ("\r\n", Login::Refused("unauthenticated")),
            ("\u{0}\n", Login::Refused("unauthenticated")),
            ("set x 0 0 5\r\nalice\r\n", Login::Refused("bad authentication token format")),
            ("set x 0 0 0\r\n\r\n", Login::Refused("bad authentication token format")),
            ("set x 0 0 12\r\nalice secretXX", Login::Refused("bad command line termination")),
            ("set x 0 0 4294967295\r\n", Login::Close("a login longer than any")),
            ("set x 0 0 2049\r\n", Login::Close("a login longer than any")),
        ] {
            assert_eq!(parse(input.as_bytes()), (input.len(), expect), "{input:?}");
        }
    }

    /// Whatever pieces it comes in, nothing is answered before it is whole, and nothing waits for
    /// more than that.
    #[test]
    fn split_anywhere() {
        let input = b"set x 0 0 12\r\nalice secret\r\n";
        for len in 0..input.len() {
            let (consumed, login) = parse(&input[..len]);
            let Login::Incomplete { needed } = login else { panic!("{len}: {login:?}") };
            assert_eq!(consumed, 0);
            assert!((len + 1..=input.len()).contains(&needed), "{len} needs {needed}");
        }
        let long = [b'x'; 3_000];
        assert!(matches!(parse(&long).1, Login::Close(_)));
        assert!(matches!(parse(&long[..2_000]).1, Login::Incomplete { .. }));
    }
}
