//! Batches: each request has its own outcome, and what is asked of one key is done in its order.

use std::collections::BTreeMap;

use isogrid_tests::harness::native::{COUNTERS, sub_answer, sub_request};
use isogrid_tests::harness::{Native, send_signal};
use serde_json::{Value, json};

use super::dev::{Dev, until};
use super::many::is_true;
use super::{get_many, is_whole, keys, native, put_many, statuses};

fn put(key: &str, value: &str) -> (&'static str, Value) {
    ("cache.PUT", json!({"key": key, "value": value, "write": {}}))
}

fn get(key: &str) -> (&'static str, Value) {
    ("cache.GET", json!({"key": key, "read": {"VALUE": true}}))
}

/// A batch as a request that is sent with others.
fn batch(cache: u64, all: &[(&str, Value)]) -> (&'static str, u64, Value, Value) {
    let all: Vec<_> = all.iter().map(|(op, body)| sub_request(op, cache, body.clone())).collect();
    ("batch.BATCH", 0, json!({ "requests": all }), json!({}))
}

/// What was said to each request of a batch.
fn replies(answer: &Value, all: &[(&str, Value)]) -> Vec<Value> {
    let replies = answer[1]["replies"].as_array().unwrap_or_else(|| panic!("no replies: {answer}"));
    assert_eq!(replies.len(), all.len(), "{answer}");
    all.iter().zip(replies).map(|((op, _), reply)| sub_answer(op, reply)).collect()
}

fn call(client: &mut Native, cache: u64, all: &[(&str, Value)]) -> Vec<Value> {
    let (op, object, body, _) = batch(cache, all);
    replies(&client.call(op, object, body), all)
}

/// `OK`, `FAILED` or `UNKNOWN`.
fn outcome(said: &Value) -> &'static str {
    match (said[0].as_str().unwrap(), said[1].as_str()) {
        ("OK", _) => "OK",
        ("ERR", Some("SEGMENT_UNAVAILABLE")) => "FAILED",
        ("ERR", Some("OUTCOME_UNKNOWN")) => "UNKNOWN",
        _ => panic!("{said}"),
    }
}

#[test]
fn each_request_of_a_batch_is_answered_in_its_place() {
    let dev = Dev::three(&[]);
    for node in 0..3 {
        let (mut client, cache) = native(&dev, node);
        let incr = json!({"key": "n", "delta": "2", "initial": "5", "write": {}});
        let remove = json!({"key": "a", "write": {}});
        let some = ["a".to_owned(), "b".to_owned(), "none".to_owned()];
        let large = json!({"key": "x".repeat(2_000), "value": "", "write": {}});
        let all = [
            put("a", "1"),
            get("a"),
            ("cache.PUT_MANY", put_many(&some[..2], "2", json!({}))),
            ("cache.GET_MANY", get_many(&some)),
            ("cache.INCR", incr.clone()),
            ("cache.INCR", incr),
            ("cache.PUT", large),
            ("cache.REMOVE", remove.clone()),
            ("cache.REMOVE", remove),
            get("a"),
            ("cache.REMOVE_MANY", json!({"keys": ["b", "n"], "write": {}})),
        ];
        let said = call(&mut client, cache, &all);
        let values = said[3][1]["entries"].as_array().unwrap().iter();
        let values: Vec<_> = values.map(|item| item["entry"]["VALUE"].clone()).collect();
        assert_eq!(values, [json!("2"), json!("2"), Value::Null], "{}", said[3]);
        assert_eq!(said[1][1]["entry"]["VALUE"], "1", "{said:?}");
        assert_eq!([&said[4][1]["value"], &said[5][1]["value"]], ["5", "7"], "{said:?}");
        let told: Vec<_> = said.iter().map(|said| said[0].as_str().unwrap()).collect();
        let expected =
            ["OK", "OK", "OK", "OK", "OK", "OK", "ERR", "OK", "NOT_FOUND", "NOT_FOUND", "OK"];
        assert_eq!(told, expected, "{said:?}");
        assert_eq!(said[6], json!(["ERR", "KEY_TOO_LARGE"]));
    }
    goes_together(&dev);
    is_in_order(&dev);
    is_bounded(&dev);
    takes_what_has_no_key(&dev);
}

/// However many there are, each other member gets one request.
fn goes_together(dev: &Dev) {
    let (mut client, cache) = native(dev, 0);
    let all: Vec<_> = keys("together", 300).iter().map(|key| put(key, "v")).collect();
    let before = dev.metric(0, "isogrid_cluster_passed_on_total");
    let said = call(&mut client, cache, &all);
    assert_eq!(dev.metric(0, "isogrid_cluster_passed_on_total"), before + 2);
    assert!(said.iter().all(|said| outcome(said) == "OK"), "{said:?}");
}

/// What is about the whole cache is done behind what is before it, and before what is behind it;
/// counters are counted in their order; a stream is refused by itself.
fn takes_what_has_no_key(dev: &Dev) {
    for node in 0..3 {
        let (mut client, cache) = native(dev, node);
        let clear = || (cache, ("cache.CLEAR", json!({"delay_ms": 0, "notify": false})));
        let late = (cache, ("cache.CLEAR", json!({"delay_ms": 5, "notify": false})));
        let size = || (cache, ("cache.SIZE", json!({"exact": true})));
        let track = json!({"mode": "READ", "prefixes": [], "flags": {}, "credit": 1});
        let name = format!("n{node}");
        let count = |op, more: &[(&str, Value)]| {
            let mut body = json!({"name": name});
            more.iter().for_each(|(field, value)| body[field] = value.clone());
            (COUNTERS, (op, body))
        };
        let (add, read) = (|delta| count("counter.ADD", &[("delta", json!(delta))]), "counter.GET");
        let deltas = json!([{"name": name, "delta": "1"}, {"name": "other", "delta": "1"}]);
        let requests = [
            (cache, put("kept", "v")),
            clear(),
            size(),
            (cache, put("one", "v")),
            (cache, put("two", "v")),
            size(),
            clear(),
            (cache, get("one")),
            (cache, ("cache.TRACK", track)),
            late,
            add("3"),
            count(read, &[]),
            add("4"),
            (COUNTERS, ("counter.ADD_MANY", json!({ "deltas": deltas }))),
            count(read, &[]),
            count("counter.RESET", &[]),
            count(read, &[]),
            (cache, ("cache.PART_SEQ", json!({"segments": [7]}))),
        ];
        let subs =
            requests.iter().map(|(object, (op, body))| sub_request(op, *object, body.clone()));
        let subs: Vec<_> = subs.collect();
        let answer = client.call("batch.BATCH", 0, json!({ "requests": subs }));
        let all: Vec<_> = requests.into_iter().map(|(_, one)| one).collect();
        let said = replies(&answer, &all);
        let told: Vec<_> = said.iter().map(|said| said[0].as_str().unwrap()).collect();
        let mut expected = ["OK"; 18];
        (expected[7], expected[16]) = ("NOT_FOUND", "NOT_FOUND");
        (expected[8], expected[9]) = ("ERR", "ERR");
        assert_eq!(told, expected, "{said:?}");
        let codes = [8, 9].map(|at: usize| said[at][1].as_str().unwrap());
        assert_eq!(codes, ["UNSUPPORTED_OP", "INVALID_ARGUMENT"]);
        let numbers = [2, 5].map(|at: usize| said[at][1]["entries"].as_str().unwrap());
        assert_eq!(numbers, ["0", "2"], "{said:?}");
        let values = [10, 11, 12, 14].map(|at: usize| said[at][1]["value"].as_str().unwrap());
        assert_eq!(values, ["3", "3", "7", "8"], "{said:?}");
        assert_eq!(said[17][1]["segments"][0]["segment"], 7, "{said:?}");
    }
}

/// Before, in and behind a batch: what one connection asks of one key is done in that order.
fn is_in_order(dev: &Dev) {
    for node in 0..3 {
        let (mut client, cache) = native(dev, node);
        for key in keys("order", 30) {
            let alone = |(op, body)| (op, cache, body, json!({}));
            let all = [get(&key), put(&key, "b"), get(&key), put(&key, "c"), get(&key)];
            let requests = [
                alone(put(&key, "a")),
                batch(cache, &all),
                alone(put(&key, "d")),
                alone(get(&key)),
                alone(("cache.REMOVE", json!({"key": key, "write": {}}))),
            ];
            let streams = client.ask_together(&requests);
            let answers: Vec<_> = streams.iter().map(|stream| client.answer(*stream)).collect();
            let said = replies(&answers[1], &all);
            let read = [&said[0], &said[2], &said[4], &answers[3]];
            let read = read.map(|said| said[1]["entry"]["VALUE"].clone());
            assert_eq!(read, ["a", "b", "c", "d"], "{key} at {node}: {answers:?}");
        }
    }
}

/// What has no room in the answer is refused by itself.
fn is_bounded(dev: &Dev) {
    let (mut client, cache) = native(dev, 2);
    let value = "x".repeat(900 << 10);
    let all = keys("large", 30);
    for key in &all {
        let (op, body) = put(key, &value);
        assert_eq!(client.call(op, cache, body)[0], "OK");
    }
    let mut asked: Vec<_> = all.iter().map(|key| get(key)).collect();
    asked.push(put("small", "v"));
    let said = call(&mut client, cache, &asked);
    let mut tally: BTreeMap<String, usize> = BTreeMap::new();
    for said in &said {
        let what = if said[0] == "ERR" { &said[1] } else { &said[0] };
        *tally.entry(what.as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(tally["OK"] > 10 && tally["FRAME_TOO_LARGE"] > 5 && tally.len() == 2, "{tally:?}");
    assert_eq!(outcome(&said[30]), "OK");
}

#[test]
fn each_request_has_its_own_outcome_while_a_member_is_paused() {
    let dev = Dev::three(&[]);
    let (mut client, cache) = native(&dev, 0);
    let written = keys("w", 200);
    let all: Vec<_> = written.iter().map(|key| put(key, "y")).collect();
    let pid = dev.pid(1);
    send_signal(pid, "STOP");
    let (op, object, body, _) = batch(cache, &all);
    let answer = client.call_with(op, object, body, &json!({"timeout_ms": 400}));
    send_signal(pid, "CONT");
    let said = replies(&answer, &all);
    let told: Vec<_> = said.iter().map(outcome).collect();
    let count = |of: &str| told.iter().filter(|told| **told == of).count();
    assert!(count("OK") > 20 && count("UNKNOWN") > 20, "{told:?}");
    until("every copy is there again", || is_whole(&dev));
    is_true(&dev, &written, &told);
}

#[test]
fn what_batches_were_told_is_so_when_a_member_is_killed() {
    for mode in ["distributed", "replicated"] {
        let mut dev = Dev::three(&["--mode", mode, "--no-restart"]);
        let (mut client, cache) = native(&dev, 0);
        let batches: Vec<_> = (0..40).map(|batch| keys(&format!("b{batch}-"), 50)).collect();
        let of = |keys: &[String]| -> Vec<_> {
            keys.iter().flat_map(|key| [put(key, "z"), get(key)]).collect()
        };
        let ask = |client: &mut Native, keys: &[String]| {
            let (op, object, body, _) = batch(cache, &of(keys));
            client.ask(op, object, body)
        };
        let (before, after) = batches.split_at(20);
        let mut streams: Vec<_> = before.iter().map(|keys| ask(&mut client, keys)).collect();
        dev.kill(1);
        streams.extend(after.iter().map(|keys| ask(&mut client, keys)));
        let mut acknowledged = 0;
        for (keys, stream) in batches.iter().zip(streams) {
            let said = replies(&client.answer(stream), &of(keys));
            let (writes, reads): (Vec<_>, Vec<_>) = said.chunks(2).map(|s| (&s[0], &s[1])).unzip();
            let told: Vec<_> = writes.into_iter().map(outcome).collect();
            for (told, read) in told.iter().zip(reads) {
                let sees = read[0] != "OK" || read[1]["entry"]["VALUE"] == "z";
                assert!(sees && !(*told == "OK" && read[0] == "NOT_FOUND"), "{told}: {read}");
            }
            acknowledged += told.iter().filter(|told| **told == "OK").count();
            is_true(&dev, keys, &told);
        }
        assert!(acknowledged > 1_000, "{acknowledged} in {mode}");
        let (mut other, cache) = native(&dev, 2);
        let put = other.call("cache.PUT_MANY", cache, put_many(&batches[0], "n", json!({})));
        assert_eq!(statuses(&put), vec!["OK"; 50], "{mode}");
        dev.signal("TERM");
        dev.wait();
    }
}
