//! Lines that are about the REPL itself: `\timing`, `\watch`, `\history`, `\?`.

use std::process::ExitCode;
use std::time::Duration;

use super::{Done, Repl};
use crate::cli::output::{fail, say};
use crate::cli::remote::{kept, span};
use crate::cli::{CONDITION, USAGE};

const HELP: &str = "\
\\timing [on|off]      after each line say on stderr how long it took
\\watch TIME [TIMES]   run the line before again and again, until it fails or Ctrl-C
\\history [TEXT]       the lines typed before that have TEXT in them, at a terminal
\\?                    this
COMMAND | SHELL       the output goes through a command of the shell
COMMAND > FILE        into a file; >> to its end
help, exit            the commands; leave
";

impl Repl {
    /// Runs a line that begins with a backslash.
    pub(super) fn backslash(&mut self, words: &[String]) -> Done {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Done::Ran(match *words {
            ["\\timing"] => self.timing(!self.is_timed),
            ["\\timing", "on"] => self.timing(true),
            ["\\timing", "off"] => self.timing(false),
            ["\\watch", every] => self.watch(every, None),
            ["\\watch", every, times] => self.watch(every, Some(times)),
            ["\\history", ..] => fail("lines are remembered at a terminal only", CONDITION),
            ["\\?"] => say(HELP),
            _ => fail("\\timing [on|off], \\watch TIME [TIMES], \\history [TEXT] or \\?", USAGE),
        })
    }

    fn timing(&mut self, is_timed: bool) -> ExitCode {
        self.is_timed = is_timed;
        eprintln!("timing is {}", if is_timed { "on" } else { "off" });
        ExitCode::SUCCESS
    }

    fn watch(&mut self, every: &str, times: Option<&str>) -> ExitCode {
        let every = every.parse().map(Duration::from_secs).or_else(|_| span(every));
        let every = match every {
            Ok(every) => every,
            Err(why) => return fail(&why, USAGE),
        };
        let Ok(times) = times.map(str::parse::<u64>).transpose() else {
            return fail("how many times is a number", USAGE);
        };
        let Some(line) = self.before.clone() else {
            return fail("there is no line before to run again", CONDITION);
        };
        for time in 0..times.unwrap_or(u64::MAX) {
            if time > 0 && !pause(every) {
                break;
            }
            match self.command(&line) {
                Done::Ran(ExitCode::SUCCESS) => {}
                Done::Ran(code) => return code,
                Done::Leave => break,
            }
        }
        ExitCode::SUCCESS
    }
}

/// Waits; whether nobody has had enough (Ctrl-C).
fn pause(every: Duration) -> bool {
    let Ok(runtime) = kept::runtime() else { return false };
    runtime.block_on(async {
        tokio::select! {
            () = tokio::time::sleep(every) => true,
            _ = tokio::signal::ctrl_c() => false,
        }
    })
}
