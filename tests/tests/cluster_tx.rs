//! Transactions over the segments of a cluster (ADR 8): as on a node alone, and money that is moved
//! on three nodes while they are killed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

#[path = "cluster_tx/again.rs"]
mod again;
#[path = "cluster_tx/caches.rs"]
mod caches;
#[path = "cluster_cli/dev.rs"]
mod dev;
#[path = "cluster_tx/money.rs"]
mod money;

use std::time::{Duration, Instant};

use dev::{Dev, until};
use isogrid_tests::harness::script::play;
use isogrid_tests::harness::{Native, send_signal};
use money::{Bank, Moved, start_movers};
use serde_json::json;

/// Accounts: some hundred segments.
const ACCOUNTS: usize = 100;
/// What is on each at first.
const OPENING: u64 = 1_000;
/// Where they are, but for tests that say so.
const DEFAULT: [&str; 1] = ["default"];

fn is_whole(dev: &Dev) -> bool {
    (0..3).all(|node| dev.http(node, "/health/cluster").status == 200)
}

/// The table of one server holds for a cluster.
#[test]
fn a_transaction_of_a_cluster_is_one_of_a_node() {
    for mode in ["distributed", "replicated"] {
        let dev = Dev::three(&["--mode", mode]);
        let instance = "8f3c2b52-6d1c-4d0a-9a53-0d6f3a2e7b11";
        let mut clients = [dev.native_with(1, &json!({"client": {"instance": instance}}))];
        play(include_str!("../vectors/native/tx.txt"), &mut clients);
    }
}

#[test]
fn no_money_is_lost_while_nodes_are_killed() {
    let dev = Dev::three(&[]);
    let mut bank = Bank::at(&dev, 0, &DEFAULT);
    bank.open(ACCOUNTS, OPENING);
    let movers = start_movers(&dev, 4, ACCOUNTS, &DEFAULT);
    for node in [1, 2, 0, 1] {
        std::thread::sleep(Duration::from_secs(1));
        let pid = dev.pid(node);
        dev.kill(node);
        until("it is back", || dev.pid(node) != pid && is_whole(&dev));
    }
    let moved = movers.stop();
    let of = |kind: Moved| moved.iter().filter(|one| **one == kind).count();
    assert!(of(Moved::Done) > 100, "{} of {}", of(Moved::Done), moved.len());
    assert!(of(Moved::Conflict) > 0, "clients met");
    assert_eq!(of(Moved::Odd), 0);
    // Whoever is asked, all is there, and nothing is held any more.
    for node in 0..3 {
        let mut bank = Bank::at(&dev, node, &DEFAULT);
        let begin = Instant::now();
        assert_eq!(bank.sum(ACCOUNTS), OPENING * ACCOUNTS as u64, "at {node}");
        assert!(begin.elapsed() < Duration::from_secs(5), "something was in doubt");
        assert_eq!(bank.audit(ACCOUNTS), OPENING * ACCOUNTS as u64, "at {node}");
    }
}

/// Who cannot reach the others commits nothing over segments, and does not say that it did.
#[test]
fn a_minority_tells_no_lies() {
    let dev = Dev::three(&["--no-restart"]);
    let mut bank = Bank::at(&dev, 0, &DEFAULT);
    bank.open(ACCOUNTS, OPENING);
    let others = [1, 2].map(|node| dev.pid(node));
    others.iter().for_each(|pid| send_signal(*pid, "STOP"));
    let told: Vec<Moved> = (0..8).map(|at| bank.transfer(at, at + 9, 700)).collect();
    let lies = told.iter().filter(|one| **one == Moved::Done).count();
    // Of two accounts of this node alone it may still know, until its lease ends.
    assert!(lies < told.len(), "{told:?}");
    others.iter().for_each(|pid| send_signal(*pid, "CONT"));
    until("all is served", || bank.try_sum(ACCOUNTS).is_some());
    assert_eq!(bank.sum(ACCOUNTS), OPENING * ACCOUNTS as u64);
}

/// Two transactions that write what the other one reads: one of them is told which key it was.
#[test]
fn conflicts_name_their_keys() {
    let dev = Dev::three(&[]);
    let (mut one, mut other) = (dev.native(0), dev.native(1));
    let cache = one.cache("default");
    let put = |client: &mut Native, key: &str, tx: &str| {
        let body = json!({"key": key, "value": "1", "write": {}});
        client.call_with("cache.PUT", cache, body, &json!({"ext": {"tx": tx}}))
    };
    let begin = |client: &mut Native| {
        let begun = client.call("tx.BEGIN", 0, json!({"isolation": "SERIALIZABLE", "idle_ms": 0}));
        begun[1]["tx"].as_str().unwrap().to_owned()
    };
    let (first, second) = (begin(&mut one), begin(&mut other));
    for (client, tx) in [(&mut one, &first), (&mut other, &second)] {
        for key in ["a", "b", "c"] {
            assert_eq!(put(client, key, tx)[0], "OK");
        }
    }
    let committed = one.call("tx.COMMIT", 0, json!({"tx": first}));
    assert_eq!(committed, json!(["OK", {}]));
    let refused = other.call("tx.COMMIT", 0, json!({"tx": second}));
    assert_eq!(refused[0], "VERSION_MISMATCH", "{refused}");
    let named = refused[1]["conflicts"].as_array().unwrap();
    assert!(!named.is_empty() && named.iter().all(|one| one["version"] != "0"), "{refused}");
    let state = |client: &mut Native, tx: &str| {
        client.call("tx.STATUS", 0, json!({"tx": tx}))[1]["state"].clone()
    };
    assert_eq!(state(&mut one, &first), "COMMITTED");
    assert_eq!(state(&mut other, &first), "COMMITTED", "another node knows it as well");
    assert_eq!(state(&mut other, &second), "ABORTED");
}
