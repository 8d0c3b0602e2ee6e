//! `isogrid user`: the users of a server, in its file of users.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use sha2::{Digest, Sha256};

use super::output::{note, say};
use super::secret::{LEN_MAX, ask, line};
use super::serve::FileArgs;
use super::{REFUSED, refuse};
use crate::security::first_user;
use crate::security::random;
use crate::security::role::Role;
use crate::security::users::{Users, check_name};
use crate::security::users_file::{self, UsersFileError};

const EXAMPLES: &str = "\
Examples:
  isogrid user add app --role read,write,delete@*        # asks for the password
  echo \"$SECRET\" | isogrid user add app --role read@orders*/user:
  isogrid user add ci --role read@* --token              # prints a token, once
  isogrid user role app read,write@orders*
  isogrid user ls

A role is PERMISSIONS@CACHES[/PREFIX]: permissions with commas (all, read, write, delete, admin,
queue_send, queue_receive, job, session, monitor, cluster), a pattern of names of caches with *,
and the beginning of the keys if not all. What no role permits is denied.

A running server reads a change within a second.";

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
    let path = match (&args.users, args.file.load(Vec::new())) {
        (Some(path), _) => Some(path.clone()),
        (None, Ok(loaded)) => loaded.config.users_file(),
        (None, Err(problems)) => return refuse(&problems),
    };
    let Some(path) = path else {
        eprintln!("error: there is no file of users without a data directory: say --users FILE");
        return ExitCode::from(REFUSED);
    };
    match run(&args.command, &path) {
        Ok(said) => say(&said),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command, path: &Path) -> Result<String, String> {
    match command {
        Command::Ls => users_file::read(path).map(|users| list(&users)).map_err(|e| e.to_string()),
        Command::Add { name, role, token } => {
            check_name(name)?;
            let roles = roles(role)?;
            let secret = Secret::make(name, *token)?;
            edit(path, |users| {
                if users.by_name.contains_key(name) {
                    return Err(format!("there is a user `{name}` already"));
                }
                let mut user = first_user::without_password(roles);
                secret.put(&mut user);
                users.by_name.insert(name.clone(), user);
                Ok(secret.said(path))
            })
        }
        Command::Passwd { name, token } => {
            let known = users_file::read(path).map_err(|e| e.to_string())?;
            known.by_name.get(name).ok_or_else(|| unknown(name))?;
            let secret = Secret::make(name, *token)?;
            edit(path, |users| {
                secret.put(users.by_name.get_mut(name).ok_or_else(|| unknown(name))?);
                Ok(secret.said(path))
            })
        }
        Command::Role { name, roles: words } => {
            let roles = roles(words)?;
            edit(path, |users| {
                users.by_name.get_mut(name).ok_or_else(|| unknown(name))?.roles = roles;
                Ok(String::new())
            })
        }
        Command::Rm { name } => edit(path, |users| {
            users.by_name.remove(name).map(|_| String::new()).ok_or_else(|| unknown(name))
        }),
    }
}

fn edit(
    path: &Path,
    change: impl FnOnce(&mut Users) -> Result<String, String>,
) -> Result<String, String> {
    users_file::edit(path, change).map_err(|error: UsersFileError| error.to_string())
}

fn unknown(name: &str) -> String {
    format!("there is no user `{name}`; `isogrid user ls` lists them")
}

fn roles(words: &[String]) -> Result<std::sync::Arc<[Role]>, String> {
    words.iter().map(|word| Role::parse(word)).collect()
}

fn list(users: &Users) -> String {
    let row = |(name, user): (&String, &crate::security::users::User)| {
        let roles: Vec<String> = user.roles.iter().map(Role::to_string).collect();
        let by = match (&user.verifier, &user.token) {
            (Some(_), Some(_)) => "password, token",
            (Some(_), None) => "password",
            (None, Some(_)) => "token",
            (None, None) => "certificate",
        };
        format!("{name}\t{by}\t{}\n", roles.join(" "))
    };
    users.by_name.iter().map(row).collect()
}

/// What a user logs in with from now on.
enum Secret {
    Password(isogrid_wire::scram::Verifier),
    Token { text: String, hash: [u8; 32] },
}

impl Secret {
    fn make(name: &str, token: bool) -> Result<Self, String> {
        if token {
            let secret = random::secret();
            let hash = Sha256::digest(secret.as_bytes()).into();
            return Ok(Secret::Token { text: format!("{name}.{secret}"), hash });
        }
        let password = password()?;
        let salt = random::bytes();
        Ok(Secret::Password(isogrid_wire::scram::Verifier::derive(password.as_bytes(), &salt)))
    }

    fn put(&self, user: &mut crate::security::users::User) {
        match self {
            Secret::Password(verifier) => user.verifier = Some(verifier.clone()),
            Secret::Token { hash, .. } => user.token = Some(*hash),
        }
    }

    /// The token on standard output, where a script can take it; all else is for people.
    fn said(&self, path: &Path) -> String {
        note(&format!("written to {}", path.display()));
        match self {
            Secret::Password(_) => String::new(),
            Secret::Token { text, .. } => format!("{text}\n"),
        }
    }
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
