//! Leases: who may act for a member, and until when (DATA_PATH R6-R12).
//!
//! A member that serves anything holds a [`Lease`], and the Raft leader's [`Grants`] give them.
//! One lease stands for all roles of a member. The two never compare clocks: the member counts
//! from when it asked and ends early, the leader counts from when it granted and waits longer, so
//! that clocks that drift by at most 1 % keep the member's end before the leader's.

mod grants;
mod lease;

pub use self::grants::{Beat, Grant, Grants};
pub use self::lease::Lease;

/// Milliseconds of a clock that never goes back and goes on while the machine sleeps (R11).
pub type Monotonic = u64;

/// How often a member with leases of this length is told that time has passed, ms: a thirtieth, and
/// 10 to 50. A word from the leader, an election and a lease take so many of them, so shorter leases
/// make all of a failover shorter (ADR 5).
#[must_use]
pub fn tick_ms(lease_ms: u32) -> u64 {
    (u64::from(lease_ms) / 30).clamp(10, 50)
}

/// The time, as a core is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// For spans.
    pub monotonic: Monotonic,
    /// For dates: wall clock, ms.
    pub wall: isogrid_engine::Timestamp,
}

#[cfg(test)]
mod tests;
