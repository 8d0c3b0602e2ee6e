//! How long a segment is not served after the member that served it was killed (G5), in simulated
//! time: what the protocol takes, without what processors and sockets add.

use isogrid_grid::id::{GroupId, SegmentId};

use super::options::Options;
use super::world::World;

/// When the member is killed, us: everything is settled by then.
const KILL_AT: u64 = 15_000_000;
/// Between two looks, us.
const STEP_US: u64 = 5_000;
/// What no failover takes, us.
const MOST_US: u64 = 60_000_000;

/// One failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failover {
    /// How long nobody served, ms.
    pub ms: u64,
    /// Whether the member led the cluster as well.
    pub led: bool,
}

/// Kills the member that serves a segment in a calm cluster of three with leases of this length.
///
/// # Panics
/// When nobody serves it in the end.
#[must_use]
pub fn failover(seed: u64, lease_ms: u32) -> Failover {
    let mut world = World::with(seed, Options { lease_ms, ..Options::calm(3) }).traced();
    while world.now < KILL_AT {
        world.run_until(world.now + 50_000);
        world.create_groups();
    }
    // Not always at the same moment between two beats.
    let later = world.chance.below(1_000_000);
    world.run_until(world.now + later);
    let place = (GroupId(0), SegmentId(0));
    let victim = world.server_of(place).expect("the segment is served before");
    let led = world.control(victim).is_some_and(|control| control.leads());
    world.stop(victim, false);
    let killed_at = world.now;
    while world.server_of(place).is_none() {
        world.run_until(world.now + STEP_US);
        if world.now > killed_at + MOST_US {
            world.fail("nobody serves the segment any more");
        }
    }
    Failover { ms: (world.now - killed_at) / 1_000, led }
}
