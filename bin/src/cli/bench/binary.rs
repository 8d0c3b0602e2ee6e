//! Gets and sets of memcached's binary protocol, whose answers come in the order of the requests.

use std::collections::VecDeque;
use std::time::Duration;

use super::codec::{Answer, Asked, Broken, Taken};

const HEADER_LEN: usize = 24;
const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;
const GET: u8 = 0x00;
const SET: u8 = 0x01;
const SASL_AUTH: u8 = 0x21;
const NO_ERROR: u16 = 0;
const KEY_NOT_FOUND: u16 = 1;
/// A server that announces a longer answer speaks something else.
const BODY_LEN_MAX: usize = 1 << 30;

/// What is under way on one connection.
#[derive(Debug, Default)]
pub struct Binary {
    asked: VecDeque<Asked>,
    /// A login has no answer yet.
    logs_in: bool,
}

impl Binary {
    /// A connection on which this user logs in first by SASL PLAIN, if there is one; what it says is
    /// appended to `out`.
    pub fn begin(login: Option<(&str, &str)>, out: &mut Vec<u8>) -> Binary {
        if let Some((user, password)) = login {
            let said = format!("\0{user}\0{password}");
            request(SASL_AUTH, [b"", b"PLAIN", said.as_bytes()], out);
        }
        Binary { logs_in: login.is_some(), ..Binary::default() }
    }

    /// Whether requests may be sent.
    pub fn is_ready(&self) -> bool {
        !self.logs_in
    }

    pub fn under_way(&self) -> usize {
        self.asked.len()
    }

    pub fn get(&mut self, key: &[u8], due: Duration, out: &mut Vec<u8>) {
        request(GET, [b"", key, b""], out);
        self.asked.push_back(Asked { is_set: false, due });
    }

    pub fn set(&mut self, key: &[u8], value: &[u8], due: Duration, out: &mut Vec<u8>) {
        // No flags, and it never expires.
        request(SET, [&[0; 8], key, value], out);
        self.asked.push_back(Asked { is_set: true, due });
    }

    pub fn take(&mut self, input: &[u8]) -> Result<Taken, Broken> {
        let Some(header) = input.first_chunk::<HEADER_LEN>() else {
            return if input.first().is_none_or(|magic| *magic == RESPONSE) {
                Ok(Taken::Incomplete)
            } else {
                Err(strange(input))
            };
        };
        let [magic, op, _, _, _, _, s0, s1, l0, l1, l2, l3, ..] = *header;
        let status = u16::from_be_bytes([s0, s1]);
        let body_len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if magic != RESPONSE || body_len > BODY_LEN_MAX {
            return Err(strange(input));
        }
        let len = HEADER_LEN + body_len;
        let Some(body) = input.get(HEADER_LEN..len) else { return Ok(Taken::Incomplete) };
        let text = || format!("status {status}: {}", String::from_utf8_lossy(body));
        if self.logs_in {
            self.logs_in = status != NO_ERROR;
            let refused = || Broken(format!("the login was refused: {}", text()));
            return if self.logs_in { Err(refused()) } else { Ok(Taken::Control(len)) };
        }
        let wanted = |asked: &Asked| op == if asked.is_set { SET } else { GET };
        let asked = self.asked.pop_front().filter(wanted).ok_or_else(|| strange(input))?;
        let answer = match (status, asked.is_set) {
            (NO_ERROR, true) => Answer::Stored,
            (NO_ERROR, false) => Answer::Hit,
            (KEY_NOT_FOUND, false) => Answer::Miss,
            _ => Answer::Failed(text()),
        };
        Ok(Taken::Answer(len, asked, answer))
    }

    pub fn give_up(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked).into()
    }
}

/// Appends a request: its extras, its key, its value.
fn request(op: u8, parts: [&[u8]; 3], out: &mut Vec<u8>) {
    let [extras, key, _] = parts;
    let short = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    let [k0, k1] = short(key.len());
    let [_, extras_len] = short(extras.len());
    let body_len = u32::try_from(parts.iter().map(|part| part.len()).sum::<usize>());
    out.extend_from_slice(&[REQUEST, op, k0, k1, extras_len, 0, 0, 0]);
    out.extend_from_slice(&body_len.unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&[0; 12]);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn strange(bytes: &[u8]) -> Broken {
    let shown = bytes.get(..bytes.len().min(40)).unwrap_or_default();
    Broken(format!("no answer of memcached's binary protocol: `{}`", shown.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: Duration = Duration::from_millis(3);

    fn asked(is_set: bool) -> Binary {
        Binary { asked: VecDeque::from([Asked { is_set, due: DUE }]), logs_in: false }
    }

    fn answer(op: u8, status: u8, body: &[u8]) -> Vec<u8> {
        let len = u8::try_from(body.len()).unwrap();
        let mut bytes = vec![RESPONSE, op, 0, 0, 0, 0, 0, status, 0, 0, 0, len];
        bytes.extend([0; 12]);
        [bytes, body.to_vec()].concat()
    }

    #[test]
    fn requests_are_as_memcached_wants_them() {
        let (mut binary, mut out) = (Binary::default(), Vec::new());
        binary.get(b"ab", DUE, &mut out);
        let get = [&b"\x80\0\0\x02\0\0\0\0\0\0\0\x02"[..], &[0; 12], b"ab"].concat();
        assert_eq!(out, get);
        out.clear();
        binary.set(b"b", b"xyz", DUE, &mut out);
        let set = [&b"\x80\x01\0\x01\x08\0\0\0\0\0\0\x0c"[..], &[0; 20], b"bxyz"].concat();
        assert_eq!(out, set);
        assert_eq!(binary.give_up().len(), 2);
        assert_eq!(binary.under_way(), 0);
    }

    #[test]
    fn a_login_comes_first_and_its_answer_is_no_request_s() {
        let mut out = Vec::new();
        assert!(Binary::begin(None, &mut out).is_ready() && out.is_empty());
        let mut binary = Binary::begin(Some(("app", "pw")), &mut out);
        assert!(out.ends_with(b"PLAIN\0app\0pw") && !binary.is_ready());
        let welcome = answer(SASL_AUTH, 0, b"Authenticated");
        assert_eq!(binary.take(&welcome), Ok(Taken::Control(welcome.len())));
        assert!(binary.is_ready());
        let mut binary = Binary::begin(Some(("app", "pw")), &mut out);
        let Err(Broken(why)) = binary.take(&answer(SASL_AUTH, 0x20, b"Auth failure.")) else {
            panic!("a login that was refused")
        };
        assert_eq!(why, "the login was refused: status 32: Auth failure.");
    }

    #[test]
    fn answers_are_told_apart_wherever_they_are_cut() {
        let failed = |why: &str| Answer::Failed(why.to_owned());
        for (is_set, bytes, says) in [
            (true, answer(SET, 0, b""), Answer::Stored),
            (true, answer(SET, 0x82, b"Out of memory"), failed("status 130: Out of memory")),
            (false, answer(GET, 0, b"\0\0\0\0value"), Answer::Hit),
            (false, answer(GET, 1, b"Not found"), Answer::Miss),
            (false, answer(GET, 0x85, b"Busy"), failed("status 133: Busy")),
        ] {
            for len in 0..bytes.len() {
                assert_eq!(asked(is_set).take(&bytes[..len]), Ok(Taken::Incomplete), "{len}");
            }
            let whole = Taken::Answer(bytes.len(), Asked { is_set, due: DUE }, says);
            assert_eq!(asked(is_set).take(&[bytes, answer(GET, 0, b"")].concat()), Ok(whole));
        }
    }

    #[test]
    fn what_is_no_answer_breaks_the_connection() {
        let mut huge = answer(GET, 0, b"");
        huge[8] = 0xff;
        for (is_set, bytes) in [
            (true, answer(GET, 0, b"")),
            (false, answer(SET, 0, b"")),
            (false, huge),
            (false, b"ERROR\r\n".to_vec()),
            (false, [b'x'; 100].to_vec()),
        ] {
            assert!(asked(is_set).take(&bytes).is_err(), "{bytes:?}");
        }
        assert!(Binary::default().take(&answer(GET, 0, b"")).is_err(), "nobody asked");
    }
}
