//! Requests of many keys.

use std::collections::BTreeSet;

use isogrid_tests::harness::{Native, send_signal};
use serde_json::{Value, json};

use super::dev::{Dev, until};
use super::{get_many, is_whole, keys, native, put_many, statuses, tally};

#[test]
fn many_keys_are_written_and_read_on_any_node() {
    let dev = Dev::three(&[]);
    let all = keys("k", 300);
    let (mut one, cache) = native(&dev, 0);
    let put = one.call("cache.PUT_MANY", cache, put_many(&all, "first", json!({})));
    assert_eq!((&put[0], statuses(&put)), (&json!("OK"), vec!["OK"; 300]), "{put}");
    let mut asked = all.clone();
    asked.insert(1, "none".to_owned());
    for node in 0..3 {
        let (mut client, cache) = native(&dev, node);
        let before = dev.metric(node, "isogrid_cluster_passed_on_total");
        let got = client.call("cache.GET_MANY", cache, get_many(&asked));
        // One request for each of the others, however many keys it serves.
        assert_eq!(dev.metric(node, "isogrid_cluster_passed_on_total"), before + 2);
        assert_eq!(got[0], "OK", "{got}");
        for (at, item) in got[1]["entries"].as_array().unwrap().iter().enumerate() {
            let expected = if at == 1 {
                json!({"status": "NOT_FOUND", "entry": {}})
            } else {
                json!({"status": "OK", "entry": {"VALUE": "first"}})
            };
            assert_eq!(*item, expected, "{}", asked[at]);
        }
    }
    changes_some(&dev, &all[..2]);
    is_in_order(&dev);
    reads_are_in_their_place(&dev);
    is_bounded(&dev);
}

/// Each item has its own status, in the order of the request.
fn changes_some(dev: &Dev, some: &[String]) {
    let with = |key: &str| [some, &[key.to_owned()]].concat();
    let (mut client, cache) = native(dev, 1);
    let mut says = |op: &str, body: Value, expected: &[&str]| {
        let answer = client.call(op, cache, body);
        let whole = expected.iter().all(|status| *status == "OK");
        assert_eq!(answer[0], if whole { "OK" } else { "PARTIAL" }, "{op}: {answer}");
        assert_eq!(statuses(&answer), expected, "{op}");
    };
    let absent = put_many(&with("new"), "x", json!({"IF_ABSENT": true}));
    says("cache.PUT_MANY", absent, &["NOT_STORED", "NOT_STORED", "OK"]);
    let touch = json!({"keys": with("none"), "write": {"TTL": 60_000}});
    says("cache.TOUCH_MANY", touch, &["OK", "OK", "NOT_FOUND"]);
    let remove = json!({"keys": with("none"), "write": {}});
    says("cache.REMOVE_MANY", remove, &["OK", "OK", "NOT_FOUND"]);
    says("cache.GET_MANY", get_many(&[]), &[]);
    let expect = put_many(some, "x", json!({"EXPECT": "1"}));
    for (op, body, code) in [
        ("cache.PUT_MANY", expect, "INVALID_ARGUMENT"),
        ("cache.GET_MANY", get_many(&keys("k", 1_001)), "INVALID_ARGUMENT"),
    ] {
        assert_eq!(client.call(op, cache, body), json!(["ERR", code]), "{op}");
    }
}

/// What one connection asks of one key is done in the order in which it was sent.
fn is_in_order(dev: &Dev) {
    for node in 0..3 {
        let (mut client, cache) = native(dev, node);
        let all = keys("order", 50);
        let twice = [&all[..], &all[..]].concat();
        let mut body = put_many(&twice, "b", json!({}));
        (0..50).for_each(|at| body["entries"][at]["value"] = json!("a"));
        let one = json!({"key": all[7], "value": "0", "write": {}});
        let last = json!({"key": all[8], "value": "c", "write": {}});
        let requests = [
            ("cache.PUT", cache, one, json!({})),
            ("cache.PUT_MANY", cache, body, json!({})),
            ("cache.PUT", cache, last, json!({})),
            ("cache.GET_MANY", cache, get_many(&all), json!({})),
        ];
        let streams = client.ask_together(&requests);
        let answers: Vec<_> = streams.iter().map(|stream| client.answer(*stream)).collect();
        assert!(answers.iter().all(|answer| answer[0] == "OK"), "{answers:?}");
        for (at, item) in answers[3][1]["entries"].as_array().unwrap().iter().enumerate() {
            assert_eq!(item["entry"]["VALUE"], if at == 8 { "c" } else { "b" }, "{}", all[at]);
        }
    }
}

/// A read that waits for the writes before it is not overtaken by the writes behind it. Once, it
/// read what came later.
fn reads_are_in_their_place(dev: &Dev) {
    for node in 0..3 {
        let (mut client, cache) = native(dev, node);
        for key in keys("place", 30) {
            let put = |value| {
                ("cache.PUT", cache, json!({"key": key, "value": value, "write": {}}), json!({}))
            };
            let read = json!({"VALUE": true});
            let get = || ("cache.GET", cache, json!({"key": key, "read": read}), json!({}));
            let remove = || ("cache.REMOVE", cache, json!({"key": key, "write": {}}), json!({}));
            let requests = [put("a"), get(), remove(), get(), put("b"), put("c"), get(), get()];
            let streams = client.ask_together(&requests);
            let answers: Vec<_> = streams.iter().map(|stream| client.answer(*stream)).collect();
            let read = |at: usize| answers[at][1]["entry"]["VALUE"].as_str();
            let seen = [1, 3, 6, 7].map(read);
            assert_eq!(seen, [Some("a"), None, Some("c"), Some("c")], "{key}: {answers:?}");
        }
    }
}

/// More than members say at once comes, more than a message may hold is refused.
fn is_bounded(dev: &Dev) {
    let (mut client, cache) = native(dev, 2);
    let (large, value) = (keys("large", 150), "x".repeat(120 << 10));
    for part in large.chunks(8) {
        let put = client.call("cache.PUT_MANY", cache, put_many(part, &value, json!({})));
        assert_eq!(put[0], "OK", "{}", put[1]["results"]);
    }
    let got = client.call("cache.GET_MANY", cache, get_many(&large[..100]));
    assert_eq!((&got[0], statuses(&got)), (&json!("OK"), vec!["OK"; 100]));
    let is_whole = |item: &Value| item["entry"]["VALUE"].as_str().unwrap().len() == value.len();
    assert!(got[1]["entries"].as_array().unwrap().iter().all(is_whole));
    let got = client.call("cache.GET_MANY", cache, get_many(&large));
    assert_eq!(got, json!(["ERR", "FRAME_TOO_LARGE"]));
}

/// A member that is paused answers nothing: those whose keys it has are told that nobody knows, all
/// others are answered. Nothing that was acknowledged is lost, and what was surely not done never
/// shows.
#[test]
fn each_key_has_its_own_outcome_while_a_member_is_paused() {
    let dev = Dev::three(&[]);
    let (mut client, cache) = native(&dev, 0);
    let there = keys("there", 200);
    assert_eq!(client.call("cache.PUT_MANY", cache, put_many(&there, "x", json!({})))[0], "OK");
    let pid = dev.pid(1);
    send_signal(pid, "STOP");
    let hasty = json!({"timeout_ms": 400});
    let read = client.call_with("cache.GET_MANY", cache, get_many(&there), &hasty);
    let written = keys("w", 200);
    let body = put_many(&written, "y", json!({}));
    let wrote = client.call_with("cache.PUT_MANY", cache, body, &hasty);
    send_signal(pid, "CONT");
    assert_eq!((&read[0], &wrote[0]), (&json!("PARTIAL"), &json!("PARTIAL")), "{wrote}");
    let (read, outcomes) = (tally(&read), tally(&wrote));
    assert!(read["OK"] > 50 && read["FAILED"] > 20 && read.len() == 2, "{read:?}");
    assert!(outcomes["OK"] > 20 && outcomes["UNKNOWN"] > 20, "{outcomes:?}");
    until("every copy is there again", || is_whole(&dev));
    is_true(&dev, &written, &statuses(&wrote));
}

#[test]
fn what_was_acknowledged_is_there_when_a_member_is_killed() {
    for mode in ["distributed", "replicated"] {
        let mut dev = Dev::three(&["--mode", mode, "--no-restart"]);
        let (mut client, cache) = native(&dev, 0);
        let batches: Vec<_> = (0..40).map(|batch| keys(&format!("b{batch}-"), 100)).collect();
        let ask = |client: &mut Native, keys: &[String]| {
            client.ask("cache.PUT_MANY", cache, put_many(keys, "z", json!({})))
        };
        let (before, after) = batches.split_at(20);
        let mut streams: Vec<_> = before.iter().map(|keys| ask(&mut client, keys)).collect();
        dev.kill(1);
        streams.extend(after.iter().map(|keys| ask(&mut client, keys)));
        let answers: Vec<_> = streams.iter().map(|stream| client.answer(*stream)).collect();
        let mut acknowledged = 0;
        for (keys, answer) in batches.iter().zip(&answers) {
            let statuses = match answer[0].as_str().unwrap() {
                "ERR" if answer[1] == "OUTCOME_UNKNOWN" => vec!["UNKNOWN"; keys.len()],
                "ERR" => vec!["FAILED"; keys.len()],
                _ => statuses(answer),
            };
            acknowledged += statuses.iter().filter(|status| **status == "OK").count();
            is_true(&dev, keys, &statuses);
        }
        assert!(acknowledged > 2_000, "{acknowledged} in {mode}");
        // Without it everything is served, at once.
        let (mut other, cache) = native(&dev, 2);
        let put = other.call("cache.PUT_MANY", cache, put_many(&batches[0], "n", json!({})));
        assert_eq!(put[0], "OK", "{mode}: {put}");
        dev.signal("TERM");
        dev.wait();
    }
}

/// That what was told of writes is so, as another node sees it.
pub fn is_true(dev: &Dev, keys: &[String], told: &[&str]) {
    let (mut client, cache) = native(dev, 2);
    let found = client.call("cache.GET_MANY", cache, get_many(keys));
    assert_eq!(found[0], "OK", "{found}");
    let known: BTreeSet<_> = ["OK", "UNKNOWN", "FAILED"].into();
    for ((key, told), found) in keys.iter().zip(told).zip(statuses(&found)) {
        assert!(known.contains(told), "{key}: {told}");
        let is_lie = matches!((*told, found), ("OK", "NOT_FOUND") | ("FAILED", "OK"));
        assert!(!is_lie, "{key}: told {told}, and it is {found}");
    }
}
