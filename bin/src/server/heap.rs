//! What the allocator says of its memory.

/// Memory of entries and all else that was allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heap {
    /// Bytes that were asked for, rounded up to the allocator's sizes.
    pub allocated: u64,
    /// Bytes of the pages that they are on.
    pub active: u64,
}

impl Heap {
    /// As it is now; `None` where the allocator does not say.
    #[cfg(feature = "jemalloc")]
    pub fn now() -> Option<Self> {
        use tikv_jemalloc_ctl::{epoch, stats};
        let bytes = |read: Result<usize, _>| read.ok().map(|bytes| bytes as u64);
        epoch::advance().ok()?;
        let (allocated, active) = (stats::allocated::read(), stats::active::read());
        Some(Self { allocated: bytes(allocated)?, active: bytes(active)? })
    }

    /// As it is now; `None` where the allocator does not say.
    #[cfg(not(feature = "jemalloc"))]
    pub fn now() -> Option<Self> {
        None
    }

    /// Bytes that are on pages for others and are nobody's.
    pub fn wasted(self) -> u64 {
        self.active.saturating_sub(self.allocated)
    }
}
