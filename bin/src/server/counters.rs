//! What the server counts, by cache and protocol. A turn of a connection counts in plain fields
//! and adds them up once; threads add to shards of their own, so that counting costs no shared
//! cache line.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::connections::Spoken;

/// Shards of the counters; more threads share them.
const SHARDS: usize = 16;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Plain counts: those of one turn, or the sum of all.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        impl Counts {
            /// Adds others to these.
            pub fn plus(&mut self, others: &Counts) {
                $(self.$name += others.$name;)*
            }
        }

        #[derive(Default)]
        #[repr(align(128))]
        struct Shard { $($name: AtomicU64,)* }

        impl Shard {
            /// Few are not zero: nothing is copied, and nothing but those is written.
            fn take(&self, counts: &mut Counts) {
                $(if counts.$name != 0 {
                    self.$name.fetch_add(counts.$name, Ordering::Relaxed);
                    counts.$name = 0;
                })*
            }

            fn add_to(&self, sum: &mut Counts) {
                $(sum.$name += self.$name.load(Ordering::Relaxed);)*
            }

            fn reset(&self) {
                $(self.$name.store(0, Ordering::Relaxed);)*
            }
        }
    };
}

counts! {
    /// Keys looked up.
    cmd_get,
    /// Values stored or refused.
    cmd_set,
    /// ... of those, not stored because an entry was or was not there.
    set_not_stored,
    /// ... of those, not stored because of an error.
    set_failed,
    /// Clears.
    cmd_flush,
    /// New lifespans given, gets that do so included.
    cmd_touch,
    /// Meta commands.
    cmd_meta,
    /// Keys found.
    get_hits,
    /// Keys not found.
    get_misses,
    /// Deletes of what was there.
    delete_hits,
    /// Deletes of what was not.
    delete_misses,
    /// Counters counted up.
    incr_hits,
    /// ... that were not there.
    incr_misses,
    /// Counters counted down.
    decr_hits,
    /// ... that were not there.
    decr_misses,
    /// Conditional stores done.
    cas_hits,
    /// ... of keys that were not there.
    cas_misses,
    /// ... of keys with another version.
    cas_badval,
    /// New lifespans for what was there.
    touch_hits,
    /// ... for what was not.
    touch_misses,
    /// Values over the item size limit.
    store_too_large,
    /// Values refused for want of memory.
    store_no_memory,
    /// Writes refused because they could not be kept on disk.
    store_unrecorded,
    /// Requests refused since an entry could not be read from the disk, or nothing be written there.
    storage_refused,
    /// Bytes read from clients.
    bytes_read,
    /// Bytes written to clients.
    bytes_written,
    /// Turns that ended before the connection's input did.
    conn_yields,
    /// Milliseconds that connections were not read for want of room.
    held_ms,
    /// Requests of clients for keys of a cache of the cluster that were executed here.
    cluster_here,
    /// Requests that no decoder could read.
    protocol_errors,
    /// Logins tried over memcached's protocols.
    auth_cmds,
    /// ... and requests of clients that had not logged in, and logins that failed.
    auth_errors,
}

/// The counters of the server's caches, each by protocol.
#[derive(Default)]
pub struct AllCounters(Mutex<BTreeMap<(String, Spoken), Arc<Counters>>>);

impl AllCounters {
    /// Those of one cache and protocol, to be looked up once for a connection.
    pub fn of(&self, cache: &str, spoken: Spoken) -> Arc<Counters> {
        Arc::clone(self.lock().entry((cache.to_owned(), spoken)).or_default())
    }

    /// The sums now, by cache and protocol.
    pub fn sums(&self) -> Vec<(String, Spoken, Counts)> {
        let all = self.lock();
        all.iter().map(|((cache, spoken), of)| (cache.clone(), *spoken, of.sum())).collect()
    }

    /// The sum of everything now.
    pub fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        self.lock().values().for_each(|of| sum.plus(&of.sum()));
        sum
    }

    /// Sets everything to zero.
    pub fn reset(&self) {
        self.lock().values().for_each(|of| of.reset());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, Spoken), Arc<Counters>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counters of one cache and protocol.
#[derive(Default)]
pub struct Counters {
    shards: [Shard; SHARDS],
    next: AtomicUsize,
}

thread_local! {
    static SHARD: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
}

impl Counters {
    /// Adds what a turn counted, which is zero then.
    pub fn take(&self, counts: &mut Counts) {
        let shard = SHARD.get();
        let shard = if shard == usize::MAX { self.choose_shard() } else { shard };
        if let Some(shard) = self.shards.get(shard % SHARDS) {
            shard.take(counts);
        }
    }

    #[cold]
    fn choose_shard(&self) -> usize {
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        SHARD.set(shard);
        shard
    }

    /// The sums now.
    pub fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        self.shards.iter().for_each(|shard| shard.add_to(&mut sum));
        sum
    }

    /// Sets everything to zero.
    pub fn reset(&self) {
        self.shards.iter().for_each(Shard::reset);
    }
}
