//! Requests about all entries.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_tests::harness::Native;
use isogrid_tests::harness::native::said;
use serde_json::{Value, json};

use super::dev::{Dev, until};
use super::{keys, native, put_many};

fn size(client: &mut Native, cache: u64, exact: bool) -> u64 {
    let answer = client.call("cache.SIZE", cache, json!({"exact": exact}));
    let entries = answer[1]["entries"].as_str().and_then(|entries| entries.parse().ok());
    entries.unwrap_or_else(|| panic!("{answer}"))
}

fn scan(credit: usize, more: Value) -> Value {
    let mut body = json!({
        "read": {"KEY": true, "VALUE": true}, "segments": null, "glob": null, "batch": 0,
        "cursor": null, "credit": credit,
    });
    let all = body.as_object_mut().unwrap();
    all.extend(more.as_object().unwrap().clone());
    body
}

/// What a scan has told.
#[derive(Default)]
struct Told {
    /// How often each key came.
    keys: BTreeMap<String, usize>,
    finished: BTreeSet<u64>,
    cursor: Value,
}

impl Told {
    /// Goes on with a scan until it has had so many entries, or to its end; whether that came.
    fn scan(&mut self, client: &mut Native, cache: u64, credit: usize, mut more: Value) -> bool {
        if !self.cursor.is_null() {
            more["cursor"] = self.cursor.clone();
        }
        let stream = client.ask("cache.SCAN", cache, scan(credit, more));
        let mut got = 0;
        while got < credit {
            let frame = client.next_of(stream);
            if frame["type"] != "ITEM" {
                assert_eq!(frame["status"], "ENDED", "{frame}");
                return true;
            }
            for entry in frame["items"].as_array().unwrap() {
                assert_eq!(entry["VALUE"], "v", "{frame}");
                *self.keys.entry(entry["KEY"].as_str().unwrap().to_owned()).or_default() += 1;
                got += 1;
            }
            self.cursor = frame["trailer"]["cursor"].clone();
            let finished = frame["trailer"]["finished"].as_array().unwrap();
            self.finished.extend(finished.iter().map(|segment| segment.as_u64().unwrap()));
        }
        client.cancel(stream);
        client.answer(stream);
        false
    }
}

#[test]
fn sizes_scans_and_clears_are_of_all_members() {
    let dev = Dev::three(&[]);
    let all = keys("k", 900);
    fill(&dev, &all);
    for node in 0..3 {
        let (mut client, cache) = native(&dev, node);
        assert_eq!([true, false].map(|exact| size(&mut client, cache, exact)), [900, 900]);
        let mut told = Told::default();
        assert!(told.scan(&mut client, cache, 10_000, json!({})));
        assert_eq!(told.keys, all.iter().map(|key| (key.clone(), 1)).collect(), "node {node}");
        assert_eq!(told.finished, (0..256).collect(), "node {node}");
    }
    goes_on_at_another_node(&dev, &all);
    chooses(&dev);
    clears(&dev, &all);
}

/// What PART_SEQ says of segments: their lives and numbers.
fn numbers(client: &mut Native, cache: u64) -> Vec<([Value; 2], u64)> {
    let answer = client.call("cache.PART_SEQ", cache, json!({"segments": []}));
    let all = answer[1]["segments"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let number = |one: &Value| one["seq"].as_str().unwrap().parse().unwrap();
    all.iter()
        .map(|one| (["uuid_high", "uuid_low"].map(|of| one[of].clone()), number(one)))
        .collect()
}

/// The numbers are those of who serves a segment, whoever is asked. They say what has changed, and
/// another life says that another member serves the segment.
#[test]
fn numbers_of_changes_are_of_who_serves_a_segment() {
    let dev = Dev::three(&["--no-restart"]);
    let mut seen = numbers_at_all(&dev);
    let (mut client, cache) = native(&dev, 1);
    for key in keys("n", 20) {
        fill(&dev, &[key]);
        let now = numbers_at_all(&dev);
        let changed: Vec<usize> = (0..256).filter(|at| now[*at] != seen[*at]).collect();
        assert_eq!(changed.len(), 1, "one key is of one segment");
        let [before, after] = [&seen, &now].map(|all| &all[changed[0]]);
        assert!(before.0 == after.0 && after.1 == before.1 + 1, "{before:?}, {after:?}");
        seen = now;
    }
    let some = client.call("cache.PART_SEQ", cache, json!({"segments": [9, 2]}));
    let order = [0, 1].map(|at: usize| some[1]["segments"][at]["segment"].as_u64());
    assert_eq!(order, [Some(9), Some(2)], "{some}");
    let none = client.call("cache.PART_SEQ", cache, json!({"segments": [1, 256]}));
    assert_eq!(none, json!(["ERR", "OUT_OF_RANGE"]));
    dev.kill(2);
    let (mut client, cache) = native(&dev, 0);
    until("others serve what it did", || {
        client.call("cache.SIZE", cache, json!({"exact": false}))[0] == "OK"
    });
    let now = numbers(&mut client, cache);
    let is_other = |at: &usize| now[*at].0 != seen[*at].0;
    let others = (0..256).filter(is_other).count();
    assert!(others > 40 && others < 216, "a third of them had another primary: {others}");
    let unchanged = (0..256).filter(|at| !is_other(at)).all(|at| now[at].1 == seen[at].1);
    assert!(unchanged, "{now:?}");
}

fn numbers_at_all(dev: &Dev) -> Vec<([Value; 2], u64)> {
    let [first, second, third] = [0, 1, 2].map(|node| {
        let (mut client, cache) = native(dev, node);
        numbers(&mut client, cache)
    });
    assert!(first == second && second == third, "{first:?}, {second:?}, {third:?}");
    first
}

fn fill(dev: &Dev, all: &[String]) {
    let (mut client, cache) = native(dev, 0);
    let put = client.call("cache.PUT_MANY", cache, put_many(all, "v", json!({})));
    assert_eq!(put[0], "OK", "{put}");
}

fn goes_on_at_another_node(dev: &Dev, all: &[String]) {
    let mut told = Told::default();
    for turn in 0.. {
        let (mut client, cache) = native(dev, turn % 3);
        if told.scan(&mut client, cache, 100, json!({})) {
            break;
        }
    }
    // Nothing moved: each came once.
    assert_eq!(told.keys, all.iter().map(|key| (key.clone(), 1)).collect());
}

fn chooses(dev: &Dev) {
    let (mut client, cache) = native(dev, 2);
    let mut some = Told::default();
    assert!(some.scan(&mut client, cache, 10_000, json!({"glob": "k1?"})));
    assert_eq!(some.keys.len(), 10);
    let mut parts = Told::default();
    let (even, odd) = (json!({"hex": "55".repeat(32)}), json!({"hex": "aa".repeat(32)}));
    assert!(parts.scan(&mut client, cache, 10_000, json!({ "segments": even })));
    assert!(parts.finished.iter().all(|segment| segment % 2 == 0) && parts.finished.len() == 128);
    parts.cursor = Value::Null;
    assert!(parts.scan(&mut client, cache, 10_000, json!({ "segments": odd })));
    assert_eq!((parts.keys.len(), parts.finished.len()), (900, 256));
    for (more, code) in [
        (json!({"glob": "*a".repeat(20)}), "INVALID_ARGUMENT"),
        (json!({"cursor": "nonsense"}), "INVALID_ARGUMENT"),
        (json!({"segments": {"hex": "00".repeat(32) + "01"}}), "OUT_OF_RANGE"),
    ] {
        assert_eq!(client.call("cache.SCAN", cache, scan(1, more)), json!(["ERR", code]));
    }
}

fn clears(dev: &Dev, all: &[String]) {
    let clear = |delay_ms: u32, notify: bool| json!({"delay_ms": delay_ms, "notify": notify});
    let (mut client, cache) = native(dev, 1);
    for wrong in [clear(5, false), clear(0, true)] {
        assert_eq!(client.call("cache.CLEAR", cache, wrong), json!(["ERR", "INVALID_ARGUMENT"]));
    }
    let cleared = client.call("cache.CLEAR", cache, clear(0, false));
    assert_eq!(cleared, json!(["OK", {"generation": "0"}]));
    let empty = |dev: &Dev| {
        for node in 0..3 {
            let (mut client, cache) = native(dev, node);
            assert_eq!(size(&mut client, cache, true), 0, "node {node}");
            let mut told = Told::default();
            assert!(told.scan(&mut client, cache, 10, json!({})));
            assert!(told.keys.is_empty() && told.finished.len() == 256, "node {node}");
        }
    };
    empty(dev);
    fill(dev, all);
    let answer = dev.asks(2, "POST", "/v1/admin/caches.clear", &[], br#"{"cache":"default"}"#);
    assert_eq!((answer.status, answer.text().contains("900")), (200, true), "{}", answer.text());
    empty(dev);
}

/// A scan goes on while the member that it was reading from dies: what was there all the while
/// comes at least once.
#[test]
fn a_scan_survives_the_member_that_it_reads_from() {
    let dev = Dev::three(&["--no-restart"]);
    let all = keys("k", 900);
    fill(&dev, &all);
    let mut told = Told::default();
    let (mut client, cache) = native(&dev, 0);
    assert!(!told.scan(&mut client, cache, 450, json!({})));
    dev.kill(1);
    let (mut other, cache) = native(&dev, 2);
    assert!(told.scan(&mut other, cache, 10_000, json!({})));
    assert_eq!(told.keys.keys().cloned().collect::<BTreeSet<_>>(), all.into_iter().collect());
    assert_eq!(told.finished, (0..256).collect());
    assert_eq!(size(&mut other, cache, true), 900);
}

/// Two of three are gone, and nobody serves anything: what is not done is said to be not done.
#[test]
fn a_minority_says_that_nothing_was_done() {
    let dev = Dev::three(&["--no-restart"]);
    let all = keys("k", 30);
    fill(&dev, &all);
    let (mut client, cache) = native(&dev, 0);
    let (mut listener, _) = native(&dev, 0);
    let stream = listener.ask("cache.LISTEN", cache, super::listen::listen(json!({}), None));
    assert_eq!(listener.next_of(stream)["type"], "ITEM");
    dev.kill(1);
    dev.kill(2);
    super::until("its lease is over", || dev.metric(0, "isogrid_cluster_has_lease") == 0);
    let hasty = json!({"timeout_ms": 500});
    for (op, body) in [
        ("cache.SIZE", json!({"exact": true})),
        ("cache.GET_MANY", super::get_many(&all)),
        ("cache.PUT_MANY", put_many(&all, "x", json!({}))),
        ("cache.CLEAR", json!({"delay_ms": 0, "notify": false})),
    ] {
        let answer = client.call_with(op, cache, body, &hasty);
        assert_eq!(answer, json!(["ERR", "SEGMENT_UNAVAILABLE"]), "{op}");
    }
    // HTTP waits longer.
    let entry = "/v1/caches/default/entries/k1";
    for (method, body) in [("GET", &b""[..]), ("PUT", b"x"), ("DELETE", b"")] {
        let answer = dev.asks(0, method, entry, &[], body);
        assert_eq!(answer.status, 503, "{method}: {}", answer.text());
    }
    let answer = dev.asks(0, "POST", "/v1/admin/caches.clear", &[], br#"{"cache":"default"}"#);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("0 of 256 segments were cleared, 256 were not"));
    // Nor does it pass for nothing that happens that nobody tells of anything.
    let mut frame = listener.next_of(stream);
    while frame["type"] == "ITEM" {
        frame = listener.next_of(stream);
    }
    assert_eq!(said(&frame), json!(["ERR", "SEGMENT_UNAVAILABLE"]));
}
