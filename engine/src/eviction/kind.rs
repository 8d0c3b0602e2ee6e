//! The policies by name.

use std::{fmt, str::FromStr};

use super::{Fifo, Lfu, Lru, Policy, Random, Refuse, S3Fifo, TinyLfu};

/// Which policy a cache uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PolicyKind {
    /// `s3-fifo`: small and main queue with ghosts; reads cost next to nothing.
    S3Fifo,
    /// `w-tinylfu`: recency window before a main space guarded by frequency; best hit ratios.
    #[default]
    TinyLfu,
    /// `lru`: least recently used.
    Lru,
    /// `lfu`: least frequently used, with ageing.
    Lfu,
    /// `fifo`: oldest first.
    Fifo,
    /// `random`: any.
    Random,
    /// `none`: nothing is evicted, writes over the limit are refused.
    None,
}

impl PolicyKind {
    /// Every policy.
    pub const ALL: [Self; 7] =
        [Self::S3Fifo, Self::TinyLfu, Self::Lru, Self::Lfu, Self::Fifo, Self::Random, Self::None];

    /// The name in configuration files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::S3Fifo => "s3-fifo",
            Self::TinyLfu => "w-tinylfu",
            Self::Lru => "lru",
            Self::Lfu => "lfu",
            Self::Fifo => "fifo",
            Self::Random => "random",
            Self::None => "none",
        }
    }

    /// An empty policy of this kind; what it leaves to chance follows from `seed`.
    #[must_use]
    pub fn build(self, seed: u64) -> Box<dyn Policy> {
        match self {
            Self::S3Fifo => Box::<S3Fifo>::default(),
            Self::TinyLfu => Box::<TinyLfu>::default(),
            Self::Lru => Box::<Lru>::default(),
            Self::Lfu => Box::<Lfu>::default(),
            Self::Fifo => Box::<Fifo>::default(),
            Self::Random => Box::new(Random::new(seed)),
            Self::None => Box::new(Refuse),
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| UnknownPolicy { name: name.to_owned() })
    }
}

/// A name that is no policy's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown eviction policy {name:?}; known are {}", PolicyKind::ALL.map(PolicyKind::name).join(", "))]
pub struct UnknownPolicy {
    /// What was given.
    pub name: String,
}
