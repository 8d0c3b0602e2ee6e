//! Entries that memory has no room for: whoever asks for one waits until it is there, and so does
//! what the connection asks behind it; other connections go on.

use isogrid_tests::harness::{Native, Server, temporary};
use serde_json::{Value, json};

/// Of about 1.1 KiB: three times as much as there is memory.
const KEYS: usize = 6_000;
const MEMORY: &str = "cache.default.memory=2MiB";

fn server(data: &str, persist: &str) -> Server {
    let flags = ["--native", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir", data];
    let set = ["--set", MEMORY, "--set", "cache.default.eviction=fifo", "--persist", persist];
    Server::isogrid(&[&flags[..], &set].concat())
}

fn value(n: usize) -> String {
    format!("{n}:").repeat(1_000 / 5)
}

fn put(n: usize, write: &Value) -> Value {
    json!({"key": format!("k{n}"), "value": value(n), "write": write})
}

fn get(n: usize) -> Value {
    json!({"key": format!("k{n}"), "read": {"VALUE": true}})
}

fn filled(data: &str, persist: &str) -> Server {
    let server = server(data, persist);
    let mut client = server.native();
    let cache = client.cache("default");
    for from in (0..KEYS).step_by(100) {
        let ask = |n| client.ask("cache.PUT", cache, put(n, &json!({})));
        let asked: Vec<_> = (from..from + 100).map(ask).collect();
        asked.into_iter().for_each(|stream| assert_eq!(client.answer(stream)[0], "OK"));
    }
    let in_memory = server.connect().stat("curr_items");
    assert!(in_memory < KEYS as u64 / 2, "{in_memory} of {KEYS} are in memory");
    server
}

fn holds(client: &mut Native, cache: u64, n: usize) {
    let answer = client.call("cache.GET", cache, get(n));
    assert_eq!(answer, json!(["OK", {"entry": {"VALUE": value(n)}}]), "{n}");
}

#[test]
fn every_request_finds_what_is_on_disk() {
    requests_find_what_is_on_disk("async", "storage_loaded");
}

/// Of a cache that is written behind, GNP did not find what was evicted.
#[test]
fn every_request_finds_what_was_written_behind() {
    requests_find_what_is_on_disk("behind", "behind_loaded");
}

fn requests_find_what_is_on_disk(persist: &str, loaded: &str) {
    let data = temporary(&format!("native-overflow-{persist}"));
    let server = filled(data.to_str().unwrap(), persist);
    let mut client = server.native();
    let cache = client.cache("default");
    // One after the other, from those that went first on, and many on their way at once.
    (0..KEYS).step_by(97).for_each(|n| holds(&mut client, cache, n));
    let asked: Vec<_> = (0..200).map(|n| client.ask("cache.GET", cache, get(n * 29))).collect();
    for (at, stream) in asked.into_iter().enumerate() {
        let answer = client.answer(stream);
        assert_eq!(answer[1]["entry"]["VALUE"], value(at * 29), "{at}: {answer}");
    }
    let many: Vec<_> = (0..40).map(|n| format!("k{}", n * 101)).collect();
    let read = json!({"keys": many, "read": {"VALUE": true}});
    let answer = client.call("cache.GET_MANY", cache, read);
    for (at, item) in answer[1]["entries"].as_array().unwrap().iter().enumerate() {
        assert_eq!(item["status"], "OK", "{at}: {item}");
        assert_eq!(item["entry"]["VALUE"], value(at * 101), "{at}");
    }
    // Writes that depend on what is there.
    for n in [3, 503, 1_003] {
        let absent = client.call("cache.PUT", cache, put(n, &json!({"IF_ABSENT": true})));
        assert_eq!(absent[0], "NOT_STORED", "{n}");
        let removed =
            client.call("cache.REMOVE", cache, json!({"key": format!("k{n}"), "write": {}}));
        assert_eq!(removed[0], "OK", "{n}");
        assert_eq!(client.call("cache.GET", cache, get(n))[0], "NOT_FOUND", "{n}");
        assert_eq!(client.call("cache.PUT", cache, put(n, &json!({"IF_ABSENT": true})))[0], "OK");
    }
    // A write of several frames whose condition needs what is away.
    let large = "x".repeat(300_000);
    let body = json!({"key": "k7", "value": large, "write": {"IF_PRESENT": true}});
    let stream = client.ask_in_pieces("cache.PUT", cache, body);
    assert_eq!(client.answer(stream)[0], "OK");
    let answer = client.call("cache.GET", cache, get(7));
    assert_eq!(answer[1]["entry"]["VALUE"], large);
    // Nothing is made up.
    assert_eq!(client.call("cache.GET", cache, get(KEYS))[0], "NOT_FOUND");
    assert!(server.connect().stat(loaded) > 100);
}

#[test]
fn http_finds_what_is_on_disk() {
    let data = temporary("http-overflow");
    let server = filled(data.to_str().unwrap(), "async");
    let mut client = server.connect_http();
    let path = |n: usize| format!("/v1/caches/default/entries/k{n}");
    for n in (0..KEYS).step_by(211) {
        assert_eq!(client.http("GET", &path(n), &[], b"").text(), value(n), "{n}");
    }
    let refused = client.http("PUT", &path(11), &["if-none-match: *"], b"x");
    assert_eq!(refused.status, 412);
    assert_eq!(client.http("DELETE", &path(13), &[], b"").status, 204);
    assert_eq!(client.http("GET", &path(13), &[], b"").status, 404);
}
