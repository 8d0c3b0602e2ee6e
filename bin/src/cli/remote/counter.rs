//! `isogrid counter`: counters of a running server.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use isogrid_wire::client::Client;
use isogrid_wire::client::counter::Added;
use serde_json::json;

use super::{Failure, Outcome, RemoteArgs};
use crate::cli::output::OutputArgs;

const EXAMPLES: &str = "\
Examples:
  isogrid counter add visits           # prints the new value
  isogrid counter add stock -3
  isogrid counter get visits -o json
  isogrid counter set visits 100
  isogrid counter reset visits

A counter has 64 bits and a sign, and survives a restart where the server keeps data.

Exit codes: 0 ok, 3 never written, 4 it would leave its bounds, others as `isogrid cache --help`.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct CounterArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Print the value of a counter.
    #[command(after_help = examples!(
        "isogrid counter get visits",
        "isogrid counter get visits -o json",
    ))]
    Get {
        /// Its name.
        name: String,
    },
    /// Add to a counter, and print its value.
    #[command(after_help = examples!(
        "isogrid counter add visits              # prints the new value",
        "isogrid counter add stock -3",
    ))]
    Add {
        /// Its name.
        name: String,
        /// What to add.
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        delta: i64,
    },
    /// Set a counter.
    #[command(after_help = examples!("isogrid counter set visits 100"))]
    Set {
        /// Its name.
        name: String,
        /// Its value from now on.
        #[arg(allow_negative_numbers = true)]
        value: i64,
    },
    /// Set a counter to what it begins with, as if it had never been written, and print that.
    #[command(after_help = examples!("isogrid counter reset visits"))]
    Reset {
        /// Its name.
        name: String,
    },
}

/// Runs `isogrid counter`.
pub fn main(args: &CounterArgs) -> ExitCode {
    args.remote.run(async |client| run(&args.command, &client, &args.remote.out()).await)
}

async fn run(command: &Command, client: &Client, out: &OutputArgs) -> Outcome {
    // A server that stands alone has one space of them.
    let counters = client.counters("default").await?;
    let told = |value: i64, prev: Option<i64>| {
        let document = || match prev {
            Some(prev) => json!({ "value": value, "prev": prev }),
            None => json!({ "value": value }),
        };
        Ok(out.say(|| format!("{value}\n"), document))
    };
    match command {
        Command::Get { name } => match counters.get(name).await? {
            Some(value) => told(value, None),
            None => Err(Failure::not_found(format!("the counter {name:?} was never written"))
                .help(format!("`isogrid counter add {name}` begins at 1"))),
        },
        Command::Add { name, delta } => match counters.add(name, *delta).await? {
            Added::Done(value) => told(value, None),
            Added::OutOfBounds { value, bound } => Err(Failure::condition(format!(
                "not added: {name:?} is {value}, and would go beyond {bound}"
            ))),
        },
        Command::Set { name, value } => {
            let prev = counters.set(name, *value).await?;
            told(*value, Some(prev))
        }
        Command::Reset { name } => told(counters.reset(name).await?, None),
    }
}
