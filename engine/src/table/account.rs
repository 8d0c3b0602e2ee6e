//! The account of a table: bytes and entries, exact, against their limits. Shared by all segments
//! and by the garbage that readers still hold, so it is all atomics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::config::TableConfig;

/// A limit that is not there.
const UNLIMITED: u64 = i64::MAX as u64;
/// Bags of garbage over which its bytes are averaged.
const AVERAGED: i64 = 16;

/// Bytes and entries of one region, with limits of its own.
#[derive(Debug)]
struct Region {
    bytes: AtomicI64,
    entries: AtomicI64,
    max_bytes: u64,
    max_entries: u64,
}

/// What a table holds and what it may hold.
#[derive(Debug)]
pub(crate) struct Account {
    /// Live entries, index, slots, policies, wheels.
    live: AtomicI64,
    /// Taken out of the table, but a reader may still look at it.
    retired: AtomicI64,
    /// The moving average of what is retired.
    garbage: AtomicI64,
    /// Evicted, and on its way to where it is kept.
    queued: AtomicI64,
    /// Of the limit what the allocator holds and no entry has.
    aside: AtomicU64,
    max_bytes: AtomicU64,
    max_entries: u64,
    /// Region 0 is everything that has no region of its own.
    regions: Vec<Region>,
}

impl Account {
    pub fn new(config: &TableConfig) -> Self {
        let region = |max_bytes: Option<u64>, max_entries: Option<u64>| Region {
            bytes: AtomicI64::new(0),
            entries: AtomicI64::new(0),
            max_bytes: max_bytes.unwrap_or(UNLIMITED),
            max_entries: max_entries.unwrap_or(UNLIMITED),
        };
        let own = config.regions.iter().map(|r| region(r.max_bytes, r.max_entries));
        Account {
            live: AtomicI64::new(0),
            retired: AtomicI64::new(0),
            garbage: AtomicI64::new(0),
            queued: AtomicI64::new(0),
            aside: AtomicU64::new(0),
            max_bytes: AtomicU64::new(config.max_bytes),
            max_entries: config.max_entries.unwrap_or(UNLIMITED),
            regions: std::iter::once(region(None, None)).chain(own).collect(),
        }
    }

    /// Charges a change of `bytes` and `entries` to a region.
    pub fn charge(&self, region: u8, bytes: i64, entries: i64) {
        if bytes == 0 && entries == 0 {
            return;
        }
        self.live.fetch_add(bytes, Ordering::Relaxed);
        if let Some(region) = self.regions.get(usize::from(region)) {
            region.bytes.fetch_add(bytes, Ordering::Relaxed);
            if entries != 0 {
                region.entries.fetch_add(entries, Ordering::Relaxed);
            }
        }
    }

    /// Charges memory that belongs to no entry: index, slots, policies, wheels.
    pub fn charge_structures(&self, bytes: i64) {
        if bytes != 0 {
            self.live.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Charges garbage.
    pub fn charge_retired(&self, bytes: i64) {
        self.retired.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Charges that garbage was freed, and averages over what there was before and after. Of two
    /// who do that at once one is lost, no more.
    pub fn discharge_retired(&self, bytes: i64) {
        let before = self.retired.fetch_sub(bytes, Ordering::Relaxed);
        let average = self.garbage.load(Ordering::Relaxed);
        let average = average + (before - bytes / 2 - average) / AVERAGED;
        self.garbage.store(average, Ordering::Relaxed);
    }

    /// Charges what was evicted and waits to be written, or (negative) what of it was.
    pub fn charge_queued(&self, bytes: i64) {
        self.queued.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that wait to be written.
    pub fn queued(&self) -> u64 {
        count(&self.queued)
    }

    /// Sets what the allocator holds and no entry has, an eighth of the limit at most.
    pub fn set_aside(&self, bytes: u64) {
        self.aside.store(bytes.min(self.max_bytes() / 8), Ordering::Relaxed);
    }

    /// Bytes that are held and will be free without more being evicted: what waits to be written,
    /// what the allocator holds, and garbage up to an eighth of the limit. When readers keep more of it from being freed,
    /// evicting what lives would only make more. Garbage comes and goes by the bag, so it is its
    /// average that counts: otherwise the room for what lives would swing, and with each swing a
    /// policy gives up entries that it had chosen to keep (ADR 1).
    pub fn leaving(&self) -> u64 {
        let max_bytes = self.max_bytes();
        let peak = self.retired().saturating_sub(max_bytes / 64);
        let aside = self.aside.load(Ordering::Relaxed);
        self.queued() + aside + count(&self.garbage).max(peak).min(max_bytes / 8)
    }

    /// Bytes of live memory.
    pub fn live(&self) -> u64 {
        count(&self.live)
    }

    /// Bytes of garbage that is not freed yet.
    pub fn retired(&self) -> u64 {
        count(&self.retired)
    }

    /// Entries, all regions together.
    pub fn entries(&self) -> u64 {
        self.regions.iter().map(|region| count(&region.entries)).sum()
    }

    /// Bytes and entries of one region.
    pub fn region(&self, region: u8) -> (u64, u64) {
        let region = self.regions.get(usize::from(region));
        region.map_or((0, 0), |region| (count(&region.bytes), count(&region.entries)))
    }

    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.load(Ordering::Relaxed)
    }

    pub fn set_max_bytes(&self, bytes: u64) {
        self.max_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether the table with `more` bytes is over its limit, those that are `leaving` included.
    pub fn is_over(&self, leaving: u64, more: u64) -> bool {
        self.live() + leaving + more > self.max_bytes() || self.has_too_many_entries(more > 0)
    }

    fn has_too_many_entries(&self, one_more: bool) -> bool {
        self.max_entries != UNLIMITED && self.entries() + u64::from(one_more) > self.max_entries
    }

    /// Whether the table or the region is past half of one of its limits.
    pub fn is_half_full(&self, region: u8) -> bool {
        let half = |held: u64, max: u64| held > max / 2;
        let (bytes, entries) = self.region(region);
        let own = self.regions.get(usize::from(region));
        half(self.live(), self.max_bytes())
            || self.max_entries != UNLIMITED && half(self.entries(), self.max_entries)
            || own.is_some_and(|own| half(bytes, own.max_bytes) || half(entries, own.max_entries))
    }

    /// Whether a region with `more` bytes is over its own limit.
    pub fn is_region_over(&self, region: u8, more: u64) -> bool {
        self.regions.get(usize::from(region)).is_some_and(|region| {
            count(&region.bytes) + more > region.max_bytes
                || count(&region.entries) + u64::from(more > 0) > region.max_entries
        })
    }
}

fn count(counter: &AtomicI64) -> u64 {
    u64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account::new(&TableConfig { max_bytes: 1 << 20, ..TableConfig::default() })
    }

    #[test]
    fn room_does_not_swing_with_the_bags_of_garbage() {
        let account = account();
        let mut leaving = Vec::new();
        for bag in 0..200 {
            for _ in 0..32 {
                account.charge_retired(100);
                leaving.extend((bag >= 100).then(|| account.leaving()));
            }
            account.discharge_retired(3200);
        }
        let (least, most) = (leaving.iter().min(), leaving.iter().max());
        assert!(least.zip(most).is_some_and(|(a, b)| *a > 1400 && *b < 1800), "{least:?} {most:?}");
    }

    #[test]
    fn garbage_that_nobody_frees_takes_room_up_to_an_eighth() {
        let account = account();
        let table = [(1 << 14, 0), (1 << 14, 1 << 14), (1 << 16, 5 << 14), (1 << 20, 1 << 17)];
        for (more, leaving) in table {
            account.charge_retired(more);
            assert_eq!(account.leaving(), leaving, "{} retired", account.retired());
        }
    }
}
