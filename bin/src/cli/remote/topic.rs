//! `isogrid topic`: topics of a running server.

mod messages;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;
use isogrid_engine::env::{Clock as _, SystemClock};
use isogrid_wire::client::topic::From;
use isogrid_wire::client::{Cause, Client, Error, Topic};
use isogrid_wire::native::catalog::ObjectKind;
use serde_json::{Value, json};

use super::confirm::confirm;
use super::{Failure, Outcome, RemoteArgs, object, show, span};
use crate::cli::complete;
use crate::cli::output::{OutputArgs, done};
use crate::cli::table::table;

const EXAMPLES: &str = "\
Examples:
  isogrid topic create news --max-age 1h
  isogrid topic publish news 'it rains' --header town=Oslo
  isogrid topic consume news                     # prints what is published from now on
  isogrid topic consume news --from first --count 10
  isogrid topic consume news --since 10m -o json
  isogrid topic consume news --group billing     # each message once for the group, acknowledged
  isogrid topic stats news                       # the topic, and how far its groups are
  isogrid topic delete news                      # asks for the name; --yes does not

A group is the queue TOPIC/GROUP: `isogrid queue` pulls, browses, redrives and deletes it.

Exit codes: 0 ok, 3 no such topic, others as `isogrid cache --help`.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct TopicArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Make a topic, or check that it is there with these options.
    #[command(after_help = examples!(
        "isogrid topic create news --max-age 1h",
        "isogrid topic create events --max-len 100000 --max-bytes 1GiB",
    ))]
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        options: CreateOptions,
    },
    /// List the topics.
    #[command(visible_alias = "ls")]
    #[command(after_help = examples!("isogrid topic list", "isogrid topic ls -o json"))]
    List,
    /// Drop a topic with its messages and groups.
    #[command(visible_alias = "drop")]
    #[command(after_help = examples!(
        "isogrid topic delete news               # asks for the name",
        "isogrid topic delete news --yes",
    ))]
    Delete {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::topics))]
        name: String,
        /// Without asking for the name.
        #[arg(long)]
        yes: bool,
    },
    /// Publish a message: the argument, or what stdin has.
    #[command(after_help = examples!(
        "isogrid topic publish news 'it rains' --header town=Oslo --dedup 7",
        "isogrid topic publish news --ttl 1h < message.json",
    ))]
    Publish {
        #[command(flatten)]
        message: messages::PublishArgs,
    },
    /// Print messages as they come, until Ctrl-C.
    #[command(after_help = examples!(
        "isogrid topic consume news --from first",
        "isogrid topic consume news --since 10m --count 5 -o json",
        "isogrid topic consume news --group billing",
    ))]
    Consume {
        #[command(flatten)]
        consume: messages::ConsumeArgs,
    },
    /// Show what a topic keeps, and how far its groups are.
    #[command(after_help = examples!(
        "isogrid topic stats news",
        "isogrid topic stats news -o json",
    ))]
    Stats {
        /// The topic.
        #[arg(add = ArgValueCompleter::new(complete::topics))]
        name: String,
    },
}

/// Options of a new topic.
#[derive(Args)]
struct CreateOptions {
    /// Messages older than that are gone; 0s: none for its age [default: 1d]
    #[arg(long, value_name = "TIME")]
    max_age: Option<String>,
    /// Messages that it keeps [default: 1000000]
    #[arg(long, value_name = "N")]
    max_len: Option<String>,
    /// Bytes of messages that it keeps [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<String>,
}

impl CreateOptions {
    fn document(&self) -> Value {
        let all = [
            ("max_age", &self.max_age),
            ("max_len", &self.max_len),
            ("max_bytes", &self.max_bytes),
        ];
        object(all.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))))
    }
}

/// Where reading begins.
#[derive(Args)]
pub struct Begin {
    /// Where to begin: new, first, or the id of a message; a group that is there goes on where it is.
    #[arg(long, value_name = "WHERE", value_parser = from, default_value = "new")]
    from: From,
    /// Begin with what was published so long ago.
    #[arg(long, value_name = "TIME", value_parser = span, conflicts_with = "from")]
    since: Option<Duration>,
}

impl Begin {
    fn from(&self) -> From {
        let ago = |span: Duration| {
            let ago = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            From::Time(SystemClock::new().now().saturating_sub(ago))
        };
        self.since.map_or(self.from, ago)
    }
}

fn from(text: &str) -> Result<From, String> {
    match text {
        "new" => Ok(From::New),
        "first" => Ok(From::First),
        id => {
            id.parse().map(From::Position).map_err(|_| "new, first, or the id of a message".into())
        }
    }
}

/// Runs `isogrid topic`.
pub fn main(args: &TopicArgs) -> ExitCode {
    args.remote.run(async |client| run(&args.command, &client, &args.remote.out()).await)
}

async fn run(command: &Command, client: &Client, out: &OutputArgs) -> Outcome {
    match command {
        Command::Create { name, options } => create(client, name, options, out).await,
        Command::List => list(client, out).await,
        Command::Delete { name, yes } => delete(client, name, *yes).await,
        Command::Publish { message } => messages::publish(client, message, out).await,
        Command::Consume { consume } => messages::consume(client, consume, out).await,
        Command::Stats { name } => stats(client, name, out).await,
    }
}

async fn create(client: &Client, name: &str, options: &CreateOptions, out: &OutputArgs) -> Outcome {
    let made = client.catalog().create(ObjectKind::Topic, name, &options.document()).await?;
    let said = if made.created { "created" } else { "there already:" };
    let document = || json!({ "name": name, "created": made.created, "props": made.props });
    Ok(out.done(|| format!("{said} {name}\n"), document))
}

async fn list(client: &Client, out: &OutputArgs) -> Outcome {
    let topics = described(client, ObjectKind::Topic, "").await?;
    const WAYS: [&str; 5] =
        ["/name", "/stats/ready", "/stats/bytes", "/stats/published", "/stats/lost"];
    let row = |topic: &Value| WAYS.map(|way| show::field(topic, way));
    let head = ["NAME", "MESSAGES", "BYTES", "PUBLISHED", "TAKEN"].map(str::to_owned);
    let rows = || std::iter::once(head.clone()).chain(topics.iter().map(row));
    Ok(out.say(|| table(&rows().collect::<Vec<_>>()), || json!({ "topics": topics })))
}

/// All that there is to say of objects of a kind whose names match; one that was dropped since is no
/// more to be shown.
async fn described(client: &Client, kind: ObjectKind, glob: &str) -> Result<Vec<Value>, Failure> {
    let (catalog, mut all) = (client.catalog(), Vec::new());
    for found in catalog.list(kind, glob).await? {
        all.extend(catalog.describe(kind, &show::field(&found, "/name")).await?);
    }
    Ok(all)
}

async fn stats(client: &Client, name: &str, out: &OutputArgs) -> Outcome {
    let stats = open(client, name).await?.stats().await?;
    let groups = described(client, ObjectKind::Queue, &format!("{name}/*")).await?;
    let mut document = stats.clone();
    let named = |group: &Value| {
        let group_name = show::field(group, "/name");
        let short = group_name.split_once('/').map_or(&*group_name, |(_, group)| group);
        (short.to_owned(), group.get("stats").cloned().unwrap_or_default())
    };
    if let Some(fields) = document.as_object_mut().filter(|_| !groups.is_empty()) {
        fields.insert("groups".to_owned(), Value::Object(groups.iter().map(named).collect()));
    }
    Ok(out.say(|| show::lines(&document), || document.clone()))
}

async fn delete(client: &Client, name: &str, yes: bool) -> Outcome {
    open(client, name).await?;
    if !yes {
        confirm(&format!("the topic {name}, its messages and its groups will be gone"), name)?;
    }
    match client.catalog().drop_object(ObjectKind::Topic, name).await? {
        true => Ok(done(&format!("deleted {name}\n"))),
        false => Err(no_topic(name)),
    }
}

/// The topic of this name, which must be there.
async fn open(client: &Client, name: &str) -> Result<Topic, Failure> {
    match client.topic_that_is(name).await {
        Err(Error { cause: Cause::NoSuchObject(_), .. }) => Err(no_topic(name)),
        other => Ok(other?),
    }
}

fn no_topic(name: &str) -> Failure {
    Failure::not_found(format!("there is no topic {name:?}"))
        .help(format!("`isogrid topic list` lists them, `isogrid topic create {name}` makes it"))
}
