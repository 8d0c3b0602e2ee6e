//! Messages of topics on the command line: in from an argument or stdin, out to stdout.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCompleter;
use isogrid_wire::client::Client;
use isogrid_wire::client::queue::Message;
use isogrid_wire::client::topic::{Event, Logged};
use serde_json::{Map, Value, json};

use super::super::pair;
use super::super::queue::messages::{self, headers, published, stdin};
use super::{Begin, Outcome, open, show, span};
use crate::cli::complete;
use crate::cli::output::{Format, OutputArgs, say};

/// A message to be published.
#[derive(Args)]
pub struct PublishArgs {
    /// The topic.
    #[arg(add = ArgValueCompleter::new(complete::topics))]
    name: String,
    /// The message; without it what stdin has.
    body: Option<String>,
    /// Something that is said of it; may be given again.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// It is delivered for so long; 0s: as long as the topic keeps it.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "0s")]
    ttl: Duration,
    /// Each group of consumers gets messages with the same key one by one, in order.
    #[arg(long, value_name = "KEY")]
    ordered_by: Option<String>,
    /// A second message with this id within five minutes is none.
    #[arg(long, value_name = "ID")]
    dedup: Option<String>,
}

/// Who consumes.
#[derive(Args)]
pub struct ConsumeArgs {
    /// The topic.
    #[arg(add = ArgValueCompleter::new(complete::topics))]
    name: String,
    /// As one of this group: what is printed is acknowledged, and nobody else of the group gets it.
    #[arg(long)]
    group: Option<String>,
    #[command(flatten)]
    begin: Begin,
    /// End after so many.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Messages of a group that may be on their way.
const CREDIT: u32 = 32;

/// `isogrid topic publish`.
pub async fn publish(client: &Client, args: &PublishArgs, out: &OutputArgs) -> Outcome {
    let topic = open(client, &args.name).await?;
    let body = match &args.body {
        Some(body) => body.clone().into_bytes(),
        None => stdin()?,
    };
    let mut message = Message::new(body).ttl(args.ttl);
    for (name, value) in &args.headers {
        message = message.header(name, value);
    }
    if let Some(key) = &args.ordered_by {
        message = message.group(key.as_str());
    }
    if let Some(id) = &args.dedup {
        message = message.dedup(id.as_str());
    }
    published(topic.publish(&message).await?, out)
}

/// `isogrid topic consume`.
pub async fn consume(client: &Client, args: &ConsumeArgs, out: &OutputArgs) -> Outcome {
    let topic = open(client, &args.name).await?;
    if let Some(group) = &args.group {
        let group = topic.group(group, args.begin.from()).await?;
        return messages::consume(&group, args.count, CREDIT, out).await;
    }
    let mut reader = topic.subscribe(args.begin.from()).await?;
    let (mut said, mut left) = (ExitCode::SUCCESS, args.count.unwrap_or(u64::MAX));
    while left > 0 && said == ExitCode::SUCCESS {
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => break,
            event = reader.next() => match event? {
                Event::Lost(count) => warn(count),
                Event::Message(message) => {
                    said = print(&message, out);
                    left -= 1;
                }
            },
        }
    }
    Ok(said)
}

/// What is lost is not lost silently, also where nobody is told how it goes.
fn warn(count: u64) {
    eprintln!("warning: {count} messages are gone: the topic keeps them no longer");
}

fn print(message: &Logged, out: &OutputArgs) -> ExitCode {
    say(&match out.output {
        Format::Table => format!("{}\n", show::line(&message.body)),
        Format::Json => {
            let mut document = Map::new();
            document.insert("id".to_owned(), json!(message.id.to_string()));
            document.insert("published_ms".to_owned(), json!(message.published_ms));
            document.insert("headers".to_owned(), headers(&message.headers));
            show::put_bytes(&mut document, "body", &message.body);
            format!("{}\n", Value::from(document))
        }
    })
}
