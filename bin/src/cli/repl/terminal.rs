//! Lines from somebody at a terminal, with history and completion.

use std::borrow::Cow;
use std::path::PathBuf;

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::hint::{Shown, hint};
use super::is_open;
use crate::cli::complete;
use crate::cli::remote::settings;
use crate::colour;

/// Lines that are remembered.
const HISTORY_LEN: usize = 1_000;

/// The terminal of this process.
pub struct Terminal {
    editor: Editor<Help, FileHistory>,
    history: Option<PathBuf>,
}

impl Terminal {
    /// # Errors
    /// Why it cannot be used.
    pub fn open() -> Result<Self, String> {
        let config = Config::builder()
            .max_history_size(HISTORY_LEN)
            .map_err(|error| error.to_string())?
            .history_ignore_space(true)
            .auto_add_history(true)
            .completion_type(CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config).map_err(|error| error.to_string())?;
        editor.set_helper(Some(Help));
        let history = settings().map(|folder| folder.join("history"));
        if let Some(file) = &history {
            // There is none before the first time.
            let _ = editor.load_history(file);
        }
        Ok(Terminal { editor, history })
    }

    /// The next line; none when there are no more. One that is interrupted is forgotten.
    pub fn line(&mut self, label: &str) -> Option<String> {
        loop {
            match self.editor.readline(&format!("{label}> ")) {
                Ok(line) => return Some(line),
                Err(rustyline::error::ReadlineError::Interrupted) => {}
                Err(_) => return None,
            }
        }
    }

    /// The lines that are remembered and have `part` in them, the oldest first, with their numbers.
    pub fn history(&self, part: &str) -> String {
        let lines = (1..).zip(self.editor.history().iter());
        let fits = lines.filter(|(_, line)| line.contains(part));
        fits.map(|(number, line)| format!("{number:5}  {line}\n")).collect()
    }

    /// Remembers the lines for the next time, for this user alone (mode 0600).
    pub fn close(mut self) {
        let Some(file) = &self.history else { return };
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) = folder.map_err(Into::into).and_then(|()| self.editor.save_history(file))
        {
            eprintln!("warning: {}: {error}", file.display());
        }
    }
}

/// What the editor is told of commands.
struct Help;

impl Helper for Help {}

impl Highlighter for Help {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if !colour::is_wanted() {
            return hint.into();
        }
        format!("\x1b[2m{hint}\x1b[22m").into()
    }
}

impl Hinter for Help {
    type Hint = Shown;

    fn hint(&self, line: &str, position: usize, context: &Context<'_>) -> Option<Shown> {
        if position < line.len() { None } else { hint(line, position, context) }
    }
}

impl Completer for Help {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..position).unwrap_or(line);
        let (start, found) = complete::line(before);
        let pair = |word: String| Pair { replacement: format!("{word} "), display: word };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Validator for Help {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let open = is_open(context.input());
        Ok(if open { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}
