//! Who holds what.

use isogrid_engine::Timestamp;

use super::{Locks, Place};

/// A lock or semaphore as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockInfo {
    /// Who holds it.
    pub holders: Vec<Holder>,
    /// How many requests wait for it.
    pub waiting: usize,
    /// Permits in all; `u32::MAX` for a lock.
    pub capacity: u32,
}

/// One holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its lease.
    pub lease: u64,
    /// The token of its last grant.
    pub token: u64,
    /// Its permits; `u32::MAX` for a lock that is held exclusively, 1 for a shared one.
    pub permits: u32,
    /// How often it has to be unlocked.
    pub depth: u32,
}

impl Locks {
    /// Whether the lock is held at `now` under this token: whoever says another one has lost it.
    #[must_use]
    pub fn is_held(&self, now: Timestamp, key: &[u8], token: u64) -> bool {
        self.held_for(now, key, token) > 0
    }

    /// For how long the lease still lives under which the lock is held with this token, if it is, ms.
    #[must_use]
    pub fn held_for(&self, now: Timestamp, key: &[u8], token: u64) -> u64 {
        let place = Place { is_lock: true, key: key.into() };
        let lease = self.gates.get(&place).and_then(|gate| gate.holder_of(token));
        let info = lease.and_then(|lease| self.leases.info(lease, self.now.max(now)));
        info.map_or(0, |lease| lease.left)
    }

    /// Whether a lease lives.
    #[must_use]
    pub fn lives(&self, lease: u64) -> bool {
        self.leases.lives(lease)
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many leases live, and how many locks and semaphores are held or waited for.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.leases.len(), self.gates.len())
    }

    pub(super) fn info(&self, is_lock: bool, key: &[u8]) -> Option<LockInfo> {
        let gate = self.gates.get(&Place { is_lock, key: key.into() })?;
        let holder = |(lease, hold): (&u64, &crate::structure::gate::Hold)| Holder {
            lease: *lease,
            token: hold.token,
            permits: hold.permits,
            depth: hold.depth,
        };
        let holders = gate.holds.iter().map(holder).collect();
        Some(LockInfo { holders, waiting: gate.queue.len(), capacity: gate.capacity })
    }

    pub(super) fn holder(&self, place: &Place) -> Option<u64> {
        self.gates.get(place)?.holds.keys().next().copied()
    }
}
