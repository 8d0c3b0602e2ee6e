//! Clusters of real processes, what is done to them, and what their clients are told.
//!
//! ```text
//! cargo run --release -p isogrid-tests --bin chaos -- --seed 1 --rounds 20
//! cargo run --release -p isogrid-tests --bin chaos -- --nodes 5 --mode replicated --rounds 20
//! cargo run --release -p isogrid-tests --bin chaos -- --persist sync --rounds 20
//! cargo run --release -p isogrid-tests --bin chaos -- --persist sync --disks small --rounds 20
//! cargo run --release -p isogrid-tests --bin chaos -- --network namespaces --rounds 20
//! cargo run --release -p isogrid-tests --bin chaos -- --kills 100
//! cargo run --release -p isogrid-tests --bin chaos -- --kills 100 --lease 600
//! cargo run --release -p isogrid-tests --bin chaos -- --switchovers 100
//! cargo run --release -p isogrid-tests --bin chaos -- --starts 50
//! ```

use std::process::ExitCode;

use isogrid_tests::cluster::{
    Cluster, End, Mode, Setup, failovers, may_make_namespaces, may_mount, round, script, starts,
};

/// What to do.
#[derive(Debug, Clone, Copy)]
struct Arguments {
    seed: u64,
    rounds: u64,
    /// How many kills are timed.
    kills: usize,
    /// How many planned stops are timed.
    switchovers: usize,
    /// How many clusters are founded.
    starts: usize,
    setup: Setup,
}

impl Arguments {
    fn parse() -> Result<Self, String> {
        let mode = Mode::Distributed;
        let setup = Setup { mode, ..Setup::PLAIN };
        let (kills, switchovers, starts) = (0, 0, 0);
        let mut arguments = Arguments { seed: 1, rounds: 8, kills, switchovers, starts, setup };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{value} is no number"));
            let count = || number().and_then(|n| usize::try_from(n).map_err(|e| e.to_string()));
            match name.as_str() {
                "--seed" => arguments.seed = number()?,
                "--rounds" => arguments.rounds = number()?,
                "--kills" => arguments.kills = count()?,
                "--switchovers" => arguments.switchovers = count()?,
                "--starts" => arguments.starts = count()?,
                "--nodes" => arguments.setup.nodes = count().and_then(three_or_five)?,
                "--mode" => arguments.setup.mode = mode_of(&value)?,
                "--disks" => arguments.setup.small_disks = are_small(&value)?,
                "--network" => arguments.setup.namespaces = is_of_namespaces(&value)?,
                "--persist" => (arguments.setup.kept, arguments.setup.behind) = kept(&value)?,
                "--lease" => arguments.setup.lease_ms = number()?,
                _ => {
                    return Err(format!(
                        "{name}: say --seed S, --rounds N, --nodes 3|5, \
                         --mode distributed|replicated, --persist none|async|sync, \
                         --disks large|small, --network proxies|namespaces, --lease MS, \
                         --kills N, \
                         --switchovers N, --starts N"
                    ));
                }
            }
        }
        Ok(arguments)
    }

    /// The command that plays one round again.
    fn replay(self, round: u64) -> String {
        format!(
            "cargo run --release -p isogrid-tests --bin chaos -- --seed {} --rounds 1 --nodes {} \
             --mode {} --persist {} --disks {} --lease {} --network {}",
            self.seed.wrapping_add(round),
            self.setup.nodes,
            self.setup.mode.name(),
            self.setup.persist(),
            if self.setup.small_disks { "small" } else { "large" },
            self.setup.lease_ms,
            if self.setup.namespaces { "namespaces" } else { "proxies" }
        )
    }
}

fn three_or_five(nodes: usize) -> Result<usize, String> {
    if [3, 5].contains(&nodes) { Ok(nodes) } else { Err("--nodes 3 or --nodes 5".into()) }
}

fn mode_of(name: &str) -> Result<Mode, String> {
    let all = [Mode::Distributed, Mode::Replicated];
    let found = all.into_iter().find(|mode| mode.name() == name);
    found.ok_or_else(|| format!("{name}: --mode distributed or --mode replicated"))
}

fn kept(name: &str) -> Result<(bool, bool), String> {
    match name {
        "none" => Ok((false, false)),
        "async" => Ok((false, true)),
        "sync" => Ok((true, false)),
        _ => Err(format!("{name}: --persist none, async or sync")),
    }
}

fn are_small(name: &str) -> Result<bool, String> {
    match name {
        "large" => Ok(false),
        "small" if may_mount() => Ok(true),
        "small" => Err("--disks small takes a user who may mount (root)".into()),
        _ => Err(format!("{name}: --disks large or --disks small")),
    }
}

fn is_of_namespaces(name: &str) -> Result<bool, String> {
    match name {
        "proxies" => Ok(false),
        "namespaces" if may_make_namespaces() => Ok(true),
        "namespaces" => Err("--network namespaces takes root, `ip` and `tc` (iproute2)".into()),
        _ => Err(format!("{name}: --network proxies or --network namespaces")),
    }
}

/// Runs the command line.
fn main() -> ExitCode {
    let done = Arguments::parse().and_then(|arguments| {
        if arguments.starts > 0 {
            found(arguments)
        } else if arguments.kills > 0 {
            time(arguments, End::Kill, arguments.kills)
        } else if arguments.switchovers > 0 {
            time(arguments, End::Stop, arguments.switchovers)
        } else {
            rounds(arguments)
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Plays rounds on one cluster. The first that fails ends it.
fn rounds(arguments: Arguments) -> Result<(), String> {
    let Arguments { seed, rounds, setup, .. } = arguments;
    let mut cluster = Cluster::start_all(setup)?;
    for number in 0..rounds {
        println!("round {number}: {}", script(seed.wrapping_add(number), setup));
        match round(&mut cluster, seed, number) {
            Ok(report) => println!("  {report}"),
            Err(why) => {
                cluster.keep_folder();
                return Err(format!("{why}\nreplay: {}", arguments.replay(number)));
            }
        }
    }
    println!("{rounds} rounds: all good");
    Ok(())
}

/// Times how long clients miss nodes that end. Of those that are stopped they are to miss no write.
fn time(arguments: Arguments, end: End, times: usize) -> Result<(), String> {
    let mut cluster = Cluster::start_all(arguments.setup)?;
    let gaps = failovers(&mut cluster, end, times, |number, seen| {
        println!("{end:?} {number}: {seen:?} (ms, writes that were not acknowledged)");
    })?;
    let [p50, p99, max] = [50, 99, 100].map(|percent| gaps.percent(percent));
    println!("| ends | gaps | p50 ms | p99 ms | max ms | not acknowledged |");
    println!("|---|---|---|---|---|---|");
    println!("| {times} | {} | {p50} | {p99} | {max} | {} |", gaps.count(), gaps.failed);
    if end == End::Stop && gaps.failed > 0 {
        return Err(format!("{} writes were not acknowledged", gaps.failed));
    }
    Ok(())
}

/// Founds clusters, one after the other.
fn found(arguments: Arguments) -> Result<(), String> {
    let mut took = starts(arguments.setup, arguments.starts)?;
    took.sort_unstable();
    let (half, last) = (took.get(took.len() / 2), took.last());
    println!(
        "{} simultaneous starts of {} nodes, one cluster each: p50 {} ms, max {} ms",
        took.len(),
        arguments.setup.nodes,
        half.copied().unwrap_or(0),
        last.copied().unwrap_or(0)
    );
    Ok(())
}
