//! The state in parts that are kept each by itself: a lease, or what is held of a lock or semaphore.
//! Who waits is in none of them, and how long leases live neither: who gets the parts lets each live
//! its whole lifespan anew, so none ends earlier than its holder was told.

use std::collections::BTreeSet;

use isogrid_engine::Timestamp;

use super::{Gate, LockLimits, Locks, Numbers, Place};
use crate::bytes::{Input, put_bytes, put_u8, put_u64};

/// A part. What is held comes ahead of leases: a lease that has ended must not be gone from where
/// it is kept before what it held is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// What is held of a lock or semaphore.
    Gate(Place),
    /// A lease.
    Lease(u64),
}

const GATE: u8 = b'g';
const LEASE: u8 = b'l';

impl Part {
    /// Its name as bytes.
    pub fn name(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Part::Gate(place) => {
                put_u8(&mut out, GATE);
                place.encode(&mut out);
            }
            Part::Lease(id) => {
                put_u8(&mut out, LEASE);
                put_u64(&mut out, *id);
            }
        }
        out
    }

    fn of_name(bytes: &[u8]) -> Option<Part> {
        let mut input = Input(bytes);
        let part = match input.u8()? {
            GATE => Part::Gate(Place::decode(&mut input)?),
            LEASE => Part::Lease(input.u64()?),
            _ => return None,
        };
        input.is_empty().then_some(part)
    }
}

impl Locks {
    /// What these parts are, by name, at `now`; [`Locks::take_changed`] tells which change from now
    /// on. The numbers that it gives out begin with `first` and end below `end`.
    pub(crate) fn of_parts<'a>(
        parts: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        now: Timestamp,
        (first, end): (u64, u64),
    ) -> Self {
        let mut locks = Locks { now, ..Locks::new(LockLimits::default(), first) };
        locks.numbers = Numbers::above(first);
        locks.numbers.reserve(end);
        let mut gates = Vec::new();
        for (name, bytes) in parts {
            let mut input = Input(bytes);
            match Part::of_name(name) {
                Some(Part::Lease(id)) => {
                    let Some((ttl, about)) = input.u64().zip(input.bytes()) else { continue };
                    locks.leases.grant(id, ttl, about, now);
                }
                Some(Part::Gate(place)) => {
                    gates.extend(Gate::decode_holds(&mut input).map(|gate| (place, gate)));
                }
                None => {}
            }
        }
        for (place, gate) in gates {
            gate.holds.keys().for_each(|lease| locks.leases.attach(*lease, &place));
            locks.gates.insert(place, gate);
        }
        locks.changed = Some(BTreeSet::new());
        locks
    }

    /// The parts that have changed since this was asked last.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<Part> {
        self.changed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A part as bytes; `None` when it is not there.
    pub(crate) fn part(&self, part: &Part) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match part {
            Part::Gate(place) => {
                let gate = self.gates.get(place).filter(|gate| !gate.holds.is_empty())?;
                gate.encode_holds(&mut out);
            }
            Part::Lease(id) => {
                let lease = self.leases.info(*id, self.now)?;
                put_u64(&mut out, lease.ttl);
                put_bytes(&mut out, &lease.about);
            }
        }
        Some(out)
    }

    /// The token that a request of this name got, if it has it still.
    pub(super) fn granted(&self, place: &Place, lease: u64, asked: u128) -> Option<u64> {
        let hold = self.gates.get(place)?.holds.get(&lease)?;
        (asked != 0 && hold.asked == asked).then_some(hold.token)
    }

    /// The same of a lock or semaphore.
    #[must_use]
    pub fn granted_as(&self, is_lock: bool, key: &[u8], lease: u64, asked: u128) -> Option<u64> {
        self.granted(&Place { is_lock, key: key.into() }, lease, asked)
    }

    /// The next number that it gives out.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.parts().0
    }

    pub(super) fn note(&mut self, part: impl FnOnce() -> Part) {
        if let Some(changed) = &mut self.changed {
            changed.insert(part());
        }
    }
}
