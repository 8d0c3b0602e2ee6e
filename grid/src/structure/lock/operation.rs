//! What can be asked of leases, locks and semaphores, and what is answered.

use super::inspect::LockInfo;
use crate::structure::lease::LeaseInfo;

/// How much there may be. Every limit that is hit is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockLimits {
    /// Leases. Default: 10,000.
    pub leases: usize,
    /// Locks and semaphores that are held or waited for. Default: 10,000.
    pub locks: usize,
    /// Requests that wait. Default: 10,000.
    pub waiting: usize,
    /// Longest key in bytes. Default: 1,024.
    pub key_len: usize,
}

impl Default for LockLimits {
    fn default() -> Self {
        LockLimits { leases: 10_000, locks: 10_000, waiting: 10_000, key_len: 1_024 }
    }
}

/// What can be asked. Waits and lifespans are in ms.
#[derive(Debug, Clone, Copy)]
pub enum LockOp<'a> {
    /// A new lease.
    GrantLease {
        /// Its lifespan, brought into the bounds of [`TTL_MS`](crate::structure::lease::TTL_MS).
        ttl: u64,
        /// What its holder says about itself, at most 4 KiB.
        about: &'a [u8],
    },
    /// These leases live on.
    KeepAlive {
        /// Their numbers.
        leases: &'a [u64],
    },
    /// Ends a lease and gives back what it holds.
    Revoke {
        /// Its number.
        lease: u64,
    },
    /// Shows a lease.
    LeaseInfo {
        /// Its number.
        lease: u64,
    },
    /// Locks, or waits for the lock.
    Lock {
        /// The lock.
        key: &'a [u8],
        /// On which lease it hangs.
        lease: u64,
        /// Beside other shared holders.
        shared: bool,
        /// How long to wait; 0 = not at all.
        wait: u64,
    },
    /// Unlocks what was locked under this token; as often as it was locked.
    Unlock {
        /// The lock.
        key: &'a [u8],
        /// The token of the grant.
        token: u64,
    },
    /// Shows a lock.
    LockInfo {
        /// The lock.
        key: &'a [u8],
    },
    /// Takes permits of a semaphore, or waits for them.
    Acquire {
        /// The semaphore.
        key: &'a [u8],
        /// On which lease they hang.
        lease: u64,
        /// How many.
        permits: u32,
        /// How many there are in all; whoever comes first decides.
        of: u32,
        /// How long to wait; 0 = not at all.
        wait: u64,
    },
    /// Gives permits back.
    Release {
        /// The semaphore.
        key: &'a [u8],
        /// Whose they are.
        lease: u64,
        /// How many.
        permits: u32,
    },
    /// Shows a semaphore.
    SemaphoreInfo {
        /// The semaphore.
        key: &'a [u8],
    },
    /// Waits no more.
    Cancel {
        /// The ticket.
        ticket: u64,
    },
    /// Numbers below the mark may be given out: it is durable.
    Reserve {
        /// The mark.
        mark: u64,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockReply {
    /// A lease and its lifespan.
    Lease {
        /// Its number, never given again.
        id: u64,
        /// Its lifespan, ms.
        ttl: u64,
    },
    /// For each lease in order what is left of it, ms; `None` when it is gone.
    Alive(Vec<Option<u64>>),
    /// The lease.
    LeaseInfo(LeaseInfo),
    /// The lock or semaphore; `None` when nobody holds it or waits for it.
    LockInfo(Option<LockInfo>),
    /// Locked or acquired.
    Granted {
        /// The fencing token, above all that were given out before.
        token: u64,
    },
    /// It will be told with this ticket.
    Waiting {
        /// The ticket.
        ticket: u64,
    },
    /// Somebody else holds it, and the request does not wait.
    Held {
        /// The lease of one holder.
        holder: Option<u64>,
    },
    /// Done.
    Done,
    /// The token or the permits are not held.
    NotHolder {
        /// The lease of one who does hold it.
        holder: Option<u64>,
    },
    /// The lease has ended.
    LeaseGone,
    /// The lease holds the lock shared; it would wait for itself.
    WouldDeadlock,
    /// The semaphore has another number of permits.
    Capacity {
        /// So many.
        have: u32,
    },
    /// No request with this ticket waits.
    NotWaiting,
    /// A limit is reached.
    Full {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The request makes no sense.
    Invalid(&'static str),
    /// The next numbers are not durable yet: try again.
    Later,
}

/// A request that waited waits no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wake {
    /// Its ticket.
    pub ticket: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has what it asked for.
    Granted {
        /// The fencing token.
        token: u64,
    },
    /// It has waited long enough.
    TimedOut {
        /// The lease of one holder.
        holder: Option<u64>,
    },
    /// Its lease has ended.
    LeaseGone,
}
