//! What a table counts, as plain fields; rendered elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one table, since it was made or since [`Metrics::reset`].
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

            /// Sets every counter to zero.
            pub fn reset(&self) {
                $(self.$name.store(0, Ordering::Relaxed);)*
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

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
