//! Simulated clusters: a slice of the seeds on each run. The long run is
//! `cargo run --release -p isogrid-tests --bin sim -- --seed S --count N`.

use isogrid_tests::seeds::number;
use isogrid_tests::sim::{Report, run, traced};

/// Seeds that failed once.
const REGRESSIONS: &str = include_str!("../sim/regressions.txt");
/// Seeds of each run of the tests.
const SEEDS: u64 = if cfg!(debug_assertions) { 5 } else { 40 };
/// Seeds that are run twice.
const TWICE: u64 = if cfg!(debug_assertions) { 2 } else { 20 };

#[test]
fn what_failed_once_holds() {
    let lines = REGRESSIONS.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let seed = line.split_whitespace().next().unwrap().parse().unwrap();
        let _ = run(seed);
    }
}

#[test]
fn clusters_keep_their_promises() {
    let (seed, count) = (number("ISOGRID_SEED", 1_000), number("ISOGRID_SIM_SEEDS", SEEDS));
    for seed in seed..seed + count {
        let report = run(seed);
        assert!(report.entries > 0, "seed {seed}: nothing happened");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..=TWICE {
        let first = traced(seed);
        assert_eq!(first, traced(seed), "seed {seed} is not decided by its seed alone");
        // Whoever replays a failure finds what failed without a trace.
        assert_eq!(Report { hash: None, ..first }, run(seed), "the trace of {seed} changes it");
    }
}
