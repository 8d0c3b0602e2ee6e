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

use dev::Dev;
use isogrid_tests::harness::native::{COUNTERS, LOCKS};
use isogrid_tests::harness::script::play;
use isogrid_tests::harness::{Native, send_signal};
use serde_json::json;

/// Three nodes. One that is killed stays away.
fn three() -> Dev {
    Dev::three(&["--no-restart"])
}

/// The tables of one server hold for a cluster, whichever node each request is asked of.
#[test]
fn one_object_answers_behind_every_node() {
    let dev = three();
    let mut clients: Vec<Native> = (0..3).map(|node| dev.native(node)).collect();
    play(include_str!("../vectors/native/counter.txt"), &mut clients);
    play(include_str!("../vectors/native/lease.txt"), &mut clients);
}

/// Who cannot reach the others says nothing, also while its own lease lives: they have not what it
/// would say.
#[test]
fn nothing_is_acknowledged_that_no_other_copy_has() {
    let dev = three();
    let nodes = locks::nodes_from(locks::primary(&dev));
    let mut client = dev.native(nodes[0]);
    let lease = locks::lease(&mut client, 60_000);
    let others = [nodes[1], nodes[2]].map(|node| dev.pid(node));
    others.iter().for_each(|pid| send_signal(*pid, "STOP"));
    let lock = json!({"key": "l", "mode": "EXCLUSIVE", "wait": 0});
    let grant = json!({"ttl": 60_000, "info": "{}"});
    let mut asked: Vec<_> = (0..32)
        .map(|counter| {
            let add = json!({"name": format!("c{counter}"), "delta": "1"});
            ("counter.ADD", COUNTERS, add, json!({"timeout_ms": 400}))
        })
        .collect();
    asked.push(("lease.LEASE_GRANT", LOCKS, grant, json!({"timeout_ms": 400})));
    asked.push(("lease.LOCK", LOCKS, lock, json!({"timeout_ms": 400, "ext": {"lease": lease}})));
    let streams = client.ask_together(&asked);
    for ((op, ..), stream) in asked.iter().zip(streams) {
        let answer = client.answer(stream);
        assert_eq!(answer[0], "ERR", "{op}: {answer}");
    }
    others.iter().for_each(|pid| send_signal(*pid, "CONT"));
}
