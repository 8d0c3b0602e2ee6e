//! `isogrid cache`: caches of a running server, and the entries in them.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;
use isogrid_wire::client::{Cache, Cause, Client, Error};
use isogrid_wire::native::ErrorCode;
use isogrid_wire::native::catalog::ObjectKind;
use serde_json::{Value, json};

use super::confirm::confirm;
use super::{
    Failure, Outcome, RemoteArgs, cluster, entry, map, object, pair, scan, show, span, watch,
};
use crate::cli::complete;
use crate::cli::output::{OutputArgs, done, say};
use crate::cli::table::table;
use crate::config::nearest;

const EXAMPLES: &str = "\
Examples:
  isogrid cache create orders --ttl 10m --max-bytes 64MiB --eviction s3-fifo
  isogrid cache put orders 42 'two apples' --ttl 60s
  isogrid cache get orders 42
  isogrid cache put orders picture < picture.png
  isogrid cache keys orders --glob 'user:*'
  isogrid cache incr orders visits 1 --initial 1
  isogrid cache watch orders                    # what changes, as it does, until Ctrl-C
  isogrid cache map set carts ann colour=red size=10
  isogrid cache map get carts ann colour
  isogrid cache set orders ttl=20m max_bytes=128MiB
  isogrid cache ls -o json
  isogrid cache locate 42 --cache orders        # which members of a cluster have it
  isogrid cache drop orders                     # asks for the name; --yes does not

Exit codes: 0 ok, 1 failed, 2 wrong use, 3 not found, 4 a condition does not hold, 5 unavailable,
6 not allowed, 7 timeout.

See also: isogrid context, isogrid counter, isogrid lock, isogrid explain";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct CacheArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Make a cache, or check that it is there with these options.
    #[command(after_help = examples!(
        "isogrid cache create orders",
        "isogrid cache create orders --ttl 10m --max-bytes 64MiB --eviction s3-fifo --persist async",
    ))]
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        options: CreateOptions,
    },
    /// List the caches.
    #[command(visible_alias = "list")]
    #[command(after_help = examples!(
        "isogrid cache ls",
        "isogrid cache ls --glob 'user*' -o json",
    ))]
    Ls {
        /// Only names that match: *, ? and [..].
        #[arg(long, default_value = "")]
        glob: String,
    },
    /// Show the options, the size and the state of a cache.
    #[command(visible_alias = "show")]
    #[command(after_help = examples!(
        "isogrid cache describe orders",
        "isogrid cache describe orders -o json | jq .props.ttl",
    ))]
    Describe {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::caches))]
        name: String,
    },
    /// Change options of a cache while it is in use: memory, ttl, max_idle, preload, behind_delay,
    /// behind_queue.
    #[command(after_help = examples!(
        "isogrid cache set orders ttl=20m",
        "isogrid cache set orders memory=128MiB max_idle=off",
    ))]
    Set {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::caches))]
        name: String,
        /// What to change, as in `ttl=20m`.
        #[arg(value_name = "OPTION=VALUE", required = true, value_parser = pair)]
        options: Vec<(String, String)>,
    },
    /// Remove all entries of a cache.
    #[command(after_help = examples!(
        "isogrid cache clear orders              # asks for the name",
        "isogrid cache clear orders --yes",
        "isogrid cache clear orders --dry-run    # says what would be lost",
    ))]
    Clear(Doomed),
    /// Drop a cache with all that is in it.
    #[command(after_help = examples!(
        "isogrid cache drop orders               # asks for the name",
        "isogrid cache drop orders --yes",
        "isogrid cache drop orders --dry-run     # says what would be lost",
    ))]
    Drop(Doomed),
    /// Print the value of an entry, byte for byte.
    #[command(after_help = examples!(
        "isogrid cache get orders 42",
        "isogrid cache get orders picture > picture.png",
        "isogrid cache get orders 42 -o json     # with version, flags and lifetime",
    ))]
    Get(Entry),
    /// Store a value; without one, what stdin has.
    #[command(after_help = examples!(
        "isogrid cache put orders 42 'two apples' --ttl 60s",
        "isogrid cache put orders picture < picture.png",
        "isogrid cache put orders 42 'three apples' --if-version 17",
    ))]
    Put {
        #[command(flatten)]
        entry: Entry,
        /// The value.
        value: Option<OsString>,
        #[command(flatten)]
        how: entry::PutArgs,
    },
    /// Remove an entry.
    #[command(visible_alias = "remove")]
    #[command(after_help = examples!(
        "isogrid cache rm orders 42",
        "isogrid cache rm orders 42 --if-version 17",
    ))]
    Rm {
        #[command(flatten)]
        entry: Entry,
        /// Only if the entry has this version.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
    },
    /// Give an entry a new lifetime.
    #[command(after_help = examples!("isogrid cache touch orders 42 --ttl 1h"))]
    Touch {
        #[command(flatten)]
        entry: Entry,
        /// How long it lives from now on; without it, as the cache is configured.
        #[arg(long, value_name = "TIME", value_parser = span)]
        ttl: Option<Duration>,
    },
    /// Add to an entry whose value is a number, and print it; below 0 it stays at 0.
    #[command(after_help = examples!(
        "isogrid cache incr orders visits 1 --initial 1",
        "isogrid cache incr orders stock -3",
    ))]
    Incr {
        #[command(flatten)]
        entry: Entry,
        /// What to add.
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        delta: i64,
        /// The value of an entry that is not there.
        #[arg(long, value_name = "NUMBER")]
        initial: Option<u64>,
    },
    /// Print, set and remove fields of an entry that is a map.
    #[command(subcommand)]
    Map(map::MapCommand),
    /// Print all keys, one a line; with -o json one document a line.
    #[command(visible_alias = "scan")]
    Keys(scan::KeysArgs),
    /// Print how many entries a cache has.
    #[command(after_help = examples!(
        "isogrid cache size orders",
        "isogrid cache size orders --exact",
    ))]
    Size {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::caches))]
        name: String,
        /// Count them one by one, those that have expired left out; without it it is an estimate.
        #[arg(long)]
        exact: bool,
    },
    /// Show what the server has counted of a cache: entries, bytes, hits, misses, evictions.
    #[command(after_help = examples!(
        "isogrid cache stats orders",
        "isogrid cache stats orders -o json | jq .stats.hits",
    ))]
    Stats {
        /// Its name.
        #[arg(add = ArgValueCompleter::new(complete::caches))]
        name: String,
    },
    /// Print what changes in a cache as it happens, until Ctrl-C.
    Watch(watch::WatchArgs),
    /// Show which members of the cluster have a key, whether there is such an entry or not.
    #[command(after_help = examples!("isogrid cache locate 42 --cache orders"))]
    Locate {
        /// The key.
        key: OsString,
        /// The cache's name.
        #[arg(long, default_value = "default", add = ArgValueCompleter::new(complete::caches))]
        cache: String,
    },
}

/// A cache that is to lose what it has.
#[derive(Args)]
struct Doomed {
    /// Its name.
    #[arg(add = ArgValueCompleter::new(complete::caches))]
    name: String,
    /// Do not ask for the name.
    #[arg(long)]
    yes: bool,
    /// Say what would be lost, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Which entry.
#[derive(Args)]
pub struct Entry {
    /// The cache's name.
    #[arg(add = ArgValueCompleter::new(complete::caches))]
    pub cache: String,
    /// The key.
    pub key: OsString,
}

/// The options of a cache, as in the configuration file.
#[derive(Args)]
struct CreateOptions {
    /// Which nodes have its entries: local.
    #[arg(long)]
    mode: Option<String>,
    /// Bytes that it may take, everything counted [default: 256MiB]
    #[arg(long, visible_alias = "max-bytes", value_name = "SIZE")]
    memory: Option<String>,
    /// Entries that it may have.
    #[arg(long, value_name = "NUMBER")]
    max_entries: Option<String>,
    /// How long entries live that are stored without a time of their own.
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// How long entries may be idle that are stored without a time of their own.
    #[arg(long, value_name = "TIME")]
    max_idle: Option<String>,
    /// Who makes room: s3-fifo, w-tinylfu, lru, lfu, fifo, random, none.
    #[arg(long, value_name = "POLICY")]
    eviction: Option<String>,
    /// When a write counts as kept: none, async, sync, behind.
    #[arg(long, value_name = "MODE")]
    persist: Option<String>,
    /// What is in memory after a start: all, none, hot, or prefixes such as user:*.
    #[arg(long, value_name = "WHAT")]
    preload: Option<String>,
    /// With `--persist behind`: how long a change waits before it is written [default: 1s]
    #[arg(long, value_name = "TIME")]
    behind_delay: Option<String>,
    /// With `--persist behind`: bytes of changes that may wait to be written [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    behind_queue: Option<String>,
    /// Segments, a power of two.
    #[arg(long, value_name = "NUMBER")]
    segments: Option<String>,
}

impl CreateOptions {
    fn document(&self) -> Value {
        let all = [
            ("mode", &self.mode),
            ("memory", &self.memory),
            ("max_entries", &self.max_entries),
            ("ttl", &self.ttl),
            ("max_idle", &self.max_idle),
            ("eviction", &self.eviction),
            ("persist", &self.persist),
            ("preload", &self.preload),
            ("behind_delay", &self.behind_delay),
            ("behind_queue", &self.behind_queue),
            ("segments", &self.segments),
        ];
        object(all.iter().filter_map(|(name, text)| Some((*name, text.as_deref()?))))
    }
}

/// Runs `isogrid cache`.
pub fn main(args: &CacheArgs) -> ExitCode {
    args.remote.run(async |client| run(&args.command, &client, &args.remote.out()).await)
}

async fn run(command: &Command, client: &Client, out: &OutputArgs) -> Outcome {
    match command {
        Command::Create { name, options } => create(client, name, options, out).await,
        Command::Ls { glob } => list(client, glob, out).await,
        Command::Describe { name } => {
            let told = client.catalog().describe(ObjectKind::Cache, name).await?;
            let Some(told) = told else { return Err(no_cache(client, name).await) };
            Ok(out.say(|| show::lines(&told), || told.clone()))
        }
        Command::Set { name, options } => set(client, name, options, out).await,
        Command::Clear(doomed) => clear(client, doomed).await,
        Command::Drop(doomed) => drop_it(client, doomed).await,
        Command::Get(entry) => entry::get(client, entry, out).await,
        Command::Put { entry, value, how } => {
            entry::put(client, entry, value.as_deref(), how, out).await
        }
        Command::Rm { entry, if_version } => entry::remove(client, entry, *if_version, out).await,
        Command::Touch { entry, ttl } => entry::touch(client, entry, *ttl, out).await,
        Command::Incr { entry, delta, initial } => {
            entry::incr(client, entry, *delta, *initial, out).await
        }
        Command::Map(command) => map::run(client, command, out).await,
        Command::Keys(args) => scan::keys(client, args, out).await,
        Command::Size { name, exact } => {
            let entries = open(client, name).await?.size(*exact).await?;
            Ok(out.say(|| format!("{entries}\n"), || json!({ "entries": entries })))
        }
        Command::Stats { name } => stats(client, name, out).await,
        Command::Watch(args) => watch::watch(client, args, out).await,
        Command::Locate { key, cache } => cluster::locate(client, cache, key, out).await,
    }
}

async fn create(client: &Client, name: &str, options: &CreateOptions, out: &OutputArgs) -> Outcome {
    let made = client.catalog().create(ObjectKind::Cache, name, &options.document()).await?;
    let said = if made.created { "created" } else { "there already:" };
    let document = || json!({ "name": name, "created": made.created, "props": made.props });
    Ok(out.done(|| format!("{said} {name}\n"), document))
}

async fn list(client: &Client, glob: &str, out: &OutputArgs) -> Outcome {
    let catalog = client.catalog();
    let listed = catalog.list(ObjectKind::Cache, glob).await?;
    let mut caches = Vec::new();
    for found in &listed {
        match catalog.describe(ObjectKind::Cache, &show::field(found, "/name")).await {
            // One that was dropped since is no more to be listed.
            Ok(described) => caches.extend(described),
            // Who may not look at the node has the list alone.
            Err(error) if error.code() == Some(ErrorCode::Forbidden) => {
                caches = listed;
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let ways = ["/name", "/stats/entries", "/stats/bytes", "/props/memory", "/props/ttl"]
        .into_iter()
        .chain(["/props/eviction", "/props/persist"]);
    let ways: Vec<&str> = ways.collect();
    let row = |cache: &Value| -> [String; 7] {
        std::array::from_fn(|at| {
            ways.get(at).map_or_else(String::new, |way| show::field(cache, way))
        })
    };
    let head = ["NAME", "ENTRIES", "BYTES", "MEMORY", "TTL", "EVICTION", "PERSIST"];
    let rows = || std::iter::once(head.map(str::to_owned)).chain(caches.iter().map(row));
    Ok(out.say(|| table(&rows().collect::<Vec<_>>()), || json!({ "caches": caches })))
}

async fn set(
    client: &Client,
    name: &str,
    options: &[(String, String)],
    out: &OutputArgs,
) -> Outcome {
    let changes = object(options.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    match client.catalog().alter(ObjectKind::Cache, name, &changes).await? {
        Some(props) => {
            Ok(out.say(|| show::lines(&props), || json!({ "name": name, "props": props })))
        }
        None => Err(no_cache(client, name).await),
    }
}

/// What the server that is asked tells of a cache but its options, which `describe` shows.
async fn stats(client: &Client, name: &str, out: &OutputArgs) -> Outcome {
    open(client, name).await?;
    let mut told = client.admin("caches.describe", &json!({ "cache": name })).await?;
    if let Value::Object(fields) = &mut told {
        fields.remove("config");
    }
    Ok(out.say(|| show::lines(&told), || told.clone()))
}

async fn clear(client: &Client, Doomed { name, yes, dry_run }: &Doomed) -> Outcome {
    let cache = open(client, name).await?;
    if *dry_run {
        return Ok(say(&format!("would clear {name}: {}\n", entries(&cache).await)));
    }
    if !yes {
        let entries = entries(&cache).await;
        confirm(&format!("{entries} of the cache {name} will be removed"), name)?;
    }
    cache.clear().await?;
    Ok(done(&format!("cleared {name}\n")))
}

async fn drop_it(client: &Client, Doomed { name, yes, dry_run }: &Doomed) -> Outcome {
    let cache = open(client, name).await?;
    if *dry_run {
        return Ok(say(&format!("would drop {name}: {}\n", entries(&cache).await)));
    }
    if !yes {
        let entries = entries(&cache).await;
        confirm(&format!("the cache {name} and {entries} will be gone"), name)?;
    }
    if client.catalog().drop_object(ObjectKind::Cache, name).await? {
        return Ok(done(&format!("dropped {name}\n")));
    }
    Err(no_cache(client, name).await)
}

/// What a cache has, in words, for who may count it and who may not.
async fn entries(cache: &Cache) -> String {
    let size = cache.size(false).await;
    size.map_or("all entries".to_owned(), |count| format!("about {count} entries"))
}

/// The cache of this name, which must be there.
///
/// # Errors
/// It is not, and another one may have been meant.
pub async fn open(client: &Client, name: &str) -> Result<Cache, Failure> {
    match client.cache(name).must_exist().open().await {
        Err(Error { cause: Cause::NoSuchObject(_), .. }) => Err(no_cache(client, name).await),
        other => Ok(other?),
    }
}

async fn no_cache(client: &Client, name: &str) -> Failure {
    // The names only help: without them the cache is not there all the same.
    let caches = client.catalog().list(ObjectKind::Cache, "").await.unwrap_or_default();
    let names = caches.iter().filter_map(|cache| cache.get("name")?.as_str());
    let help = match nearest(name, names) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("`isogrid cache ls` lists them, `isogrid cache create {name}` makes it"),
    };
    Failure::not_found(format!("there is no cache {name:?}")).help(help)
}
