//! Reproducible chance: the same seed gives every server the same requests.

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and a finalizer a number.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that always gives the same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; the bias is below 2^-32 for every bound used here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound.max(1)
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        unit(self.bits())
    }
}

/// The finalizer of SplitMix64: a bijection whose every output bit depends on every input bit.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The upper 53 bits as a number in `0.0..1.0`.
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Draws `count` keys of `0..keys` by Zipf's law: the key of rank r is drawn in proportion to
/// `r^-exponent`. Ranks are scattered over the keys, so that neighbours are not equally hot.
pub fn zipf(keys: u64, exponent: f64, count: usize, random: &mut Random) -> Vec<u64> {
    let ids = shuffled(keys, random);
    let mut total = 0.0;
    let cumulative: Vec<f64> = (1..=keys)
        .map(|rank| {
            total += (rank as f64).powf(-exponent);
            total
        })
        .collect();
    let mut draw = || {
        let point = random.unit() * total;
        ids.get(cumulative.partition_point(|&sum| sum <= point)).copied().unwrap_or_default()
    };
    (0..count).map(|_| draw()).collect()
}

/// Fisher and Yates.
fn shuffled(keys: u64, random: &mut Random) -> Vec<u64> {
    let mut ids: Vec<u64> = (0..keys).collect();
    for last in (1..ids.len()).rev() {
        let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or(last);
        ids.swap(last, other);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_is_skewed_and_stays_in_range() {
        let drawn = zipf(1000, 0.99, 100_000, &mut Random::seeded(1));
        let mut counts = vec![0_u32; 1000];
        for id in drawn {
            counts[usize::try_from(id).expect("small")] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let top_share = f64::from(counts[0]) / 100_000.0;
        assert!((0.12..0.15).contains(&top_share), "1 / H(1000, 0.99) is 0.131, got {top_share}");
        assert!(counts[500] > 0);
    }
}
