//! Chance for fuzz loops, and how long they run.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]
#![allow(clippy::disallowed_methods, reason = "a run may be so many seconds long")]

use std::time::{Duration, Instant};

/// xorshift64*.
pub struct Random(u64);

impl Random {
    /// That of a round.
    pub fn of_round(round: u64) -> Random {
        Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`, or 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % n.max(1)
    }

    pub fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The rounds of this run: from `ISOGRID_FUZZ_SEED` on, as many as `ISOGRID_FUZZ_ROUNDS` says or as
/// there are in `ISOGRID_FUZZ_SECONDS`. What was run is printed when it is over.
pub fn rounds() -> impl Iterator<Item = u64> {
    let first = number("ISOGRID_FUZZ_SEED").unwrap_or(1);
    let seconds = number("ISOGRID_FUZZ_SECONDS").map(Duration::from_secs);
    let count = number("ISOGRID_FUZZ_ROUNDS").unwrap_or(20_000);
    let begin = Instant::now();
    let goes_on = move |round: u64| match seconds {
        Some(seconds) => begin.elapsed() < seconds,
        None => round < first.saturating_add(count),
    };
    (first..).take_while(move |round| {
        let goes_on = goes_on(*round);
        if !goes_on {
            println!("rounds {first} to {round} in {:?}", begin.elapsed());
        }
        goes_on
    })
}
