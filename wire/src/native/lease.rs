//! Group 0x04: leases, and the locks and semaphores that hang on them.

use super::blob::{Json, Key};
use super::codec::Ms;
use super::declare::{choices, group, record};
use super::list::List;
use super::status::Status;

choices! {
    /// Who may hold a lock at the same time.
    LockMode {
        /// One alone.
        0 Exclusive "EXCLUSIVE",
        /// Any number of holders who all asked for this mode.
        1 Shared "SHARED",
    }
}

record! {
    /// How one lease of many stands.
    LeaseLeft {
        /// OK, or NOT_FOUND if it has ended.
        status: Status,
        /// Milliseconds until it ends.
        left: Ms,
    }
}

group! {
    /// Leases, locks and semaphores. The object is a space of locks. What is made here hangs on a
    /// lease, named by the extension `lease`, and goes when the lease ends: by REVOKE, or because
    /// nobody kept it alive. A lease does not end with a connection.
    0x04 "lease";
    reserved {}

    /// Grants a lease.
    0x0401 LEASE_GRANT LeaseGrant<'a> (Dedup, Write, none) {
        /// It ends so long after the last KEEPALIVE: 1,000 to 86,400,000 ms.
        ttl: Ms,
        /// Who holds it, for people: shown to those who wait.
        info: Json<'a>,
    } => LeaseGrantReply {
        /// Granted.
        Ok {
            /// Its number.
            lease: u64,
        }
    }

    /// Keeps leases alive.
    0x0402 KEEPALIVE Keepalive<'a> (Idempotent, Write, none) {
        /// Which ones: at most `max_keys`.
        leases: List<'a, u64>,
    } => KeepaliveReply<'a> {
        /// All are alive.
        Ok {
            /// One a lease, in the order of the request.
            leases: List<'a, LeaseLeft>,
        }
        /// Some have ended.
        Partial {
            /// One a lease, in the order of the request.
            leases: List<'a, LeaseLeft>,
        }
    }

    /// Ends a lease, and all that hangs on it.
    0x0403 REVOKE Revoke (Idempotent, Write, none) {
        /// Which one.
        lease: u64,
    } => RevokeReply {
        /// It has ended.
        Ok {}
        /// It had ended before.
        NotFound {}
    }

    /// What is known of a lease.
    0x0404 LEASE_INFO LeaseInfo (Read, Read, none) {
        /// Which one.
        lease: u64,
    } => LeaseInfoReply<'a> {
        /// It is alive.
        Ok {
            /// `ttl_ms`, `left_ms`, `info` and `locks`.
            lease: Json<'a>,
        }
        /// It has ended.
        NotFound {}
    }

    /// Takes a lock for the lease of the extension, and waits for it if somebody has it. Who holds
    /// it already is answered with the same token.
    0x0406 LOCK Lock<'a> (Idempotent, Write, key) {
        /// The lock.
        key: Key<'a>,
        /// Who may hold it at the same time.
        mode: LockMode,
        /// How long to wait; 0: not at all.
        wait: Ms,
    } => LockReply<'a> {
        /// It is the caller's.
        Ok {
            /// The fencing token: larger than that of every holder before.
            fence: u64,
        }
        /// Somebody else has it.
        NotStored {
            /// The `info` of the lease that it hangs on.
            holder: Json<'a>,
        }
    }

    /// Releases a lock.
    0x0407 UNLOCK Unlock<'a> (Idempotent, Write, key) {
        /// The lock.
        key: Key<'a>,
        /// The token that LOCK answered; another one is `NOT_HOLDER`.
        fence: u64,
    } => UnlockReply {
        /// Released.
        Ok {}
        /// Nobody held it.
        NotFound {}
    }

    /// What is known of a lock.
    0x0408 LOCK_INFO LockInfo<'a> (Read, Read, key) {
        /// The lock.
        key: Key<'a>,
    } => LockInfoReply<'a> {
        /// Somebody holds it.
        Ok {
            /// `mode`, `fence`, `holders` and `waiting`.
            lock: Json<'a>,
        }
        /// Nobody does.
        NotFound {}
    }

    /// Takes permits of a semaphore for the lease of the extension, and waits for them. Who takes
    /// the first permit says how many there are.
    0x0409 SEM_ACQUIRE SemAcquire<'a> (Dedup, Write, key) {
        /// The semaphore.
        key: Key<'a>,
        /// How many; all or none.
        permits: u32,
        /// How many the semaphore has in all. As long as any is taken, another number is
        /// `INVALID_ARGUMENT`.
        of: u32,
        /// How long to wait; 0: not at all.
        wait: Ms,
    } => SemAcquireReply {
        /// They are the caller's.
        Ok {
            /// How many are left.
            left: u32,
        }
        /// There are not as many.
        NotStored {
            /// How many are left.
            left: u32,
        }
    }

    /// Gives permits back.
    0x040a SEM_RELEASE SemRelease<'a> (Dedup, Write, key) {
        /// The semaphore.
        key: Key<'a>,
        /// How many. More than the lease has is `NOT_HOLDER`.
        permits: u32,
    } => SemReleaseReply {
        /// Given back.
        Ok {
            /// How many are left.
            left: u32,
        }
    }
}
