//! What the copies of one cache count.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::replica::Filled;

/// Counts since the process began.
#[derive(Debug, Default)]
pub struct CopyStats {
    discarded: AtomicU64,
    /// Other copies that were filled from here with all entries.
    pub whole: FillStats,
    /// Those that were filled with what they lacked.
    pub lacking: FillStats,
}

/// Copies that were filled.
#[derive(Debug, Default)]
pub struct FillStats {
    /// How many.
    pub fills: AtomicU64,
    /// Bytes of entries and records that were sent for it.
    pub bytes: AtomicU64,
}

impl CopyStats {
    /// Writes that were answered here at once, and that no other copy had when this one came back
    /// (R37).
    #[must_use]
    pub fn discards(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    pub(super) fn discarded(&self, count: u64) {
        self.discarded.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn filled(&self, filled: Filled) {
        let stats = if filled.kept { &self.lacking } else { &self.whole };
        stats.fills.fetch_add(1, Ordering::Relaxed);
        stats.bytes.fetch_add(filled.bytes, Ordering::Relaxed);
    }
}
