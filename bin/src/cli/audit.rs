//! `isogrid audit`: checks an audit log.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output::say;
use crate::security::{chain, hex};

#[derive(Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check that no line was changed, left out or put in. Exit code 1 when one was.
    #[command(after_help = examples!("isogrid audit verify /var/log/isogrid/audit.log"))]
    Verify {
        /// The audit log.
        file: PathBuf,
    },
}

/// Checks a log.
pub fn main(args: &AuditArgs) -> ExitCode {
    let Command::Verify { file } = &args.command;
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("error: {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    };
    match chain::verify(BufReader::new(opened).lines()) {
        Ok(found) => {
            let (lines, last) = (found.lines, hex::show(&found.last));
            let mut text =
                format!("{lines} lines, none changed; the last one's SHA-256 is {last}\n");
            if found.begins_after != chain::START {
                let before = hex::show(&found.begins_after);
                text += &format!("it goes on from a log whose last line's SHA-256 is {before}\n");
            }
            say(&text)
        }
        Err(broken) => {
            eprintln!("error: {}: line {}: {}", file.display(), broken.line, broken.why);
            ExitCode::FAILURE
        }
    }
}
