//! `isogrid cache watch`: changes of a cache as they happen.

use std::io::Write as _;

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCompleter;
use isogrid_wire::client::Client;
use isogrid_wire::client::cache::{Change, Entry, Gone};
use isogrid_wire::native::cache::EventKinds;
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::cache::open;
use super::entry::described;
use super::show::{line, put_bytes};
use super::{Failure, Outcome};
use crate::cli::complete;
use crate::cli::output::{Format, OutputArgs, said};

const EXAMPLES: &str = "\
Examples:
  isogrid cache watch orders
  isogrid cache watch orders --glob 'user:*' --kinds remove,expire,evict
  isogrid cache watch orders --values -o json      # one document a line

Changes of one key that follow each other fast may be told as one. `resync` says that changes were
lost, or all may have changed (a clear, a lost connection, the beginning in a cluster): what was made
of the changes so far is to be read anew. Ctrl-C ends it, with exit code 0.";

/// What to watch.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct WatchArgs {
    /// The cache's name.
    #[arg(add = ArgValueCompleter::new(complete::caches))]
    cache: String,
    /// Only keys that match: *, ? and [..].
    #[arg(long)]
    glob: Option<String>,
    /// Only these changes; put is create and update.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,..")]
    kinds: Vec<Kind>,
    /// Print the new values, too.
    #[arg(long)]
    values: bool,
    /// End after so many.
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Put,
    Create,
    Update,
    Remove,
    Expire,
    Evict,
}

impl Kind {
    fn switches(self) -> u8 {
        match self {
            Kind::Put => EventKinds::CREATE | EventKinds::UPDATE,
            Kind::Create => EventKinds::CREATE,
            Kind::Update => EventKinds::UPDATE,
            Kind::Remove => EventKinds::REMOVE,
            Kind::Expire => EventKinds::EXPIRE,
            Kind::Evict => EventKinds::EVICT,
        }
    }
}

/// Prints changes until Ctrl-C.
pub async fn watch(client: &Client, args: &WatchArgs, out: &OutputArgs) -> Outcome {
    let failed = |error| Failure::general(format!("cannot wait for Ctrl-C: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let cache = open(client, &args.cache).await?;
    let mut listen = cache.listen();
    if !args.kinds.is_empty() {
        listen = listen.kinds(args.kinds.iter().fold(0, |all, kind| all | kind.switches()));
    }
    if let Some(glob) = &args.glob {
        listen = listen.glob(glob);
    }
    if !args.values {
        listen = listen.keys_only();
    }
    let mut listener = listen.open().await?;
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        let change = tokio::select! {
            biased;
            _ = interrupt.recv() => break,
            change = listener.next() => change?,
        };
        let text = match out.output {
            Format::Table => row(&change, args.values),
            Format::Json => document(&change, args.values).to_string(),
        };
        // Each as it comes; and a reader that has gone ends it.
        let mut stdout = std::io::stdout().lock();
        if let Err(error) = writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            return Ok(said(Err(error)));
        }
    }
    Ok(said(Ok(())))
}

/// The kind in the words of `--kinds`, the key, and the entry where there is one.
fn parts(change: &Change) -> (&'static str, &[u8], Option<&Entry>) {
    match change {
        Change::Created { key, entry } => ("create", key, Some(entry)),
        Change::Updated { key, entry, .. } => ("update", key, Some(entry)),
        Change::Gone { key, why: Gone::Removed, .. } => ("remove", key, None),
        Change::Gone { key, why: Gone::Expired, .. } => ("expire", key, None),
        Change::Gone { key, why: Gone::Evicted, .. } => ("evict", key, None),
        Change::Resync => ("resync", b"", None),
    }
}

fn row(change: &Change, values: bool) -> String {
    let (kind, key, entry) = parts(change);
    let value = entry.filter(|_| values).map(|entry| format!("  {}", line(&entry.value)));
    format!("{kind}  {}{}", line(key), value.unwrap_or_default()).trim_end().to_owned()
}

fn document(change: &Change, values: bool) -> Value {
    let (kind, key, entry) = parts(change);
    let mut document = match (change, entry) {
        (Change::Resync, _) => Map::new(),
        (_, Some(entry)) => described(key, entry, values),
        (_, None) => {
            let mut document = Map::new();
            put_bytes(&mut document, "key", key);
            document
        }
    };
    document.insert("event".to_owned(), json!(kind));
    document.into()
}
