//! What a table counts, as plain fields; rendered elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one segment, since it was made or since [`Metrics::reset`]. One thread at
        /// a time counts, but for what readers count.
        #[derive(Debug, Default)]
        pub struct Metrics { $($(#[$doc])* pub(crate) $name: AtomicU64,)* }

        /// The counters at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct MetricsSnapshot { $($(#[$doc])* pub $name: u64,)* }

        impl Metrics {
            /// The counters now.
            #[must_use]
            pub fn snapshot(&self) -> MetricsSnapshot {
                MetricsSnapshot { $($name: self.$name.load(Ordering::Relaxed),)* }
            }

            /// Sets every counter to zero. Nobody may count meanwhile.
            pub fn reset(&self) {
                $(self.$name.store(0, Ordering::Relaxed);)*
            }
        }

        impl MetricsSnapshot {
            /// The sums of both.
            #[must_use]
            pub fn plus(self, other: MetricsSnapshot) -> MetricsSnapshot {
                MetricsSnapshot { $($name: self.$name + other.$name,)* }
            }
        }
    };
}

counters! {
    /// Values stored.
    stored,
    /// ... under a key that had none.
    inserted,
    /// Entries that went to make room.
    evicted,
    /// ... that had never been read.
    evicted_unfetched,
    /// ... that had an expiry time.
    evicted_with_ttl,
    /// Entries removed because their time was over.
    expired,
    /// ... that had never been read.
    expired_unfetched,
    /// Reads of what was expired and not removed yet.
    read_expired,
    /// Reads of what was cleared and not removed yet.
    read_cleared,
    /// Entries removed in the background after a clear.
    cleared,
    /// Writes refused for want of room.
    refused,
    /// Removals from the table in all; with `inserted` it gives how many there ever were.
    removed,
}

/// Counts one. A lock makes the caller the only one who counts, so no atomic addition is needed.
pub(crate) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Counts one of what readers count, who hold no lock.
pub(crate) fn count_shared(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
