//! Runs a property over numbered seeds: a failure is shrunk and names the command that replays it.

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

/// The first seed of a run.
const SEED: &str = "ISOGRID_SEED";
/// How many seeds a model test runs.
const CASES: &str = "ISOGRID_MODEL_CASES";
/// Cases when nobody asks for a number: seconds, not minutes.
const CASES_DEFAULT: u64 = if cfg!(debug_assertions) { 300 } else { 2_000 };
/// Steps towards a shorter failure.
const SHRINK_STEPS_MAX: u32 = 20_000;

/// A number from the environment.
///
/// # Panics
/// When it is set to something that is no number: a run of the wrong length would look like a
/// good one.
#[must_use]
pub fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// The seeds of this run: `ISOGRID_SEED` and as many after it as `ISOGRID_MODEL_CASES` says.
#[must_use]
pub fn seeds() -> std::ops::Range<u64> {
    let first = number(SEED, 0);
    let one = std::env::var_os(SEED).is_some();
    first..first + number(CASES, if one { 1 } else { CASES_DEFAULT })
}

/// Draws one value of `strategy` for each seed and gives it to `holds`.
///
/// # Panics
/// With the shortest failing value that was found and the command that replays it.
pub fn check<S>(test: &str, strategy: &S, holds: impl Fn(&S::Value) -> Result<(), TestCaseError>)
where
    S: Strategy,
    S::Value: Debug,
{
    for seed in seeds() {
        let config = Config {
            cases: 1,
            rng_seed: RngSeed::Fixed(seed),
            failure_persistence: None,
            max_shrink_iters: SHRINK_STEPS_MAX,
            ..Config::default()
        };
        match TestRunner::new(config).run(strategy, |value| holds(&value)) {
            Ok(()) => {}
            Err(TestError::Abort(why)) => panic!("seed {seed} was given up: {why}"),
            Err(TestError::Fail(why, value)) => {
                panic!("{why}\nshortest: {value:#?}\nreplay: {}", replay(test, seed))
            }
        }
    }
}

/// The command that runs one seed of a test again.
#[must_use]
pub fn replay(test: &str, seed: u64) -> String {
    let (file, name) = test.split_once("::").unwrap_or((test, ""));
    format!("{SEED}={seed} cargo test --release -p isogrid-tests --test {file} {name}")
}
