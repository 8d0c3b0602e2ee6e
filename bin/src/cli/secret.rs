//! Secrets come from files, the environment and terminals, and never from arguments: every user
//! of the machine can read those.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// No secret is longer, bytes.
pub const LEN_MAX: u64 = 1_024;

/// The first line of a file.
///
/// # Errors
/// It cannot be read.
pub fn of_file(path: &str) -> io::Result<String> {
    line(&mut BufReader::new(File::open(path)?))
}

/// Asks who sits at the terminal, wherever stdin comes from, and does not show what is typed.
///
/// # Errors
/// There is no terminal.
pub fn ask(what: &str) -> io::Result<String> {
    let terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let unseen = Unseen::begin(&terminal);
    (&terminal).write_all(format!("{what}: ").as_bytes())?;
    let typed = typed(BufReader::new(&terminal));
    drop(unseen);
    (&terminal).write_all(b"\n")?;
    match typed? {
        Typed::Line(text) => line(&mut text.as_slice()),
        Typed::Interrupted => {
            // As if the terminal had said so itself, now that it shows again what is typed.
            let _ = kill_process(getpid(), Signal::INT);
            Err(io::ErrorKind::Interrupted.into())
        }
    }
}

/// What came of typing.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Line(Vec<u8>),
    Interrupted,
}

/// What is typed up to the end of the line. The terminal makes nothing of any key meanwhile: what
/// it would make of the usual ones is done here.
fn typed(terminal: impl BufRead) -> io::Result<Typed> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const KILL: u8 = 21;
    let mut text = Vec::new();
    for byte in terminal.bytes() {
        match byte? {
            b'\r' | b'\n' | END => return Ok(Typed::Line(text)),
            INTERRUPT => return Ok(Typed::Interrupted),
            KILL => text.clear(),
            // A letter of more than a byte goes as a whole.
            8 | 127 => while text.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            byte if u64::try_from(text.len()).is_ok_and(|len| len <= LEN_MAX) => text.push(byte),
            _ => {}
        }
    }
    Ok(Typed::Line(text))
}

/// One line, without its end.
///
/// # Errors
/// It cannot be read, or is too long for a secret.
pub fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.take(LEN_MAX + 2).read_line(&mut line)?;
    let secret = line.trim_end_matches(['\r', '\n']);
    if u64::try_from(secret.len()).is_ok_and(|len| len <= LEN_MAX) {
        return Ok(secret.to_owned());
    }
    let why = format!("a secret has at most {LEN_MAX} bytes");
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// A terminal that neither shows what is typed nor ends this process for Ctrl-C, which would leave
/// it like that; dropping it makes it as it was.
struct Unseen<'a> {
    terminal: &'a File,
    before: Option<Termios>,
}

impl<'a> Unseen<'a> {
    fn begin(terminal: &'a File) -> Self {
        let before = tcgetattr(terminal).ok();
        if let Some(mut unseen) = before.clone() {
            unseen.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON);
            let _ = tcsetattr(terminal, OptionalActions::Now, &unseen);
        }
        Unseen { terminal, before }
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(self.terminal, OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line() {
        for (text, is) in [("first line\r\nsecond\n", "first line"), ("no end", "no end"), ("", "")]
        {
            assert_eq!(line(&mut text.as_bytes()).unwrap(), is);
        }
    }

    #[test]
    fn keys_do_what_a_terminal_does() {
        let line = |text: &str| Typed::Line(text.into());
        for (keys, is) in [
            (&b"abc\rdef"[..], line("abc")),
            (b"ab\x7f\x08c\n", line("c")),
            ("aü\u{7f}b\n".as_bytes(), line("ab")),
            (b"no\x15yes\n", line("yes")),
            (b"\x7f\x04", line("")),
            (b"ab", line("ab")),
            (b"ab\x03cd\n", Typed::Interrupted),
        ] {
            assert_eq!(typed(keys).unwrap(), is, "{keys:?}");
        }
    }

    #[test]
    fn a_secret_that_is_too_long_is_refused_and_not_cut() {
        for (len, end, is_read) in
            [(1_024, "", true), (1_024, "\r\n", true), (1_025, "\n", false), (9_999, "", false)]
        {
            let text = "x".repeat(len) + end;
            let read = line(&mut text.as_bytes());
            assert_eq!(read.is_ok_and(|read| read.len() == len), is_read, "{len} {end:?}");
        }
    }
}
