//! What commands print: data on stdout, everything else on stderr.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::Value;

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
    /// Prints one of the two.
    pub fn say(&self, table: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> ExitCode {
        match self.output {
            Format::Table => say(&table()),
            Format::Json => say(&format!("{:#}\n", json())),
        }
    }
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
