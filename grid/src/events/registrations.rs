//! The invalidation table: which tracker has read which key since it changed last. Bounded; when
//! it is full the oldest registrations go, and their trackers get an invalidation instead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::backlog::Key;

/// Bytes of all registrations of one cache.
pub const REGISTRATION_BYTES_MAX: usize = 32 << 20;
/// Bytes of a registration beside its key: entries in two maps and a list.
const ENTRY_BYTES: usize = 192;
/// Parts with a lock each; a segment belongs to one.
const SHARDS: usize = 16;

/// That a tracker is to hear of the next change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registration {
    pub segment: u32,
    pub key: Key,
    pub tracker: u64,
}

pub(super) struct Registrations {
    shards: [Mutex<Shard>; SHARDS],
    shard_bytes_max: usize,
    count: AtomicU64,
}

#[derive(Default)]
struct Shard {
    /// Trackers of a key, each with the place of its registration.
    by_key: BTreeMap<(u32, Key), Vec<(u64, u64)>>,
    /// Oldest first.
    by_age: BTreeMap<u64, Registration>,
    next: u64,
    bytes: usize,
}

impl Default for Registrations {
    fn default() -> Self {
        Registrations::new(REGISTRATION_BYTES_MAX)
    }
}

impl Registrations {
    pub fn new(bytes_max: usize) -> Registrations {
        let (shards, shard_bytes_max) = (Default::default(), bytes_max / SHARDS);
        Registrations { shards, shard_bytes_max, count: AtomicU64::new(0) }
    }

    fn shard(&self, segment: u32) -> Option<MutexGuard<'_, Shard>> {
        let shard = self.shards.get(segment as usize % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn len(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Adds a registration, unless it is there; those that went to make room.
    pub fn add(&self, segment: u32, key: Key, tracker: u64) -> Vec<Registration> {
        let mut gone = Vec::new();
        let Some(mut shard) = self.shard(segment) else { return gone };
        let place = shard.next;
        let trackers = shard.by_key.entry((segment, key.clone())).or_default();
        if trackers.iter().any(|(own, _)| *own == tracker) {
            return gone;
        }
        trackers.push((tracker, place));
        shard.next += 1;
        shard.bytes += ENTRY_BYTES + key.len();
        shard.by_age.insert(place, Registration { segment, key, tracker });
        self.count.fetch_add(1, Ordering::Relaxed);
        while shard.bytes > self.shard_bytes_max {
            let Some(oldest) = shard.by_age.first_key_value().map(|(place, _)| *place) else {
                break;
            };
            gone.extend(self.remove(&mut shard, oldest));
        }
        gone
    }

    fn remove(&self, shard: &mut Shard, place: u64) -> Option<Registration> {
        let gone = shard.by_age.remove(&place)?;
        shard.bytes -= ENTRY_BYTES + gone.key.len();
        self.count.fetch_sub(1, Ordering::Relaxed);
        let of = (gone.segment, Key::clone(&gone.key));
        if let Some(trackers) = shard.by_key.get_mut(&of) {
            trackers.retain(|(_, own)| *own != place);
            if trackers.is_empty() {
                shard.by_key.remove(&of);
            }
        }
        Some(gone)
    }

    /// Takes out the registrations of a key, but for those of trackers that `keeps` names.
    pub fn take(&self, segment: u32, key: &Key, keeps: impl Fn(&u64) -> bool) -> Vec<u64> {
        let Some(mut shard) = self.shard(segment) else { return Vec::new() };
        let Some(trackers) = shard.by_key.get(&(segment, Key::clone(key))) else {
            return Vec::new();
        };
        let told: Vec<_> = trackers.iter().copied().filter(|(id, _)| !keeps(id)).collect();
        told.iter().for_each(|(_, place)| drop(self.remove(&mut shard, *place)));
        told.into_iter().map(|(tracker, _)| tracker).collect()
    }

    /// Takes out the registrations of a segment.
    pub fn forget_segment(&self, segment: u32) {
        let Some(mut shard) = self.shard(segment) else { return };
        let first: Key = Arc::from(&b""[..]);
        let keys = shard.by_key.range((segment, Key::clone(&first))..(segment + 1, first));
        let places: Vec<_> = keys.flat_map(|(_, all)| all).map(|(_, place)| *place).collect();
        places.into_iter().for_each(|place| drop(self.remove(&mut shard, place)));
    }

    /// Takes out the registrations of a tracker.
    pub fn forget_tracker(&self, tracker: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let own = shard.by_age.iter().filter(|(_, of)| of.tracker == tracker);
            let places: Vec<_> = own.map(|(place, _)| *place).collect();
            places.into_iter().for_each(|place| drop(self.remove(&mut shard, place)));
        }
    }
}
