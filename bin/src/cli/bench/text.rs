//! Gets and sets of memcached's text protocol, whose answers come in the order of the requests.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::Duration;

use super::codec::{Answer, Asked, Broken, Taken};

/// A server that sends a longer line speaks something else.
const LINE_LEN_MAX: usize = 2_048;

/// What is under way on one connection.
#[derive(Debug, Default)]
pub struct Text {
    asked: VecDeque<Asked>,
    /// A login has no answer yet.
    logs_in: bool,
}

impl Text {
    /// A connection on which this user logs in first, if there is one; what it says is appended to
    /// `out`.
    pub fn begin(login: Option<(&str, &str)>, out: &mut Vec<u8>) -> Text {
        if let Some((user, password)) = login {
            let said = format!("{user} {password}");
            // Writing to a vector cannot fail.
            let _ = write!(out, "set login 0 0 {}\r\n{said}\r\n", said.len());
        }
        Text { logs_in: login.is_some(), ..Text::default() }
    }

    /// Whether requests may be sent.
    pub fn is_ready(&self) -> bool {
        !self.logs_in
    }

    pub fn under_way(&self) -> usize {
        self.asked.len()
    }

    pub fn get(&mut self, key: &[u8], due: Duration, out: &mut Vec<u8>) {
        out.extend_from_slice(b"get ");
        out.extend_from_slice(key);
        out.extend_from_slice(b"\r\n");
        self.asked.push_back(Asked { is_set: false, due });
    }

    pub fn set(&mut self, key: &[u8], value: &[u8], due: Duration, out: &mut Vec<u8>) {
        out.extend_from_slice(b"set ");
        out.extend_from_slice(key);
        // Writing to a vector cannot fail.
        let _ = write!(out, " 0 0 {}\r\n", value.len());
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
        let (len, answer) = match (asked.is_set, line) {
            (true, b"STORED") => (line_len + 1, Answer::Stored),
            (true, b"NOT_STORED") => (line_len + 1, Answer::Failed("NOT_STORED".to_owned())),
            (false, b"END") => (line_len + 1, Answer::Miss),
            (false, line) if line.starts_with(b"VALUE ") => match hit(line, input, line_len + 1)? {
                Some(len) => (len, Answer::Hit),
                None => return Ok(Taken::Incomplete),
            },
            (_, line) => (line_len + 1, Answer::Failed(error(line)?)),
        };
        self.asked.pop_front();
        Ok(Taken::Answer(len, asked, answer))
    }

    pub fn give_up(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked).into()
    }
}

/// The length of `VALUE key flags length`, the value and `END`, once all of it is there.
fn hit(line: &[u8], input: &[u8], value_at: usize) -> Result<Option<usize>, Broken> {
    const END: &[u8] = b"\r\nEND\r\n";
    let text = std::str::from_utf8(line).map_err(|_| strange(line))?;
    let len = text.split(' ').nth(3).and_then(|len| len.parse::<usize>().ok());
    let end_at = len.and_then(|len| value_at.checked_add(len)).ok_or_else(|| strange(line))?;
    match input.get(end_at..).unwrap_or_default() {
        behind if behind.starts_with(END) => Ok(Some(end_at + END.len())),
        behind if END.starts_with(behind) => Ok(None),
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
    fn asked(is_set: bool) -> Text {
        Text { asked: VecDeque::from([Asked { is_set, due: DUE }]), logs_in: false }
    }

    #[test]
    fn requests_are_as_memcached_wants_them() {
        let (mut text, mut out) = (Text::default(), Vec::new());
        text.get(b"a", DUE, &mut out);
        text.set(b"b", b"xyz", DUE, &mut out);
        assert_eq!(out, b"get a\r\nset b 0 0 3\r\nxyz\r\n");
        assert_eq!(
            text.give_up().iter().map(|asked| asked.is_set).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(text.under_way(), 0);
    }

    #[test]
    fn a_login_comes_first_and_its_answer_is_no_request_s() {
        let mut out = Vec::new();
        assert!(Text::begin(None, &mut out).is_ready() && out.is_empty());
        let mut text = Text::begin(Some(("app", "p w")), &mut out);
        assert_eq!(out, b"set login 0 0 7\r\napp p w\r\n");
        assert_eq!(text.take(b"STOR"), Ok(Taken::Incomplete));
        assert!(!text.is_ready());
        assert_eq!(text.take(b"STORED\r\nEND\r\n"), Ok(Taken::Control(8)));
        assert!(text.is_ready() && text.under_way() == 0);
        for (answer, why) in [
            ("CLIENT_ERROR authentication failure\r\n", "the login was refused: CLIENT_ERROR"),
            ("HTTP/1.1 400\r\n", "no answer of memcached"),
        ] {
            let Err(Broken(said)) = Text::begin(Some(("a", "b")), &mut out).take(answer.as_bytes())
            else {
                panic!("{answer} is taken for a login")
            };
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn answers_are_told_apart_wherever_they_are_cut() {
        let failed = |why: &str| Answer::Failed(why.to_owned());
        for (is_set, bytes, answer) in [
            (true, &b"STORED\r\n"[..], Answer::Stored),
            (true, b"NOT_STORED\r\n", failed("NOT_STORED")),
            (true, b"SERVER_ERROR busy\r\n", failed("SERVER_ERROR busy")),
            (false, b"ERROR\r\n", failed("ERROR")),
            (false, b"END\r\n", Answer::Miss),
            (false, b"VALUE a 0 4\r\nEND\r\r\nEND\r\n", Answer::Hit),
            (false, b"VALUE a 0 0\r\n\r\nEND\r\n", Answer::Hit),
        ] {
            for len in 0..bytes.len() {
                assert_eq!(asked(is_set).take(&bytes[..len]), Ok(Taken::Incomplete), "{bytes:?}");
            }
            let whole = Taken::Answer(bytes.len(), Asked { is_set, due: DUE }, answer);
            assert_eq!(asked(is_set).take(&[bytes, b"STORED\r\n"].concat()), Ok(whole));
        }
    }

    #[test]
    fn what_is_no_answer_breaks_the_connection() {
        for (is_set, bytes) in [
            (true, &b"END\r\n"[..]),
            (false, b"STORED\r\n"),
            (false, b"VALUE a 0\r\n"),
            (false, b"VALUE a 0 1\r\nxyEND\r\n"),
            (false, b"HTTP/1.1 400 Bad Request\r\n"),
        ] {
            assert!(asked(is_set).take(bytes).is_err(), "{bytes:?}");
        }
        assert!(Text::default().take(b"STORED\r\n").is_err(), "nobody asked");
        assert!(asked(true).take(&[b'x'; 3_000]).is_err());
    }
}
