//! Before something is destroyed its name is typed.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use super::Failure;

/// A name that is typed is not longer, bytes.
const LINE_LEN_MAX: u64 = 4_096;

/// Returns when the name was typed.
///
/// # Errors
/// Another one was.
pub fn confirm(what: &str, name: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        eprint!("{what}. Type its name to go on: ");
    }
    let mut line = String::new();
    // What cannot be read is not the name.
    let _ = stdin.take(LINE_LEN_MAX).read_line(&mut line);
    if line.trim_end_matches(['\r', '\n']) == name {
        return Ok(());
    }
    Err(Failure::usage(format!("not done: {name} was not typed"))
        .help("type the name when asked, or say --yes"))
}
