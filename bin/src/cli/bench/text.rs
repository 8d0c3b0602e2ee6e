//! Gets and sets of memcached's text protocol, classic or meta, whose answers come in the order of
//! the requests.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::Duration;

use super::codec::{Answer, Asked, Broken, Taken};

/// A server that sends a longer line speaks something else.
const LINE_LEN_MAX: usize = 2_048;

/// Which commands are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// `get` and `set`.
    #[default]
    Classic,
    /// `mg` and `ms`.
    Meta,
}

/// What is under way on one connection.
#[derive(Debug, Default)]
pub struct Text {
    dialect: Dialect,
    asked: VecDeque<Asked>,
    /// A login has no answer yet.
    logs_in: bool,
}

impl Text {
    /// A connection on which this user logs in first, if there is one; what it says is appended to
    /// `out`.
    pub fn begin(dialect: Dialect, login: Option<(&str, &str)>, out: &mut Vec<u8>) -> Text {
        if let Some((user, password)) = login {
            let said = format!("{user} {password}");
            // Writing to a vector cannot fail.
            let _ = write!(out, "set login 0 0 {}\r\n{said}\r\n", said.len());
        }
        Text { dialect, logs_in: login.is_some(), asked: VecDeque::new() }
    }

    /// Whether requests may be sent.
    pub fn is_ready(&self) -> bool {
        !self.logs_in
    }

    pub fn under_way(&self) -> usize {
        self.asked.len()
    }

    pub fn get(&mut self, key: &[u8], due: Duration, out: &mut Vec<u8>) {
        let (before, behind): (&[u8], &[u8]) = match self.dialect {
            Dialect::Classic => (b"get ", b"\r\n"),
            Dialect::Meta => (b"mg ", b" v\r\n"),
        };
        [before, key, behind].iter().for_each(|part| out.extend_from_slice(part));
        self.asked.push_back(Asked { is_set: false, due });
    }

    pub fn set(&mut self, key: &[u8], value: &[u8], due: Duration, out: &mut Vec<u8>) {
        let (before, flags) = match self.dialect {
            Dialect::Classic => ("set ", "0 0 "),
            Dialect::Meta => ("ms ", ""),
        };
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(key);
        // Writing to a vector cannot fail.
        let _ = write!(out, " {flags}{}\r\n", value.len());
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
        self.asked.push_back(Asked { is_set: true, due });
    }

    pub fn take(&mut self, input: &[u8]) -> Result<Taken, Broken> {
        let Some(line_len) = input.iter().position(|byte| *byte == b'\n') else {
            return if input.len() > LINE_LEN_MAX {
                Err(strange(input))
            } else {
                Ok(Taken::Incomplete)
            };
        };
        let line = input.get(..line_len).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.logs_in {
            self.logs_in = line != b"STORED";
            return if self.logs_in {
                Err(refused(line))
            } else {
                Ok(Taken::Control(line_len + 1))
            };
        }
        let Some(&asked) = self.asked.front() else { return Err(strange(line)) };
        let words = Words::of(self.dialect, line)?;
        if !words.fit(asked.is_set) {
            return Err(strange(line));
        }
        let (len, answer) = match words {
            Words::Stored => (line_len + 1, Answer::Stored),
            Words::NotStored => (line_len + 1, Answer::Failed("NOT_STORED".to_owned())),
            Words::Miss => (line_len + 1, Answer::Miss),
            Words::Hit { len, end } => match hit(len, end, input, line_len + 1)? {
                Some(len) => (len, Answer::Hit),
                None => return Ok(Taken::Incomplete),
            },
            Words::Error(why) => (line_len + 1, Answer::Failed(why)),
        };
        self.asked.pop_front();
        Ok(Taken::Answer(len, asked, answer))
    }

    pub fn give_up(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked).into()
    }
}

/// What a line says.
enum Words {
    Stored,
    NotStored,
    Miss,
    /// A value of this length follows, and then `end`.
    Hit {
        len: usize,
        end: &'static [u8],
    },
    Error(String),
}

impl Words {
    fn of(dialect: Dialect, line: &[u8]) -> Result<Words, Broken> {
        const CLASSIC_END: &[u8] = b"\r\nEND\r\n";
        let length = |at| {
            let text = std::str::from_utf8(line).map_err(|_| strange(line))?;
            let len = text.split(' ').nth(at).and_then(|len| len.parse().ok());
            len.ok_or_else(|| strange(line))
        };
        let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        Ok(match (dialect, word) {
            (Dialect::Classic, b"STORED") | (Dialect::Meta, b"HD") => Words::Stored,
            (Dialect::Classic, b"NOT_STORED") | (Dialect::Meta, b"NS") => Words::NotStored,
            (Dialect::Classic, b"END") | (Dialect::Meta, b"EN") => Words::Miss,
            (Dialect::Classic, b"VALUE") => Words::Hit { len: length(3)?, end: CLASSIC_END },
            (Dialect::Meta, b"VA") => Words::Hit { len: length(1)?, end: b"\r\n" },
            _ => Words::Error(error(line)?),
        })
    }

    /// Whether a set, or a get, is answered like that.
    fn fit(&self, is_set: bool) -> bool {
        match self {
            Words::Stored | Words::NotStored => is_set,
            Words::Miss | Words::Hit { .. } => !is_set,
            Words::Error(_) => true,
        }
    }
}

/// The length of the line, the value and its end, once all of it is there.
fn hit(len: usize, end: &[u8], input: &[u8], value_at: usize) -> Result<Option<usize>, Broken> {
    let end_at = value_at.checked_add(len).ok_or_else(|| strange(input))?;
    match input.get(end_at..).unwrap_or_default() {
        behind if behind.starts_with(end) => Ok(Some(end_at + end.len())),
        behind if end.starts_with(behind) => Ok(None),
        behind => Err(strange(behind)),
    }
}

/// The kind of an error line: the words that do not change from request to request.
fn error(line: &[u8]) -> Result<String, Broken> {
    let known: [&[u8]; 3] = [b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"];
    let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    if !known.contains(&word) {
        return Err(strange(line));
    }
    Ok(String::from_utf8_lossy(line).into_owned())
}

/// A login that was answered so.
fn refused(line: &[u8]) -> Broken {
    error(line)
        .map_or_else(|strange| strange, |why| Broken(format!("the login was refused: {why}")))
}

fn strange(bytes: &[u8]) -> Broken {
    let shown = bytes.get(..bytes.len().min(40)).unwrap_or_default();
    Broken(format!("no answer of memcached: `{}`", shown.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: Duration = Duration::from_millis(3);

    /// One request that is under way.
    fn asked(dialect: Dialect, is_set: bool) -> Text {
        Text { dialect, asked: VecDeque::from([Asked { is_set, due: DUE }]), logs_in: false }
    }

    const CLASSIC: Dialect = Dialect::Classic;
    const META: Dialect = Dialect::Meta;

    #[test]
    fn requests_are_as_memcached_wants_them() {
        for (dialect, wanted) in [
            (CLASSIC, &b"get a\r\nset b 0 0 3\r\nxyz\r\n"[..]),
            (META, b"mg a v\r\nms b 3\r\nxyz\r\n"),
        ] {
            let mut out = Vec::new();
            let mut text = Text::begin(dialect, None, &mut out);
            text.get(b"a", DUE, &mut out);
            text.set(b"b", b"xyz", DUE, &mut out);
            assert_eq!(out, wanted);
            let given_up: Vec<bool> = text.give_up().iter().map(|asked| asked.is_set).collect();
            assert_eq!(given_up, [false, true]);
            assert_eq!(text.under_way(), 0);
        }
    }

    #[test]
    fn a_login_comes_first_and_its_answer_is_no_request_s() {
        let mut out = Vec::new();
        assert!(Text::begin(CLASSIC, None, &mut out).is_ready() && out.is_empty());
        let mut text = Text::begin(CLASSIC, Some(("app", "p w")), &mut out);
        assert_eq!(out, b"set login 0 0 7\r\napp p w\r\n");
        assert_eq!(text.take(b"STOR"), Ok(Taken::Incomplete));
        assert!(!text.is_ready());
        assert_eq!(text.take(b"STORED\r\nEND\r\n"), Ok(Taken::Control(8)));
        assert!(text.is_ready() && text.under_way() == 0);
        for (answer, why) in [
            ("CLIENT_ERROR authentication failure\r\n", "the login was refused: CLIENT_ERROR"),
            ("HTTP/1.1 400\r\n", "no answer of memcached"),
        ] {
            let Err(Broken(said)) =
                Text::begin(CLASSIC, Some(("a", "b")), &mut out).take(answer.as_bytes())
            else {
                panic!("{answer} is taken for a login")
            };
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn answers_are_told_apart_wherever_they_are_cut() {
        let failed = |why: &str| Answer::Failed(why.to_owned());
        for (dialect, is_set, bytes, answer) in [
            (CLASSIC, true, &b"STORED\r\n"[..], Answer::Stored),
            (CLASSIC, true, b"NOT_STORED\r\n", failed("NOT_STORED")),
            (CLASSIC, true, b"SERVER_ERROR busy\r\n", failed("SERVER_ERROR busy")),
            (CLASSIC, false, b"ERROR\r\n", failed("ERROR")),
            (CLASSIC, false, b"END\r\n", Answer::Miss),
            (CLASSIC, false, b"VALUE a 0 4\r\nEND\r\r\nEND\r\n", Answer::Hit),
            (CLASSIC, false, b"VALUE a 0 0\r\n\r\nEND\r\n", Answer::Hit),
            (META, true, b"HD\r\n", Answer::Stored),
            (META, true, b"NS\r\n", failed("NOT_STORED")),
            (META, true, b"SERVER_ERROR busy\r\n", failed("SERVER_ERROR busy")),
            (META, false, b"EN\r\n", Answer::Miss),
            (META, false, b"VA 4\r\nEN\r\n\r\n", Answer::Hit),
            (META, false, b"VA 0\r\n\r\n", Answer::Hit),
        ] {
            for len in 0..bytes.len() {
                let cut = asked(dialect, is_set).take(&bytes[..len]);
                assert_eq!(cut, Ok(Taken::Incomplete), "{bytes:?}");
            }
            let whole = Taken::Answer(bytes.len(), Asked { is_set, due: DUE }, answer);
            let more = [bytes, b"STORED\r\n"].concat();
            assert_eq!(asked(dialect, is_set).take(&more), Ok(whole));
        }
    }

    #[test]
    fn what_is_no_answer_breaks_the_connection() {
        for (dialect, is_set, bytes) in [
            (CLASSIC, true, &b"END\r\n"[..]),
            (CLASSIC, false, b"STORED\r\n"),
            (CLASSIC, false, b"HD\r\n"),
            (CLASSIC, false, b"VALUE a 0\r\n"),
            (CLASSIC, false, b"VALUE a 0 1\r\nxyEND\r\n"),
            (CLASSIC, false, b"HTTP/1.1 400 Bad Request\r\n"),
            (META, true, b"EN\r\n"),
            (META, true, b"STORED\r\n"),
            (META, false, b"HD\r\n"),
            (META, false, b"VA x\r\n"),
            (META, false, b"VA 1\r\nxy\r\n"),
        ] {
            assert!(asked(dialect, is_set).take(bytes).is_err(), "{bytes:?}");
        }
        assert!(Text::default().take(b"STORED\r\n").is_err(), "nobody asked");
        assert!(asked(CLASSIC, true).take(&[b'x'; 3_000]).is_err());
    }
}
