//! `isogrid log`: looks after the log of a data directory that no server uses.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use isogrid_engine::persist::{DataDirectory, LogCheck, PersistError};
use isogrid_engine::wal::{FileReport, FileState, Lost, Lsn};

use super::{failed, output::say, table::table};
use crate::server::data::repair_command;

/// Keys that are listed of each place where records are lost.
const KEYS_MAX: usize = 20;

#[derive(Args)]
pub struct LogArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read a log from end to end and say what is whole and what is lost; exit code 1 when a
    /// server would not start on it. Nothing is changed.
    #[command(after_help = examples!("isogrid log verify /var/lib/isogrid"))]
    Verify {
        /// The data directory.
        dir: PathBuf,
    },
    /// Make a damaged log fit to start on again: every whole record stays, damaged files are kept
    /// beside the new ones. Without --yes it only says what it would do, with exit code 1 where
    /// there is something to do.
    #[command(after_help = examples!(
        "isogrid log repair /var/lib/isogrid         # says what it would do",
        "isogrid log repair /var/lib/isogrid --yes",
    ))]
    Repair {
        /// The data directory.
        dir: PathBuf,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs `isogrid log ...`.
pub fn main(args: &LogArgs) -> ExitCode {
    let (dir, checked) = match &args.command {
        Command::Verify { dir } | Command::Repair { dir, yes: false } => (dir, look(dir, false)),
        Command::Repair { dir, yes: true } => (dir, look(dir, true)),
    };
    let check = match checked {
        Ok(check) => check,
        Err(error) => return failed(dir, &error),
    };
    let said = say(&report(&check));
    let repaired = !check.log.replaced.is_empty();
    if check.log.is_whole() || repaired {
        return said;
    }
    eprintln!("the log is damaged; nothing was changed");
    eprintln!("  help: `{}` keeps what is whole", repair_command(dir));
    ExitCode::FAILURE
}

fn look(dir: &Path, repair: bool) -> Result<LogCheck, PersistError> {
    let directory = DataDirectory::existing(dir)?;
    if repair { directory.repair_log() } else { directory.verify_log() }
}

/// What is whole, what is lost, and what was done about it.
fn report(check: &LogCheck) -> String {
    let head = ["FILE", "BYTES", "RECORDS", "FIRST", "LAST", "STATE"].map(str::to_owned);
    let rows = check.log.files.iter().map(row);
    let mut text = table(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    let _ = writeln!(text, "\n{} whole records", check.log.records);
    if check.from > Lsn::FIRST {
        let _ = writeln!(text, "the snapshot file has all up to record {}", check.from.previous());
    }
    for lost in &check.log.lost {
        text += &tell(lost, check);
    }
    for (new, kept) in &check.log.replaced {
        let kept =
            kept.as_ref().map_or("there was none".to_owned(), |kept| format!("kept: {kept}"));
        let _ = writeln!(text, "replaced {new} ({kept})");
    }
    text
}

fn row(file: &FileReport) -> [String; 6] {
    let state = match file.state {
        FileState::Whole => "whole".to_owned(),
        FileState::Torn { bytes } => format!("whole, {bytes} bytes of an unfinished write"),
        FileState::Damaged => "damaged".to_owned(),
        FileState::Missing => "missing".to_owned(),
    };
    let last = if file.next > file.first { file.next.previous().to_string() } else { "-".into() };
    let (bytes, records) = (file.bytes.to_string(), file.records.to_string());
    [file.place.clone(), bytes, records, file.first.to_string(), last, state]
}

fn tell(lost: &Lost, check: &LogCheck) -> String {
    let Lost { place, from, to, first, last } = lost;
    let mut text = match last {
        Some(last) if first == last => format!("lost record {first}"),
        Some(last) => format!("lost records {first} to {last}"),
        None => format!("lost record {first} and all after it"),
    };
    let _ = match to - from {
        0 => writeln!(text, ": missing at byte {from} of {place}"),
        _ => writeln!(text, ": bytes {from} to {to} of {place}"),
    };
    if last.is_some_and(|last| last < check.from) {
        text += "  the snapshot file has them\n";
        return text;
    }
    let is_of = |number: &Lsn| number >= first && last.is_none_or(|last| *number <= last);
    let keys: Vec<_> = check.keys.iter().filter(|(number, ..)| is_of(number)).collect();
    for (number, cache, key) in keys.iter().take(KEYS_MAX) {
        let (cache, key) = (cache.escape_debug(), key.escape_ascii());
        let _ =
            writeln!(text, "  record {number} seems to be of key \"{key}\" of cache \"{cache}\"");
    }
    match keys.len().saturating_sub(KEYS_MAX) {
        0 if keys.is_empty() => text += "  whose keys these are cannot be told\n",
        0 => {}
        more => drop(writeln!(text, "  and {more} keys more")),
    }
    text
}
