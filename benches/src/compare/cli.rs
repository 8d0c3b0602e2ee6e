//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use isogrid_engine::eviction::PolicyKind;

use super::product::Product;
use super::values::VALUE_BYTES_MAX;

/// Compares Isogrid with memcached and Redis, side by side on this machine.
///
/// Starts each server on a free loopback port and on a core of its own, drives all of them with
/// the same load from another core, takes turns so that a noisy machine is noisy for all, and
/// stops them. Without a subcommand: kv, memory, churn and start with small sizes, in 5 minutes.
#[derive(Debug, Parser)]
#[command(name = "compare", version, after_long_help = EXAMPLES)]
pub struct Cli {
    /// What to compare.
    #[command(subcommand)]
    pub scenario: Option<Scenario>,
    /// Where the servers are and run.
    #[command(flatten)]
    pub lab: LabArgs,
    /// The form of the results on stdout; progress goes to stderr.
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Output,
    /// Exit with 1 when a bar is missed.
    #[arg(long, global = true)]
    pub check: bool,
}

const EXAMPLES: &str = "\
Examples:
  compare                                   everything that is quick
  compare kv --rounds 9 --seconds 4         CPU per request, steadier
  compare kv --depths 1,8,32 --multiget 32 --value-size 1000
  compare memory --items 10000000 --limit-mib 4096
  compare churn --sets 10000000 --limit-mib 128
  compare start --connections 1000
  compare hit-ratio traces/ --policies w-tinylfu,s3-fifo
  compare native                            what GNP costs beside memcached's text protocol
  compare client                            near cache and single flight
  compare idle                              10,000 connections that say nothing
  compare tls --depths 1,32                 what TLS costs
  compare kv --without isogrid              the baselines alone
  compare durability                        what it costs to keep sets on disk
  compare cluster                           what it costs to have sets in several processes
  compare kv --sets 100 --depths 1,32       sets alone
  compare kv --isogrid-args '--eviction s3-fifo' --memcached-args '-o modern'
  compare -o json > result.json

Reading the tables:
  cpu_us         CPU of the server per request, kernel included: the number to trust on a
                 shared machine; throughput also depends on who else is running
  isogrid_ratio  Isogrid's CPU over this server's, round by round, then the median; < 1 is less
  verdict        against the bar and the goal of the row: goal, holds or MISSED; only for the
                 load that the bars are about, and for servers without arguments of their own
  server_busy    the share of its core that the server used: well under 1, the load was the
                 bottleneck, and req_per_s says little about the server
  (notes)        who ran on which core, and the load average of the machine: with more tasks
                 than cores, trust the ratios and not the latencies";

/// The form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// One document with all tables.
    Json,
}

/// Where the servers are and run.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Isogrid's binary [default: `isogrid` beside this program].
    #[arg(long, global = true, value_name = "PATH")]
    pub isogrid: Option<PathBuf>,
    /// memcached's binary [default: from PATH; skipped when it is not there].
    #[arg(long, global = true, value_name = "PATH")]
    pub memcached: Option<PathBuf>,
    /// Redis's binary [default: redis-server from PATH; skipped when it is not there].
    #[arg(long, global = true, value_name = "PATH")]
    pub redis: Option<PathBuf>,
    /// More arguments for Isogrid's `serve`, separated by blanks.
    #[arg(long, global = true, value_name = "ARGS", allow_hyphen_values = true)]
    pub isogrid_args: Option<String>,
    /// More arguments for memcached.
    #[arg(long, global = true, value_name = "ARGS", allow_hyphen_values = true)]
    pub memcached_args: Option<String>,
    /// More arguments for Redis. Each server runs in a folder of its own among the temporary
    /// files (TMPDIR), which is removed with it.
    #[arg(long, global = true, value_name = "ARGS", allow_hyphen_values = true)]
    pub redis_args: Option<String>,
    /// Leave these out.
    #[arg(long, global = true, value_enum, value_delimiter = ',', value_name = "PRODUCT")]
    pub without: Vec<Product>,
    /// The core of the servers [default: the last one].
    #[arg(long, global = true, value_name = "CORE")]
    pub server_core: Option<usize>,
    /// The core of the load [default: the first one].
    #[arg(long, global = true, value_name = "CORE")]
    pub load_core: Option<usize>,
}

/// One comparison.
#[derive(Debug, Clone, Subcommand)]
pub enum Scenario {
    /// Gets and sets: throughput, latency and server CPU per request.
    Kv(KvArgs),
    /// Server CPU per request of GNP beside memcached's text protocol, Isogrid alone; `--multiget`
    /// says nothing here.
    Native(KvArgs),
    /// The Rust client: a hit of its near cache, and callers of one key that is not there.
    Client(ClientArgs),
    /// Memory of connections that say nothing, Isogrid alone.
    Idle(IdleArgs),
    /// Server CPU per request over TLS and without, Isogrid alone; `--multiget` says nothing here.
    Tls(KvArgs),
    /// Sets that are kept on disk: Isogrid none, async and sync, Redis everysec and always, and a
    /// bare loop that writes and syncs.
    Durability(DurabilityArgs),
    /// Sets that more than one process has when they are answered: three nodes, distributed and
    /// replicated, beside one node alone, and three Redis with a replica each and WAIT 1.
    Cluster(ClusterArgs),
    /// Bytes an item over its key and value.
    Memory(MemoryArgs),
    /// Memory over the limit after many sets of mixed sizes.
    Churn(ChurnArgs),
    /// Time to the first answer, and memory when idle.
    Start(StartArgs),
    /// Hit ratio on traces under the same memory limit.
    HitRatio(HitRatioArgs),
}

/// Keys and values, and how long they are asked for.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// Bytes of each value.
    #[arg(long, default_value_t = 100, value_parser = value_size)]
    pub value_size: usize,
    /// Keys, all loaded before the first round.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// Exponent of the key popularity.
    #[arg(long, default_value_t = 0.99)]
    pub zipf: f64,
    /// Length of a round for each.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Rounds for each scenario; in each, everyone has a turn.
    #[arg(long, default_value_t = 5, value_parser = positive)]
    pub rounds: usize,
    /// Memory limit; large enough that nothing is evicted.
    #[arg(long, default_value_t = 1024)]
    pub limit_mib: u64,
}

/// Gets and sets.
#[derive(Debug, Clone, Args)]
pub struct KvArgs {
    /// Connections, each with one batch under way.
    #[arg(long, default_value_t = 50, value_parser = positive)]
    pub connections: usize,
    /// Requests a batch; each makes a scenario of single gets and sets.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32], value_parser = positive)]
    pub depths: Vec<usize>,
    /// Keys a get; each makes a scenario of gets alone, one request a batch.
    #[arg(long, value_delimiter = ',', default_values_t = [32], value_parser = positive)]
    pub multiget: Vec<usize>,
    /// Sets among the single requests; the rest are gets. With 100 there are no multigets.
    #[arg(long, default_value_t = 10, value_name = "PERCENT",
          value_parser = clap::value_parser!(u64).range(0..=100))]
    pub sets: u64,
    /// What is asked for, and for how long.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Sets that are kept on disk.
#[derive(Debug, Clone, Args)]
pub struct DurabilityArgs {
    /// Connections, each with one batch under way.
    #[arg(long, default_value_t = 64, value_parser = positive)]
    pub connections: usize,
    /// Sets a batch; each makes a scenario.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32], value_parser = positive)]
    pub depths: Vec<usize>,
    /// What is asked for, and for how long.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Sets that several processes have.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// Connections, each with one batch under way, spread over the processes that are asked.
    #[arg(long, default_value_t = 12, value_parser = positive)]
    pub connections: usize,
    /// Sets a batch; each makes a scenario.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32], value_parser = positive)]
    pub depths: Vec<usize>,
    /// What is set, and for how long.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Bytes an item.
#[derive(Debug, Clone, Args)]
pub struct MemoryArgs {
    /// Items to store.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub items: u64,
    /// Bytes of each value; keys have 16.
    #[arg(long, default_value_t = 100, value_parser = value_size)]
    pub value_size: usize,
    /// Memory limit; large enough that nothing is evicted.
    #[arg(long, default_value_t = 1024)]
    pub limit_mib: u64,
}

/// Memory over the limit.
#[derive(Debug, Clone, Args)]
pub struct ChurnArgs {
    /// Sets to send.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub sets: u64,
    /// Keys to draw from, all alike.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// The smallest value; sizes are log-uniform between the two.
    #[arg(long, default_value_t = 50, value_parser = value_size)]
    pub value_size_min: usize,
    /// The largest value.
    #[arg(long, default_value_t = 8192, value_parser = value_size)]
    pub value_size_max: usize,
    /// Memory limit.
    #[arg(long, default_value_t = 128)]
    pub limit_mib: u64,
}

/// Start and idle.
#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// Starts of each server, taking turns.
    #[arg(long, default_value_t = 5, value_parser = positive)]
    pub rounds: usize,
    /// Idle connections.
    #[arg(long, default_value_t = 1000, value_parser = positive)]
    pub connections: usize,
}

/// The Rust client.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// Rounds of both.
    #[arg(long, default_value_t = 7, value_parser = positive)]
    pub rounds: usize,
    /// Callers of one key at the same time.
    #[arg(long, default_value_t = 1000, value_parser = positive)]
    pub callers: usize,
}

/// Connections that say nothing.
#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    /// Connections; the limit of open files of both sides must allow them.
    #[arg(long, default_value_t = 10_000, value_parser = positive)]
    pub connections: usize,
}

/// Hit ratio on traces.
#[derive(Debug, Clone, Args)]
pub struct HitRatioArgs {
    /// Traces, or directories of them: one decimal key a line, `.txt` or `.txt.xz`.
    #[arg(required = true)]
    pub traces: Vec<PathBuf>,
    /// Isogrid's eviction policies, a live run for each; the first one is judged.
    #[arg(long, value_delimiter = ',', default_value = "w-tinylfu,s3-fifo,lru")]
    pub policies: Vec<PolicyKind>,
    /// Memory limits, as divisors of a trace's footprint.
    #[arg(long, value_delimiter = ',', default_values_t = [4, 16])]
    pub shares: Vec<u64>,
    /// The smallest limit to compare under; values are doubled in size until a trace's smallest
    /// limit reaches it. Below it memcached takes several times its limit: each of its size
    /// classes gets a MiB.
    #[arg(long, default_value_t = 16)]
    pub limit_min_mib: u64,
    /// Multiplies every value size, in place of the doubling.
    #[arg(long)]
    pub scale: Option<u32>,
    /// Requests of a trace to play at most.
    #[arg(long, default_value_t = 5_000_000, value_parser = positive)]
    pub requests: usize,
    /// Distinct keys whose gets travel together; 1 is exact, more is faster.
    #[arg(long, default_value_t = 16, value_parser = positive)]
    pub batch: usize,
}

impl LabArgs {
    /// The arguments of a server that the command line adds.
    pub fn added(&self, product: Product) -> &str {
        let added = match product {
            Product::Isogrid => &self.isogrid_args,
            Product::Memcached => &self.memcached_args,
            Product::Redis => &self.redis_args,
        };
        added.as_deref().unwrap_or_default()
    }
}

impl KvArgs {
    /// Whether it is the load that the bars are about: a tenth of small sets.
    pub fn has_bars(&self) -> bool {
        self.sets == 10 && self.load.value_size == 100
    }
}

impl Scenario {
    /// A scenario as the command line gives it when only its name is said.
    pub fn with_defaults(name: &str) -> Result<Option<Self>, clap::Error> {
        Ok(Cli::try_parse_from(["compare", name])?.scenario)
    }
}

/// A number from 1.
fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1 is needed".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// A size that the load can send.
fn value_size(text: &str) -> Result<usize, String> {
    match positive(text)? {
        size if size <= VALUE_BYTES_MAX => Ok(size),
        _ => Err(format!("at most {VALUE_BYTES_MAX} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(line: &str) -> Result<(KvArgs, LabArgs), clap::Error> {
        let (line, quoted) = line.split_once('\'').unwrap_or((line, ""));
        let quoted = Some(quoted).filter(|quoted| !quoted.is_empty());
        let cli = Cli::try_parse_from(line.split_whitespace().chain(quoted))?;
        match cli.scenario {
            Some(Scenario::Kv(arguments)) => Ok((arguments, cli.lab)),
            other => panic!("{other:?} is not kv"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn arguments_go_to_their_server() {
        let (_, lab) = kv("compare kv --redis-args '--appendonly yes").unwrap();
        assert_eq!(lab.added(Product::Redis), "--appendonly yes");
        assert_eq!(lab.added(Product::Isogrid), "");
    }

    #[test]
    fn bars_are_about_one_load() {
        for (line, has_bars) in [
            ("compare kv", true),
            ("compare kv --depths 8 --connections 10", true),
            ("compare kv --sets 100", false),
            ("compare kv --value-size 1000", false),
        ] {
            assert_eq!(kv(line).unwrap().0.has_bars(), has_bars, "{line}");
        }
        assert!(kv("compare kv --sets 101").is_err());
    }
}
