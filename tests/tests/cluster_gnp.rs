//! GNP, HTTP and administration on caches of a cluster: any node is asked, also while another one
//! is paused or killed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

#[path = "cluster_gnp/batch.rs"]
mod batch;
#[path = "cluster_cli/dev.rs"]
mod dev;
#[path = "cluster_gnp/http.rs"]
mod http;
#[path = "cluster_gnp/listen.rs"]
mod listen;
#[path = "cluster_gnp/many.rs"]
mod many;
#[path = "cluster_gnp/once.rs"]
mod once;
#[path = "cluster_gnp/stale.rs"]
mod stale;
#[path = "cluster_gnp/topology.rs"]
mod topology;
#[path = "cluster_gnp/track.rs"]
mod track;
#[path = "cluster_gnp/whole.rs"]
mod whole;

use std::collections::BTreeMap;

use dev::{Dev, until};
use isogrid_tests::harness::Native;
use serde_json::{Value, json};

fn is_whole(dev: &Dev) -> bool {
    (0..3).all(|node| dev.http(node, "/health/cluster").status == 200)
}

/// A connection to a node, and the number of the cache `default`.
fn native(dev: &Dev, node: usize) -> (Native, u64) {
    let mut client = dev.native(node);
    let cache = client.cache("default");
    (client, cache)
}

fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

fn put_many(keys: &[String], value: &str, write: Value) -> Value {
    let entries: Vec<_> = keys.iter().map(|key| json!({"key": key, "value": value})).collect();
    json!({"write": write, "entries": entries})
}

fn get_many(keys: &[String]) -> Value {
    json!({"keys": keys, "read": {"VALUE": true}})
}

/// The statuses of the items of an answer.
fn statuses(answer: &Value) -> Vec<&str> {
    let (entries, results) = (&answer[1]["entries"], &answer[1]["results"]);
    let items = entries.as_array().or(results.as_array());
    let items = items.unwrap_or_else(|| panic!("no items: {answer}"));
    items.iter().map(|item| item["status"].as_str().unwrap()).collect()
}

/// How many items have each status.
fn tally(answer: &Value) -> BTreeMap<&str, usize> {
    let mut tally = BTreeMap::new();
    statuses(answer).into_iter().for_each(|status| *tally.entry(status).or_default() += 1);
    tally
}
