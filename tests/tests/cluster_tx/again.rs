//! Transactions that come twice, also at another node than the first time and when whoever executed
//! them is gone: each is done once, and answered as the first time (R34).

use isogrid_tests::harness::Native;
use isogrid_tests::harness::native::sub_request;
use serde_json::{Value, json};

use super::dev::{Dev, until};
use super::is_whole;

/// Keys that are counted up: some of each member.
const KEYS: u64 = 40;

/// A client that asks under numbers: the same one wherever it is connected.
fn named(dev: &Dev, node: usize) -> (Native, u64) {
    let instance = "5b1d9c1e-70c4-4a7e-8f0c-1f5a4ad0c3b2";
    let mut client = dev.native_with(node, &json!({"client": {"instance": instance}}));
    let cache = client.cache("default");
    (client, cache)
}

/// Asks under a number; the stream.
fn ask((client, _): &mut (Native, u64), number: u64, op: &str, body: Value) -> u64 {
    let fields = json!({"ext": {"idem": number.to_string()}, "timeout_ms": 30_000});
    client.ask_with(op, 0, body, &fields)
}

fn incr(cache: u64, key: String) -> Value {
    sub_request("cache.INCR", cache, json!({"key": key, "delta": "1", "initial": "1", "write": {}}))
}

/// Counts a key up, and for some numbers one of another segment with it.
fn count(cache: u64, number: u64) -> Value {
    let mut then = vec![incr(cache, format!("a{}", number % KEYS))];
    then.extend((!number.is_multiple_of(3)).then(|| incr(cache, format!("b{}", number % KEYS))));
    json!({"compare": [], "then": then, "otherwise": []})
}

/// Asks for so many counts at once; their streams.
fn count_all(client: &mut (Native, u64), numbers: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    let cache = client.1;
    numbers.map(|number| ask(client, number, "tx.EXEC", count(cache, number))).collect()
}

fn answers((client, _): &mut (Native, u64), streams: &[u64]) -> Vec<Value> {
    streams.iter().map(|stream| client.answer(*stream)).collect()
}

/// What a key was counted up to, as a node sees it.
fn value(client: &mut (Native, u64), key: &str) -> Option<u64> {
    let read = json!({"key": key, "read": {"VALUE": true}});
    let got = client.0.call("cache.GET", client.1, read);
    got[1]["entry"]["VALUE"].as_str().map(|value| value.parse().unwrap())
}

/// Whether each key was counted up once for each number.
fn is_counted(dev: &Dev, node: usize, asked: u64) {
    let mut client = named(dev, node);
    for key in 0..KEYS {
        let numbers: Vec<u64> = (1..=asked).filter(|number| number % KEYS == key).collect();
        let both = numbers.iter().filter(|number| !number.is_multiple_of(3)).count() as u64;
        let is = ["a", "b"].map(|name| value(&mut client, &format!("{name}{key}")).unwrap_or(0));
        assert_eq!(is, [numbers.len() as u64, both], "{key} at {node}");
    }
}

#[test]
fn any_node_answers_a_transaction_as_the_first_time_and_so_do_those_that_take_over() {
    let dev = Dev::three(&[]);
    let ask_at = |node: usize| {
        let mut client = named(&dev, node);
        let streams = count_all(&mut client, 1..=KEYS);
        answers(&mut client, &streams)
    };
    let first = ask_at(0);
    assert!(first.iter().all(|answer| answer[0] == "OK"), "{first:?}");
    assert_eq!((ask_at(1), ask_at(2), ask_at(0)), (first.clone(), first.clone(), first.clone()));
    // Who has the home of a third of them is killed, and their copies are on others.
    let pid = dev.pid(1);
    dev.kill(1);
    assert_eq!((ask_at(0), ask_at(2)), (first.clone(), first.clone()));
    // It is filled with answers, too, and says them when the others are gone.
    until("it is back", || dev.pid(1) != pid && is_whole(&dev));
    dev.kill(0);
    assert_eq!(ask_at(1), first);
    is_counted(&dev, 2, KEYS);
}

/// The node that was asked, which serves some of the keys, is killed with transactions under way; its
/// client asks another one.
#[test]
fn what_a_node_was_asked_that_is_killed_is_done_once() {
    const ASKED: u64 = 240;
    let dev = Dev::three(&["--no-restart"]);
    let mut client = named(&dev, 1);
    let streams = count_all(&mut client, 1..=ASKED);
    let early = answers(&mut client, &streams[..40]);
    dev.kill(1);
    drop(client);
    let mut other = named(&dev, 2);
    let streams = count_all(&mut other, 1..=ASKED);
    let again = answers(&mut other, &streams);
    assert!(again.iter().all(|answer| answer[0] == "OK"), "{again:?}");
    assert_eq!(again[..40], early);
    is_counted(&dev, 0, ASKED);
}

/// Asked of all nodes at one time it is done once, and all are told the same.
#[test]
fn what_is_asked_of_all_nodes_at_once_is_done_once() {
    let dev = Dev::three(&[]);
    let mut clients = [0, 1, 2].map(|node| named(&dev, node));
    for number in 1..=KEYS {
        let streams = clients.each_mut().map(|client| {
            let body = count(client.1, number);
            ask(client, number, "tx.EXEC", body)
        });
        let both = clients.iter_mut().zip(streams);
        let told: Vec<Value> = both.map(|((client, _), stream)| client.answer(stream)).collect();
        let done: Vec<&Value> = told.iter().filter(|answer| answer[0] == "OK").collect();
        assert!(!done.is_empty() && done.iter().all(|one| *one == done[0]), "{told:?}");
        let is_refused = |answer: &&Value| answer[1] == "TX_CONFLICT";
        assert_eq!(told.iter().filter(is_refused).count() + done.len(), 3, "{told:?}");
    }
    is_counted(&dev, 0, KEYS);
}

/// That nothing was done is an answer as well: it is not done later, though it could be then.
#[test]
fn what_was_refused_is_refused_again() {
    let dev = Dev::three(&[]);
    let (mut here, mut there) = (named(&dev, 0), named(&dev, 1));
    let cache = here.1;
    let put =
        |key: &str| json!({"object": cache, "key": key, "op": "PUT", "value": "mine", "write": {}});
    let read = |version: &str| json!({"object": cache, "key": "x", "version": version});
    let absent =
        json!({"object": cache, "key": "x", "what": "ABSENT", "version": "0", "value": ""});
    let if_absent = json!({"key": "x", "value": "mine", "write": {"IF_ABSENT": true}});
    let refused = sub_request("cache.PUT", cache, if_absent);
    let requests = [
        ("VERSION_MISMATCH", "tx.COMMIT_OCC", json!({"reads": [read("0")], "writes": [put("y")]})),
        (
            "OK",
            "tx.EXEC",
            json!({"compare": [absent], "then": [incr(cache, "z".into())], "otherwise": []}),
        ),
        ("PARTIAL", "tx.EXEC", json!({"compare": [], "then": [refused], "otherwise": []})),
    ];
    let entry = json!({"key": "x", "value": "first", "write": {}});
    assert_eq!(here.0.call("cache.PUT", cache, entry)[0], "OK");
    let mut told = Vec::new();
    for (number, (status, op, body)) in (1..).zip(&requests) {
        let stream = ask(&mut here, number, op, body.clone());
        told.push(here.0.answer(stream));
        assert_eq!(told.last().unwrap()[0], *status, "{told:?}");
    }
    assert_eq!(here.0.call("cache.REMOVE", cache, json!({"key": "x", "write": {}}))[0], "OK");
    for (number, (_, op, body)) in (1..).zip(&requests) {
        let stream = ask(&mut there, number, op, body.clone());
        let answer = there.0.answer(stream);
        assert_eq!(&answer, &told[usize::try_from(number).unwrap() - 1], "{op}");
    }
    assert_eq!(["x", "y", "z"].map(|key| value(&mut here, key)), [None; 3]);
    // A new number is a new request.
    let stream = ask(&mut there, 9, requests[1].1, requests[1].2.clone());
    assert_eq!(there.0.answer(stream)[0], "OK");
    assert_eq!(value(&mut here, "z"), Some(1));
}

/// An open transaction is of its connection; that its COMMIT was done any node says.
#[test]
fn a_commit_is_answered_again_by_any_node() {
    let dev = Dev::three(&["--no-restart"]);
    let (mut here, mut there) = (named(&dev, 0), named(&dev, 1));
    let begin = json!({"isolation": "SERIALIZABLE", "idle_ms": 0});
    let begun = here.0.call("tx.BEGIN", 0, begin);
    let tx = begun[1]["tx"].as_str().unwrap().to_owned();
    for key in ["a", "b", "c"] {
        let body = json!({"key": key, "value": "1", "write": {}});
        let put = here.0.call_with("cache.PUT", here.1, body, &json!({"ext": {"tx": tx}}));
        assert_eq!(put[0], "OK", "{put}");
    }
    let commit = json!({"tx": tx});
    let early = ask(&mut there, 1, "tx.COMMIT", commit.clone());
    assert_eq!(there.0.answer(early)[1], "TX_NOT_FOUND", "it has not come to be");
    for client in [&mut here, &mut there] {
        let stream = ask(client, 1, "tx.COMMIT", commit.clone());
        assert_eq!(client.0.answer(stream), json!(["OK", {}]));
    }
    let again = there.0.call("tx.COMMIT", 0, commit);
    assert_eq!(again[1], "TX_NOT_FOUND", "without a number it is another request");
}
