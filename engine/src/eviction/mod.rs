//! Eviction policies. A policy orders *slots* (small integers that the table gives to entries)
//! and picks the next victim; it never sees a key, a value or a lock.
//!
//! | policy | bytes an entry | reads | what it is for |
//! |---|---|---|---|
//! | [`TinyLfu`] | 12 to 14.5 | reported | the default: the most hits |
//! | [`S3Fifo`] | 10.5 | marked | nearly as many hits, reads for next to nothing |
//! | [`Lru`], [`Lfu`] | 8 | reported | recency alone, frequency alone |
//! | [`Fifo`], [`Random`] | 8 | ignored | no bookkeeping of reads at all |
//! | [`Refuse`] | 0 | ignored | data that must not be evicted |

pub(crate) mod chunks;
mod climber;
mod fifo;
mod ghost;
mod kind;
mod lfu;
pub(crate) mod list;
mod lru;
mod none;
mod queues;
mod random;
mod s3fifo;
mod sketch;
mod tinylfu;

pub use fifo::Fifo;
pub use kind::{PolicyKind, UnknownPolicy};
pub use lfu::Lfu;
pub use lru::Lru;
pub use none::Refuse;
pub use random::Random;
pub use s3fifo::S3Fifo;
pub use tinylfu::TinyLfu;

/// The number of an entry within its segment; at most 2^24 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// What a policy may ask about the entries that it orders.
pub trait Entries {
    /// A well-mixed hash of the entry's key, stable for its life; for sketches and ghost queues.
    fn hash(&self, slot: Slot) -> u64;
    /// Bytes charged to the entry.
    fn weight(&self, slot: Slot) -> u32;
    /// How often the entry was read since this was asked last, saturating at 3; asking clears it.
    fn take_reads(&self, slot: Slot) -> u8;
}

/// How a policy wants to hear of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Not at all (fifo, random, none).
    Ignored,
    /// By the mark that readers leave on the entry, asked for with [`Entries::take_reads`].
    Marked,
    /// As a [`Policy::touch`] call for each read (in batches, lossy under contention).
    Reported,
}

/// An eviction policy of one segment (or of one key-prefix region of it).
///
/// The table calls `insert` once when an entry appears, `remove` when it goes for any other
/// reason than eviction, and `evict` when bytes or entries are over the limit. A policy learns
/// its capacity from that: while `evict` is not called, there is room. All sizes (window, small
/// queue, ghost) are shares of the weight held now. Each call is O(1) amortised.
pub trait Policy: Send {
    /// How it wants to hear of reads.
    fn reads(&self) -> Reads;
    /// A new entry.
    fn insert(&mut self, slot: Slot, hash: u64, weight: u32, entries: &dyn Entries);
    /// The entry was overwritten: its weight changed; it counts as an access where the policy
    /// counts accesses.
    fn update(&mut self, slot: Slot, hash: u64, old_weight: u32, new_weight: u32);
    /// The entry was read (only for [`Reads::Reported`]). As reports come late, the slot may be
    /// free by now (then only the hash counts) or another entry's (then that one is taken as read).
    fn touch(&mut self, slot: Slot, hash: u64, entries: &dyn Entries);
    /// The entry is gone.
    fn remove(&mut self, slot: Slot, weight: u32);
    /// Picks the next victim and forgets it; `None` when there is none or nothing may go.
    fn evict(&mut self, entries: &dyn Entries) -> Option<Slot>;
    /// Bytes of memory that the policy itself holds.
    fn memory(&self) -> usize;
}

/// Spreads what differs between hashes over all their bits: all keys of a segment may share some.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod suite;
