//! Requests that come twice, also at another node than the first time and when whoever executed
//! them is gone: each is executed once (R34, R35).

use std::collections::BTreeMap;

use isogrid_tests::harness::{Native, send_signal};
use serde_json::{Value, json};

use super::dev::{Dev, until};
use super::{is_whole, keys, native};

const KEYS: usize = 60;

/// A client that asks under numbers.
fn named(dev: &Dev, node: usize) -> (Native, u64) {
    let instance = "8f3c2b52-6d1c-4d0a-9a53-0d6f3a2e7b11";
    let mut client = dev.native_with(node, &json!({"client": {"instance": instance}}));
    let cache = client.cache("default");
    (client, cache)
}

fn body(key: &str) -> Value {
    json!({"key": key, "delta": "1", "initial": "1", "write": {}})
}

/// Counts keys up, each time under a number of its own, all at once; the streams by the numbers.
fn count(
    (client, cache): &mut (Native, u64),
    asked: &BTreeMap<usize, String>,
) -> BTreeMap<usize, u64> {
    let ask = |(number, key): (&usize, &String)| {
        let fields = json!({"ext": {"idem": number.to_string()}, "timeout_ms": 30_000});
        (*number, client.ask_with("cache.INCR", *cache, body(key), &fields))
    };
    asked.iter().map(ask).collect()
}

fn answers(client: &mut Native, streams: &BTreeMap<usize, u64>) -> BTreeMap<usize, Value> {
    streams.iter().map(|(number, stream)| (*number, client.answer(*stream))).collect()
}

/// What keys were counted up to, as a node sees it.
fn counted(dev: &Dev, node: usize, keys: &[String]) -> Vec<u64> {
    let (mut client, cache) = native(dev, node);
    let value = |key: &String| {
        let read = json!({"key": key, "read": {"VALUE": true}});
        let got = client.call("cache.GET", cache, read);
        got[1]["entry"]["VALUE"].as_str().map_or(0, |value| value.parse().unwrap())
    };
    keys.iter().map(value).collect()
}

#[test]
fn any_node_answers_as_the_first_time_and_so_do_those_that_take_over() {
    for mode in ["distributed", "replicated"] {
        let dev = Dev::three(&["--mode", mode]);
        let all = keys("count", KEYS);
        let asked: BTreeMap<usize, String> = (1..).zip(all.iter().cloned()).collect();
        let ask_at = |node: usize| {
            let mut client = named(&dev, node);
            let streams = count(&mut client, &asked);
            answers(&mut client.0, &streams)
        };
        let first = ask_at(0);
        assert!(first.values().all(|answer| answer[0] == "OK"), "{mode}: {first:?}");
        assert_eq!((ask_at(1), ask_at(2)), (first.clone(), first.clone()), "{mode}");
        // Who executed a third of them is killed, and their copies are on others.
        let pid = dev.pid(1);
        dev.kill(1);
        assert_eq!((ask_at(0), ask_at(2)), (first.clone(), first.clone()), "{mode}");
        // It is filled with answers, too, and executes when the others are gone.
        until("it is back", || dev.pid(1) != pid && is_whole(&dev));
        dev.kill(0);
        assert_eq!(ask_at(1), first, "{mode}");
        assert_eq!(counted(&dev, 2, &all), vec![1; KEYS], "{mode}");
    }
}

/// The node that was asked, which serves some of the keys, is killed with requests under way; its
/// client asks another one.
#[test]
fn what_was_asked_of_a_node_that_is_killed_is_done_once() {
    let dev = Dev::three(&["--no-restart"]);
    let all = keys("count", KEYS);
    let asked: BTreeMap<usize, String> = (1..=600).map(|n| (n, all[n % KEYS].clone())).collect();
    let mut client = named(&dev, 1);
    let streams = count(&mut client, &asked);
    let early = streams.iter().take(100).map(|(number, stream)| (*number, *stream)).collect();
    let early = answers(&mut client.0, &early);
    dev.kill(1);
    drop(client);
    let mut other = named(&dev, 2);
    let streams = count(&mut other, &asked);
    let again = answers(&mut other.0, &streams);
    assert!(again.values().all(|answer| answer[0] == "OK"), "{again:?}");
    let of_early: BTreeMap<_, _> =
        again.iter().filter(|(number, _)| early.contains_key(number)).collect();
    assert_eq!(of_early, early.iter().collect());
    assert_eq!(counted(&dev, 0, &all), vec![600 / KEYS as u64; KEYS]);
}

/// Who was asked lives, and a member that it passes requests on to is killed: it passes them on to
/// who serves the keys by then, also those that have no number of their own.
#[test]
fn what_was_passed_on_to_a_node_that_is_killed_is_done_once() {
    let dev = Dev::three(&["--no-restart"]);
    let all = keys("count", KEYS);
    let (mut client, cache) = native(&dev, 0);
    let mut memcached = dev.client(0);
    let text: Vec<String> = (0..KEYS).map(|at| format!("text{at}")).collect();
    for key in &text {
        memcached.ask(format!("set {key} 0 0 1\r\n0\r\n"), "STORED\r\n");
    }
    let patient = json!({"timeout_ms": 30_000});
    let ask = |client: &mut Native| -> Vec<u64> {
        let one = |key: &String| client.ask_with("cache.INCR", cache, body(key), &patient);
        all.iter().map(one).collect()
    };
    let incr: String = text.iter().map(|key| format!("incr {key} 1\r\n")).collect();
    let (mut streams, pid) = (Vec::new(), dev.pid(1));
    for turn in 0..10 {
        match turn {
            // What comes to it from here on it takes and does not answer.
            4 => send_signal(pid, "STOP"),
            8 => dev.kill(1),
            _ => {}
        }
        streams.extend(ask(&mut client));
        memcached.send(&incr);
    }
    let told: Vec<Value> = streams.iter().map(|stream| client.answer(*stream)).collect();
    assert!(told.iter().all(|answer| answer[0] == "OK"), "{told:?}");
    assert_eq!(counted(&dev, 2, &all), vec![10; KEYS]);
    // One who speaks memcached's protocol waits 5 s at the most, and may be told then that nobody
    // knows, or that nobody served the key and it was not done.
    let lines: Vec<String> = (0..10 * KEYS).map(|_| memcached.line()).collect();
    for (at, key) in text.iter().enumerate() {
        let told: Vec<&str> = lines.iter().skip(at).step_by(KEYS).map(|line| line.trim()).collect();
        let done = told.iter().filter(|line| line.parse::<u64>().is_ok()).count();
        let [unknown, undone] = ["SERVER_ERROR outcome", "SERVER_ERROR nobody serves"]
            .map(|why| told.iter().filter(|line| line.starts_with(why)).count());
        assert_eq!(done + unknown + undone, 10, "{key}: {told:?}");
        let mut other = dev.client(2);
        other.send(format!("get {key}\r\n"));
        let value: usize = other.lines_to("END")[1].trim().parse().unwrap();
        assert!((done..=done + unknown).contains(&value), "{key}: {value}, {told:?}");
        assert!(unknown + undone < 3, "{key}: {told:?}");
    }
}
