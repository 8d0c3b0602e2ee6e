//! `isogrid queue`: queues of a running server.

pub mod messages;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCompleter;
use isogrid_wire::client::{Cause, Client, Error, Queue};
use isogrid_wire::native::catalog::ObjectKind;
use isogrid_wire::native::queue::MessageState;
use serde_json::{Value, json};

use super::confirm::confirm;
use super::{Failure, Outcome, RemoteArgs, object, show, span};
use crate::cli::complete;
use crate::cli::output::{OutputArgs, done};
use crate::cli::table::table;

const EXAMPLES: &str = "\
Examples:
  isogrid queue create jobs --visible 2m --attempts 5
  isogrid queue publish jobs 'resize 7.png' --header to=100x100 --dedup 7.png
  isogrid queue publish jobs --delay 10m < message.json
  isogrid queue pull jobs --wait 5s              # prints one message, and it is done
  isogrid queue consume jobs -o json             # prints messages as they come, until Ctrl-C
  isogrid queue browse jobs --state dead         # what was delivered in vain, and why
  isogrid queue redrive jobs
  isogrid queue stats jobs
  isogrid queue delete jobs                      # asks for the name; --yes does not

A message that `pull` and `consume` print is acknowledged behind it: one that cannot be printed comes
again. `browse` changes nothing.

Exit codes: 0 ok, 3 no such queue, or no message, 4 the queue is full, others as `isogrid cache --help`.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct QueueArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Make a queue, or check that it is there with these options.
    #[command(after_help = examples!(
        "isogrid queue create jobs --visible 2m --attempts 5",
        "isogrid queue create events --strict --max-bytes 1GiB",
    ))]
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        options: CreateOptions,
    },
    /// List the queues.
    #[command(visible_alias = "ls")]
    #[command(after_help = examples!("isogrid queue list", "isogrid queue ls -o json"))]
    List,
    /// Drop a queue with all that is in it.
    #[command(visible_alias = "drop")]
    #[command(after_help = examples!(
        "isogrid queue delete jobs               # asks for the name",
        "isogrid queue delete jobs --yes",
    ))]
    Delete {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::queues))]
        name: String,
        /// Without asking for the name.
        #[arg(long)]
        yes: bool,
    },
    /// Publish a message: the argument, or what stdin has.
    #[command(after_help = examples!(
        "isogrid queue publish jobs 'resize 7.png' --header to=100x100 --dedup 7.png",
        "isogrid queue publish jobs --delay 10m < message.json",
    ))]
    Publish {
        #[command(flatten)]
        message: messages::PublishArgs,
    },
    /// Print messages, and acknowledge them.
    #[command(after_help = examples!(
        "isogrid queue pull jobs --wait 5s",
        "isogrid queue pull jobs -n 10 -o json",
    ))]
    Pull {
        /// The queue.
        #[arg(add = ArgValueCompleter::new(complete::queues))]
        name: String,
        /// How many at the most: 1 to 64.
        #[arg(short, long, value_name = "N", default_value_t = 1)]
        number: u16,
        /// How long to wait for one.
        #[arg(long, value_name = "TIME", value_parser = span, default_value = "0s")]
        wait: Duration,
    },
    /// Print messages as they come, and acknowledge them, until Ctrl-C.
    #[command(after_help = examples!(
        "isogrid queue consume jobs",
        "isogrid queue consume jobs --count 100 -o json > messages.ndjson",
    ))]
    Consume {
        /// The queue.
        #[arg(add = ArgValueCompleter::new(complete::queues))]
        name: String,
        /// End after so many.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// How many may be on their way.
        #[arg(long, value_name = "N", default_value_t = 32)]
        credit: u32,
    },
    /// Show messages; nothing is changed.
    #[command(after_help = examples!(
        "isogrid queue browse jobs",
        "isogrid queue browse jobs --state dead  # what was delivered in vain, and why",
    ))]
    Browse {
        /// The queue.
        #[arg(add = ArgValueCompleter::new(complete::queues))]
        name: String,
        /// Only those in this state.
        #[arg(long, value_enum, default_value_t = State::Any)]
        state: State,
    },
    /// Show what is in a queue, and what went through.
    #[command(after_help = examples!(
        "isogrid queue stats jobs",
        "isogrid queue stats jobs -o json",
    ))]
    Stats {
        /// The queue.
        #[arg(add = ArgValueCompleter::new(complete::queues))]
        name: String,
    },
    /// Remove messages, but none that a consumer has.
    #[command(after_help = examples!(
        "isogrid queue purge jobs --state dead   # asks for the name",
        "isogrid queue purge jobs --yes",
    ))]
    Purge {
        /// The queue.
        #[arg(add = ArgValueCompleter::new(complete::queues))]
        name: String,
        /// Only those in this state.
        #[arg(long, value_enum, default_value_t = State::Any)]
        state: State,
        /// Without asking for the name.
        #[arg(long)]
        yes: bool,
    },
    /// Bring dead messages back.
    #[command(after_help = examples!(
        "isogrid queue redrive jobs",
        "isogrid queue redrive jobs -n 10",
    ))]
    Redrive {
        /// The queue.
        #[arg(add = ArgValueCompleter::new(complete::queues))]
        name: String,
        /// So many at the most, the oldest first; without it all.
        #[arg(short, long, value_name = "N", default_value_t = 0)]
        number: u32,
    },
}

/// Options of a new queue.
#[derive(Args)]
struct CreateOptions {
    /// Messages that it takes [default: 1000000]
    #[arg(long, value_name = "N")]
    max_len: Option<String>,
    /// Bytes of messages that it takes [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<String>,
    /// How long a consumer has for a message [default: 30s]
    #[arg(long, value_name = "TIME")]
    visible: Option<String>,
    /// Deliveries of a message, then it is dead [default: 10]
    #[arg(long, value_name = "N")]
    attempts: Option<String>,
    /// How long a refused message waits, doubled each time [default: 100ms]
    #[arg(long, value_name = "TIME")]
    backoff: Option<String>,
    /// Keep dead messages: yes or no [default: yes]
    #[arg(long, value_name = "YES|NO")]
    dead_letters: Option<String>,
    /// Deliver all messages one by one, in order
    #[arg(long)]
    strict: bool,
    /// Deliver to one consumer, as long as it is there
    #[arg(long)]
    exclusive: bool,
}

impl CreateOptions {
    fn document(&self) -> Value {
        let yes = |on: bool| on.then(|| "yes".to_owned());
        let all = [
            ("max_len", self.max_len.clone()),
            ("max_bytes", self.max_bytes.clone()),
            ("visible", self.visible.clone()),
            ("attempts", self.attempts.clone()),
            ("backoff", self.backoff.clone()),
            ("dead_letters", self.dead_letters.clone()),
            ("strict", yes(self.strict)),
            ("exclusive", yes(self.exclusive)),
        ];
        object(all.iter().filter_map(|(name, text)| Some((*name, text.as_deref()?))))
    }
}

/// Which messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    Any,
    Ready,
    Delayed,
    InFlight,
    Dead,
}

impl State {
    fn wire(self) -> MessageState {
        match self {
            State::Any => MessageState::Any,
            State::Ready => MessageState::Ready,
            State::Delayed => MessageState::Delayed,
            State::InFlight => MessageState::InFlight,
            State::Dead => MessageState::Dead,
        }
    }
}

/// Runs `isogrid queue`.
pub fn main(args: &QueueArgs) -> ExitCode {
    args.remote.run(async |client| run(&args.command, &client, &args.remote.out()).await)
}

async fn run(command: &Command, client: &Client, out: &OutputArgs) -> Outcome {
    match command {
        Command::Create { name, options } => create(client, name, options, out).await,
        Command::List => list(client, out).await,
        Command::Delete { name, yes } => delete(client, name, *yes).await,
        Command::Publish { message } => messages::publish(client, message, out).await,
        Command::Pull { name, number, wait } => {
            messages::pull(&open(client, name).await?, *number, *wait, out).await
        }
        Command::Consume { name, count, credit } => {
            messages::consume(&open(client, name).await?, *count, *credit, out).await
        }
        Command::Browse { name, state } => {
            messages::browse(&open(client, name).await?, state.wire(), out).await
        }
        Command::Stats { name } => {
            let stats = open(client, name).await?.stats().await?;
            Ok(out.say(|| show::lines(&stats), || stats.clone()))
        }
        Command::Purge { name, state, yes } => {
            let queue = open(client, name).await?;
            if !yes {
                confirm(&format!("messages of the queue {name} will be gone"), name)?;
            }
            count("purged", queue.purge(state.wire()).await?, out)
        }
        Command::Redrive { name, number } => {
            count("redriven", open(client, name).await?.redrive(*number).await?, out)
        }
    }
}

fn count(what: &str, count: u64, out: &OutputArgs) -> Outcome {
    Ok(out.say(|| format!("{what} {count}\n"), || json!({ what: count })))
}

async fn create(client: &Client, name: &str, options: &CreateOptions, out: &OutputArgs) -> Outcome {
    let made = client.catalog().create(ObjectKind::Queue, name, &options.document()).await?;
    let said = if made.created { "created" } else { "there already:" };
    let document = || json!({ "name": name, "created": made.created, "props": made.props });
    Ok(out.done(|| format!("{said} {name}\n"), document))
}

async fn list(client: &Client, out: &OutputArgs) -> Outcome {
    let catalog = client.catalog();
    let mut queues = Vec::new();
    for found in catalog.list(ObjectKind::Queue, "").await? {
        // One that was dropped since is no more to be listed.
        queues.extend(catalog.describe(ObjectKind::Queue, &show::field(&found, "/name")).await?);
    }
    const WAYS: [&str; 6] = [
        "/name",
        "/stats/ready",
        "/stats/delayed",
        "/stats/in_flight",
        "/stats/dead",
        "/stats/bytes",
    ];
    let row = |queue: &Value| WAYS.map(|way| show::field(queue, way));
    let head = ["NAME", "READY", "DELAYED", "IN_FLIGHT", "DEAD", "BYTES"].map(str::to_owned);
    let rows = || std::iter::once(head.clone()).chain(queues.iter().map(row));
    Ok(out.say(|| table(&rows().collect::<Vec<_>>()), || json!({ "queues": queues })))
}

async fn delete(client: &Client, name: &str, yes: bool) -> Outcome {
    open(client, name).await?;
    if !yes {
        confirm(&format!("the queue {name} and all its messages will be gone"), name)?;
    }
    match client.catalog().drop_object(ObjectKind::Queue, name).await? {
        true => Ok(done(&format!("deleted {name}\n"))),
        false => Err(no_queue(name)),
    }
}

/// The queue of this name, which must be there.
async fn open(client: &Client, name: &str) -> Result<Queue, Failure> {
    match client.queue_that_is(name).await {
        Err(Error { cause: Cause::NoSuchObject(_), .. }) => Err(no_queue(name)),
        other => Ok(other?),
    }
}

fn no_queue(name: &str) -> Failure {
    Failure::not_found(format!("there is no queue {name:?}"))
        .help(format!("`isogrid queue list` lists them, `isogrid queue create {name}` makes it"))
}
