//! `isogrid user`: the users of a server, in its file of users or, with `--server`, over the network.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use isogrid_wire::scram::Verifier;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::output::{note, say};
use super::remote::{RemoteArgs, kept, object};
use super::secret::{LEN_MAX, ask, line};
use super::serve::FileArgs;
use super::{REFUSED, refuse};
use crate::security::change::{Change, Secret};
use crate::security::role::Role;
use crate::security::users::{check_name, documents};
use crate::security::{hex, random, users_file};

const EXAMPLES: &str = "\
Examples:
  isogrid user add app --role read,write,delete@*        # asks for the password
  echo \"$SECRET\" | isogrid user add app --role read@orders*/user:
  isogrid user add ci --role read@* --token              # prints a token, once
  isogrid user role app read,write@orders*
  isogrid user ls
  isogrid user ls --server 10.0.0.5:7400                 # asks a running server

A role is PERMISSIONS@CACHES[/PREFIX]: permissions with commas (all, read, write, delete, admin,
queue_send, queue_receive, job, session, monitor, cluster), a pattern of names of caches with *,
and the beginning of the keys if not all. What no role permits is denied.

A running server reads a change within a second. Each node has users of its own: say it to each,
or give all the same file. With --server no password leaves this machine: the server is sent what
passwords are checked with.";

/// A password is not shorter, bytes.
const PASSWORD_LEN_MIN: usize = 8;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct UserArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The file of users [key: auth.users]
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a user; the password is read from standard input, or asked for on a terminal.
    #[command(after_help = examples!(
        "isogrid user add app --role read,write,delete@*     # asks for the password",
        "isogrid user add ci --role read@* --token           # prints a token, once",
    ))]
    Add {
        /// The user's name.
        name: String,
        /// What the user may do: PERMISSIONS@CACHES[/PREFIX]; repeatable.
        #[arg(long, value_name = "ROLE", required = true)]
        role: Vec<String>,
        /// Make a token in the place of a password, and print it.
        #[arg(long)]
        token: bool,
    },
    /// Change a user's password, or make a new token.
    #[command(after_help = examples!(
        "isogrid user passwd app                 # asks for the new one",
        "isogrid user passwd ci --token",
    ))]
    Passwd {
        /// The user's name.
        name: String,
        /// Make a new token, and print it.
        #[arg(long)]
        token: bool,
    },
    /// Change what a user may do.
    #[command(after_help = examples!("isogrid user role app read,write@orders*"))]
    Role {
        /// The user's name.
        name: String,
        /// All roles from now on.
        #[arg(value_name = "ROLE", required = true)]
        roles: Vec<String>,
    },
    /// Remove a user; connections that it has are closed.
    #[command(after_help = examples!("isogrid user rm app"))]
    Rm {
        /// The user's name.
        name: String,
    },
    /// List the users and what they may do.
    #[command(after_help = examples!("isogrid user ls"))]
    Ls,
}

/// Changes or shows the users.
pub fn main(args: &UserArgs) -> ExitCode {
    if args.remote.place().says_something() || kept::is_repl() {
        return at_server(args);
    }
    let path = match (&args.users, args.file.load(Vec::new())) {
        (Some(path), _) => Some(path.clone()),
        (None, Ok(loaded)) => loaded.config.users_file(),
        (None, Err(problems)) => return refuse(&problems),
    };
    let Some(path) = path else {
        eprintln!(
            "error: there is no file of users without a data directory: say --users FILE, or --server \
             HOST:PORT to ask a running server"
        );
        return ExitCode::from(REFUSED);
    };
    let outcome = match &args.command {
        Command::Ls => users_file::read(&path).map(|users| print(&args.remote, &documents(&users))),
        command => match asked(command, Some(&path)) {
            Ok(asked) => users_file::edit(&path, |users| asked.change.apply(&asked.name, users))
                .map(|()| {
                    note(&format!("written to {}", path.display()));
                    asked.said.map_or(ExitCode::SUCCESS, |token| say(&token))
                }),
            Err(why) => return failed(&why),
        },
    };
    outcome.unwrap_or_else(|error| failed(&error.to_string()))
}

fn failed(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}

/// The same at a running server, which is told what a password is checked with and no password.
fn at_server(args: &UserArgs) -> ExitCode {
    if args.users.is_some() {
        return failed("--users names a file, --server a running server: say one of them");
    }
    if let Command::Ls = args.command {
        return args.remote.run(async |client| {
            let told = client.admin("users.list", &json!({})).await?;
            Ok(print(&args.remote, &told))
        });
    }
    let Asked { name, change, said } = match asked(&args.command, None) {
        Ok(asked) => asked,
        Err(why) => return failed(&why),
    };
    let (method, params) = method(&name, &change);
    args.remote.run(async |client| {
        client.admin(method, &params).await?;
        note("the server takes it within a second");
        Ok(said.map_or(ExitCode::SUCCESS, |token| say(&token)))
    })
}

/// A change, and what standard output gets when it is made.
struct Asked {
    name: String,
    change: Change,
    said: Option<String>,
}

/// What the command asks for; a password is asked for when all else is right.
fn asked(command: &Command, file: Option<&Path>) -> Result<Asked, String> {
    let (name, change, said) = match command {
        Command::Ls => return Err("a list changes nothing".to_owned()),
        Command::Add { name, role, token } => {
            check_name(name)?;
            let roles = roles(role)?;
            let (secret, said) = secret(name, *token)?;
            (name, Change::Add(roles, Some(secret)), said)
        }
        Command::Passwd { name, token } => {
            let known =
                file.map(users_file::read).transpose().map_err(|error| error.to_string())?;
            if known.is_some_and(|users| !users.by_name.contains_key(name)) {
                return Err(format!("there is no user `{name}`; `isogrid user ls` lists them"));
            }
            let (secret, said) = secret(name, *token)?;
            (name, Change::Secret(secret), said)
        }
        Command::Role { name, roles: words } => (name, Change::Roles(roles(words)?), None),
        Command::Rm { name } => (name, Change::Remove, None),
    };
    Ok(Asked { name: name.clone(), change, said })
}

fn roles(words: &[String]) -> Result<Arc<[Role]>, String> {
    words.iter().map(|word| Role::parse(word)).collect()
}

/// What the user logs in with from now on; a token as standard output gets it, where a script can
/// take it.
fn secret(name: &str, token: bool) -> Result<(Secret, Option<String>), String> {
    if token {
        let secret = random::secret();
        let hash = Sha256::digest(secret.as_bytes()).into();
        return Ok((Secret::Token(hash), Some(format!("{name}.{secret}\n"))));
    }
    let (password, salt) = (password()?, random::bytes());
    Ok((Secret::Password(Verifier::derive(password.as_bytes(), &salt)), None))
}

/// The method of administration that makes the change, and its parameters.
fn method(name: &str, change: &Change) -> (&'static str, Value) {
    let text = |roles: &[Role]| roles.iter().map(Role::to_string).collect::<Vec<_>>().join(" ");
    let with = |secret: &Secret| match secret {
        Secret::Password(verifier) => ("verifier", verifier.to_string()),
        Secret::Token(hash) => ("token_sha256", hex::show(hash)),
    };
    let (method, params) = match change {
        Change::Add(roles, secret) => (
            "users.add",
            secret.iter().map(with).chain([("roles", text(roles))]).collect::<Vec<_>>(),
        ),
        Change::Secret(secret) => ("users.passwd", vec![with(secret)]),
        Change::Roles(roles) => ("users.role", vec![("roles", text(roles))]),
        Change::Remove => ("users.remove", Vec::new()),
    };
    let params = params.iter().map(|(name, text)| (*name, text.as_str()));
    (method, object(params.chain([("name", name)])))
}

/// The users, each on a line.
fn print(remote: &RemoteArgs, users: &Value) -> ExitCode {
    remote.out().say(|| list(users), || users.clone())
}

fn list(users: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |user: &Value| {
        let has = |name: &str| user.get(name).and_then(Value::as_bool).unwrap_or_default();
        let by = match (has("password"), has("token")) {
            (true, true) => "password, token",
            (true, false) => "password",
            (false, true) => "token",
            (false, false) => "certificate",
        };
        let name = user.get("name").map(text).unwrap_or_default();
        let roles = user.get("roles").and_then(Value::as_array).into_iter().flatten();
        let roles: Vec<String> = roles.map(text).collect();
        format!("{name}\t{by}\t{}\n", roles.join(" "))
    };
    users.get("users").and_then(Value::as_array).into_iter().flatten().map(row).collect()
}

/// The password: the first line of standard input; twice, and unseen, on a terminal. Never an
/// argument: every user of the machine can read those.
fn password() -> Result<String, String> {
    let said = |error: std::io::Error| error.to_string();
    let mut stdin = std::io::stdin().lock();
    if !stdin.is_terminal() {
        return checked(line(&mut stdin).map_err(said)?);
    }
    let first = ask("password").map_err(said)?;
    let again = ask("again").map_err(said)?;
    if first == again { checked(first) } else { Err("the two are not the same".to_owned()) }
}

fn checked(password: String) -> Result<String, String> {
    let bounds = PASSWORD_LEN_MIN..=usize::try_from(LEN_MAX).unwrap_or(usize::MAX);
    if !bounds.contains(&password.len()) {
        return Err(format!(
            "a password has {PASSWORD_LEN_MIN} to {LEN_MAX} bytes; it is read from \
             standard input"
        ));
    }
    if password.contains(|letter: char| letter.is_control() || letter == ' ') {
        let why = "a password has no blanks and no control characters: memcached's text login \
                   ends it at the first blank";
        return Err(why.to_owned());
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords() {
        for (text, good) in [
            ("longenough", true),
            ("short", false),
            ("with blank", false),
            ("with\ttabtab", false),
            ("päßwörter", true),
        ] {
            assert_eq!(checked(text.to_owned()).is_ok(), good, "{text}");
        }
        assert!(checked("x".repeat(1_025)).is_err());
    }

    #[test]
    fn no_password_is_an_argument() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            user: UserArgs,
        }
        let parse = |words: &str| {
            <Cli as clap::Parser>::try_parse_from(words.split(' ')).map(|cli| cli.user.command)
        };
        assert!(parse("user add app --role read@*").is_ok());
        assert!(parse("user add app").is_err(), "who may do nothing is a slip");
        assert!(parse("user add app secret --role read@*").is_err());
        assert!(parse("user add app --role read@* --password secret").is_err());
        assert!(parse("user passwd app secret").is_err());
    }
}
