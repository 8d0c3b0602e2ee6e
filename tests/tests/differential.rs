//! The same random commands to memcached 1.6.18 and to isogrid: every byte of the answers is
//! the same, but for cas uniques (which must be a bijection) and seconds (which may tick).
//!
//! `ISOGRID_DIFF_ROUNDS=100000` plays longer, `ISOGRID_DIFF_SEED=7` begins at a seed,
//! `ISOGRID_DIFF_SELF=1` plays memcached against itself, to check the check.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failing test may panic")]

use isogrid_tests::differential::{Round, play};
use isogrid_tests::harness::Server;

/// About fifteen seconds.
const ROUNDS: u64 = 300;

/// Its threads in the background hold items now and then, and then `incr` pads no value.
const REFERENCE: &[&str] = &["-t", "1", "-o", "no_lru_maintainer,no_lru_crawler"];

#[test]
fn isogrid_answers_as_memcached_does() {
    let Some(reference) = Server::memcached(REFERENCE) else { return };
    let itself = std::env::var_os("ISOGRID_DIFF_SELF").is_some();
    let twin = if itself { Server::memcached(REFERENCE) } else { None };
    let subject = twin.unwrap_or_else(|| Server::isogrid(&[]));
    let (left, right) = (reference.address(), subject.address());
    let first = number("ISOGRID_DIFF_SEED").unwrap_or(1);
    for seed in first..first + number("ISOGRID_DIFF_ROUNDS").unwrap_or(ROUNDS) {
        let round = Round::random(seed);
        let Err(mismatch) = play(&round, left, right, itself) else { continue };
        let smallest = round.shrink(|round| play(round, left, right, itself).is_err());
        let commands: Vec<String> = smallest
            .segments
            .iter()
            .map(|segment| {
                let lines = segment.commands.iter().map(|command| format!("    {command}\n"));
                format!("  {:?} connection\n{}", segment.dialect, lines.collect::<String>())
            })
            .collect();
        let again =
            play(&smallest, left, right, itself).map_or_else(|m| m.to_string(), |()| String::new());
        panic!(
            "{mismatch}\n\nThe shortest stream that differs:\n{}{again}\n\nReplay:\n  \
             ISOGRID_DIFF_SEED={seed} ISOGRID_DIFF_ROUNDS=1 cargo test --release \
             -p isogrid-tests --test differential",
            commands.concat()
        );
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}
