//! A gate: so many permits, who holds them, and who waits for some, in order of arrival. A
//! semaphore is a gate; a lock is one whose permits are all taken by an exclusive holder and one
//! by each shared holder.

use std::collections::{BTreeMap, VecDeque};

use crate::bytes::{Input, put_bytes, put_count, put_u32, put_u64, put_u128};

/// Which gate: locks and semaphores have names of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub is_lock: bool,
    pub key: Box<[u8]>,
}

/// What a lease holds of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    /// Of the last grant.
    pub token: u64,
    pub permits: u32,
    /// How often it was locked and not unlocked; of a semaphore 1.
    pub depth: u32,
    /// The name of the request that was granted last; 0 when it had none, or it was given back.
    pub asked: u128,
}

/// Who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiter {
    pub ticket: u64,
    pub lease: u64,
    pub permits: u32,
    /// The name of the request, if it has one.
    pub asked: u128,
}

/// One lock or semaphore that is held or waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gate {
    pub capacity: u32,
    /// By lease.
    pub holds: BTreeMap<u64, Hold>,
    pub queue: VecDeque<Waiter>,
}

impl Gate {
    pub fn new(capacity: u32) -> Self {
        Gate { capacity, holds: BTreeMap::new(), queue: VecDeque::new() }
    }

    pub fn is_unused(&self) -> bool {
        self.holds.is_empty() && self.queue.is_empty()
    }

    pub fn free(&self) -> u32 {
        let held: u64 = self.holds.values().map(|hold| u64::from(hold.permits)).sum();
        u32::try_from(u64::from(self.capacity).saturating_sub(held)).unwrap_or(0)
    }

    /// Whether somebody who comes now gets so many at once: nobody overtakes those who wait.
    pub fn is_open(&self, permits: u32) -> bool {
        self.queue.is_empty() && self.free() >= permits
    }

    /// Who is next and can be served.
    pub fn next(&self) -> Option<&Waiter> {
        self.queue.front().filter(|first| self.free() >= first.permits)
    }

    /// Gives permits to a lease; those that it had it keeps.
    pub fn give(&mut self, lease: u64, permits: u32, token: u64, asked: u128) {
        let hold =
            self.holds.entry(lease).or_insert(Hold { token, permits: 0, depth: 1, asked: 0 });
        (hold.token, hold.asked) = (token, asked);
        hold.permits += permits;
    }

    /// Takes permits back from a lease; whether it had so many.
    pub fn take_back(&mut self, lease: u64, permits: u32) -> bool {
        let Some(hold) = self.holds.get_mut(&lease).filter(|hold| hold.permits >= permits) else {
            return false;
        };
        hold.permits -= permits;
        hold.asked = 0;
        if hold.permits == 0 {
            self.holds.remove(&lease);
        }
        true
    }

    /// Who has the token.
    pub fn holder_of(&self, token: u64) -> Option<u64> {
        self.holds.iter().find(|(_, hold)| hold.token == token).map(|(lease, _)| *lease)
    }

    /// Whether a lease holds or waits here.
    pub fn knows(&self, lease: u64) -> bool {
        self.holds.contains_key(&lease) || self.queue.iter().any(|waiter| waiter.lease == lease)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_holds(out);
        put_count(out, self.queue.len());
        for waiter in &self.queue {
            put_u64(out, waiter.ticket);
            put_u64(out, waiter.lease);
            put_u32(out, waiter.permits);
            put_u128(out, waiter.asked);
        }
    }

    /// Without those who wait.
    pub fn encode_holds(&self, out: &mut Vec<u8>) {
        put_u32(out, self.capacity);
        put_count(out, self.holds.len());
        for (lease, hold) in &self.holds {
            put_u64(out, *lease);
            put_u64(out, hold.token);
            put_u32(out, hold.permits);
            put_u32(out, hold.depth);
            put_u128(out, hold.asked);
        }
    }

    pub fn decode(input: &mut Input<'_>) -> Option<Self> {
        let gate = Gate::decode_holds(input)?;
        let queue = input.many(|input| {
            let (ticket, lease) = (input.u64()?, input.u64()?);
            Some(Waiter { ticket, lease, permits: input.u32()?, asked: input.u128()? })
        })?;
        Some(Gate { queue: queue.into(), ..gate })
    }

    /// What [`Gate::encode_holds`] says.
    pub fn decode_holds(input: &mut Input<'_>) -> Option<Self> {
        let capacity = input.u32()?;
        let holds = input.many(|input| {
            let (lease, token) = (input.u64()?, input.u64()?);
            let (permits, depth) = (input.u32()?, input.u32()?);
            let asked = input.u128()?;
            Some((lease, Hold { token, permits, depth, asked }))
        })?;
        Some(Gate { holds: holds.into_iter().collect(), ..Gate::new(capacity) })
    }
}

impl Place {
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, u32::from(self.is_lock));
        put_bytes(out, &self.key);
    }

    pub fn decode(input: &mut Input<'_>) -> Option<Self> {
        let is_lock = input.u32()? == 1;
        Some(Place { is_lock, key: input.bytes()?.into() })
    }
}
