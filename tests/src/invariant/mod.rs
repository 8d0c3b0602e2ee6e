//! What must hold after every step of every core (DATA_PATH section 18): one property, one file.

mod agreement;
pub mod bank;
pub mod behind;
pub mod copies;
pub mod counted;
pub mod fresh;
pub mod linear;
mod one_server;
mod rising;
mod routes;
mod succession;
pub mod tail;
pub mod total_queue;

use std::collections::BTreeMap;

use isogrid_grid::control::Control;
use isogrid_grid::id::{Boot, GroupId, NodeId, SegmentId};
use isogrid_grid::membership::Monotonic;
use isogrid_grid::metadata::Change;

pub use self::succession::Lost;
use crate::sim::process::Machine;

/// What a check may look at: the world knows everything at once, as nobody in it does.
pub struct View<'a> {
    /// True time, us.
    pub now: u64,
    /// The machine on which something has happened.
    pub at: usize,
    /// All of them.
    pub machines: &'a [Machine],
    /// Clocks keep their bound, and so what leases promise holds.
    pub clocks_hold: bool,
}

impl<'a> View<'a> {
    /// The core that has done something.
    fn core(&self) -> Option<&'a Control> {
        Some(&self.machines.get(self.at)?.process.as_ref()?.control)
    }
}

/// A step that changes none of these lets a process do, say and know nothing more than before. Time
/// alone only takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Has {
    boot: Boot,
    index: u64,
    lease: Monotonic,
    leader: (u64, Option<NodeId>),
    leads: bool,
}

impl Has {
    fn of(core: &Control) -> Has {
        Has {
            boot: core.identity().boot,
            index: core.metadata().index(),
            lease: core.lease().until(),
            leader: core.leader(),
            leads: core.leads(),
        }
    }
}

/// All that must hold, and what it has to remember for that.
#[derive(Debug, Default)]
pub struct Invariants {
    /// What the process of each machine had when it was looked at last.
    seen: BTreeMap<usize, Has>,
    agreement: agreement::Agreement,
    /// What was answered before it was on a disk, and what of it a crash of all loses.
    pub behind: behind::Behind,
    /// What became of transactions.
    pub bank: bank::Bank,
    /// What clients of the invalidated cache were told.
    pub fresh: fresh::Fresh,
    one_server: one_server::OneServer,
    rising: rising::Rising,
    routes: routes::Routes,
    succession: succession::Succession,
    /// What was answered at once, and what of it a failover loses.
    pub tails: tail::Tails,
    /// What became of messages.
    pub total_queue: total_queue::TotalQueue,
}

impl Invariants {
    /// Checks what may have changed with the last step.
    ///
    /// # Errors
    /// What is broken.
    pub fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        let Some(has) = view.core().map(Has::of) else { return Ok(()) };
        if self.seen.insert(view.at, has) == Some(has) {
            return Ok(());
        }
        self.rising.check(view)?;
        self.routes.check(view)?;
        self.agreement.check(view)?;
        self.succession.check(view)?;
        for (place, process) in std::mem::take(&mut self.succession.came_back) {
            self.behind.came_back(place, process);
        }
        if view.clocks_hold { self.one_server.check(view) } else { Ok(()) }
    }

    /// What was declared lost, as far as anybody knows.
    #[must_use]
    pub fn lost(&self, group: GroupId, segment: SegmentId) -> Lost {
        self.succession.lost(group, segment)
    }

    /// An operator asks for this.
    pub fn asked_to_force(&mut self, change: &Change) {
        self.succession.asked_to_force(change);
    }

    /// How many segments an operator had a stale copy serve.
    #[must_use]
    pub fn forced(&self) -> u64 {
        self.succession.forced()
    }

    /// Terms that had a leader.
    #[must_use]
    pub fn leaders(&self) -> usize {
        self.agreement.leaders()
    }

    /// Entries that were applied.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.agreement.entries()
    }
}
