//! Isogrid beside memcached and Redis: starts the servers, drives them with the same load, and
//! compares CPU per request, latency, memory, starts and hit ratios.
//!
//! What it needs: Linux (`/proc`), and `taskset` and `setpriv` of util-linux.

use std::error::Error;
use std::process::ExitCode;

use serde_json::json;

mod bars;
mod churn;
pub mod cli;
mod client;
mod clock;
mod cluster;
mod connection;
mod cores;
mod durability;
mod folder;
mod gnp;
mod hit_ratio;
mod idle;
mod kv;
mod lab;
mod load;
mod look_aside;
mod memcached_text;
mod memory;
mod native;
mod pair;
mod procfs;
mod product;
mod protocol;
mod random;
mod resp;
mod routed;
mod server;
mod start;
mod statistics;
mod stream;
mod table;
mod tls;
mod traffic;
mod values;

use cli::{ChurnArgs, Cli, Output, Scenario};
use lab::Lab;
use table::Table;

/// Of this module: errors are for people, who fix the cause and run again.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Sets in the quick run of `churn`, in place of its default.
const QUICK_CHURN_SETS: u64 = 2_000_000;

/// Runs what the command line asks for and prints it on stdout.
pub fn run(cli: &Cli) -> Result<ExitCode> {
    let lab = Lab::open(&cli.lab)?;
    let mut tables = Vec::new();
    for scenario in cli.scenario.as_ref().map_or_else(quick, |one| Ok(vec![one.clone()]))? {
        let before = procfs::load_average()?;
        let mut table = run_one(&lab, &scenario)?;
        table.note(lab.describe());
        let after = procfs::load_average()?;
        table.note(format!("load average of the machine: {before} before, {after} after"));
        if cli.output == Output::Table {
            println!("{}", table.print());
        }
        tables.push(table);
    }
    if cli.output == Output::Json {
        let tables: Vec<_> = tables.iter().map(Table::json).collect();
        println!("{:#}", json!({ "tables": tables }));
    }
    let missed = cli.check && tables.iter().any(Table::missed);
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn run_one(lab: &Lab, scenario: &Scenario) -> Result<Table> {
    match scenario {
        Scenario::Kv(arguments) => kv::run(lab, arguments),
        Scenario::Native(arguments) => native::run(lab, arguments),
        Scenario::Client(arguments) => client::run(lab, arguments),
        Scenario::Idle(arguments) => idle::run(lab, arguments),
        Scenario::Tls(arguments) => tls::run(lab, arguments),
        Scenario::Cluster(arguments) => cluster::run(lab, arguments),
        Scenario::Durability(arguments) => durability::run(lab, arguments),
        Scenario::Memory(arguments) => memory::run(lab, arguments),
        Scenario::Churn(arguments) => churn::run(lab, arguments),
        Scenario::Start(arguments) => start::run(lab, arguments),
        Scenario::HitRatio(arguments) => hit_ratio::run(lab, arguments),
    }
}

/// All scenarios that need no traces, with the defaults of the command line but a shorter churn.
fn quick() -> Result<Vec<Scenario>> {
    let mut scenarios = Vec::new();
    for name in ["kv", "memory", "churn", "start"] {
        scenarios.extend(Scenario::with_defaults(name)?);
    }
    for scenario in &mut scenarios {
        if let Scenario::Churn(ChurnArgs { sets, .. }) = scenario {
            *sets = QUICK_CHURN_SETS;
        }
    }
    Ok(scenarios)
}
