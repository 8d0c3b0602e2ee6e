//! Whether a cluster can have given its clients the answers that they recorded: for `isogrid verify`,
//! and for the cluster's own tests.
//!
//! | file | what it checks | how much it can check |
//! |---|---|---|
//! | `versioned.rs` | each key of values by what real time and versions say | millions of operations, O(n log n) |
//! | `counter.rs` | keys that are only counted up | the same |
//! | `acked.rs` | keys that are written once: what was acknowledged is there at the end | the same |
//! | `wgl.rs` | any key, by a search for an order that explains every answer | some hundred operations a key |
//! | `verdict.rs` | a whole history: each key by its kind | |
//!
//! What all of them assume of a history:
//! - The times are of one clock, so of one machine: an operation that returned before another one
//!   was called comes before it. Operations that overlap may be in either order.
//! - No two writes of one key write the same value (counters aside), so that who reads a value
//!   knows whose it is.
//! - Versions (memcached's "cas unique") rise with every change of a key.
//! - Nothing expires, is evicted, or was declared lost. A history ends where a loss is declared.
//! - [`Told::Unknown`] may have taken effect at any time after its call, or may do so later, or
//!   never. [`Told::Failed`] has not and will not.
//!
//! Only `wgl.rs` is complete: it accepts what has an order, and nothing else. The others find
//! nothing wrong where there is nothing, and may overlook something that takes a search to see.

pub mod acked;
pub mod counter;
pub mod verdict;
pub mod versioned;
pub mod wgl;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

/// What a client asked for. Values and versions are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Read the value and its version.
    Get,
    /// Write this value.
    Put(u64),
    /// Write a value if the key still has what was read.
    Cas {
        /// The value that was read.
        expected: u64,
        /// Its version.
        version: u64,
        /// The value to write.
        value: u64,
    },
    /// Remove the key.
    Delete,
    /// Count up by one.
    Increment,
}

/// What the client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A value and its version, or that there is none.
    Read(Option<(u64, u64)>),
    /// It was done; with this version, if that was said.
    Done(Option<u64>),
    /// It was counted up to this.
    Counted(u64),
    /// Not done: the key holds something else than what was expected.
    Changed,
    /// Not done: the key is not there.
    Missing,
    /// Surely not done.
    Failed,
    /// Nobody knows whether it was or will be done.
    Unknown,
}

/// One operation of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: usize,
    /// Which node was asked.
    pub node: usize,
    /// Of which key.
    pub key: String,
    /// For what.
    pub ask: Ask,
    /// What was answered.
    pub told: Told,
    /// When it was asked, ns.
    pub called: u64,
    /// When it was answered, ns.
    pub returned: u64,
}

impl Operation {
    /// The value that it writes, if it does.
    #[must_use]
    pub fn writes(&self) -> Option<u64> {
        match self.ask {
            Ask::Put(value) | Ask::Cas { value, .. } => Some(value),
            Ask::Get | Ask::Delete | Ask::Increment => None,
        }
    }

    /// Whether its client knows that it was done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.told, Told::Done(_) | Told::Counted(_) | Told::Read(_))
    }

    /// Whether it may have been done.
    #[must_use]
    pub fn may_be_done(&self) -> bool {
        self.is_done() || self.told == Told::Unknown
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u64| ns / 1_000;
        let Operation { client, node, key, ask, told, called, returned } = self;
        let (called, returned) = (us(*called), us(*returned));
        write!(f, "{called:>10} {returned:>10} us c{client} n{node} {key} {ask:?} -> {told:?}")
    }
}

/// The operations of each key, in the order of their calls.
#[must_use]
pub fn by_key(history: &[Operation]) -> BTreeMap<&str, Vec<&Operation>> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        keys.entry(&operation.key).or_default().push(operation);
    }
    keys.values_mut().for_each(|all| all.sort_by_key(|operation| operation.called));
    keys
}

/// Numbers at times: the highest one before any time.
#[derive(Debug, Default)]
struct Highest(Vec<(u64, u64)>);

impl Highest {
    fn new(points: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut points: Vec<(u64, u64)> = points.collect();
        points.sort_unstable();
        let mut highest = 0;
        for (_, number) in &mut points {
            highest = highest.max(*number);
            *number = highest;
        }
        Highest(points)
    }

    fn before(&self, time: u64) -> Option<u64> {
        let count = self.0.partition_point(|(at, _)| *at < time);
        self.0.get(count.checked_sub(1)?).map(|(_, number)| *number)
    }
}
