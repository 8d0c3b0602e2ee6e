//! News of a cache: listeners, near-cache tracking and scans. Nothing here waits or reads a clock:
//! consumers take what there is and are woken when there is more.
//!
//! | file | what it is |
//! |---|---|
//! | `glob.rs` | patterns over keys, in bounded time |
//! | `backlog.rs` | what waits for one consumer, within limits |
//! | `listener.rs` | events, coalesced; the initial state; resync |
//! | `tracker.rs`, `registrations.rs` | invalidations for near caches |
//! | `scan.rs`, `cursor.rs` | scans that can be resumed |
//! | `hub.rs` | hears of a cache's changes and passes them on |

mod backlog;
mod cursor;
mod glob;
mod hub;
mod listener;
mod metrics;
mod registrations;
mod scan;
mod tracker;

#[cfg(test)]
mod tests;

use thiserror::Error;

pub use backlog::{BUDGET_BYTES_DEFAULT, BacklogLimits, Budget, Key, SegmentSeq};
pub use glob::{GLOB_LEN_MAX, GLOB_STARS_MAX, Glob, GlobError};
pub(crate) use hub::Hub;
pub use hub::WATCHERS_MAX;
pub use listener::{Kinds, ListenOptions, Listener, Notice};
pub use metrics::EventMetrics;
pub use registrations::REGISTRATION_BYTES_MAX;
pub use scan::{
    Page, SCAN_IDLE_MS, SCAN_LIFE_MS, SCAN_SNAPSHOTS_MAX, Scan, ScanError, ScanOptions, Scanned,
};
pub use tracker::{Invalidation, PREFIXES_MAX, TrackMode, TrackOptions, Tracker};

/// The state of a segment, to be compared with what was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSeq {
    /// Another one means that nothing of before can be compared.
    pub life: u128,
    /// The number of the segment's last event.
    pub seq: u64,
}

/// Why a listener or a tracker was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WatchError {
    /// The cache has as many as it may have.
    #[error("the cache has {WATCHERS_MAX} listeners and trackers, as many as it may have")]
    TooMany,
    /// Too many prefixes.
    #[error("{0} prefixes: at most {PREFIXES_MAX}")]
    Prefixes(usize),
}
