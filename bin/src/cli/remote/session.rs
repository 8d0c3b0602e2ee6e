//! `isogrid session`: web sessions of a running server. Ids and values are never shown: whoever sees
//! an id can be somebody else.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use isogrid_engine::{Clock, SystemClock};
use isogrid_grid::unit::show_span;
use isogrid_wire::client::Client;
use isogrid_wire::client::session::{Loaded, Session, Sessions, Shown};
use isogrid_wire::native::dynamic::from_hex;
use serde_json::{Value, json};

use super::confirm::confirm;
use super::{Failure, Outcome, RemoteArgs};
use crate::cli::output::{OutputArgs, done};
use crate::cli::table::table;
use crate::server::native::session_mask;

const EXAMPLES: &str = "\
Examples:
  isogrid session list shop
  isogrid session count shop -o json
  isogrid session show shop 6b0c9f1e7a5d42338d1f   # names, sizes and times; values are not shown
  isogrid session find shop user:42
  isogrid session destroy shop 6b0c9f1e7a5d42338d1f --reason 'lost phone'
  isogrid session destroy-by shop user:42          # logs user:42 out everywhere

An ID is the session's id as its framework gives it to the store; 0x.. is one in hexadecimal. A
listing has a mask for each: the first digits of the id's SHA-256.

Exit codes: 0 ok, 3 no such session, others as `isogrid cache --help`.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SessionArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum Command {
    /// List sessions, in no order.
    #[command(visible_alias = "ls")]
    #[command(after_help = examples!(
        "isogrid session list shop",
        "isogrid session ls shop -n 1000 -o json",
    ))]
    List {
        /// The space of sessions.
        space: String,
        /// How many.
        #[arg(short, long, value_name = "N", default_value_t = 100)]
        number: usize,
    },
    /// Count sessions, all of which the server looks at.
    #[command(after_help = examples!("isogrid session count shop"))]
    Count {
        /// The space of sessions.
        space: String,
    },
    /// Show a session: its attributes by name and size, and its times. It is not used by that.
    #[command(after_help = examples!(
        "isogrid session show shop 6b0c9f1e7a5d42338d1f",
        "isogrid session show shop 0x1fb2c3d4e5f60718293a4b5c6d7e8f90 -o json",
    ))]
    Show {
        /// The space of sessions.
        space: String,
        /// Its id.
        id: String,
    },
    /// Find the sessions of a user, or whatever they can be found by.
    #[command(after_help = examples!("isogrid session find shop user:42"))]
    Find {
        /// The space of sessions.
        space: String,
        /// What they can be found by.
        name: String,
    },
    /// End a session. What is saved late does not bring it back.
    #[command(visible_alias = "rm")]
    #[command(after_help = examples!(
        "isogrid session destroy shop 6b0c9f1e7a5d42338d1f --reason 'lost phone'",
    ))]
    Destroy {
        /// The space of sessions.
        space: String,
        /// Its id.
        id: String,
        /// Why, for the server's log.
        #[arg(long, value_name = "TEXT", default_value = "by an operator")]
        reason: String,
    },
    /// End all sessions of a user, or whatever they can be found by.
    #[command(visible_alias = "kick")]
    #[command(after_help = examples!(
        "isogrid session destroy-by shop user:42          # asks for the name",
        "isogrid session destroy-by shop user:42 --yes",
    ))]
    DestroyBy {
        /// The space of sessions.
        space: String,
        /// What they can be found by.
        name: String,
        /// The id of one that stays.
        #[arg(long, value_name = "ID")]
        except: Option<String>,
        /// Without asking for the name.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs `isogrid session`.
pub fn main(args: &SessionArgs) -> ExitCode {
    args.remote.run(async |client| run(&args.command, &client, &args.remote.out()).await)
}

async fn run(command: &Command, client: &Client, out: &OutputArgs) -> Outcome {
    match command {
        Command::List { space, number } => {
            list(&client.sessions(space).await?.list(*number).await?, out)
        }
        Command::Count { space } => {
            let count = client.sessions(space).await?.count().await?;
            Ok(out.say(|| format!("{count}\n"), || json!({ "count": count })))
        }
        Command::Show { space, id } => show(&client.sessions(space).await?, &bytes(id)?, out).await,
        Command::Find { space, name } => find(&client.sessions(space).await?, name, out).await,
        Command::Destroy { space, id, reason } => {
            match client.sessions(space).await?.destroy(&bytes(id)?, reason).await? {
                true => Ok(done("destroyed\n")),
                false => Err(absent()),
            }
        }
        Command::DestroyBy { space, name, except, yes } => {
            if !yes {
                confirm(&format!("all sessions of {name} in {space} will be gone"), name)?;
            }
            let except = except.as_deref().map(bytes).transpose()?;
            let sessions = client.sessions(space).await?;
            let count = sessions.destroy_by(name, except.as_deref()).await?;
            Ok(out.say(|| format!("destroyed {count}\n"), || json!({ "destroyed": count })))
        }
    }
}

fn list(all: &[Shown], out: &OutputArgs) -> Outcome {
    let document = |one: &Shown| {
        json!({
            "mask": one.mask,
            "created_ms": one.created_ms,
            "last_ms": one.last_ms,
            "left_ms": one.left.map(ms),
            "attributes": one.attributes,
            "bytes": one.bytes,
            "index": one.index,
        })
    };
    let row = |one: &Shown| {
        let left = one.left.map_or_else(|| "-".to_owned(), show_span);
        let (created, last) = (ago(one.created_ms), ago(one.last_ms));
        let (attributes, bytes) = (one.attributes.to_string(), one.bytes.to_string());
        [one.mask.clone(), created, last, left, attributes, bytes, one.index.join(" ")]
    };
    const HEAD: [&str; 7] = ["MASK", "BEGAN", "USED", "LEFT", "ATTRIBUTES", "BYTES", "FOUND_BY"];
    let rows = || std::iter::once(HEAD.map(str::to_owned)).chain(all.iter().map(row));
    let documents = || json!({ "sessions": all.iter().map(document).collect::<Vec<_>>() });
    Ok(out.say(|| table(&rows().collect::<Vec<_>>()), documents))
}

async fn show(sessions: &Sessions, id: &[u8], out: &OutputArgs) -> Outcome {
    let Loaded::Changed(session) = sessions.load_changed(id, 0, false).await? else {
        return Err(absent());
    };
    let document = document(id, &session);
    Ok(out.say(|| super::show::lines(&document), || document.clone()))
}

fn document(id: &[u8], session: &Session) -> Value {
    let attributes = session.attributes.iter().map(|(name, one)| {
        let said = json!({ "bytes": one.value.len(), "version": one.version.to_string() });
        (name.clone(), said)
    });
    json!({
        "mask": session_mask(id),
        "version": session.version.to_string(),
        "created_ms": session.created_ms,
        "left_ms": session.left.map(ms),
        "index": session.index,
        "attributes": attributes.collect::<serde_json::Map<_, _>>(),
    })
}

async fn find(sessions: &Sessions, name: &str, out: &OutputArgs) -> Outcome {
    let found = sessions.find(name).await?;
    let rows: Vec<_> = found.iter().map(|one| [session_mask(&one.id), ago(one.last_ms)]).collect();
    let head = ["MASK", "USED"].map(str::to_owned);
    let rows = || table(&std::iter::once(head.clone()).chain(rows.clone()).collect::<Vec<_>>());
    let one = |(id, last): (&[u8], u64)| json!({ "mask": session_mask(id), "last_ms": last });
    let all = || found.iter().map(|found| one((&found.id, found.last_ms))).collect::<Vec<_>>();
    Ok(out.say(rows, || json!({ "sessions": all() })))
}

/// An id as it was given: text, or hexadecimal behind `0x`.
fn bytes(id: &str) -> Result<Vec<u8>, Failure> {
    let Some(digits) = id.strip_prefix("0x") else { return Ok(id.as_bytes().to_vec()) };
    from_hex(digits).ok_or_else(|| Failure::usage(format!("{id:?} is not hexadecimal")))
}

fn absent() -> Failure {
    Failure::not_found("there is no such session")
        .help("it has ended, or its id is another one: `isogrid session find` says by its user")
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn ago(since_ms: u64) -> String {
    let seconds = SystemClock::new().now().saturating_sub(since_ms) / 1_000;
    format!("{} ago", show_span(Duration::from_secs(seconds)))
}
