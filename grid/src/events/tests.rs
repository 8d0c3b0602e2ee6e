//! Random histories of a cache with slow consumers.

mod listener;
mod near_cache;
mod scan;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a history for each seed; a failing one says how to replay it.
fn seeds(test: &str, count: u64, run: impl Fn(u64)) {
    let one = std::env::var("ISOGRID_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    for seed in one.map_or(0..count, |seed| seed..seed + 1) {
        if let Err(why) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            let package = env!("CARGO_PKG_NAME");
            println!("replay: ISOGRID_SEED={seed} cargo test -p {package} {test}");
            resume_unwind(why);
        }
    }
}
