//! What is shown behind the cursor: the end of a line that was typed before, which the right arrow
//! takes, or else what the command still wants.

use clap::CommandFactory as _;
use rustyline::Context;
use rustyline::hint::{Hint, Hinter as _, HistoryHinter};

use crate::cli::Cli;

/// A hint.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    text: String,
    is_taken: bool,
}

impl Hint for Shown {
    fn display(&self) -> &str {
        &self.text
    }

    fn completion(&self) -> Option<&str> {
        self.is_taken.then_some(&self.text)
    }
}

/// What to show behind `line`, at whose end the cursor is.
pub fn hint(line: &str, position: usize, context: &Context<'_>) -> Option<Shown> {
    let before = HistoryHinter::new().hint(line, position, context);
    let before = before.map(|text| Shown { text, is_taken: true });
    before.or_else(|| Some(Shown { text: wants(line)?, is_taken: false }))
}

/// The values that the command in `line` still wants, as `--help` names them.
fn wants(line: &str) -> Option<String> {
    let mut command = Cli::command();
    let mut given = 0;
    for word in line.split_whitespace() {
        match command.find_subcommand(word) {
            Some(found) if given == 0 => command = found.clone(),
            _ if word.starts_with('-') => {}
            _ => given += 1,
        }
    }
    let has_command = line.split_whitespace().next().is_some() && !command.has_subcommands();
    let open = command.get_positionals().skip(given);
    let open: Vec<String> = open.map(ToString::to_string).collect();
    let gap = if line.ends_with(' ') { "" } else { " " };
    (has_command && !open.is_empty()).then(|| format!("{gap}{}", open.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_still_wants_is_shown() {
        for (line, wanted) in [
            ("", None),
            ("cache", None),
            ("cache put", Some(" <CACHE> <KEY> [VALUE]")),
            ("cache put ", Some("<CACHE> <KEY> [VALUE]")),
            ("cache put --if-absent default", Some(" <KEY> [VALUE]")),
            ("cache get default k", None),
            ("cache nothing", None),
            ("explain", Some(" [CODE]")),
        ] {
            assert_eq!(wants(line).as_deref(), wanted, "{line:?}");
        }
    }
}
