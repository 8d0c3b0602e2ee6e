//! `isogrid repl`: the commands without the program's name, one after the other.

mod backslash;
mod hint;
mod redirect;
mod terminal;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Args, Parser as _};

use super::bench::Clock;
use super::output::{fail, say};
use super::remote::{PlaceArgs, kept};
use super::{Cli, Command, USAGE};
use terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  isogrid repl                         # on a terminal: history, completion with TAB, exit
  isogrid repl --context prod
  isogrid repl < nightly.isogrid       # a script: ends at the first failure, with its exit code

Lines are commands as behind `isogrid`, with quotes as in a shell; what follows # is a comment, and
a quote that is open goes on in the next line. The connection is kept from one line to the next.
`| jq .` behind a command sends its output through a command of the shell, `> FILE` and `>> FILE`
into a file; `|`, `>` and `#` that are meant themselves stand in quotes. \\timing says how long lines
take, \\watch 2 runs the line before every two seconds, \\? lists these. A terminal shows what a
command still wants, or the line that began like this one before, which the right arrow takes.

See also: isogrid cache, isogrid context";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `isogrid repl`.
pub fn main(args: &ReplArgs) -> ExitCode {
    if let Err(failure) = kept::begin(&args.place) {
        return failure.say();
    }
    if std::io::stdin().is_terminal() { converse() } else { script() }
}

/// Whether `isogrid` alone means this: somebody sits there, and a server answers.
pub fn is_wanted() -> bool {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    terminal && PlaceArgs::default().answers()
}

/// As `isogrid repl` without a word more.
pub fn begin() -> ExitCode {
    main(&ReplArgs { place: PlaceArgs::default() })
}

/// What lines have to do with each other.
#[derive(Default)]
struct Repl {
    is_timed: bool,
    /// The last line with a command.
    before: Option<String>,
}

/// What came of a line.
enum Done {
    Ran(ExitCode),
    Leave,
}

/// Asks for line after line until there are no more. A failure was said, and is over.
fn converse() -> ExitCode {
    let mut terminal = match Terminal::open() {
        Ok(terminal) => terminal,
        Err(why) => return fail(&format!("the terminal cannot be used: {why}"), 1),
    };
    let mut repl = Repl::default();
    while let Some(line) = terminal.line(&kept::label()) {
        if let Some(part) = line.trim().strip_prefix("\\history") {
            say(&terminal.history(part.trim()));
        } else if let Done::Leave = repl.run(&line) {
            break;
        }
    }
    terminal.close();
    ExitCode::SUCCESS
}

/// Runs the lines of stdin up to the first that fails.
fn script() -> ExitCode {
    let mut repl = Repl::default();
    loop {
        let line = match next() {
            Ok(Some(line)) => line,
            Ok(None) => return ExitCode::SUCCESS,
            Err(error) => return fail(&format!("stdin: {error}"), 1),
        };
        match repl.run(&line) {
            Done::Ran(ExitCode::SUCCESS) => {}
            Done::Ran(code) => return code,
            Done::Leave => return ExitCode::SUCCESS,
        }
    }
}

/// The next line of stdin, and those in which its quote goes on. Nobody holds stdin meanwhile:
/// a command may read the lines behind its own.
fn next() -> std::io::Result<Option<String>> {
    let mut text = String::new();
    while std::io::stdin().read_line(&mut text)? > 0 {
        if !is_open(&text) {
            return Ok(Some(text));
        }
    }
    Ok((!text.is_empty()).then_some(text))
}

/// Whether a quote is open at the end.
fn is_open(text: &str) -> bool {
    shlex::split(text).is_none()
}

impl Repl {
    fn run(&mut self, line: &str) -> Done {
        if line.trim_start().starts_with('\\') {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            return self.backslash(&words);
        }
        let clock = Clock::start();
        let done = self.command(line);
        let is_command = !redirect::split(line).0.trim().is_empty();
        if is_command {
            self.before = Some(line.to_owned());
        }
        if self.is_timed && is_command {
            eprintln!("{:.3} ms", clock.now().as_secs_f64() * 1e3);
        }
        done
    }

    fn command(&self, line: &str) -> Done {
        let (command, into) = redirect::split(line);
        let Some(words) = shlex::split(command) else {
            return Done::Ran(fail("a quote is open", USAGE));
        };
        match (words.first().map(String::as_str), into) {
            (None, None) => Done::Ran(ExitCode::SUCCESS),
            (None, Some(_)) => Done::Ran(fail("there is no command ahead of | or >", USAGE)),
            (Some("exit" | "quit"), _) => Done::Leave,
            (Some(_), None) => Done::Ran(parsed(words)),
            (Some(_), Some(into)) => Done::Ran(into.run(|| parsed(words))),
        }
    }
}

const OF_ITS_OWN: &str = "that is a process of its own: run it in a shell";

fn parsed(words: Vec<String>) -> ExitCode {
    match Cli::try_parse_from(std::iter::once("isogrid".to_owned()).chain(words)) {
        Ok(Cli {
            command:
                Command::Serve(_) | Command::Dev(_) | Command::Memcached { .. } | Command::Repl(_),
            ..
        }) => fail(OF_ITS_OWN, USAGE),
        Ok(Cli { command: Command::Lock(lock), .. }) if lock.holds() => fail(OF_ITS_OWN, USAGE),
        Ok(cli) => cli.run(),
        Err(error) => {
            // A terminal that has gone hears nothing.
            let _ = error.print();
            u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}
