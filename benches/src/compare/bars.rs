//! The numbers that Isogrid holds: a bar that must not be missed and a goal beyond it. All are
//! upper limits.

use std::fmt;

use super::product::Product;

/// An upper limit that must hold, and a better one to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// Must hold.
    pub bar: f64,
    /// Better.
    pub goal: f64,
}

/// Bytes an item over key and value.
pub const ITEM_OVERHEAD_BYTES: Bar = Bar { bar: 60.0, goal: 40.0 };
/// Memory over limit after churn of mixed sizes.
pub const CHURN_RSS_OVER_LIMIT: Bar = Bar { bar: 1.15, goal: 1.05 };
/// Milliseconds from start to the first answer.
pub const START_MS: Bar = Bar { bar: 100.0, goal: 50.0 };
/// Memory of an idle server, in MiB.
pub const IDLE_RSS_MIB: Bar = Bar { bar: 20.0, goal: 10.0 };

/// Server CPU per request over TLS against without, 32 requests a batch.
pub const TLS_CPU_DEPTH_32: Bar = Bar { bar: 1.35, goal: 1.25 };

/// Server CPU per set of a distributed cache, of all three nodes together, over that of a local
/// one, 32 sets a batch.
pub const DISTRIBUTED_CPU_OVER_LOCAL: Bar = Bar { bar: 3.0, goal: 3.0 };

/// Server CPU per request of GNP over memcached's text protocol, at every depth.
pub const GNP_CPU_OVER_TEXT: Bar = Bar { bar: 1.0, goal: 1.0 };

/// Nanoseconds of a read that the client's near cache answers.
pub const NEAR_HIT_NS: Bar = Bar { bar: 1000.0, goal: 500.0 };
/// How often a key is computed that many ask for at once.
pub const FLIGHT_COMPUTED: Bar = Bar { bar: 1.0, goal: 1.0 };
/// Milliseconds from a result until those have it who wait for it, at the 99th percentile.
pub const FLIGHT_WOKEN_MS: Bar = Bar { bar: 5.0, goal: 5.0 };
/// KiB of memory for an idle connection over GNP.
pub const IDLE_GNP_KIB: Bar = Bar { bar: 12.0, goal: 6.0 };

/// CPU a set with `persist = async` against none.
pub const ASYNC_CPU_OVER_NONE: Bar = Bar { bar: 1.3, goal: 1.1 };
/// CPU a set with `persist = async` against Redis that syncs its file each second, 32 a batch.
pub const ASYNC_CPU_OVER_REDIS: Bar = Bar { bar: 0.7, goal: 0.7 };
/// Time a set with `persist = sync` against Redis that syncs always, 64 connections.
pub const SYNC_TIME_OVER_REDIS: Bar = Bar { bar: 0.5, goal: 0.5 };
/// Time a set with `persist = sync` against a loop that writes and syncs, 64 connections.
pub const SYNC_TIME_OVER_BARE: Bar = Bar { bar: 1.25, goal: 1.25 };

/// A measure against its bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As good as the goal.
    Goal,
    /// As good as the bar.
    Holds,
    /// Worse than the bar.
    Missed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Goal => "goal",
            Self::Holds => "holds",
            Self::Missed => "MISSED",
        })
    }
}

impl Bar {
    /// Compares a measure with the limits.
    pub fn judge(self, measure: f64) -> Verdict {
        match measure {
            measure if measure <= self.goal => Verdict::Goal,
            measure if measure <= self.bar => Verdict::Holds,
            _ => Verdict::Missed,
        }
    }
}

/// Isogrid's CPU per request over a rival's, where that is promised: batches of 1 and 32 single
/// requests, and gets of 32 keys.
pub fn cpu_ratio(rival: Product, depth: usize, keys_per_get: usize) -> Option<Bar> {
    match (rival, depth, keys_per_get) {
        (Product::Memcached | Product::Redis, 1, 1) => Some(Bar { bar: 1.0, goal: 0.8 }),
        (Product::Memcached, 32, 1) => Some(Bar { bar: 0.1, goal: 0.05 }),
        (Product::Memcached, 1, 32) => Some(Bar { bar: 0.7, goal: 0.4 }),
        (Product::Redis, 32, 1) => Some(Bar { bar: 0.6, goal: 0.3 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_themselves_hold() {
        let bar = Bar { bar: 1.0, goal: 0.8 };
        let verdicts = [0.8, 0.9, 1.0, 1.01, f64::NAN].map(|measure| bar.judge(measure));
        use Verdict::{Goal, Holds, Missed};
        assert_eq!(verdicts, [Goal, Holds, Holds, Missed, Missed]);
    }
}
