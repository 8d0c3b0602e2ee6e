//! Whether the server lives, is ready, and has ever been: what probes ask. Every answer is read
//! from atomics; nothing here waits for a disk, a lock or another node.

use std::sync::atomic::{AtomicBool, Ordering};

use super::node::Node;
use crate::cluster::Cluster;

/// What the server knows of itself.
#[derive(Default)]
pub struct Health {
    started: AtomicBool,
    draining: AtomicBool,
}

impl Health {
    /// Data is read and every listener is bound.
    pub fn start(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Whether the server has ever been ready.
    pub fn has_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// An operator asks for no new clients, or takes that back; everything is served all the same.
    pub fn drain(&self, drain: bool) {
        self.draining.store(drain, Ordering::Release);
    }

    /// Whether an operator asked for no new clients.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Good,
    /// Not as it should be, and no reason to send clients elsewhere.
    Degraded,
    /// Clients are to go elsewhere.
    Bad,
}

impl State {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            State::Good => "ok",
            State::Degraded => "degraded",
            State::Bad => "failed",
        }
    }
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// Why, when it is not good.
    pub why: &'static str,
}

impl Check {
    fn new(name: &'static str, state: State, why: &'static str) -> Check {
        Check { name, state, why: if state == State::Good { "" } else { why } }
    }

    fn bad_if(bad: bool, name: &'static str, why: &'static str) -> Check {
        Check::new(name, if bad { State::Bad } else { State::Good }, why)
    }
}

/// Whether the process does its work at all. A restart is no help against a full disk or a failed
/// log, which the operator has to look at: so neither is in here.
pub fn live(_: &Node) -> Vec<Check> {
    vec![Check::new("answers", State::Good, "")]
}

/// Whether the server has ever been ready.
pub fn startup(node: &Node) -> Vec<Check> {
    let started = node.health.has_started();
    vec![Check::bad_if(!started, "started", "the data directory is being read")]
}

/// Whether clients are to come here.
pub fn ready(node: &Node) -> Vec<Check> {
    let mut checks = startup(node);
    checks.push(Check::bad_if(node.is_stopping(), "running", "the server is stopping"));
    let draining = node.health.is_draining();
    checks.push(Check::bad_if(draining, "taking_clients", "an operator asked for a drain"));
    if let Some(data) = node.data.get() {
        let persistence = &data.persistence;
        let failed = persistence.failure().is_some();
        let why = "the log failed: writes are refused until a restart";
        checks.push(Check::bad_if(failed, "storage_log", why));
        // Reads go on, and every other node may be as full: sending clients away helps nobody.
        let space = if persistence.is_out_of_space() { State::Degraded } else { State::Good };
        let why = "the disk is full: writes are refused until there is room";
        checks.push(Check::new("storage_space", space, why));
    }
    checks.extend(node.cluster.get().into_iter().flat_map(|cluster| in_cluster(cluster)));
    checks
}

/// Whether a member can answer for the cluster. Copies that are missing are no reason to send
/// clients elsewhere: `/health/cluster` tells of them.
fn in_cluster(cluster: &Cluster) -> [Check; 3] {
    let told = cluster.told();
    let why = "the node is no member of its cluster yet";
    let member = Check::bad_if(told.member.is_none(), "cluster_member", why);
    let why = "the member has no lease: it hears nothing from a leader with a majority";
    let lease = Check::bad_if(!cluster.may_serve(), "cluster_lease", why);
    let why = "nobody serves some segments of the cluster's caches";
    [member, lease, Check::bad_if(!told.is_served_whole(), "cluster_segments", why)]
}
