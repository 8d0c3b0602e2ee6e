//! The engine's policies without the engine: what their order of evictions is worth.

use std::cell::Cell;

use isogrid_engine::eviction::{Entries, Policy, PolicyKind, Reads, Slot};

use super::{Object, Trace};

/// The mark that readers leave saturates here.
const READS_MAX: u8 = 3;

/// The hit ratio of a policy on a trace with a capacity in bytes.
#[must_use]
pub fn ideal(policy: PolicyKind, trace: &Trace, capacity: u64) -> f64 {
    ideal_split(policy, trace, capacity, 1)
}

/// As [`ideal`], the keys and the capacity spread over so many instances, as over segments.
#[must_use]
pub fn ideal_split(policy: PolicyKind, trace: &Trace, capacity: u64, segments: u64) -> f64 {
    let mut caches: Vec<_> =
        (0..segments).map(|seed| Cache::new(policy.build(seed), capacity / segments)).collect();
    let mut places: Vec<Option<Slot>> = vec![None; trace.objects.len()];
    let mut hits = 0;
    for (id, object) in trace.iter() {
        let segment = usize::try_from(object.hash % segments).unwrap_or(0);
        let Some(cache) = caches.get_mut(segment) else { continue };
        match places.get(id as usize).copied().flatten() {
            Some(slot) => {
                cache.hit(slot);
                hits += 1;
            }
            None => cache.miss(id, object, &mut places),
        }
    }
    trace.ratio(hits)
}

/// A cache that holds no values.
struct Cache {
    policy: Box<dyn Policy>,
    reads: Reads,
    capacity: u64,
    weight: u64,
    held: Held,
    free: Vec<Slot>,
}

/// What is held, by slot.
#[derive(Default)]
struct Held(Vec<Entry>);

struct Entry {
    id: u32,
    object: Object,
    reads: Cell<u8>,
}

impl Held {
    #[expect(clippy::indexing_slicing, reason = "the policy names only slots that it was given")]
    fn entry(&self, slot: Slot) -> &Entry {
        &self.0[slot.0 as usize]
    }
}

impl Entries for Held {
    fn hash(&self, slot: Slot) -> u64 {
        self.entry(slot).object.hash
    }

    fn weight(&self, slot: Slot) -> u32 {
        self.entry(slot).object.size
    }

    fn take_reads(&self, slot: Slot) -> u8 {
        self.entry(slot).reads.take()
    }
}

impl Cache {
    fn new(policy: Box<dyn Policy>, capacity: u64) -> Self {
        let reads = policy.reads();
        Self { policy, reads, capacity, weight: 0, held: Held::default(), free: Vec::new() }
    }

    fn hit(&mut self, slot: Slot) {
        let entry = self.held.entry(slot);
        match self.reads {
            Reads::Ignored => {}
            Reads::Marked => entry.reads.set((entry.reads.get() + 1).min(READS_MAX)),
            Reads::Reported => self.policy.touch(slot, entry.object.hash, &self.held),
        }
    }

    fn miss(&mut self, id: u32, object: &Object, places: &mut [Option<Slot>]) {
        if u64::from(object.size) > self.capacity {
            return;
        }
        let slot = self.place(Entry { id, object: *object, reads: Cell::new(0) });
        if let Some(place) = places.get_mut(id as usize) {
            *place = Some(slot);
        }
        self.policy.insert(slot, object.hash, object.size, &self.held);
        self.weight += u64::from(object.size);
        while self.weight > self.capacity {
            let Some(victim) = self.policy.evict(&self.held) else { break };
            self.forget(victim, places);
        }
    }

    fn place(&mut self, entry: Entry) -> Slot {
        match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.held.0.get_mut(slot.0 as usize) {
                    *place = entry;
                }
                slot
            }
            None => {
                self.held.0.push(entry);
                Slot(u32::try_from(self.held.0.len() - 1).expect("slots are u32"))
            }
        }
    }

    fn forget(&mut self, victim: Slot, places: &mut [Option<Slot>]) {
        let entry = self.held.entry(victim);
        self.weight -= u64::from(entry.object.size);
        if let Some(place) = places.get_mut(entry.id as usize) {
            *place = None;
        }
        self.free.push(victim);
    }
}
