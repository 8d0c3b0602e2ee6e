//! Messages on the command line: in from an argument or stdin, out to stdout.

use std::io::Read as _;
use std::time::Duration;

use clap::Args;
use clap_complete::ArgValueCompleter;
use isogrid_wire::client::queue::{Delivery, Message, Published, Shown};
use isogrid_wire::client::{Client, Queue};
use isogrid_wire::native::queue::MessageState;
use serde_json::{Map, Value, json};

use super::super::pair;
use super::{Failure, Outcome, open, show, span};
use crate::cli::complete;
use crate::cli::output::{Format, OutputArgs, say};

/// A message to be published.
#[derive(Args)]
pub struct PublishArgs {
    /// The queue.
    #[arg(add = ArgValueCompleter::new(complete::queues))]
    name: String,
    /// The message; without it what stdin has.
    body: Option<String>,
    /// Something that is said of it; may be given again.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// 0 to 9; 9 goes first.
    #[arg(long, value_name = "N", default_value_t = 4)]
    priority: u8,
    /// It is delivered in so long at the earliest.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "0s")]
    delay: Duration,
    /// It is delivered for so long; 0s: for ever.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "0s")]
    ttl: Duration,
    /// Messages of one group are delivered one by one, in order.
    #[arg(long)]
    group: Option<String>,
    /// A second message with this id within five minutes is none.
    #[arg(long, value_name = "ID")]
    dedup: Option<String>,
}

/// `isogrid queue publish`.
pub async fn publish(client: &Client, args: &PublishArgs, out: &OutputArgs) -> Outcome {
    let queue = open(client, &args.name).await?;
    let body = match &args.body {
        Some(body) => body.clone().into_bytes(),
        None => stdin()?,
    };
    let mut message = Message::new(body).priority(args.priority).delay(args.delay).ttl(args.ttl);
    for (name, value) in &args.headers {
        message = message.header(name, value);
    }
    if let Some(group) = &args.group {
        message = message.group(group.as_str());
    }
    if let Some(id) = &args.dedup {
        message = message.dedup(id.as_str());
    }
    published(queue.publish(&message).await?, out)
}

/// Says what came of a message.
pub fn published(published: Published, out: &OutputArgs) -> Outcome {
    let (id, duplicate) = match published {
        Published::Done(id) => (id, false),
        Published::Duplicate(id) => (id, true),
        Published::Refused => return Err(Failure::condition("the queue is full")),
    };
    let text = || if duplicate { format!("{id} (duplicate)\n") } else { format!("{id}\n") };
    Ok(out.say(text, || json!({ "id": id.to_string(), "duplicate": duplicate })))
}

/// All that stdin has.
pub fn stdin() -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut body);
    read.map_err(|error| Failure::general(format!("cannot read stdin: {error}")))?;
    Ok(body)
}

/// `isogrid queue pull`.
pub async fn pull(queue: &Queue, number: u16, wait: Duration, out: &OutputArgs) -> Outcome {
    let deliveries = queue.pull(number, wait).await?;
    if deliveries.is_empty() {
        return Err(Failure::not_found(format!("no message in the queue {:?}", queue.name())));
    }
    let mut said = std::process::ExitCode::SUCCESS;
    for delivery in deliveries {
        said = print(&delivery, out).await?;
    }
    Ok(said)
}

/// `isogrid queue consume`.
pub async fn consume(queue: &Queue, count: Option<u64>, credit: u32, out: &OutputArgs) -> Outcome {
    let mut consumer = queue.consume().name("isogrid-cli").credit(credit).open().await?;
    let mut said = std::process::ExitCode::SUCCESS;
    for _ in 0..count.unwrap_or(u64::MAX) {
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => break,
            delivery = consumer.next() => said = print(&delivery?, out).await?,
        }
    }
    Ok(said)
}

/// Prints a message, and acknowledges it.
async fn print(delivery: &Delivery, out: &OutputArgs) -> Outcome {
    let said = say(&match out.output {
        Format::Table => format!("{}\n", show::line(&delivery.body)),
        Format::Json => {
            let mut document = Map::new();
            document.insert("id".to_owned(), json!(delivery.id.to_string()));
            document.insert("attempt".to_owned(), json!(delivery.attempt));
            document.insert("published_ms".to_owned(), json!(delivery.published_ms));
            document.insert("headers".to_owned(), headers(&delivery.headers));
            show::put_bytes(&mut document, "body", &delivery.body);
            format!("{}\n", Value::from(document))
        }
    });
    if said == std::process::ExitCode::SUCCESS {
        delivery.ack().await?;
    }
    Ok(said)
}

/// `isogrid queue browse`.
pub async fn browse(queue: &Queue, state: MessageState, out: &OutputArgs) -> Outcome {
    let all = queue.browse(state).await?;
    let text = || {
        let line = |one: &Shown| {
            let (id, word, attempts) = (one.id, one.state.word(), one.attempts);
            let cause = one.causes.last().map(|(_, _, why)| format!("  ({why})"));
            let body = show::line(&one.body);
            format!("{id}  {word}  {attempts}  {body}{}\n", cause.unwrap_or_default())
        };
        all.iter().map(line).collect()
    };
    Ok(out.say(text, || json!({ "messages": all.iter().map(document).collect::<Vec<_>>() })))
}

fn document(one: &Shown) -> Value {
    let cause = |(attempt, at_ms, reason): &(u16, u64, String)| json!({ "attempt": attempt, "at_ms": at_ms, "reason": reason });
    let mut document = Map::new();
    document.insert("id".to_owned(), json!(one.id.to_string()));
    document.insert("state".to_owned(), json!(one.state.word()));
    document.insert("attempts".to_owned(), json!(one.attempts));
    document.insert("priority".to_owned(), json!(one.priority));
    document.insert("published_ms".to_owned(), json!(one.published_ms));
    document.insert("causes".to_owned(), one.causes.iter().map(cause).collect());
    document.insert("headers".to_owned(), headers(&one.headers));
    if let Some(group) = &one.group {
        show::put_bytes(&mut document, "group", group);
    }
    show::put_bytes(&mut document, "body", &one.body);
    document.into()
}

/// Headers as a document.
pub fn headers(all: &[(String, String)]) -> Value {
    super::object(all.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}
