//! The whole state as bytes.

use super::{Gate, Leases, LockLimits, Locks, Numbers, Place};
use crate::bytes::{Input, put_count, put_u64};

impl Locks {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let LockLimits { leases, locks, waiting, key_len } = self.limits;
        [leases, locks, waiting, key_len].iter().for_each(|limit| put_count(&mut out, *limit));
        let (next, mark) = self.numbers.parts();
        [self.now, next, mark, self.next_ticket].iter().for_each(|n| put_u64(&mut out, *n));
        self.leases.encode(&mut out);
        put_count(&mut out, self.gates.len());
        for (place, gate) in &self.gates {
            place.encode(&mut out);
            gate.encode(&mut out);
        }
        put_count(&mut out, self.waiting.len());
        for (ticket, (_, deadline)) in &self.waiting {
            put_u64(&mut out, *ticket);
            put_u64(&mut out, *deadline);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let mut limit = || usize::try_from(input.u64()?).ok();
        let limits =
            LockLimits { leases: limit()?, locks: limit()?, waiting: limit()?, key_len: limit()? };
        let now = input.u64()?;
        let numbers = Numbers::of_parts(input.u64()?, input.u64()?)?;
        let mut locks = Locks { now, numbers, ..Locks::new(limits, 0) };
        locks.next_ticket = input.u64()?;
        locks.leases = Leases::decode(&mut input)?;
        let gates = input.many(|input| Some((Place::decode(input)?, Gate::decode(input)?)))?;
        let waiting = input.many(|input| Some((input.u64()?, input.u64()?)))?;
        locks.deadlines = waiting.iter().map(|(ticket, deadline)| (*deadline, *ticket)).collect();
        for (place, gate) in &gates {
            gate.holds.keys().for_each(|lease| locks.leases.attach(*lease, place));
            for waiter in &gate.queue {
                locks.leases.attach(waiter.lease, place);
                let deadline = waiting.iter().find(|(ticket, _)| *ticket == waiter.ticket)?.1;
                locks.waiting.insert(waiter.ticket, (place.clone(), deadline));
            }
        }
        locks.gates = gates.into_iter().collect();
        (input.is_empty() && locks.waiting.len() == waiting.len()).then_some(locks)
    }
}
