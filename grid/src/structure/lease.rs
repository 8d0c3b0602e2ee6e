//! Leases: whoever holds one says again and again that it lives, and what hangs on it is given
//! back when it does not.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_engine::Timestamp;

use super::gate::Place;
use crate::bytes::{Input, put_bytes, put_count, put_u64};

/// Shortest and longest lifespan, ms: 100 ms to a day.
pub const TTL_MS: std::ops::RangeInclusive<u64> = 100..=24 * 3_600_000;
/// Longest description in bytes.
pub const ABOUT_LEN_MAX: usize = 4_096;

/// A lease as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its number.
    pub id: u64,
    /// Its lifespan, ms.
    pub ttl: u64,
    /// What is left of it, ms.
    pub left: u64,
    /// What its holder said about itself.
    pub about: Vec<u8>,
    /// How many locks and semaphores it holds or waits for.
    pub attached: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Lease {
    ttl: u64,
    deadline: Timestamp,
    about: Vec<u8>,
    /// What it holds or waits for.
    attached: BTreeSet<Place>,
}

/// The leases that live.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Leases {
    all: BTreeMap<u64, Lease>,
    deadlines: BTreeSet<(Timestamp, u64)>,
}

impl Leases {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn lives(&self, id: u64) -> bool {
        self.all.contains_key(&id)
    }

    pub fn grant(&mut self, id: u64, ttl: u64, about: &[u8], now: Timestamp) {
        let deadline = now.saturating_add(ttl);
        let (about, attached) = (about.to_vec(), BTreeSet::new());
        self.all.insert(id, Lease { ttl, deadline, about, attached });
        self.deadlines.insert((deadline, id));
    }

    /// The lease lives its whole lifespan from now on; how long that is, if it lives.
    pub fn keep_alive(&mut self, id: u64, now: Timestamp) -> Option<u64> {
        let lease = self.all.get_mut(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = now.saturating_add(lease.ttl);
        self.deadlines.insert((lease.deadline, id));
        Some(lease.ttl)
    }

    /// Ends a lease; what hung on it.
    pub fn end(&mut self, id: u64) -> Option<BTreeSet<Place>> {
        let lease = self.all.remove(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        Some(lease.attached)
    }

    pub fn attach(&mut self, id: u64, place: &Place) {
        if let Some(lease) = self.all.get_mut(&id) {
            lease.attached.insert(place.clone());
        }
    }

    pub fn detach(&mut self, id: u64, place: &Place) {
        if let Some(lease) = self.all.get_mut(&id) {
            lease.attached.remove(place);
        }
    }

    /// When the first one ends, and which that is.
    pub fn first_end(&self) -> Option<(Timestamp, u64)> {
        self.deadlines.first().copied()
    }

    pub fn info(&self, id: u64, now: Timestamp) -> Option<LeaseInfo> {
        let lease = self.all.get(&id)?;
        Some(LeaseInfo {
            id,
            ttl: lease.ttl,
            left: lease.deadline.saturating_sub(now),
            about: lease.about.clone(),
            attached: lease.attached.len(),
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.all.len());
        for (id, lease) in &self.all {
            [*id, lease.ttl, lease.deadline].iter().for_each(|number| put_u64(out, *number));
            put_bytes(out, &lease.about);
        }
    }

    /// Without what hangs on them: whoever has the gates knows that.
    pub fn decode(input: &mut Input<'_>) -> Option<Self> {
        let mut leases = Leases::default();
        let all = input.many(|input| {
            let (id, ttl, deadline) = (input.u64()?, input.u64()?, input.u64()?);
            let (about, attached) = (input.bytes()?.to_vec(), BTreeSet::new());
            Some((id, Lease { ttl, deadline, about, attached }))
        })?;
        leases.deadlines = all.iter().map(|(id, lease)| (lease.deadline, *id)).collect();
        leases.all = all.into_iter().collect();
        Some(leases)
    }
}
