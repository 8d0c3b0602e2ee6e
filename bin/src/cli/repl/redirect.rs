//! Where the output of a line goes: `| command` and `> file`, as in a shell.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitCode, Stdio};

use crate::cli::output::fail;

/// Where output goes instead of to this process's own.
#[derive(Debug, PartialEq, Eq)]
pub enum Into<'l> {
    /// To the stdin of what a shell makes of this.
    Pipe(&'l str),
    /// Into a file, which begins anew.
    File(&'l str),
    /// To the end of a file.
    End(&'l str),
}

/// A line without its comment, and where its output goes.
pub fn split(line: &str) -> (&str, Option<Into<'_>>) {
    let (mut quote, mut before) = (None, ' ');
    let mut letters = line.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None | Some('"'), '\\') => drop(letters.next()),
            (None, '\'' | '"') => quote = Some(letter),
            (None, '#') if before.is_whitespace() => return (front(line, at), None),
            (None, '|') => return (front(line, at), Some(Into::Pipe(behind(line, at + 1)))),
            (None, '>') => {
                let file = behind(line, at + 1);
                let into = file.strip_prefix('>').map_or(Into::File(file), |f| Into::End(f.trim()));
                return (front(line, at), Some(into));
            }
            _ => {}
        }
        before = letter;
    }
    (line, None)
}

fn front(line: &str, at: usize) -> &str {
    line.get(..at).unwrap_or_default()
}

fn behind(line: &str, at: usize) -> &str {
    line.get(at..).unwrap_or_default().trim()
}

impl Into<'_> {
    /// Does `work` with stdout there. What it comes to is the first that failed.
    pub fn run(&self, work: impl FnOnce() -> ExitCode) -> ExitCode {
        let opened = self.open().and_then(|(to, child)| Ok((Elsewhere::begin(to)?, child)));
        let (elsewhere, child) = match opened {
            Ok(opened) => opened,
            Err(error) => return fail(&format!("{}: {error}", self.name()), 1),
        };
        let code = work();
        drop(elsewhere);
        let Some(mut child) = child else { return code };
        match child.wait() {
            Ok(status) if code == ExitCode::SUCCESS => {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                ExitCode::from(code.unwrap_or(1))
            }
            Ok(_) => code,
            Err(error) => fail(&format!("{}: {error}", self.name()), 1),
        }
    }

    fn name(&self) -> &str {
        match self {
            Into::Pipe(name) | Into::File(name) | Into::End(name) => name,
        }
    }

    fn open(&self) -> io::Result<(OwnedFd, Option<Child>)> {
        let words = |name: &str| match shlex::split(name).as_deref() {
            Some([file]) => Ok(file.clone()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "one file is to be named")),
        };
        Ok(match self {
            Into::File(name) => (File::create(words(name)?)?.into(), None),
            Into::End(name) => {
                (File::options().append(true).create(true).open(words(name)?)?.into(), None)
            }
            Into::Pipe(command) => {
                let mut shell = Command::new("sh");
                let mut child = shell.args(["-c", command]).stdin(Stdio::piped()).spawn()?;
                let to = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
                (to.into(), Some(child))
            }
        })
    }
}

/// While it lives stdout is somewhere else.
struct Elsewhere {
    before: OwnedFd,
}

impl Elsewhere {
    fn begin(to: OwnedFd) -> io::Result<Elsewhere> {
        let mut stdout = io::stdout();
        stdout.flush()?;
        let before = rustix::io::dup(&stdout)?;
        rustix::stdio::dup2_stdout(to)?;
        Ok(Elsewhere { before })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // A reader that has gone has had enough: what it did not take is for nobody else.
        if io::stdout().flush().is_err()
            && let Ok(nowhere) = File::options().write(true).open("/dev/null")
        {
            let _ = rustix::stdio::dup2_stdout(nowhere);
            let _ = io::stdout().flush();
        }
        let _ = rustix::stdio::dup2_stdout(&self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_a_shell_would_cut_it() {
        for (line, command, into) in [
            ("cache ls", "cache ls", None),
            ("cache ls | jq . > x", "cache ls ", Some(Into::Pipe("jq . > x"))),
            ("cache ls>a", "cache ls", Some(Into::File("a"))),
            ("cache ls >> 'a b'", "cache ls ", Some(Into::End("'a b'"))),
            (r#"put '|' ">" \| \> "\">""#, r#"put '|' ">" \| \> "\">""#, None),
            ("cache ls # a | b", "cache ls ", None),
            ("put a#b|c", "put a#b", Some(Into::Pipe("c"))),
            ("put 'it''s|' x", "put 'it''s|' x", None),
        ] {
            assert_eq!(split(line), (command, into), "{line}");
        }
    }
}
