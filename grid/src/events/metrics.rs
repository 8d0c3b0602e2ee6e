//! What is counted of listeners, near caches and scans.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one cache, since it was made.
        #[derive(Debug, Default)]
        pub(super) struct Metrics { $(pub $name: AtomicU64,)* }

        /// The counters at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct EventMetrics {
            /// Listeners now.
            pub listeners: u64,
            /// Trackers now.
            pub trackers: u64,
            /// Reads that are to be followed by an invalidation, now.
            pub registrations: u64,
            /// Snapshots that scans hold now.
            pub scan_snapshots: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Metrics {
            /// The counters; those of what there is now are left at 0.
            pub fn snapshot(&self) -> EventMetrics {
                EventMetrics {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    ..EventMetrics::default()
                }
            }
        }
    };
}

counters! {
    /// Events given to listeners.
    events_sent,
    /// Events that took the place of one of the same key that was not given out yet.
    events_coalesced,
    /// Invalidations given to trackers.
    invalidations_sent,
    /// Times that a listener or a tracker was told that it lost something.
    resyncs,
    /// Registrations that went for want of room, with an invalidation.
    registrations_evicted,
    /// Scans begun or resumed.
    scans,
    /// Scans that went on without the snapshot that they began with.
    scans_weakened,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
