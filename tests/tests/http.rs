//! HTTP as a real server speaks it: what it promises, and what it makes of bad input.
#![expect(clippy::indexing_slicing, reason = "a test: what is out of bounds fails it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failing test may panic")]

#[path = "http/abuse.rs"]
mod abuse;
#[path = "http/caches.rs"]
mod caches;
#[path = "http/detection.rs"]
mod detection;
#[path = "http/durability.rs"]
mod durability;
#[path = "http/entries.rs"]
mod entries;
#[path = "http/health.rs"]
mod health;
#[path = "http/heap.rs"]
mod heap;
#[path = "http/openapi.rs"]
mod openapi;

use isogrid_tests::harness::{Answer, Server};
use serde_json::Value;

const ENTRIES: &str = "/v1/caches/default/entries/";

/// A server with HTTP and the port for everything.
fn server(args: &[&str]) -> Server {
    let ours = ["--http", "127.0.0.1:0", "--native", "127.0.0.1:0"];
    Server::isogrid(&[&ours, args].concat())
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()))
}

/// The value of a series of `/metrics`.
fn metric(server: &Server, series: &str) -> u64 {
    let text = server.http("GET", "/metrics", &[], b"").text();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}
