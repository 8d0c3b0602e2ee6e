//! Counters and locks of a cluster: one object behind every node, also while its primary is killed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

#[path = "cluster_structures/counters.rs"]
mod counters;
#[path = "cluster_cli/dev.rs"]
mod dev;
#[path = "cluster_structures/locks.rs"]
mod locks;

use dev::{Dev, until};
use isogrid_tests::harness::Native;
use isogrid_tests::harness::script::play;

/// A cluster of three nodes whose copies are all there. A node that is killed stays away.
fn three() -> Dev {
    let dev = Dev::start(&["--nodes", "3", "--no-restart"]);
    until("every copy is there", || {
        (0..3).all(|node| dev.http(node, "/health/cluster").status == 200)
    });
    dev
}

/// The tables of one server hold for a cluster, whichever node each request is asked of.
#[test]
fn one_object_answers_behind_every_node() {
    let dev = three();
    let mut clients: Vec<Native> = (0..3).map(|node| dev.native(node)).collect();
    play(include_str!("../vectors/native/counter.txt"), &mut clients);
    play(include_str!("../vectors/native/lease.txt"), &mut clients);
}
