//! `isogrid dev`: a whole cluster on this machine, in one command.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | what is asked for, and how it goes from the start to the end |
//! | `plan.rs` | the nodes: ports, folders, arguments |
//! | `node.rs` | one process: it is started, again when it dies, and stopped |
//! | `probe.rs` | whether a node serves |

mod node;
mod plan;
mod probe;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use isogrid_engine::env::boot_millis;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::output::{fail, say};
use node::{Ended, Phase, keep};
use plan::Plan;
pub(super) use probe::is_good;

const EXAMPLES: &str = "\
Examples:
  isogrid dev                                    # three nodes; memcached on 11211, 11212, 11213
  isogrid dev --nodes 5 --mode replicated
  isogrid dev --nodes 3 --witness 1              # two with data, and one that votes alone
  isogrid dev --port-offset 10000                # beside a server that has the usual ports
  isogrid dev --data-dir ./dev                   # the same cluster again the next time
  isogrid dev --set limits.idle_timeout=10m      # said to every node

Each node is a process of its own: kill one, and see what becomes of its entries. It is started
again after a second. Ctrl-C stops all.

See also: isogrid serve, isogrid cluster, isogrid cache locate";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct DevArgs {
    /// How many nodes: 1 to 7
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    nodes: u16,
    /// How many of them are witnesses, which vote and have no data: the last ones
    #[arg(long, value_name = "N", default_value_t = 0)]
    witness: u16,
    /// Where the entries of the cache `default` are: distributed, replicated, invalidated or local
    #[arg(long, value_name = "MODE", default_value = "distributed")]
    mode: String,
    /// Memory of the cache `default` on each node, e.g. 512MiB [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Add N to every port
    #[arg(long, value_name = "N", default_value_t = 0)]
    port_offset: u16,
    /// Keep what the nodes know in this folder; without it, in a new one that is removed at the end
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Do not start a node again that died
    #[arg(long)]
    no_restart: bool,
    /// The configuration file of every node; none is looked for without it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a key of every node, e.g. limits.backlog=2048; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A level of the nodes' logs, or a filter like warn,isogrid=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log_level: String,
}

/// Runs a cluster until it is told to stop.
pub fn main(args: &DevArgs) -> ExitCode {
    let plan = match Plan::new(args) {
        Ok(plan) => Arc::new(plan),
        Err(why) => return fail(&why, 1),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(run(&plan)),
        Err(error) => fail(&format!("no runtime: {error}"), 1),
    };
    plan.clean_up();
    code
}

async fn run(plan: &Arc<Plan>) -> ExitCode {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return fail("cannot listen for signals", 1);
    };
    let begin = boot_millis();
    let (phase, _) = watch::channel(Phase::Starting);
    let mut nodes = JoinSet::new();
    for at in 0..plan.nodes.len() {
        nodes.spawn(keep(Arc::clone(plan), at, phase.subscribe()));
    }
    let mut ready = std::pin::pin!(probe::all_serve(plan));
    let (mut code, mut is_ready) = (ExitCode::SUCCESS, false);
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => phase.send_modify(Phase::stop),
            _ = interrupt.recv() => phase.send_modify(Phase::stop),
            ended = nodes.join_next() => match ended {
                // Before it has ever served, a cluster that lacks a node is no cluster.
                Some(Ok(Ended::Failed(status))) if !is_ready => {
                    code = ExitCode::from(status);
                    phase.send_modify(Phase::stop);
                }
                Some(_) => {}
                None => return code,
            },
            () = &mut ready, if !is_ready => {
                is_ready = true;
                phase.send_if_modified(Phase::serve);
                say(&plan.announcement(boot_millis().saturating_sub(begin)));
            }
        }
    }
}
