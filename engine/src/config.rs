//! What a table is made from.

use crate::error::ConfigError;
use crate::eviction::PolicyKind;
use crate::hash::Hasher;
use crate::memory::Allocator;

/// The configuration of one table.
#[derive(Debug, Clone)]
pub struct TableConfig {
    /// Segments, a power of two from 1 to 65536. `None` (default): one for each 32 MiB of
    /// `max_bytes`, at most 256, so that each policy has enough entries to choose from. With a
    /// given number the segment of a key is the same on every node.
    pub segments: Option<u32>,
    /// Bytes, everything counted: entries, index, policies, retired garbage. Default: 256 MiB.
    pub max_bytes: u64,
    /// Entries. Default: no limit of their own.
    pub max_entries: Option<u64>,
    /// Who goes when a limit is reached. Default: [`PolicyKind::default`].
    pub eviction: PolicyKind,
    /// Key-prefix regions with limits of their own, at most 255. The longest prefix wins.
    pub regions: Vec<RegionConfig>,
    /// The epoch of versions written now. Default: 1.
    pub epoch: u32,
    /// The allocator that the process runs on. Default: jemalloc.
    pub allocator: Allocator,
    /// The seed of hashing and of random eviction. Default: from the operating system.
    pub seed: u64,
}

impl Default for TableConfig {
    fn default() -> Self {
        TableConfig {
            segments: None,
            max_bytes: 256 << 20,
            max_entries: None,
            eviction: PolicyKind::default(),
            regions: Vec::new(),
            epoch: 1,
            allocator: Allocator::default(),
            seed: crate::env::os_seed(),
        }
    }
}

/// A key-prefix region: its entries have limits and a policy of their own.
#[derive(Debug, Clone, Default)]
pub struct RegionConfig {
    /// Keys that begin with this belong to the region.
    pub prefix: Vec<u8>,
    /// Bytes of its entries; `None` = only the table's limit holds.
    pub max_bytes: Option<u64>,
    /// Entries; `None` = only the table's limit holds.
    pub max_entries: Option<u64>,
    /// Its policy; `None` = the table's.
    pub eviction: Option<PolicyKind>,
}

/// Bytes of `max_bytes` for each segment, when their number is chosen.
const SEGMENT_BYTES: u64 = 32 << 20;
const SEGMENTS_AUTO_MAX: u64 = 256;

impl TableConfig {
    /// Checks the parts against each other.
    ///
    /// # Errors
    /// [`ConfigError`] names what does not fit.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let segments = self.segment_count();
        if !segments.is_power_of_two() || segments > 1 << 16 {
            return Err(ConfigError::Segments(segments));
        }
        if self.regions.len() > 255 {
            return Err(ConfigError::Regions(self.regions.len()));
        }
        for (n, region) in self.regions.iter().enumerate() {
            if self.regions.iter().skip(n + 1).any(|other| other.prefix == region.prefix) {
                let prefix = String::from_utf8_lossy(&region.prefix).into_owned();
                return Err(ConfigError::DuplicateRegion(prefix));
            }
        }
        Ok(())
    }

    /// The seed of the table of this name among several that share a `secret`.
    #[must_use]
    pub fn seed_of(secret: u64, name: &str) -> u64 {
        Hasher::new(1, false, secret).index_hash(name.as_bytes())
    }

    /// The number of segments, chosen or given.
    #[must_use]
    pub fn segment_count(&self) -> u32 {
        self.segments.unwrap_or_else(|| {
            let wanted = (self.max_bytes / SEGMENT_BYTES).clamp(1, SEGMENTS_AUTO_MAX);
            u32::try_from(1u64 << wanted.ilog2()).unwrap_or(1)
        })
    }
}
