//! `isogrid cache keys`, also called `scan`: what is in a cache, one entry a line.

use std::io::Write as _;

use clap::Args;
use clap_complete::ArgValueCompleter;
use isogrid_wire::client::Client;
use isogrid_wire::client::cache::Scanned;
use serde_json::Value;

use super::Outcome;
use super::cache::open;
use super::entry::described;
use super::show::line;
use crate::cli::complete;
use crate::cli::output::{Format, OutputArgs, said};

const EXAMPLES: &str = "\
Examples:
  isogrid cache keys orders
  isogrid cache scan orders --glob 'user:*' --values --limit 100
  isogrid cache keys orders -o json             # one document a line

The entries are those of one moment (in a cluster, of one for each member), in no order. Reading them
does not keep them alive. A connection that is lost is made again, and the scan goes on from where it
was.";

/// What to list.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct KeysArgs {
    /// The cache's name.
    #[arg(add = ArgValueCompleter::new(complete::caches))]
    cache: String,
    /// Only keys that match: *, ? and [..].
    #[arg(long)]
    glob: Option<String>,
    /// Print the values, too.
    #[arg(long)]
    values: bool,
    /// So many at most.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

/// Prints keys, and values if wanted, as they come.
pub async fn keys(client: &Client, args: &KeysArgs, out: &OutputArgs) -> Outcome {
    let cache = open(client, &args.cache).await?;
    let mut scan = cache.scan();
    if !args.values {
        scan = scan.keys_only();
    }
    if let Some(glob) = &args.glob {
        scan = scan.glob(glob);
    }
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    for _ in 0..args.limit.unwrap_or(usize::MAX) {
        let Some(Scanned { key, entry }) = scan.next().await? else { break };
        let text = match (out.output, args.values) {
            (Format::Table, false) => line(&key),
            (Format::Table, true) => format!("{}  {}", line(&key), line(&entry.value)),
            (Format::Json, values) => Value::from(described(&key, &entry, values)).to_string(),
        };
        if let Err(error) = writeln!(stdout, "{text}") {
            return Ok(said(Err(error)));
        }
    }
    Ok(said(stdout.flush()))
}
