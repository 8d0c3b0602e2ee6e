//! `isogrid context`: servers by name, in a file in the folder for settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Failure, Target};
use crate::cli::complete;
use crate::cli::output::{OutputArgs, say};
use crate::cli::table::table;
use crate::config::nearest;

/// Where a server listens unless it is told otherwise.
const SERVER: &str = "127.0.0.1:7400";

const EXAMPLES: &str = "\
Examples:
  isogrid context add prod --server grid-1.example.org:7400 --tls --user anna
  isogrid context add ci --server grid-1.example.org:7400 --tls --token-file ~/.isogrid-token
  isogrid context use prod
  isogrid context use -                # the one that was in use before
  isogrid cache ls                     # asks prod
  isogrid cache ls --context test      # asks another one, this once
  isogrid context ls

They are kept in $XDG_CONFIG_HOME/isogrid/contexts.toml (~/.config without XDG_CONFIG_HOME). What
is said nearest to a command counts: --server or --context, then ISOGRID_SERVER, then
ISOGRID_CONTEXT, then the context in use, then 127.0.0.1:7400.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ContextArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Note a server under a name, or change it.
    #[command(after_help = examples!(
        "isogrid context add test --server 127.0.0.1:7400",
        "isogrid context add prod --server grid-1.example.org:7400 --tls --user anna",
    ))]
    Add {
        /// The name.
        name: String,
        /// The server's native address.
        #[arg(long, value_name = "HOST:PORT")]
        server: String,
        #[command(flatten)]
        access: Box<Target>,
    },
    /// Use a server from now on.
    #[command(after_help = examples!(
        "isogrid context use prod",
        "isogrid context use -                   # the one that was in use before",
    ))]
    Use {
        /// Its name; - is the one that was in use before.
        #[arg(add = ArgValueCompleter::new(complete::contexts))]
        name: String,
    },
    /// List the servers; * marks the one in use.
    #[command(visible_alias = "list")]
    #[command(after_help = examples!("isogrid context ls", "isogrid context ls -o json"))]
    Ls {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Forget a server.
    #[command(visible_alias = "remove")]
    #[command(after_help = examples!("isogrid context rm test"))]
    Rm {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::contexts))]
        name: String,
    },
}

/// All that are noted.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one in use.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    used: Option<String>,
    /// The one that was in use before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(default, rename = "context")]
    by_name: BTreeMap<String, Target>,
}

impl Contexts {
    /// What the file says; nothing if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not of this form.
    pub fn read() -> Result<Self, Failure> {
        let Some(path) = path() else { return Ok(Contexts::default()) };
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| Failure::general(format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Contexts::default()),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    fn write(&self) -> Result<(), Failure> {
        let path = path().ok_or_else(|| {
            Failure::general("there is no folder for settings: set HOME or XDG_CONFIG_HOME")
        })?;
        let text = toml::to_string(self).map_err(|error| Failure::general(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        // Whoever reads it meanwhile sees the one or the other.
        let new = path.with_extension(format!("{}.new", std::process::id()));
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&new, text))
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|error| failed(&path, &error))
    }

    /// The server of this name.
    ///
    /// # Errors
    /// There is none, and another one may have been meant.
    pub fn named(&self, name: &str) -> Result<Target, Failure> {
        self.by_name.get(name).cloned().ok_or_else(|| {
            let help = match nearest(name, self.by_name.keys().map(String::as_str)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("note it: `isogrid context add {name} --server HOST:PORT`"),
            };
            Failure::not_found(format!("there is no context {name:?}")).help(help)
        })
    }

    /// The server in use; the one on this machine if none is.
    ///
    /// # Errors
    /// It is not noted any more.
    pub fn in_use(&self) -> Result<Target, Failure> {
        match &self.used {
            Some(name) => self.named(name),
            None => Ok(Target { server: SERVER.to_owned(), ..Target::default() }),
        }
    }

    /// Whether one is in use.
    pub fn is_used(&self) -> bool {
        self.used.is_some()
    }

    /// Uses the server of this name, `-` being the one that was in use before; its name.
    fn choose(&mut self, name: &str) -> Result<String, Failure> {
        let name = match (name, &self.before) {
            ("-", Some(before)) => before.clone(),
            ("-", None) => return Err(Failure::not_found("no context was in use before")),
            _ => name.to_owned(),
        };
        self.named(&name)?;
        if self.used.as_ref() != Some(&name) {
            self.before = self.used.replace(name.clone());
        }
        Ok(name)
    }

    fn list(&self) -> String {
        let head = ["", "NAME", "SERVER", "LOGIN", "TLS"].map(str::to_owned);
        let row = |(name, target): (&String, &Target)| {
            let mark = if self.used.as_ref() == Some(name) { "*" } else { "" };
            let (login, security) = (target.login(), target.security());
            [mark.to_owned(), name.clone(), target.server.clone(), login, security]
        };
        table(&std::iter::once(head).chain(self.by_name.iter().map(row)).collect::<Vec<_>>())
    }
}

fn path() -> Option<PathBuf> {
    Some(settings()?.join("contexts.toml"))
}

/// The folder of this program's settings of this user.
pub fn settings() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    let settings = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
    Some(settings.join("isogrid"))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::general(format!("{}: {error}", path.display()))
}

/// The names of all contexts.
pub fn names() -> Vec<String> {
    Contexts::read().unwrap_or_default().by_name.into_keys().collect()
}

/// Runs `isogrid context`.
pub fn main(args: &ContextArgs) -> ExitCode {
    run(&args.command).unwrap_or_else(|failure| failure.say())
}

fn run(command: &Command) -> Result<ExitCode, Failure> {
    let mut contexts = Contexts::read()?;
    match command {
        Command::Add { name, server, access } => {
            let access = Target::clone(access).absolute();
            let access = access.map_err(|error| failed(Path::new("."), &error))?;
            let target = Target { server: server.clone(), ..access };
            contexts.by_name.insert(name.clone(), target);
        }
        Command::Use { name } => {
            let chosen = contexts.choose(name)?;
            contexts.write()?;
            return Ok(say(&if name == "-" { format!("{chosen}\n") } else { String::new() }));
        }
        Command::Ls { output } => {
            let document = || json!({ "use": contexts.used, "contexts": contexts.by_name });
            return Ok(output.say(|| contexts.list(), document));
        }
        Command::Rm { name } => {
            contexts.named(name)?;
            contexts.by_name.remove(name);
            contexts.used.take_if(|used| used == name);
            contexts.before.take_if(|before| before == name);
        }
    }
    contexts.write()?;
    Ok(say(""))
}
