//! Values: their sizes and their bytes.

/// Largest value that the load sends; below every server's default limit of 1 MiB.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;

/// How large values are.
#[derive(Debug, Clone, Copy)]
pub enum Sizes {
    /// All alike.
    Fixed(usize),
    /// Log-uniform: as many between 64 B and 128 B as between 4 KiB and 8 KiB.
    Spread {
        /// The smallest.
        low: usize,
        /// The largest.
        high: usize,
    },
}

impl Sizes {
    /// A size, by 64 random bits.
    pub fn draw(self, bits: u64) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Spread { low, high } => log_uniform(super::random::unit(bits), low, high),
        }
    }
}

/// The size at `point` (in `0.0..1.0`) of the log-uniform distribution over `low..=high`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between low and high")]
pub fn log_uniform(point: f64, low: usize, high: usize) -> usize {
    let (low_bytes, ratio) = (low as f64, high as f64 / low as f64);
    ((low_bytes * ratio.powf(point)).round() as usize).clamp(low, high)
}

/// Bytes to take values from: printable, and without runs that would compress.
pub struct Values(Vec<u8>);

impl Values {
    /// The bytes for all values of a run.
    pub fn new() -> Self {
        let mut random = super::random::Random::seeded(0);
        let letter = |random: &mut super::random::Random| {
            b'a' + u8::try_from(random.below(26)).unwrap_or_default()
        };
        Self((0..VALUE_BYTES_MAX).map(|_| letter(&mut random)).collect())
    }

    /// A value of `size` bytes, at most [`VALUE_BYTES_MAX`].
    pub fn of(&self, size: usize) -> &[u8] {
        self.0.get(..size).unwrap_or(&self.0)
    }
}

impl Default for Values {
    fn default() -> Self {
        Self::new()
    }
}
