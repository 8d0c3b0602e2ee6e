//! Leases, and the locks and semaphores that hang on them.
//!
//! A lock is held by a lease, exclusively or shared, and each grant has a *fencing token*: a
//! number above all that were ever given out. Whoever writes under a lock says its token, and a
//! holder that lost the lock without noticing is refused ([`Locks::is_held`]). Who asks first is
//! served first; nobody overtakes, not even a shared holder. A lease that ends gives everything
//! back, and its waiters are told.
//!
//! | what is asked of a lock | what happens |
//! |---|---|
//! | by a lease that holds it, exclusively, or shared and it asks for shared | granted again under the same token; it must be unlocked as often |
//! | exclusively by one that holds it shared | refused: it would wait for itself |
//! | by any other | granted when those that hold it allow it and nobody waits, else it waits |
//!
//! Those of a node end with the process; tokens go on rising ([`Numbers`]). Those of a cluster are
//! kept in parts (`parts.rs`), and outlive the member that serves them.
//!
//! A request may have a name (`asked`): when it comes again and has been granted, it is told so, and
//! is not granted twice.

mod inspect;
mod operation;
mod parts;
mod snapshot;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use isogrid_engine::Timestamp;

use super::Structure;
use super::gate::{Gate, Place, Waiter};
use super::lease::{ABOUT_LEN_MAX, Leases, TTL_MS};
use super::numbers::Numbers;
pub use inspect::{Holder, LockInfo};
pub use operation::{LockLimits, LockOp, LockReply, Outcome, Wake};
pub(crate) use parts::Part;

/// Permits of a lock: an exclusive holder takes them all, a shared one takes one.
const LOCK_PERMITS: u32 = u32::MAX;

/// The leases, locks and semaphores of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locks {
    limits: LockLimits,
    /// The latest time that was told: it never goes back.
    now: Timestamp,
    numbers: Numbers,
    next_ticket: u64,
    leases: Leases,
    gates: BTreeMap<Place, Gate>,
    /// Who waits, by ticket: where, and until when.
    waiting: BTreeMap<u64, (Place, Timestamp)>,
    deadlines: BTreeSet<(Timestamp, u64)>,
    /// The name of the request that is under way; 0: it has none.
    asked: u128,
    /// The parts that have changed and were not told yet; `None`: nobody asks.
    changed: Option<BTreeSet<Part>>,
}

/// A request for permits.
struct Ask {
    place: Place,
    lease: u64,
    permits: u32,
    capacity: u32,
    wait: u64,
}

impl Locks {
    /// None yet. Tokens begin above `mark`, once they are reserved.
    #[must_use]
    pub fn new(limits: LockLimits, mark: u64) -> Self {
        Locks {
            limits,
            now: 0,
            numbers: Numbers::above(mark),
            next_ticket: 1,
            leases: Leases::default(),
            gates: BTreeMap::new(),
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            asked: 0,
            changed: None,
        }
    }

    /// Does an operation under a name; see [`Structure::apply`].
    pub fn apply_as(
        &mut self,
        asked: u128,
        now: Timestamp,
        op: LockOp<'_>,
        out: &mut Vec<Wake>,
    ) -> LockReply {
        self.asked = asked;
        let reply = self.apply(now, op, out);
        self.asked = 0;
        reply
    }

    /// The mark that should be made durable now, and then told with [`LockOp::Reserve`].
    #[must_use]
    pub fn mark_wanted(&self) -> Option<u64> {
        self.numbers.wanted()
    }

    fn grant_lease(&mut self, ttl: u64, about: &[u8]) -> LockReply {
        if self.leases.len() >= self.limits.leases {
            return LockReply::Full { what: "leases", limit: self.limits.leases };
        }
        if about.len() > ABOUT_LEN_MAX {
            return LockReply::Invalid("a lease is described in at most 4 KiB");
        }
        let ttl = ttl.clamp(*TTL_MS.start(), *TTL_MS.end());
        let Some(id) = self.numbers.take() else { return LockReply::Later };
        self.leases.grant(id, ttl, about, self.now);
        self.note(|| Part::Lease(id));
        LockReply::Lease { id, ttl }
    }

    fn keep_alive(&mut self, ids: &[u64]) -> LockReply {
        LockReply::Alive(ids.iter().map(|id| self.leases.keep_alive(*id, self.now)).collect())
    }

    /// Ends a lease, gives back what it holds, and wakes who waits with it; whether it lived.
    fn end_lease(&mut self, id: u64, out: &mut Vec<Wake>) -> bool {
        let Some(attached) = self.leases.end(id) else { return false };
        self.note(|| Part::Lease(id));
        for place in attached {
            let Some(gate) = self.gates.get_mut(&place) else { continue };
            gate.holds.remove(&id);
            let gone = gate.queue.iter().filter(|waiter| waiter.lease == id);
            let gone: Vec<u64> = gone.map(|waiter| waiter.ticket).collect();
            gate.queue.retain(|waiter| waiter.lease != id);
            for ticket in gone {
                self.forget_ticket(ticket);
                out.push(Wake { ticket, outcome: Outcome::LeaseGone });
            }
            self.note(|| Part::Gate(place.clone()));
            self.serve(&place, out);
        }
        true
    }

    fn lock(&mut self, key: &[u8], lease: u64, shared: bool, wait: u64) -> LockReply {
        let place = Place { is_lock: true, key: key.into() };
        let permits = if shared { 1 } else { LOCK_PERMITS };
        let hold = self.gates.get_mut(&place).and_then(|gate| gate.holds.get_mut(&lease));
        if let Some(hold) = hold {
            if hold.permits < permits {
                return LockReply::WouldDeadlock;
            }
            let token = hold.token;
            if self.asked == 0 || hold.asked != self.asked {
                hold.depth = hold.depth.saturating_add(1);
                hold.asked = self.asked;
                self.note(|| Part::Gate(place));
            }
            return LockReply::Granted { token };
        }
        self.ask(Ask { place, lease, permits, capacity: LOCK_PERMITS, wait })
    }

    fn acquire(&mut self, key: &[u8], lease: u64, permits: u32, of: u32, wait: u64) -> LockReply {
        let place = Place { is_lock: false, key: key.into() };
        if permits == 0 || permits > of {
            return LockReply::Invalid("at least one permit, and not more than there are");
        }
        match self.gates.get(&place).map(|gate| gate.capacity) {
            Some(have) if have != of => LockReply::Capacity { have },
            _ => self.ask(Ask { place, lease, permits, capacity: of, wait }),
        }
    }

    fn ask(&mut self, ask: Ask) -> LockReply {
        if !(1..=self.limits.key_len).contains(&ask.place.key.len()) {
            return LockReply::Invalid("a key has 1 to 1,024 bytes");
        }
        if !self.leases.lives(ask.lease) {
            return LockReply::LeaseGone;
        }
        if !self.gates.contains_key(&ask.place) && self.gates.len() >= self.limits.locks {
            return LockReply::Full { what: "locks", limit: self.limits.locks };
        }
        if let Some(token) = self.granted(&ask.place, ask.lease, self.asked) {
            return LockReply::Granted { token };
        }
        let gate = self.gates.get(&ask.place);
        if gate.is_none_or(|gate| gate.is_open(ask.permits)) {
            let Some(token) = self.numbers.take() else { return LockReply::Later };
            let gate = self.gates.entry(ask.place.clone());
            let gate = gate.or_insert_with(|| Gate::new(ask.capacity));
            gate.give(ask.lease, ask.permits, token, self.asked);
            self.leases.attach(ask.lease, &ask.place);
            self.note(|| Part::Gate(ask.place));
            return LockReply::Granted { token };
        }
        self.wait(ask)
    }

    fn wait(&mut self, ask: Ask) -> LockReply {
        let Ask { place, lease, permits, wait, .. } = ask;
        if wait == 0 {
            return LockReply::Held { holder: self.holder(&place) };
        }
        if self.waiting.len() >= self.limits.waiting {
            return LockReply::Full { what: "waiting", limit: self.limits.waiting };
        }
        let Some(gate) = self.gates.get_mut(&place) else { return LockReply::Later };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        gate.queue.push_back(Waiter { ticket, lease, permits, asked: self.asked });
        self.leases.attach(lease, &place);
        let deadline = self.now.saturating_add(wait);
        self.waiting.insert(ticket, (place, deadline));
        self.deadlines.insert((deadline, ticket));
        LockReply::Waiting { ticket }
    }

    /// Serves those who wait at a gate, as long as there are permits for the first of them.
    fn serve(&mut self, place: &Place, out: &mut Vec<Wake>) {
        while let Some(gate) = self.gates.get_mut(place) {
            let Some(next) = gate.next() else { break };
            let Waiter { ticket, lease, permits, asked } = *next;
            // Without a number the first waits on; reserving more serves again.
            let Some(token) = self.numbers.take() else { return };
            gate.queue.pop_front();
            gate.give(lease, permits, token, asked);
            self.forget_ticket(ticket);
            self.note(|| Part::Gate(place.clone()));
            out.push(Wake { ticket, outcome: Outcome::Granted { token } });
        }
        if self.gates.get(place).is_some_and(Gate::is_unused) {
            self.gates.remove(place);
        }
    }

    fn unlock(&mut self, key: &[u8], token: u64, out: &mut Vec<Wake>) -> LockReply {
        let place = Place { is_lock: true, key: key.into() };
        let gate = self.gates.get_mut(&place);
        let lease = gate.as_ref().and_then(|gate| gate.holder_of(token));
        let Some((gate, lease)) = gate.zip(lease) else {
            return LockReply::NotHolder { holder: self.holder(&place) };
        };
        if let Some(hold) = gate.holds.get_mut(&lease).filter(|hold| hold.depth > 1) {
            hold.depth -= 1;
            hold.asked = 0;
            self.note(|| Part::Gate(place));
            return LockReply::Done;
        }
        gate.holds.remove(&lease);
        self.given_back(&place, lease, out)
    }

    fn release(&mut self, key: &[u8], lease: u64, permits: u32, out: &mut Vec<Wake>) -> LockReply {
        let place = Place { is_lock: false, key: key.into() };
        let taken = |gate: &mut Gate| permits > 0 && gate.take_back(lease, permits);
        if !self.gates.get_mut(&place).is_some_and(taken) {
            return LockReply::NotHolder { holder: self.holder(&place) };
        }
        self.given_back(&place, lease, out)
    }

    fn given_back(&mut self, place: &Place, lease: u64, out: &mut Vec<Wake>) -> LockReply {
        self.note(|| Part::Gate(place.clone()));
        self.detach(place, lease);
        self.serve(place, out);
        LockReply::Done
    }

    fn detach(&mut self, place: &Place, lease: u64) {
        if !self.gates.get(place).is_some_and(|gate| gate.knows(lease)) {
            self.leases.detach(lease, place);
        }
    }

    /// Takes a waiter out of its queue; where it waited.
    fn leave(&mut self, ticket: u64, out: &mut Vec<Wake>) -> Option<Place> {
        let (place, _) = self.forget_ticket(ticket)?;
        let gate = self.gates.get_mut(&place)?;
        let at = gate.queue.iter().position(|waiter| waiter.ticket == ticket)?;
        let lease = gate.queue.remove(at)?.lease;
        self.detach(&place, lease);
        // Those behind may need less than the one that has left.
        self.serve(&place, out);
        Some(place)
    }

    fn forget_ticket(&mut self, ticket: u64) -> Option<(Place, Timestamp)> {
        let (place, deadline) = self.waiting.remove(&ticket)?;
        self.deadlines.remove(&(deadline, ticket));
        Some((place, deadline))
    }

    fn time_out(&mut self, ticket: u64, out: &mut Vec<Wake>) {
        let place = self.waiting.get(&ticket).map(|(place, _)| place.clone());
        let holder = place.and_then(|place| self.holder(&place));
        out.push(Wake { ticket, outcome: Outcome::TimedOut { holder } });
        self.leave(ticket, out);
    }

    fn reserve(&mut self, mark: u64, out: &mut Vec<Wake>) -> LockReply {
        self.numbers.reserve(mark);
        let starved = self.gates.iter().filter(|(_, gate)| gate.next().is_some());
        let starved: Vec<Place> = starved.map(|(place, _)| place.clone()).collect();
        starved.iter().for_each(|place| self.serve(place, out));
        LockReply::Done
    }
}

impl Structure for Locks {
    type Op<'a> = LockOp<'a>;
    type Reply = LockReply;
    type Effect = Wake;

    fn apply(&mut self, now: Timestamp, op: LockOp<'_>, out: &mut Vec<Wake>) -> LockReply {
        self.advance(now, out);
        match op {
            LockOp::GrantLease { ttl, about } => self.grant_lease(ttl, about),
            LockOp::KeepAlive { leases } => self.keep_alive(leases),
            LockOp::Revoke { lease } => match self.end_lease(lease, out) {
                true => LockReply::Done,
                false => LockReply::LeaseGone,
            },
            LockOp::LeaseInfo { lease } => {
                let info = self.leases.info(lease, self.now);
                info.map_or(LockReply::LeaseGone, LockReply::LeaseInfo)
            }
            LockOp::Lock { key, lease, shared, wait } => self.lock(key, lease, shared, wait),
            LockOp::Unlock { key, token } => self.unlock(key, token, out),
            LockOp::LockInfo { key } => LockReply::LockInfo(self.info(true, key)),
            LockOp::Acquire { key, lease, permits, of, wait } => {
                self.acquire(key, lease, permits, of, wait)
            }
            LockOp::Release { key, lease, permits } => self.release(key, lease, permits, out),
            LockOp::SemaphoreInfo { key } => LockReply::LockInfo(self.info(false, key)),
            LockOp::Cancel { ticket } => match self.leave(ticket, out) {
                Some(_) => LockReply::Done,
                None => LockReply::NotWaiting,
            },
            LockOp::Reserve { mark } => self.reserve(mark, out),
        }
    }

    fn advance(&mut self, now: Timestamp, out: &mut Vec<Wake>) {
        self.now = self.now.max(now);
        // In the order of time, however late it is; at the same time a lease ends first, so that
        // who waits gets what it gives back.
        loop {
            let lease = self.leases.first_end().filter(|(at, _)| *at <= self.now);
            let ticket = self.deadlines.first().copied().filter(|(at, _)| *at <= self.now);
            match (lease, ticket) {
                (Some((at, lease)), ticket) if ticket.is_none_or(|(wait, _)| at <= wait) => {
                    self.end_lease(lease, out);
                }
                (_, Some((_, ticket))) => self.time_out(ticket, out),
                _ => return,
            }
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let lease = self.leases.first_end().map(|(at, _)| at);
        let wait = self.deadlines.first().map(|(at, _)| *at);
        lease.into_iter().chain(wait).min()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.encode()
    }

    fn restore(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes)
    }
}
