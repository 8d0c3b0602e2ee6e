//! What a transport counts since it was made.

use std::sync::atomic::{AtomicU64, Ordering};

use super::lane::Lane;

/// Counters of a transport, over all peers.
#[derive(Debug, Default)]
pub struct Stats {
    lanes: [Traffic; 3],
    /// Connections that were made to peers.
    pub connects: AtomicU64,
    /// Connections that were lost or could not be made, once for each loss.
    pub losses: AtomicU64,
    /// Connections that were refused here: another cluster, no peer, no good certificate and so on.
    pub refused: AtomicU64,
    /// Connections of peers that were closed because of what came over them.
    pub damaged: AtomicU64,
    /// Frames of the control lane that were dropped to make room for newer ones.
    pub dropped: AtomicU64,
}

/// Counters of one lane. Bytes are those of frames with their headers; signs of life are not
/// counted.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Frames written.
    pub frames_sent: AtomicU64,
    /// Bytes written.
    pub bytes_sent: AtomicU64,
    /// Frames given to the sink.
    pub frames_received: AtomicU64,
    /// Bytes given to the sink.
    pub bytes_received: AtomicU64,
}

impl Stats {
    /// What went over a lane.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> &Traffic {
        lane.of(&self.lanes)
    }
}

/// Counts `more`.
pub(super) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}
