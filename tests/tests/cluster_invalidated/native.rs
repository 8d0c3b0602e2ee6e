//! GNP, HTTP and the command line on invalidated caches.

use isogrid_tests::harness::Native;
use serde_json::{Value, json};

use super::dev::{Dev, until};

/// Three nodes with the invalidated cache `default`.
fn three() -> Dev {
    let dev = Dev::start(&["--nodes", "3", "--mode", "invalidated"]);
    until("every node serves", || (0..3).all(|node| get(&dev, node, "none").0 == 404));
    dev
}

fn native(dev: &Dev, node: usize) -> (Native, u64) {
    let mut client = dev.native(node);
    let cache = client.cache("default");
    (client, cache)
}

fn entry(key: &str) -> String {
    format!("/v1/caches/default/entries/{key}")
}

fn get(dev: &Dev, node: usize, key: &str) -> (u16, String) {
    let answer = dev.http(node, &entry(key));
    (answer.status, answer.text())
}

/// What each of the nodes 0 and 1 gets is loaded there, and nobody hears of it.
fn load(dev: &Dev, key: &str) {
    for node in 0..2 {
        let loaded = dev.asks(node, "PUT", &entry(key), &["if-none-match: *"], b"1");
        assert_eq!(loaded.status, 201);
    }
    assert_eq!(get(dev, 0, key), (200, "1".to_owned()));
}

fn put(key: &str, write: &Value) -> Value {
    json!({"key": key, "value": "2", "write": write})
}

#[test]
fn writes_of_each_protocol_are_dropped_on_the_others() {
    let dev = three();
    let (mut client, cache) = native(&dev, 2);
    let many = json!({"keys": ["k", "l"], "write": {}});
    let entries = json!({"write": {}, "entries": [{"key": "k", "value": "2"}]});
    let clear = json!({"delay_ms": 0, "notify": false});
    for (op, body) in [
        ("cache.PUT", put("k", &json!({}))),
        ("cache.REMOVE", json!({"key": "k", "write": {}})),
        ("cache.REMOVE_MANY", many),
        ("cache.PUT_MANY", entries),
        ("cache.APPEND", put("k", &json!({}))),
        ("cache.CLEAR", clear),
    ] {
        load(&dev, "k");
        let answer = client.call(op, cache, body);
        assert_ne!(answer[0], "ERR", "{op}: {answer}");
        for node in 0..2 {
            assert_eq!(get(&dev, node, "k").0, 404, "{op}, node {node}");
        }
    }
    for (method, path, said) in [("PUT", "k", 201), ("DELETE", "k", 204), ("POST", "k/incr", 404)] {
        load(&dev, "k");
        assert_eq!(dev.asks(2, method, &entry(path), &[], b"2").status, said, "{method}");
        for node in 0..2 {
            assert_eq!(get(&dev, node, "k").0, 404, "{method}, node {node}");
        }
    }
    load(&dev, "k");
    assert!(dev.said(2, "cache clear default --yes").out.contains("default"));
    assert_eq!((get(&dev, 0, "k").0, get(&dev, 1, "k").0), (404, 404));
}

#[test]
fn a_load_that_is_older_than_a_write_is_not_stored() {
    let dev = three();
    let ((mut reader, cache), (mut writer, _)) = (native(&dev, 0), native(&dev, 1));
    let read = json!({"key": "k", "read": {"VALUE": true}});
    let absent = put("k", &json!({"IF_ABSENT": true}));
    for (is_written, said) in [(true, "NOT_STORED"), (false, "OK")] {
        assert_eq!(reader.call("cache.GET", cache, read.clone())[0], "NOT_FOUND");
        if is_written {
            writer.call("cache.REMOVE", cache, json!({"key": "k", "write": {}}));
        }
        assert_eq!(reader.call("cache.PUT", cache, absent.clone())[0], said);
    }
}

#[test]
fn what_such_a_cache_has_not_is_refused_by_name() {
    let dev = three();
    let (mut client, cache) = native(&dev, 0);
    let many = json!({"write": {"IF_ABSENT": true}, "entries": [{"key": "k", "value": "2"}]});
    for (op, body) in [
        ("cache.PUT_MANY", many),
        ("cache.PART_SEQ", json!({"segments": [0]})),
        ("cache.CLEAR", json!({"delay_ms": 1_000, "notify": false})),
    ] {
        let answer = client.call(op, cache, body);
        assert_eq!(answer, json!(["ERR", "UNSUPPORTED_OP"]), "{op}");
    }
    // Of a transaction the other members would not hear.
    let write = json!({"object": cache, "key": "k", "op": "REMOVE", "value": "", "write": {}});
    let answer = client.call("tx.COMMIT_OCC", 0, json!({"reads": [], "writes": [write]}));
    assert_eq!(answer, json!(["ERR", "UNSUPPORTED_OP"]));
}

#[test]
fn a_cache_is_made_while_the_servers_run() {
    let dev = three();
    for node in 0..3 {
        dev.said(node, "cache create fresh --mode invalidated");
        let described = dev.said(node, "cache describe fresh").out;
        assert!(described.contains("invalidated"), "{described}");
    }
    let path = "/v1/caches/fresh/entries/k";
    assert_eq!(dev.asks(0, "PUT", path, &["if-none-match: *"], b"1").status, 201);
    assert_eq!(dev.asks(1, "DELETE", path, &[], b"").status, 404);
    assert_eq!(dev.http(0, path).status, 404);
    dev.refuses(0, "cache create no --mode replicated", 2, "mode");
    // Over HTTP as well.
    let (other, entry) = ("/v1/caches/other", "/v1/caches/other/entries/k");
    for node in 0..3 {
        let made = dev.asks(node, "PUT", other, &[], b"{\"mode\":\"invalidated\"}");
        assert_eq!(made.status, 201, "{}", made.text());
    }
    assert_eq!(dev.asks(0, "PUT", entry, &[], b"1").status, 201);
    assert_eq!(dev.asks(1, "PUT", entry, &[], b"2").status, 201);
    assert_eq!(dev.http(0, entry).status, 404, "what the other one wrote is dropped here");
    assert_eq!(dev.asks(0, "DELETE", "/v1/caches/other?confirm=other", &[], b"").status, 204);
    assert_eq!(dev.http(0, other).status, 404);
    assert!(dev.metric(0, "isogrid_invalidation_listeners") == 2);
    assert!(dev.metric(1, "isogrid_invalidation_messages_total") >= 1);
}
