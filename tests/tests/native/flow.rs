//! What holds for every request: order, deadlines, CANCEL, size, backpressure, the end.

use std::time::Duration;

use isogrid_tests::harness::native::{LOCKS, bytes_of, request};
use isogrid_tests::harness::{Native, Server, wait_until};
use serde_json::{Value, json};

use super::server;

fn put(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value, "write": {}})
}

fn get(key: &str) -> Value {
    json!({"key": key, "read": {"VALUE": true}})
}

fn value(answer: &Value) -> &str {
    answer[1]["entry"]["VALUE"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// A lease that holds the lock `l`, as extensions of requests.
fn holder(client: &mut Native) -> (Value, String) {
    let lease = client.call("lease.LEASE_GRANT", LOCKS, json!({"ttl": 60_000, "info": "{}"}));
    let ext = json!({"ext": {"lease": lease[1]["lease"]}});
    let held = client.call_with("lease.LOCK", LOCKS, lock(0), &ext);
    (ext, held[1]["fence"].as_str().unwrap_or_default().to_owned())
}

fn lock(wait: u64) -> Value {
    json!({"key": "l", "mode": "EXCLUSIVE", "wait": wait})
}

#[test]
fn many_requests_are_answered_in_the_order_of_each_key() {
    let server = server(&[]);
    let mut client = server.native();
    let cache = client.cache("default");
    let mut asked = Vec::new();
    for n in 0..2_000 {
        let write = client.ask("cache.PUT", cache, put("k", &n.to_string()));
        asked.push((n, write, client.ask("cache.GET", cache, get("k"))));
    }
    for (n, write, read) in asked {
        assert_eq!(client.answer(write)[0], "OK");
        assert_eq!(value(&client.answer(read)), n.to_string());
    }
}

#[test]
fn a_request_that_nobody_answers_is_executed() {
    let server = server(&["--http", "127.0.0.1:0"]);
    let mut client = server.native();
    let cache = client.cache("default");
    let mut silent = |op: &str, body: Value| {
        let frame = json!({
            "type": "REQ", "op": op, "stream": 0, "epoch": 0, "flags": ["NO_REPLY"],
            "timeout_ms": 0, "object": cache, "body": body,
        });
        client.send(&frame);
    };
    silent("cache.PUT", put("k", "v"));
    silent("cache.INCR", json!({"key": "k", "delta": "1", "initial": null, "write": {}}));
    let scan = json!({"read": {}, "segments": null, "glob": null, "batch": 0, "cursor": null, "credit": 1});
    silent("cache.SCAN", scan);
    assert_eq!(value(&client.call("cache.GET", cache, get("k"))), "v");
}

#[test]
fn large_values_come_and_go_in_fragments() {
    let server = server(&["--max-item-size", "8MiB", "--memory", "256MiB"]);
    let mut client = Native::begin(server.native_raw(), &json!({"max_frame": 16_384}));
    let cache = client.cache("default");
    let large = "0123456789abcdef".repeat(5 << 16);
    let stream = client.ask_in_pieces("cache.PUT", cache, put("k", &large));
    assert_eq!(client.answer(stream)[0], "OK");
    assert_eq!(value(&client.call("cache.GET", cache, get("k"))), large);
    let many =
        client.call("cache.GET_MANY", cache, json!({"keys": ["k"], "read": {"VALUE": true}}));
    assert_eq!(many[1]["entries"][0]["entry"]["VALUE"], large.as_str());
    let appended = json!({"key": "k", "value": "x".repeat(4 << 20), "write": {}});
    let stream = client.ask_in_pieces("cache.APPEND", cache, appended);
    assert_eq!(client.answer(stream), json!(["ERR", "VALUE_TOO_LARGE"]));
}

#[test]
fn who_waits_for_a_lock_gets_it_or_gives_up() {
    let server = server(&[]);
    let (mut one, mut two) = (server.native(), server.native());
    let (_, fence) = holder(&mut one);
    let (ext, none) = holder(&mut two);
    assert_eq!(none, "");
    // It is given when it is free.
    let waits = two.ask_with("lease.LOCK", LOCKS, lock(60_000), &ext);
    // A shorter time for the whole request ends it first.
    let mut hasty = ext.clone();
    hasty["timeout_ms"] = json!(20);
    let late = two.call_with("lease.LOCK", LOCKS, lock(60_000), &hasty);
    assert_eq!(late, json!(["ERR", "DEADLINE_EXCEEDED"]));
    // A cancelled one is answered once, and a second CANCEL not at all.
    let cancelled = two.ask_with("lease.LOCK", LOCKS, lock(60_000), &ext);
    two.cancel(cancelled);
    two.cancel(cancelled);
    assert_eq!(two.answer(cancelled), json!(["ERR", "CANCELLED"]));
    // A fence waits for what was sent before it.
    let fenced = two.ask("conn.FENCE", 0, json!({}));
    assert_eq!(two.call("conn.PING", 0, json!({})), json!(["OK", {}]));
    one.call("lease.UNLOCK", LOCKS, json!({"key": "l", "fence": fence}));
    assert_eq!(two.answer(waits)[0], "OK");
    assert_eq!(two.answer(fenced), json!(["OK", {}]));
}

#[test]
fn a_request_whose_time_is_over_is_not_executed() {
    let server = server(&[]);
    let (mut one, mut two) = (server.native(), server.native());
    let cache = one.cache("default");
    let (_, fence) = holder(&mut one);
    let lease = two.call("lease.LEASE_GRANT", LOCKS, json!({"ttl": 60_000, "info": "{}"}));
    let ext = json!({"ext": {"lease": lease[1]["lease"]}});
    let inflight = two.welcome["limits"]["max_inflight"].as_u64().unwrap();
    for _ in 1..inflight {
        two.ask_with("lease.LOCK", LOCKS, lock(60_000), &ext);
    }
    let waiting = || {
        let info = server.native().call("lease.LOCK_INFO", LOCKS, json!({"key": "l"}));
        let lock: Value = serde_json::from_str(info[1]["lock"].as_str().unwrap()).unwrap();
        lock["waiting"].as_u64().unwrap()
    };
    wait_until("all but one wait", || waiting() == inflight - 1);
    // Behind the last one no more are taken: these are read with it, and wait until there is room.
    let streams = two.ask_together(&[
        ("lease.LOCK", LOCKS, lock(60_000), ext),
        ("cache.PUT", cache, put("late", "x"), json!({"timeout_ms": 1})),
        ("cache.PUT", cache, put("timely", "x"), json!({"timeout_ms": 60_000})),
    ]);
    let (late, timely) = (streams[1], streams[2]);
    wait_until("all wait", || waiting() == inflight);
    std::thread::sleep(Duration::from_millis(20));
    one.call("lease.UNLOCK", LOCKS, json!({"key": "l", "fence": fence}));
    assert_eq!(two.answer(late), json!(["ERR", "DEADLINE_EXCEEDED"]));
    assert_eq!(two.answer(timely)[0], "OK");
    assert_eq!(one.call("cache.GET", cache, get("late"))[0], "NOT_FOUND");
}

#[test]
fn who_does_not_read_is_not_served_and_costs_little() {
    let server = server(&["--max-item-size", "1MiB"]);
    let mut client = server.native();
    let cache = client.cache("default");
    let value = "v".repeat(512 << 10);
    client.call("cache.PUT", cache, put("k", &value));
    let before = server.resident_kib();
    let bytes = bytes_of(&request("cache.GET", cache, 5, get("k"), &json!({})));
    // Answers of 50 GiB, if they were made.
    client.raw.set_patience(Duration::from_millis(300));
    for _ in 0..100 {
        if client.raw.try_send(bytes.repeat(1_000)).is_err() {
            break;
        }
    }
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
    assert_eq!(server.native().call("conn.PING", 0, json!({})), json!(["OK", {}]));
}

#[test]
fn a_node_that_stops_says_so_and_serves_what_comes_meanwhile() {
    let mut server = server(&["--set", "node.drain_timeout=20s"]);
    let mut client = server.native();
    let cache = client.cache("default");
    let silent = server.native();
    server.signal("TERM");
    let away = client.receive();
    assert_eq!((&away["type"], &away["payload"]["reason"]), (&json!("GOAWAY"), &json!(1)));
    assert_eq!(away["payload"]["drain_ms"], 10_000);
    assert_eq!(client.call("cache.PUT", cache, put("k", "v"))[0], "OK");
    assert!(server.is_running());
    drop((client, silent));
    assert!(server.wait().success());
}

#[test]
fn a_client_that_stays_is_refused_and_then_closed() {
    let mut server = server(&["--set", "node.drain_timeout=2s"]);
    let (mut one, mut two) = (server.native(), server.native());
    let cache = one.cache("default");
    let listen =
        json!({"events": {"CREATE": true}, "read": {}, "glob": null, "flags": {}, "credit": 9});
    let stream = two.ask("cache.LISTEN", cache, listen);
    let (_, _) = holder(&mut one);
    let lease = two.call("lease.LEASE_GRANT", LOCKS, json!({"ttl": 60_000, "info": "{}"}));
    let ext = json!({"ext": {"lease": lease[1]["lease"]}});
    // Something under way keeps its connection open until it is refused.
    one.ask_with("lease.LOCK", LOCKS, lock(60_000), &ext);
    server.signal("TERM");
    assert_eq!(one.receive()["type"], "GOAWAY");
    assert_eq!(two.receive()["type"], "GOAWAY");
    assert_eq!(two.answer(stream), json!(["ERR", "GOING_AWAY"]));
    two.raw.closed();
    wait_until("requests are refused", || {
        one.call("conn.PING", 0, json!({})) == json!(["ERR", "SHUTTING_DOWN"])
    });
    drop(one);
    assert!(server.wait().success());
}

#[test]
fn operations_are_counted_under_the_protocol() {
    let server = server(&["--http", "127.0.0.1:0"]);
    let mut client = server.native();
    let cache = client.cache("default");
    client.call("cache.PUT", cache, put("k", "v"));
    client.call("cache.GET", cache, get("k"));
    client.call("cache.GET", cache, get("no"));
    client.call("cache.REMOVE", cache, json!({"key": "k", "write": {}}));
    for (op, result) in [("get", "hit"), ("get", "miss"), ("delete", "hit")] {
        let series = format!(
            "isogrid_ops_total{{cache=\"default\",op=\"{op}\",result=\"{result}\",protocol=\"native\"}} 1"
        );
        let text = metrics(&server);
        assert!(text.contains(&series), "{series} in {text}");
    }
    assert!(metrics(&server).contains("isogrid_connections{protocol=\"native\"} 1"));
}

fn metrics(server: &Server) -> String {
    server.http("GET", "/metrics", &[], b"").text()
}
