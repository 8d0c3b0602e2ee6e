//! What is written from the declaration of the command line: completions and manual pages.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_complete::env::Shells;

use super::output::{fail, say};
use super::{Cli, USAGE};

const COMPLETION_EXAMPLES: &str = "\
Examples:
  isogrid completion bash > /etc/bash_completion.d/isogrid
  isogrid completion zsh > \"${fpath[1]}/_isogrid\"
  isogrid completion fish > ~/.config/fish/completions/isogrid.fish

The script asks this program what may come next, and the program asks the server for the names of
its caches and queues, for 300 ms at most.";

const MAN_EXAMPLES: &str = "\
Examples:
  isogrid man | man -l -
  isogrid man /usr/local/share/man/man1     # a page for each command, too";

#[derive(Args)]
#[command(after_help = COMPLETION_EXAMPLES)]
pub struct CompletionArgs {
    /// The shell to complete in
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args)]
#[command(after_help = MAN_EXAMPLES)]
pub struct ManArgs {
    /// Where to write all pages; without it the page of `isogrid` itself goes to stdout
    dir: Option<PathBuf>,
}

/// The variable by which a shell says that it wants to know what may come next.
pub const COMPLETE: &str = "ISOGRID_COMPLETE";

/// Runs `isogrid completion`.
pub fn completion(args: &CompletionArgs) -> ExitCode {
    let (shell, mut script) = (args.shell.to_string(), Vec::new());
    let Some(shell) = SHELLS.completer(&shell) else {
        return fail(&format!("{shell} is not known"), USAGE);
    };
    match shell.write_registration(COMPLETE, "isogrid", "isogrid", "isogrid", &mut script) {
        Ok(()) => say(&String::from_utf8_lossy(&script)),
        Err(error) => fail(&format!("no script: {error}"), 1),
    }
}

const SHELLS: Shells<'_> = Shells::builtins();

/// Runs `isogrid man`.
pub fn man(args: &ManArgs) -> ExitCode {
    let Some(dir) = &args.dir else { return first_page() };
    match write(dir) {
        Ok(pages) => say(&format!("{}: {pages} pages\n", dir.display())),
        Err(error) => fail(&format!("cannot write to {}: {error}", dir.display()), 1),
    }
}

fn first_page() -> ExitCode {
    let mut page = Vec::new();
    match clap_mangen::Man::new(Cli::command()).render(&mut page) {
        Ok(()) => say(&String::from_utf8_lossy(&page)),
        Err(error) => fail(&format!("no page: {error}"), 1),
    }
}

/// Writes a page for each command, such as `isogrid-config-show.1`.
fn write(dir: &Path) -> std::io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir)?;
    let files = std::fs::read_dir(dir)?.flatten().map(|file| file.file_name());
    Ok(files.filter(|name| name.to_string_lossy().starts_with("isogrid")).count())
}
