//! What is asked for: keys, kinds and sizes, drawn from a seed. No clock and no socket.

use isogrid_engine::env::split_mix;

/// What requests are drawn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// Keys are the numbers below this.
    pub keys: u64,
    /// The exponent of Zipf's law; `None`: all keys alike.
    pub zipf: Option<f64>,
    /// Gets to sets.
    pub ratio: (u32, u32),
    /// The smallest and the largest value, in bytes.
    pub value_len: (usize, usize),
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Reads a key.
    Get(u64),
    /// Writes a key, with a value of so many bytes.
    Set(u64, usize),
}

/// The requests of one connection: the same for the same seed and connection.
#[derive(Debug)]
pub struct Choose {
    traffic: Traffic,
    zipf: Option<Zipf>,
    random: u64,
}

impl Choose {
    /// The requests of this connection under this seed.
    pub fn new(traffic: Traffic, seed: u64, connection: u64) -> Self {
        let mut random = seed;
        // Neighbouring seeds must not give one connection what another one has under its own.
        random = split_mix(&mut random).wrapping_add(connection);
        random = split_mix(&mut random);
        let zipf = traffic.zipf.map(|exponent| Zipf::new(traffic.keys, exponent));
        Choose { traffic, zipf, random }
    }

    /// The next request. Each takes one draw for its kind and one for its size, so that the keys
    /// are the same whatever ratio and sizes are.
    pub fn next(&mut self) -> Choice {
        let Traffic { keys, ratio: (gets, sets), .. } = self.traffic;
        let kind = below(split_mix(&mut self.random), u64::from(gets) + u64::from(sets));
        let len = self.value_len();
        let key = match &self.zipf {
            Some(zipf) => zipf.draw(&mut self.random),
            None => below(split_mix(&mut self.random), keys),
        };
        if kind < u64::from(gets) {
            return Choice::Get(key);
        }
        Choice::Set(key, len)
    }

    fn value_len(&mut self) -> usize {
        let (shortest, longest) = self.traffic.value_len;
        let sizes = (longest.saturating_sub(shortest) as u64).saturating_add(1);
        shortest + usize::try_from(below(split_mix(&mut self.random), sizes)).unwrap_or(0)
    }
}

/// What a connection asks for in one phase.
#[derive(Debug)]
pub enum Requests {
    /// Drawn.
    Drawn(Choose),
    /// Writes every `stride`th key from `next` on.
    Fill {
        /// Draws the sizes.
        sizes: Choose,
        /// The next key.
        next: u64,
        /// How many connections there are.
        stride: u64,
    },
}

impl Requests {
    /// The next request.
    pub fn next(&mut self) -> Choice {
        match self {
            Requests::Drawn(choose) => choose.next(),
            Requests::Fill { sizes, next, stride } => {
                let key = *next;
                *next += *stride;
                Choice::Set(key, sizes.value_len())
            }
        }
    }
}

/// 64 bits of chance as a number below `bound`, all of them alike (Lemire 2019, without the
/// rejection: the bias is below `bound / 2^64`).
fn below(bits: u64, bound: u64) -> u64 {
    let product = u128::from(bits) * u128::from(bound);
    u64::try_from(product >> 64).unwrap_or(0)
}

/// Zipf's law over `0..keys` by rejection-inversion (Hörmann and Derflinger 1996): key `k` in
/// proportion to `(k + 1)^-exponent`, with neither a table nor a preparation that grows with the
/// keys.
#[derive(Debug)]
struct Zipf {
    exponent: f64,
    keys: f64,
    /// The integral at the left end, where key 0 begins, and at the right end.
    ends: (f64, f64),
    /// A draw that is so near to its key is taken without a look at the curve.
    sure: f64,
}

impl Zipf {
    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 keys neighbours are alike")]
    fn new(keys: u64, exponent: f64) -> Self {
        let mut zipf = Zipf { exponent, keys: keys as f64, ends: (0.0, 0.0), sure: 0.0 };
        zipf.ends = (zipf.integral(1.5) - 1.0, zipf.integral(zipf.keys + 0.5));
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    fn draw(&self, random: &mut u64) -> u64 {
        let (left, right) = self.ends;
        loop {
            let area = right + unit(split_mix(random)) * (left - right);
            let point = self.inverse(area);
            let rank = point.round().clamp(1.0, self.keys);
            if rank - point <= self.sure || area >= self.integral(rank + 0.5) - self.density(rank) {
                return whole(rank) - 1;
            }
        }
    }

    /// `x^-exponent`.
    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of the density from 1 to `x`.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let t = (1.0 - self.exponent) * log;
        // (e^t - 1) / t, which is 1 at 0: the exponent 1 needs no case of its own.
        log * if t.abs() < 1e-8 { 1.0 + t / 2.0 } else { t.exp_m1() / t }
    }

    /// Where the integral has this value.
    fn inverse(&self, area: f64) -> f64 {
        let t = (area * (1.0 - self.exponent)).max(-1.0);
        (area * if t.abs() < 1e-8 { 1.0 - t / 2.0 } else { t.ln_1p() / t }).exp()
    }
}

/// The upper 53 bits as a number in `0.0..1.0`.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A rank as a number: it is whole, and at least 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and the number of keys"
)]
fn whole(rank: f64) -> u64 {
    rank as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(zipf: Option<f64>) -> Traffic {
        Traffic { keys: 1_000, zipf, ratio: (9, 1), value_len: (10, 20) }
    }

    fn drawn(traffic: Traffic, seed: u64, connection: u64, count: usize) -> Vec<Choice> {
        let mut choose = Choose::new(traffic, seed, connection);
        (0..count).map(|_| choose.next()).collect()
    }

    fn keys(choices: &[Choice]) -> Vec<u64> {
        let key = |choice: &Choice| match choice {
            Choice::Get(key) | Choice::Set(key, _) => *key,
        };
        choices.iter().map(key).collect()
    }

    #[test]
    fn the_same_seed_sends_the_same() {
        for zipf in [None, Some(0.99)] {
            let first = drawn(traffic(zipf), 1, 0, 1_000);
            assert_eq!(first, drawn(traffic(zipf), 1, 0, 1_000));
            assert_ne!(first, drawn(traffic(zipf), 2, 0, 1_000));
            assert_ne!(first, drawn(traffic(zipf), 1, 1, 1_000));
            let other = Traffic { ratio: (1, 1), value_len: (1, 1), ..traffic(zipf) };
            assert_eq!(keys(&first), keys(&drawn(other, 1, 0, 1_000)), "whatever the ratio");
        }
    }

    #[test]
    fn the_sequence_of_a_seed_stays_what_it_is_in_every_release() {
        use Choice::{Get, Set};
        let some = |zipf| drawn(traffic(zipf), 42, 0, 14).split_off(10);
        // Worked out by another program.
        assert_eq!(some(None), [Get(853), Get(638), Get(153), Set(450, 18)]);
        assert_eq!(some(Some(0.99)), [Get(1), Get(8), Get(326), Set(36, 18)]);
    }

    #[test]
    fn kinds_sizes_and_keys_are_in_proportion() {
        let all = drawn(traffic(None), 7, 0, 100_000);
        let sets: Vec<usize> = all
            .iter()
            .filter_map(|choice| match choice {
                Choice::Set(_, len) => Some(*len),
                Choice::Get(_) => None,
            })
            .collect();
        assert!((9_500..10_500).contains(&sets.len()), "{}", sets.len());
        let of = |len: usize| sets.iter().filter(|is| **is == len).count();
        assert!((10..=20).all(|len| (700..1_120).contains(&of(len))), "{}", of(10));
        assert!(sets.iter().all(|len| (10..=20).contains(len)));
        let mut seen = keys(&all);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1_000, "100 draws a key leave none out");
        assert_eq!(seen.last(), Some(&999));
    }

    #[test]
    fn zipf_draws_each_rank_as_often_as_the_law_says() {
        for exponent in [0.5, 0.99, 1.0, 1.3] {
            const DRAWS: usize = 400_000;
            let mut counts = vec![0_u32; 100];
            let zipf = Zipf::new(100, exponent);
            let mut random = 5;
            for _ in 0..DRAWS {
                counts[usize::try_from(zipf.draw(&mut random)).expect("small")] += 1;
            }
            let weight = |rank: usize| (rank as f64).powf(-exponent);
            let total: f64 = (1..=100).map(weight).sum();
            for (key, &count) in counts.iter().enumerate() {
                let expected = DRAWS as f64 * weight(key + 1) / total;
                let off = (f64::from(count) - expected).abs() / expected.sqrt();
                assert!(off < 5.0, "exponent {exponent}, key {key}: {count} for {expected:.0}");
            }
        }
    }

    #[test]
    fn one_key_is_enough() {
        for zipf in [None, Some(1.0)] {
            let one = Traffic { keys: 1, zipf, ratio: (0, 1), value_len: (3, 3) };
            assert_eq!(drawn(one, 3, 3, 3), [Choice::Set(0, 3); 3]);
        }
    }
}
