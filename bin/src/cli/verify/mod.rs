//! `isogrid verify`: whether what is promised is so, on this machine. `cluster` plays a round of what
//! the cluster's own tests do: real processes, killed and paused, clients that record everything, and
//! the checks of [`crate::checker`].
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | what is asked for, and how a round goes |
//! | `nodes.rs` | the processes and their folder |
//! | `faults.rs` | what is done to them, drawn from the seed |
//! | `load.rs`, `ask.rs` | clients that read and write, and record what they are told |
//! | `report.rs` | what is said at the end |

mod ask;
mod faults;
mod load;
mod nodes;
mod report;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use isogrid_wire::client::Error;
use tokio::signal::ctrl_c;

use self::ask::{Asker, options};
use self::faults::Faults;
use self::load::Load;
use self::nodes::Nodes;
use self::report::Report;
use super::output::{OutputArgs, fail, note};
use crate::checker::{Ask, Operation, Told, by_key, verdict};

const EXAMPLES: &str = "\
Examples:
  isogrid verify cluster                               # half a minute, another seed each time
  isogrid verify cluster --seed 7 --seconds 300
  isogrid verify cluster --mode replicated --persist sync
  isogrid verify cluster -o json

Three nodes run on free ports of 127.0.0.1, in a temporary folder, and end with the command. While
clients read and write, one node after the other is killed (SIGKILL) and started again, or paused
(SIGSTOP) and continued; the next one only when every copy is there again. At the end every key is
read at every node, and it is checked that no acknowledged write is lost, that none is there which
had failed, and that there is an order of all operations on each key that explains every answer.

The seed decides what is done to whom and when, and what clients ask; how processes and threads
take turns it cannot decide, so that a run is like another one of its seed, and not the same.

Exit codes: 0 all is as promised, 1 it is not, or the cluster could not be run";

#[derive(Args)]
pub struct VerifyArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Kill and pause the nodes of a cluster under load, and check what its clients were told
    Cluster(Box<RoundArgs>),
}

#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct RoundArgs {
    /// What is done and when [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long nodes are killed and paused: 10 to 3600
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..=3_600))]
    seconds: u64,
    /// Where entries are
    #[arg(long, value_enum, default_value_t = Mode::Distributed, value_name = "MODE")]
    mode: Mode,
    /// How entries are kept on disks
    #[arg(long, value_enum, default_value_t = Persist::None, value_name = "MODE")]
    persist: Persist,
    #[command(flatten)]
    output: OutputArgs,
}

/// Where entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Each on two of the three nodes
    Distributed,
    /// Each on every node
    Replicated,
}

/// How entries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Persist {
    /// In memory alone
    None,
    /// On the disks of all that have a copy, before a write is acknowledged
    Sync,
    /// The same, a moment after it
    Async,
}

/// What a round is like.
#[derive(Debug, Clone, Copy)]
struct Round {
    seed: u64,
    seconds: u64,
    mode: Mode,
    persist: Persist,
}

impl Round {
    /// The command that plays it again.
    fn replay(self) -> String {
        let Round { seed, seconds, mode, persist } = self;
        let (mode, persist) = (name(mode), name(persist));
        format!(
            "isogrid verify cluster --seed {seed} --seconds {seconds} --mode {mode} \
             --persist {persist}"
        )
    }
}

/// A choice as it is written.
fn name(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// How much a search for an order may try for a key; those that take more are counted.
const SEARCH_STEPS: usize = 100_000;

/// Plays a round.
pub fn main(args: &VerifyArgs) -> ExitCode {
    let What::Cluster(args) = &args.what;
    let drawn = || isogrid_engine::env::os_seed() % 1_000_000;
    let RoundArgs { seconds, mode, persist, .. } = **args;
    let round = Round { seed: args.seed.unwrap_or_else(drawn), seconds, mode, persist };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let played = match runtime {
        Ok(runtime) => runtime.block_on(async {
            tokio::select! {
                played = play(round) => played,
                _ = ctrl_c() => Err("interrupted".to_owned()),
            }
        }),
        Err(error) => Err(format!("no runtime: {error}")),
    };
    match played {
        Ok(report) => args.output.say(|| report.table(), || report.json()),
        Err(why) => fail(&why, 1),
    }
}

async fn play(round: Round) -> Result<Report, String> {
    let mut nodes = Nodes::start(&round)?;
    note(&format!("seed {}: three nodes in {}", round.seed, nodes.folder().display()));
    nodes.whole().await?;
    nodes.tell();
    let load = Load::start(&nodes.natives(), round.seed).await.map_err(cannot)?;
    let mut faults = Faults::new(round.seed);
    let played = faults.play(&mut nodes, Duration::from_secs(round.seconds)).await;
    let (mut history, routing) = load.stop().await;
    let acknowledged: Vec<u64> =
        history.iter().filter(|one| acknowledges(one)).map(|one| one.returned).collect();
    let checked = match played {
        Ok(()) => check(&nodes, &mut history).await,
        Err(why) => Err(why),
    };
    match checked {
        Ok(verdict) => Ok(Report::new(round, &faults, &verdict, &acknowledged, routing)),
        Err(why) => Err(nodes.keep(&history, &format!("{why}\nreplay: {}", round.replay()))),
    }
}

/// Reads all that there is, and checks everything.
async fn check(nodes: &Nodes, history: &mut Vec<Operation>) -> Result<verdict::Verdict, String> {
    note(&format!("reading every key, and checking {} operations", history.len()));
    let found = audit(nodes, history).await?;
    verdict::check(history, &found, load::kind_of, SEARCH_STEPS)
}

/// Reads every key, as a part of the history: those that were written once at one node, all others at
/// each.
async fn audit(
    nodes: &Nodes,
    history: &mut Vec<Operation>,
) -> Result<BTreeMap<String, Option<u64>>, String> {
    let keys: Vec<String> = by_key(history).keys().map(|key| (*key).to_owned()).collect();
    let mut found = BTreeMap::new();
    for (node, address) in nodes.natives().into_iter().enumerate() {
        let alone = options().routing(false);
        let mut reader = Asker::connect(node, vec![address], alone).await.map_err(cannot)?;
        let here = |(at, key): &(usize, &String)| {
            load::kind_of(key) != verdict::Kind::Once || at % nodes.len() == node
        };
        for (_, key) in keys.iter().enumerate().filter(here) {
            let Told::Read(read) = reader.perform(key.clone(), Ask::Get).await else {
                return Err(format!("{key} cannot be read at the node {} at the end", node + 1));
            };
            found.insert(key.clone(), read.map(|(value, _)| value));
        }
        // Its clock began behind the others': what it read comes after everything.
        let end = history.iter().map(|one| one.returned).max().unwrap_or(0);
        history.extend(reader.take().into_iter().map(|one| Operation {
            called: one.called + end + 1,
            returned: one.returned + end + 1,
            ..one
        }));
    }
    Ok(found)
}

/// Whether it is a write of which its client was told that it was done.
fn acknowledges(operation: &Operation) -> bool {
    operation.ask != Ask::Get && matches!(operation.told, Told::Done(_) | Told::Counted(_))
}

fn cannot(error: Error) -> String {
    format!("a client cannot connect: {error}")
}
