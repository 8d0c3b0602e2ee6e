//! The order of what one connection asks of a segment: a read sees the writes that were sent before
//! it, and no write overtakes a read.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::task::unconstrained;

use crate::cluster::Shared;

/// Segments with which it is first looked which of them nothing is under way for.
const SWEPT_MIN: usize = 64;

/// What a connection has under way, by segments. Writes share a lock, since whoever serves the
/// segment executes them in their order; a read that finds some under way has it alone. The lock
/// is fair: who asks first has it first.
#[derive(Default)]
pub struct Order {
    locks: BTreeMap<(u16, u32), Arc<RwLock<()>>>,
    swept_at: usize,
}

/// Held until a request is answered.
pub enum Place {
    /// Of a read with nothing under way: whoever serves the segment executes what follows later.
    Free,
    /// Of a write.
    Write(OwnedRwLockReadGuard<()>),
    /// Of a read behind writes, or of reads and writes together.
    Alone(OwnedRwLockWriteGuard<()>),
}

/// What a request does in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// It reads.
    Reads,
    /// It writes.
    Writes,
    /// It does both, and some of it when other parts of it are done.
    Both,
}

impl Does {
    /// What is done by something that does this and that.
    pub fn and(self, other: Does) -> Does {
        if self == other { self } else { Does::Both }
    }
}

/// When a request may be executed.
pub enum Turn {
    /// Now.
    Now(Place),
    /// When this is ready.
    Later(Pin<Box<dyn Future<Output = Place> + Send>>),
}

impl Order {
    /// The turn of a request for a segment that comes behind all before it.
    pub fn turn(&mut self, shared: &Shared, segment: u32, does: Does) -> Turn {
        let at = (shared.group.0, segment);
        match does {
            Does::Reads => self.read(at),
            Does::Writes => self.write(at),
            Does::Both => self.both(at),
        }
    }

    fn lock(&mut self, at: (u16, u32)) -> Arc<RwLock<()>> {
        if self.locks.len() >= self.swept_at {
            self.locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            self.swept_at = SWEPT_MIN.max(2 * self.locks.len());
        }
        Arc::clone(self.locks.entry(at).or_default())
    }

    fn both(&mut self, at: (u16, u32)) -> Turn {
        let lock = self.lock(at);
        queue(async { Place::Alone(lock.write_owned().await) })
    }

    fn write(&mut self, at: (u16, u32)) -> Turn {
        let lock = self.lock(at);
        match Arc::clone(&lock).try_read_owned() {
            Ok(held) => Turn::Now(Place::Write(held)),
            Err(_) => queue(async { Place::Write(lock.read_owned().await) }),
        }
    }

    fn read(&self, at: (u16, u32)) -> Turn {
        match self.locks.get(&at).filter(|lock| lock.try_write().is_err()).map(Arc::clone) {
            None => Turn::Now(Place::Free),
            Some(lock) => queue(async { Place::Alone(lock.write_owned().await) }),
        }
    }
}

/// Puts a request into the queue of a lock now: tasks may begin in any order.
fn queue(turn: impl Future<Output = Place> + Send + 'static) -> Turn {
    let mut turn = Box::pin(unconstrained(turn));
    match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(place) => Turn::Now(place),
        Poll::Pending => Turn::Later(turn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: (u16, u32) = (1, 7);

    fn is_its_turn(turn: &mut Turn) -> bool {
        let Turn::Later(later) = turn else { return true };
        let Poll::Ready(place) = later.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        else {
            return false;
        };
        *turn = Turn::Now(place);
        true
    }

    #[test]
    fn reads_wait_for_writes_and_writes_for_reads() {
        let mut order = Order::default();
        assert!(matches!(order.read(AT), Turn::Now(Place::Free)), "nothing is under way");
        // Whatever they are polled in: they were sent in this order.
        let mut turns =
            [order.write(AT), order.write(AT), order.read(AT), order.write(AT), order.both(AT)];
        let mut see = |done: usize| -> Vec<bool> {
            turns[..done].iter_mut().for_each(|turn| *turn = Turn::Now(Place::Free));
            let seen: Vec<bool> = turns.iter_mut().rev().map(is_its_turn).collect();
            seen.into_iter().rev().collect()
        };
        assert_eq!(see(0), [true, true, false, false, false]);
        assert_eq!(see(1), [true, true, false, false, false]);
        assert_eq!(see(2), [true, true, true, false, false]);
        assert_eq!(see(3), [true, true, true, true, false]);
        assert_eq!(see(4), [true; 5]);
        assert!(!is_its_turn(&mut order.read(AT)), "behind what reads and writes");
        assert_eq!(see(5), [true; 5]);
        assert!(is_its_turn(&mut order.read(AT)));
        assert!(matches!(order.read((1, 8)), Turn::Now(Place::Free)), "of another segment");
    }

    #[test]
    fn segments_with_nothing_under_way_take_no_memory() {
        let mut order = Order::default();
        (0..100_000).for_each(|segment| drop(order.write((1, segment))));
        assert!(order.locks.len() <= SWEPT_MIN);
    }
}
