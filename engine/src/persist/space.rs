//! Refuses changes before the disk is full, so that a change is refused whole and for sure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::disk::Disk;

/// Bytes that are left to the disk: what other files of the process need meanwhile.
const MARGIN: i64 = 1 << 20;

/// How many bytes of changes the disk has room for, as far as is known.
#[derive(Debug)]
pub(super) struct Space {
    disk: Arc<dyn Disk>,
    left: AtomicI64,
    /// What `left` was when it was measured.
    measured: AtomicI64,
    /// Changes were seen that are not in the log: none may follow before a checkpoint has them.
    gap: AtomicBool,
}

impl Space {
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        let space = Space {
            disk,
            left: AtomicI64::new(0),
            measured: AtomicI64::new(0),
            gap: AtomicBool::new(false),
        };
        space.measure();
        space
    }

    /// Takes the room for a change of so many bytes; whether there was any.
    #[inline]
    pub fn take(&self, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.gap.load(Ordering::Relaxed) || self.left.load(Ordering::Relaxed) < bytes {
            return false;
        }
        self.left.fetch_sub(bytes, Ordering::Relaxed);
        true
    }

    /// Asks the disk again.
    pub fn measure(&self) {
        let Ok(free) = self.disk.free_bytes() else { return };
        // What was taken since the last time may not be written yet.
        let waiting = self.measured.load(Ordering::Relaxed) - self.left.load(Ordering::Relaxed);
        let left = i64::try_from(free).unwrap_or(i64::MAX) - MARGIN - waiting.max(0);
        self.measured.store(left, Ordering::Relaxed);
        self.left.store(left, Ordering::Relaxed);
    }

    /// Whether something was taken since the last measurement, or there is nothing left.
    pub fn is_stale(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        left != self.measured.load(Ordering::Relaxed) || left <= MARGIN
    }

    pub fn is_full(&self) -> bool {
        self.left.load(Ordering::Relaxed) <= 0 || self.has_gap()
    }

    pub fn set_gap(&self, gap: bool) {
        self.gap.store(gap, Ordering::Relaxed);
    }

    pub fn has_gap(&self) -> bool {
        self.gap.load(Ordering::Relaxed)
    }
}
