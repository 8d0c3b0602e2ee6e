//! The simulator: seeds of simulated clusters, and the bugs that it has to find.
//!
//! ```text
//! cargo run --release -p isogrid-tests --bin sim -- --seed 42             one seed
//! cargo run --release -p isogrid-tests --bin sim -- --seed 1 --count 300  several, on all cores
//! cargo run --release -p isogrid-tests --bin sim -- --count 300 --jobs 1  on one
//! cargo run --release -p isogrid-tests --bin sim -- --failover            how long they take
//! cargo run --release -p isogrid-tests --bin sim -- --failover --lease 600
//! cargo run --release -p isogrid-tests --features mutants --bin sim -- --mutants
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{panic, thread};

use isogrid_tests::sim::failover::{Failover, failover};
use isogrid_tests::sim::{Report, run, traced};

/// Up to so many seeds, each is traced and has a line.
const TRACED: u64 = 20;
/// After how many seeds a run of more says how far it is.
const TELL_EVERY: u64 = 100;

/// What to do.
struct Arguments {
    seed: u64,
    count: u64,
    /// How many run at a time.
    jobs: usize,
    mutants: bool,
    failover: bool,
    only: Option<String>,
    /// How long leases are where failovers are timed, ms.
    lease_ms: u32,
}

impl Arguments {
    fn parse() -> Result<Self, String> {
        let mut arguments = Arguments {
            seed: 1,
            count: 1,
            jobs: thread::available_parallelism().map_or(1, usize::from),
            mutants: false,
            failover: false,
            only: None,
            lease_ms: 1_500,
        };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--seed" => arguments.seed = number(value()?)?,
                "--count" => arguments.count = number(value()?)?,
                "--jobs" => arguments.jobs = number::<usize>(value()?)?.max(1),
                "--mutants" => (arguments.mutants, arguments.count) = (true, 200),
                "--failover" => (arguments.failover, arguments.count) = (true, 100),
                "--only" => arguments.only = Some(value()?),
                "--lease" => arguments.lease_ms = number(value()?)?,
                _ => {
                    return Err(format!(
                        "{name}: say --seed S, --count N, --jobs J, --failover, --lease MS, --mutants, --only NAME"
                    ));
                }
            }
        }
        Ok(arguments)
    }
}

fn number<T: FromStr>(text: String) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

/// Runs the command line.
fn main() -> ExitCode {
    let arguments = match Arguments::parse() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    if arguments.mutants {
        mutants(&arguments)
    } else if arguments.failover {
        failovers(&arguments)
    } else {
        seeds(&arguments)
    }
}

/// Kills members that serve a segment, and says how long nobody did.
fn failovers(arguments: &Arguments) -> ExitCode {
    let seeds = arguments.seed..arguments.seed + arguments.count;
    let all: Vec<Failover> = seeds.map(|seed| failover(seed, arguments.lease_ms)).collect();
    println!("| killed | times | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|");
    for (name, led) in [("the primary, which led the cluster", true), ("the primary alone", false)]
    {
        let mut ms: Vec<u64> = all.iter().filter(|one| one.led == led).map(|one| one.ms).collect();
        ms.sort_unstable();
        let at =
            |percent: usize| ms.get((ms.len() * percent / 100).min(ms.len().saturating_sub(1)));
        let [p50, p99, max] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or(0));
        println!("| {name} | {} | {p50} | {p99} | {max} |", ms.len());
    }
    ExitCode::SUCCESS
}

/// What seeds that are over come to, and the lines of those that are ahead of others.
#[derive(Default)]
struct Sum {
    reports: BTreeMap<u64, Report>,
    told: u64,
    steps: u64,
    simulated_ms: u64,
    /// Those with queues, and what became of messages in them.
    with_queues: u64,
    queues: BTreeMap<&'static str, u64>,
}

impl Sum {
    /// A seed is over: it is told of when all before it were.
    fn add(&mut self, arguments: &Arguments, seed: u64, report: Report) {
        self.steps += report.steps;
        self.simulated_ms += report.simulated_ms;
        self.with_queues += u64::from(!report.queues.is_empty());
        for (what, count) in &report.queues {
            *self.queues.entry(what).or_default() += count;
        }
        self.reports.insert(seed, report);
        while let Some(report) = self.reports.remove(&(arguments.seed + self.told)) {
            let (seed, count) = (arguments.seed + self.told, arguments.count);
            self.told += 1;
            if count <= TRACED {
                println!("seed {seed}: {report}");
            } else if self.told.is_multiple_of(TELL_EVERY) {
                eprintln!("{} of {count} seeds are good, up to {seed}", self.told);
            }
        }
    }
}

/// Runs seeds, several at a time. The first that fails ends it.
fn seeds(arguments: &Arguments) -> ExitCode {
    let (next, end) = (AtomicU64::new(arguments.seed), arguments.seed + arguments.count);
    let (sum, failed) = (Mutex::new(Sum::default()), AtomicBool::new(false));
    let run = if arguments.count <= TRACED { traced } else { run };
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            match panic::catch_unwind(|| run(seed)) {
                Ok(report) => sum.lock().expect("no panic").add(arguments, seed, report),
                Err(_) => failed.store(true, Ordering::Relaxed),
            }
        }
    };
    thread::scope(|scope| (0..arguments.jobs).for_each(|_| drop(scope.spawn(work))));
    if failed.into_inner() {
        return ExitCode::FAILURE;
    }
    let Sum { told, steps, simulated_ms, with_queues, queues, .. } =
        sum.into_inner().expect("no panic");
    let minutes = simulated_ms / 60_000;
    println!("{told} seeds, {minutes} simulated minutes, {steps} events: all good");
    println!("{with_queues} with queues: {queues:?}");
    ExitCode::SUCCESS
}

#[cfg(not(feature = "mutants"))]
fn mutants(_: &Arguments) -> ExitCode {
    eprintln!("--mutants: bugs can be planted with `--features mutants` alone");
    ExitCode::from(2)
}

/// Plants one bug after the other, and looks for a seed that finds it.
#[cfg(feature = "mutants")]
fn mutants(arguments: &Arguments) -> ExitCode {
    use isogrid_grid::mutant::MUTANTS;

    // What a planted bug breaks is a line of the table, and not a screen of trace.
    panic::set_hook(Box::new(|_| {}));
    let is_wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    let (range, mut missed) = ((arguments.seed, arguments.seed + arguments.count), 0);
    println!("| planted bug | found by seed | what was broken |\n|---|---|---|");
    for mutant in MUTANTS.iter().filter(|mutant| is_wanted(mutant.name)) {
        let found = find(mutant.name, range, arguments.jobs);
        let (seed, broken) = found.map_or_else(
            || {
                missed += 1;
                ("**missed**".to_owned(), String::new())
            },
            |(seed, text)| (seed.to_string(), first_broken(&text)),
        );
        println!("| {}: {} | {seed} | {broken} |", mutant.name, mutant.what);
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first seed that finds a bug, and what it says, looked for by so many threads.
#[cfg(feature = "mutants")]
fn find(mutant: &'static str, (first, end): (u64, u64), jobs: usize) -> Option<(u64, String)> {
    let (next, end) = (AtomicU64::new(first), AtomicU64::new(end));
    let work = || {
        isogrid_grid::mutant::plant(Some(mutant));
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end.load(Ordering::Relaxed) {
                return None;
            }
            if let Err(broken) = panic::catch_unwind(|| run(seed)) {
                // Those below it are under way, and may find it as well.
                end.fetch_min(seed, Ordering::Relaxed);
                let text = broken.downcast_ref::<String>().cloned().unwrap_or_default();
                return Some((seed, text));
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).min()
    })
}

/// The line of a failure that says what is broken, without its details.
#[cfg(feature = "mutants")]
fn first_broken(text: &str) -> String {
    let line = text.lines().find(|line| line.starts_with("seed "));
    let line = line.or_else(|| text.lines().next()).unwrap_or_default();
    let what = line.split_once(": ").map_or(line, |(_, what)| what);
    what.chars().take(60).collect::<String>().replace('|', "/")
}
