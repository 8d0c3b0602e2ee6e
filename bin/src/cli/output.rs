//! What commands print: data on stdout, everything else on stderr.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use indicatif::ProgressDrawTarget;
use serde_json::Value;

use crate::colour;

/// How a command prints its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document, with keys that stay.
    Json,
}

#[derive(Args)]
pub struct OutputArgs {
    /// How to print: for people, or one JSON document
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
}

impl OutputArgs {
    /// Says that it is done, in words or as data.
    pub fn done(&self, words: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> ExitCode {
        match self.output {
            Format::Table => done(&words()),
            Format::Json => self.say(String::new, json),
        }
    }

    /// Prints one of the two.
    pub fn say(&self, table: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> ExitCode {
        match self.output {
            Format::Table => say(&table()),
            Format::Json => say(&format!("{:#}\n", json())),
        }
    }
}

/// How much is told to people.
#[derive(Args)]
pub struct Manner {
    /// Leave out progress, notes and words of success; data, warnings and errors stay
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Leave out colours [env: NO_COLOR]
    #[arg(long, global = true)]
    pub no_color: bool,
}

static IS_QUIET: AtomicBool = AtomicBool::new(false);

impl Manner {
    /// Does `work` in this manner. A command of a quiet REPL is quiet, too.
    pub fn during(&self, work: impl FnOnce() -> ExitCode) -> ExitCode {
        if self.no_color {
            colour::leave_out();
        }
        let before = IS_QUIET.fetch_or(self.quiet, Ordering::Relaxed);
        let code = work();
        IS_QUIET.store(before, Ordering::Relaxed);
        code
    }
}

/// Whether people want to hear of nothing but data and trouble.
pub fn is_quiet() -> bool {
    IS_QUIET.load(Ordering::Relaxed)
}

/// Tells people how it goes, on stderr.
pub fn note(text: &str) {
    if !is_quiet() {
        eprintln!("{text}");
    }
}

/// Where a bar of progress is drawn.
pub fn bars() -> ProgressDrawTarget {
    if is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

/// Says that it is done.
pub fn done(words: &str) -> ExitCode {
    if is_quiet() { ExitCode::SUCCESS } else { say(words) }
}

/// Data goes to stdout.
pub fn say(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    said(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// How a command ends whose data was `written`, and flushed: a reader that has gone is no failure
/// of ours, a full disk is.
pub fn said(written: std::io::Result<()>) -> ExitCode {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            fail(&format!("cannot write to stdout: {error}"), 1)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Says why a command failed.
pub fn fail(why: &str, code: u8) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(code)
}
