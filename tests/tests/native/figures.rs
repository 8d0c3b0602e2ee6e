//! What `/metrics` tells of waits, held connections and listeners.

use isogrid_tests::harness::native::LOCKS;
use isogrid_tests::harness::{Server, temporary, wait_until};
use serde_json::json;

use super::server;

const HTTP: [&str; 2] = ["--http", "127.0.0.1:0"];

/// The value of a series; 0 when there is none.
fn figure(server: &Server, series: &str) -> f64 {
    let text = server.http("GET", "/metrics", &[], b"").text();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

#[test]
fn who_waits_is_in_flight_and_the_wait_is_counted() {
    const IN_FLIGHT: &str = "isogrid_inflight_requests{protocol=\"native\"}";
    let server = server(&HTTP);
    let (mut one, mut two) = (server.native(), server.native());
    let mut lease = || {
        let granted = one.call("lease.LEASE_GRANT", LOCKS, json!({"ttl": 60_000, "info": "{}"}));
        json!({"ext": {"lease": granted[1]["lease"]}})
    };
    let (ours, theirs) = (lease(), lease());
    let lock = |wait: u64| json!({"key": "l", "mode": "EXCLUSIVE", "wait": wait});
    let held = one.call_with("lease.LOCK", LOCKS, lock(0), &ours);
    assert_eq!(figure(&server, IN_FLIGHT), 0.0);
    let waits = two.ask_with("lease.LOCK", LOCKS, lock(60_000), &theirs);
    let cancelled = two.ask_with("lease.LOCK", LOCKS, lock(60_000), &theirs);
    wait_until("both wait", || figure(&server, IN_FLIGHT) == 2.0);
    assert_eq!(figure(&server, "isogrid_lock_waits_total"), 0.0);
    two.cancel(cancelled);
    assert_eq!(two.answer(cancelled), json!(["ERR", "CANCELLED"]));
    one.call("lease.UNLOCK", LOCKS, json!({"key": "l", "fence": held[1]["fence"]}));
    assert_eq!(two.answer(waits)[0], "OK");
    wait_until("nobody waits", || figure(&server, IN_FLIGHT) == 0.0);
    wait_until("both are counted", || figure(&server, "isogrid_lock_waits_total") == 2.0);
    let took = figure(&server, "isogrid_lock_wait_seconds_total");
    assert!(took > 0.0 && took < 60.0, "{took}");
    assert_eq!(figure(&server, "isogrid_inflight_requests{protocol=\"http\"}"), 1.0, "itself");
}

#[test]
fn a_connection_that_is_not_read_is_counted_when_it_goes_on() {
    const HELD: &str = "isogrid_backpressure_seconds_total{protocol=\"memcached\"}";
    let server = server(&HTTP);
    let mut slow = server.connect();
    let value = "v".repeat(1_000_000);
    slow.ask(format!("set big 0 0 1000000\r\n{value}\r\n"), "STORED\r\n");
    assert_eq!(figure(&server, HELD), 0.0);
    slow.send("get big\r\n".repeat(20));
    // Some are in the way and the others wait.
    assert_eq!(slow.line(), "VALUE big 0 1000000");
    let sees = || {
        figure(&server, "isogrid_network_bytes_total{direction=\"written\",protocol=\"memcached\"}")
    };
    let mut before = -1.0;
    wait_until("no more is written", || std::mem::replace(&mut before, sees()) == before);
    slow.bytes(20 * 1_000_000);
    wait_until("it is counted", || figure(&server, HELD) > 0.0);
}

#[test]
fn a_listener_that_is_told_to_read_anew_is_counted() {
    const RESYNCS: &str = "isogrid_listener_resync_total{cache=\"default\"}";
    let server = server(&HTTP);
    let (mut client, mut memcached) = (server.native(), server.connect());
    let cache = client.cache("default");
    let listen = json!({
        "events": {"CREATE": true}, "read": {"VALUE": true}, "glob": null, "flags": {}, "credit": 0,
    });
    let stream = client.ask("cache.LISTEN", cache, listen);
    client.call("conn.PING", 0, json!({}));
    let value = "v".repeat(1_000_000);
    for n in 0..10 {
        memcached.ask(format!("set k{n} 0 0 1000000\r\n{value}\r\n"), "STORED\r\n");
    }
    assert_eq!(figure(&server, RESYNCS), 0.0);
    client.credit(stream, 1);
    client.next_of(stream);
    assert_eq!(figure(&server, RESYNCS), 1.0);
}

#[test]
fn syncs_of_the_log_are_counted() {
    let dir = temporary("figures-sync");
    let data = ["--data-dir", dir.to_str().unwrap(), "--persist", "sync"];
    let server = server(&[&HTTP[..], &data].concat());
    let count = || figure(&server, "isogrid_wal_fsyncs_total");
    let before = count();
    server.connect().ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    assert!(count() > before);
    let took = figure(&server, "isogrid_wal_fsync_seconds_total");
    assert!(took > 0.0 && took < 60.0, "{took}");
}
