//! Random requests; whoever takes over at any moment holds what was held.

use isogrid_engine::Allocator;
use isogrid_engine::env::split_mix;

use super::*;
use crate::structure::lock::{LockInfo, Outcome};
use crate::structures::new_table;

const KEYS: [&[u8]; 3] = [b"a", b"b", b"c"];
const PERMITS: u32 = 3;

/// The member that serves, and what was told to whoever asked.
struct World {
    table: Table,
    epoch: Epoch,
    now: Timestamp,
    hosted: Hosted,
    leases: Vec<(u64, u64)>,
    /// The last grants: name, request and token.
    granted: Vec<(u128, OwnedOp, u64)>,
    last: u64,
    /// Requests that wait, by ticket.
    waiting: BTreeMap<u64, (u128, OwnedOp)>,
}

/// A request that takes something.
#[derive(Debug, Clone, Copy)]
struct OwnedOp {
    is_lock: bool,
    key: &'static [u8],
    lease: u64,
    shared: bool,
    wait: u64,
}

impl OwnedOp {
    fn op(&self) -> LockOp<'_> {
        let OwnedOp { is_lock, key, lease, shared, wait } = *self;
        if is_lock {
            LockOp::Lock { key, lease, shared, wait }
        } else {
            LockOp::Acquire { key, lease, permits: 1, of: PERMITS, wait }
        }
    }
}

impl World {
    fn new() -> World {
        let table = new_table(4, Allocator::Glibc, 0).unwrap();
        let (epoch, now) = (Epoch(7), 1_000);
        let hosted = Hosted::load(&table, epoch, 0, (now, 0));
        let (leases, granted, waiting) = (Vec::new(), Vec::new(), BTreeMap::new());
        World { table, epoch, now, hosted, leases, granted, last: 0, waiting }
    }

    fn ask(&mut self, name: u128, op: LockOp<'_>) -> LockReply {
        let mut out = Vec::new();
        let reply = self.hosted.apply(&self.table, (self.now, 0), (name, op), &mut out).unwrap();
        for Wake { ticket, outcome } in out {
            let waited = self.waiting.remove(&ticket);
            if let (Outcome::Granted { token }, Some((name, op))) = (outcome, waited) {
                self.is_granted(name, op, token);
            }
        }
        reply
    }

    fn is_granted(&mut self, name: u128, op: OwnedOp, token: u64) {
        self.last = self.last.max(token);
        self.granted.push((name, op, token));
    }

    fn take(&mut self, name: u128, op: OwnedOp) {
        match self.ask(name, op.op()) {
            // One that holds the lock already has its token again.
            LockReply::Granted { token } => self.is_granted(name, op, token),
            LockReply::Waiting { ticket } => drop(self.waiting.insert(ticket, (name, op))),
            _ => {}
        }
    }

    /// What is held of everything, and how long each lease lives.
    fn looks(hosted: &mut Hosted, table: &Table, now: Timestamp, leases: &[(u64, u64)]) -> Looks {
        let mut ask = |op| hosted.apply(table, (now, 0), (0, op), &mut Vec::new()).unwrap();
        let mut holds = Vec::new();
        for key in KEYS {
            for op in [LockOp::LockInfo { key }, LockOp::SemaphoreInfo { key }] {
                let LockReply::LockInfo(info) = ask(op) else { panic!("{op:?}") };
                let held = info.filter(|info| !info.holders.is_empty());
                holds.push(held.map(|info| LockInfo { waiting: 0, ..info }));
            }
        }
        let mut lease = |id: u64| match ask(LockOp::LeaseInfo { lease: id }) {
            LockReply::LeaseInfo(info) => Some((info.ttl, info.about, info.left)),
            _ => None,
        };
        (holds, leases.iter().map(|(id, _)| lease(*id)).collect())
    }

    /// Another member takes over, or would.
    fn take_over(&mut self, really: bool) {
        let epoch = Epoch(self.epoch.0 + 1);
        // What is due has been done.
        let was = Self::looks(&mut self.hosted, &self.table, self.now, &self.leases);
        let mut next = Hosted::load(&self.table, epoch, 0, (self.now, 0));
        let is = Self::looks(&mut next, &self.table, self.now, &self.leases);
        assert_eq!(is.0, was.0, "other holders");
        for (is, was) in is.1.iter().zip(&was.1) {
            let kept = |lease: &Option<(u64, Vec<u8>, u64)>| {
                lease.as_ref().map(|(ttl, about, _)| (*ttl, about.clone()))
            };
            assert_eq!(kept(is), kept(was), "other leases");
            let whole = is.as_ref().is_none_or(|(ttl, _, left)| ttl == left);
            assert!(whole, "a lease lives its whole lifespan anew: {is:?}");
        }
        if really {
            (self.hosted, self.epoch) = (next, epoch);
            // Who waits asks again, under the same name; so does who was not told.
            for (name, op) in std::mem::take(&mut self.waiting).into_values() {
                self.take(name, op);
            }
        }
    }

    /// If nothing was granted since this request was, it is told the same when it comes again.
    fn is_told_again(&mut self, name: u128) {
        let Some((of, op, token)) = self.granted.last().copied() else { return };
        // Leases end when something is asked.
        self.ask(0, LockOp::LockInfo { key: op.key });
        if of != name || !self.hosted.locks().lives(op.lease) {
            return;
        }
        let look = |world: &mut World| {
            Self::looks(&mut world.hosted, &world.table, world.now, &world.leases).0
        };
        let before = look(self);
        assert_eq!(self.ask(name, op.op()), LockReply::Granted { token });
        assert_eq!(look(self), before, "it is granted once");
    }
}

type Looks = (Vec<Option<LockInfo>>, Vec<Option<(u64, Vec<u8>, u64)>>);

fn index(drawn: u64) -> usize {
    usize::try_from(drawn).unwrap()
}

fn run(seed: u64) {
    let (mut world, mut state) = (World::new(), seed);
    let mut draw = |below: u64| split_mix(&mut state) % below;
    for name in 1..400_u128 {
        world.now += draw(40);
        let lease = world.leases.get(index(draw(8))).map_or(9, |(id, _)| *id);
        let key = KEYS[index(draw(3))];
        let before = world.last;
        match draw(11) {
            0 if world.leases.len() < 8 => {
                let ttl = 100 + draw(2_000);
                let op = LockOp::GrantLease { ttl, about: b"who" };
                if let LockReply::Lease { id, .. } = world.ask(0, op) {
                    assert!(id > world.last, "the number {id} came before");
                    world.last = id;
                    world.leases.push((id, ttl));
                }
            }
            1 => drop(world.ask(0, LockOp::Revoke { lease })),
            2 => drop(world.ask(0, LockOp::KeepAlive { leases: &[lease] })),
            3 | 4 => {
                if let Some((_, op, token)) = world.granted.pop() {
                    let op = match op.is_lock {
                        true => LockOp::Unlock { key: op.key, token },
                        false => LockOp::Release { key: op.key, lease: op.lease, permits: 1 },
                    };
                    world.ask(0, op);
                }
            }
            5 => {
                let ticket = world.waiting.keys().next().copied().unwrap_or(0);
                world.ask(0, LockOp::Cancel { ticket });
                world.waiting.remove(&ticket);
            }
            _ => {
                let (is_lock, shared, wait) = (draw(2) == 0, draw(2) == 0, draw(2) * 500);
                world.take(name, OwnedOp { is_lock, key, lease, shared, wait });
                world.is_told_again(name);
                world.take_over(draw(10) == 0);
                world.is_told_again(name);
            }
        }
        world.leases.retain(|(id, _)| world.hosted.locks().lives(*id));
        assert!(world.last >= before, "a number is below one that came before");
        world.take_over(draw(10) == 0);
    }
}

#[test]
fn whoever_takes_over_holds_what_was_held() {
    for seed in 0..60 {
        let failed = std::panic::catch_unwind(|| run(seed * 1_000_003));
        assert!(failed.is_ok(), "run({}) in grid/src/structures/hosted/tests.rs", seed * 1_000_003);
    }
}

/// A process whose entries could not be kept loads them again in the same epoch.
#[test]
fn numbers_rise_in_an_epoch_and_over_epochs() {
    let table = new_table(4, Allocator::Glibc, 0).unwrap();
    let mut last = 0;
    for (epoch, is_anew) in [(5, true), (5, false), (5, false), (6, true), (9, true)] {
        let next = if is_anew { 0 } else { last + 1 };
        let mut hosted = Hosted::load(&table, Epoch(epoch), next, (0, 0));
        for _ in 0..3 {
            let op = LockOp::GrantLease { ttl: 1_000, about: b"" };
            let reply = hosted.apply(&table, (0, 0), (0, op), &mut Vec::new()).unwrap();
            let LockReply::Lease { id, .. } = reply else { panic!("{reply:?}") };
            assert!(id > last && id >> COUNTED_BITS == u64::from(epoch), "{id} after {last}");
            last = id;
        }
        assert_eq!(hosted.next_number(), last + 1);
    }
}
