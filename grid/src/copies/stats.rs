//! What the copies of one cache count.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::replica::Filled;

/// Counts since the process began.
#[derive(Debug, Default)]
pub struct CopyStats {
    discarded: AtomicU64,
    discarded_kept: AtomicU64,
    torn: AtomicU64,
    /// How many of these nobody has been told of.
    untold: AtomicU64,
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

    /// Of those, how many are in a file.
    #[must_use]
    pub fn discards_kept(&self) -> u64 {
        self.discarded_kept.load(Ordering::Relaxed)
    }

    /// So many more are known, of which so many are in a file.
    pub fn discarded(&self, count: u64, kept: u64) {
        self.discarded.fetch_add(count, Ordering::Relaxed);
        self.discarded_kept.fetch_add(kept, Ordering::Relaxed);
    }

    /// Segments that were taken up from disks that are written behind, when no process was left that
    /// had more: the last 100 ms of what was acknowledged in them may be lost (R62).
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn.load(Ordering::Relaxed)
    }

    /// How many of them there are since this was asked last.
    #[must_use]
    pub fn take_untold_torn(&self) -> u64 {
        self.untold.swap(0, Ordering::Relaxed)
    }

    pub(super) fn taken_up(&self, is_torn: bool) {
        self.torn.fetch_add(u64::from(is_torn), Ordering::Relaxed);
        self.untold.fetch_add(u64::from(is_torn), Ordering::Relaxed);
    }

    pub(super) fn filled(&self, filled: Filled) {
        let stats = if filled.kept { &self.lacking } else { &self.whole };
        stats.fills.fetch_add(1, Ordering::Relaxed);
        stats.bytes.fetch_add(filled.bytes, Ordering::Relaxed);
    }
}
