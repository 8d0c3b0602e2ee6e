//! `isogrid config`: show, check, explain, init.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output::{fail, say};
use super::serve::FileArgs;
use super::{USAGE, refuse};
use crate::config::{Sources, explain, explain_all, load, markdown, show, template};

#[derive(Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the configuration that `serve` would start with, as TOML.
    #[command(after_help = examples!(
        "isogrid config show",
        "isogrid config show -c isogrid.toml --origin",
    ))]
    Show {
        #[command(flatten)]
        file: FileArgs,
        /// Say for each value where it was said.
        #[arg(long)]
        origin: bool,
    },
    /// Check a file alone, without the environment; exit code 78 when it is refused.
    #[command(after_help = examples!("isogrid config check /etc/isogrid/isogrid.toml"))]
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Explain a key, or all of them.
    #[command(after_help = examples!(
        "isogrid config explain cache.memory",
        "isogrid config explain all",
    ))]
    Explain {
        /// A key like limits.max_item_size or cache.memory, or `all`.
        key: String,
        /// All keys as the page docs/CONFIGURATION.md.
        #[arg(long)]
        markdown: bool,
    },
    /// Write a commented file with every key and its default.
    #[command(after_help = examples!("isogrid config init", "isogrid config init - | less"))]
    Init {
        /// The file to write; `-` for stdout.
        #[arg(default_value = "isogrid.toml")]
        file: PathBuf,
    },
}

/// Runs `isogrid config ...`.
pub fn main(args: &ConfigArgs) -> ExitCode {
    match &args.command {
        Command::Show { file, origin } => match file.load(Vec::new()) {
            Ok(loaded) => say(&show(&loaded, *origin)),
            Err(problems) => refuse(&problems),
        },
        Command::Check { file } => check(file),
        Command::Explain { markdown: true, .. } => say(&markdown()),
        Command::Explain { key, .. } if key == "all" => say(&explain_all()),
        Command::Explain { key, .. } => match explain(key) {
            Ok(text) => say(&text),
            Err(why) => fail(&why, USAGE),
        },
        Command::Init { file } => init(file),
    }
}

fn check(file: &Path) -> ExitCode {
    match load(&Sources { file: Some(file.to_owned()), ..Default::default() }) {
        Ok(_) => say(&format!("{}: ok\n", file.display())),
        Err(problems) => refuse(&problems),
    }
}

/// Never writes over a file: it may be the only copy of somebody's work.
fn init(file: &Path) -> ExitCode {
    if file == Path::new("-") {
        return say(&template());
    }
    let created = OpenOptions::new().write(true).create_new(true).open(file);
    match created.and_then(|mut file| file.write_all(template().as_bytes())) {
        Ok(()) => say(&format!("{} written; see `isogrid config explain all`\n", file.display())),
        Err(error) => fail(&format!("cannot write {}: {error}", file.display()), 1),
    }
}
