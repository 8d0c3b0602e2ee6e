//! Secrets come from files, the environment and terminals, and never from arguments: every user
//! of the machine can read those.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};

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
    let typed = line(&mut BufReader::new(&terminal));
    drop(unseen);
    (&terminal).write_all(b"\n")?;
    typed
}

/// One line, without its end.
///
/// # Errors
/// It cannot be read.
pub fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.take(LEN_MAX + 2).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed; dropping it makes it show again.
struct Unseen<'a> {
    terminal: &'a File,
    before: Option<Termios>,
}

impl<'a> Unseen<'a> {
    fn begin(terminal: &'a File) -> Self {
        let before = tcgetattr(terminal).ok();
        if let Some(mut unseen) = before.clone() {
            unseen.local_modes.remove(LocalModes::ECHO);
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
}
