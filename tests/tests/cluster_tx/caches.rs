//! Several caches of a cluster in one transaction.

use std::path::PathBuf;

use isogrid_tests::harness::native::said;
use isogrid_tests::harness::{Native, temporary};
use serde_json::{Value, json};

use super::dev::{Dev, until};
use super::money::{Bank, Moved, start_movers};
use super::{ACCOUNTS, OPENING, is_whole};

/// Caches of all kinds, and how they are configured.
const CACHES: [(&str, &str); 7] = [
    ("default", ""),
    ("ledger", "mode = \"replicated\""),
    ("kept", "mode = \"distributed\"\npersist = \"sync\""),
    ("kept-everywhere", "mode = \"replicated\"\npersist = \"sync\""),
    ("fast", "mode = \"distributed\"\nack = \"async\""),
    ("copied", "mode = \"invalidated\""),
    ("own", "mode = \"local\""),
];

/// A cluster with several caches.
struct Several {
    dev: Dev,
    file: PathBuf,
}

impl Several {
    /// One with those of these names.
    fn of(names: &[&str]) -> Several {
        let file = temporary("several-caches");
        let table = |(name, how): &(&str, &str)| {
            format!("[[cache]]\nname = \"{name}\"\nmemory = \"32MiB\"\n{how}\n")
        };
        let caches = CACHES.iter().filter(|(name, _)| names.contains(name));
        std::fs::write(&file, caches.map(table).collect::<String>()).unwrap();
        let dev = Dev::three(&["--config", file.to_str().unwrap()]);
        Several { dev, file }
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn begin(client: &mut Native, isolation: &str) -> Value {
    let begun = client.call("tx.BEGIN", 0, json!({"isolation": isolation, "idle_ms": 0}));
    begun[1]["tx"].clone()
}

fn put_in(client: &mut Native, cache: u64, key: &str, tx: &Value) -> Value {
    let body = json!({"key": key, "value": "1", "write": {}});
    client.call_with("cache.PUT", cache, body, &json!({"ext": {"tx": tx}}))
}

fn get_in(client: &mut Native, cache: u64, key: &str, tx: &Value) -> Value {
    let body = json!({"key": key, "read": {"VALUE": true}});
    client.call_with("cache.GET", cache, body, &json!({"ext": {"tx": tx}}))
}

fn commit(client: &mut Native, tx: &Value) -> Value {
    client.call("tx.COMMIT", 0, json!({"tx": tx}))
}

fn put(client: &mut Native, cache: u64, key: &str) -> String {
    let body = json!({"key": key, "value": "other", "write": {}});
    client.call("cache.PUT", cache, body)[1]["version"].as_str().unwrap().to_owned()
}

/// A write of COMMIT_OCC.
fn write(cache: u64, key: &str) -> Value {
    json!({"object": cache, "key": key, "op": "PUT", "value": "1", "write": {}})
}

/// Money goes from cache to cache while nodes are killed one after the other, and all at once
/// where it is kept on disks.
#[test]
fn no_money_is_lost_between_caches() {
    for (caches, killed) in [
        (&["default", "ledger"], &[&[1][..], &[0]][..]),
        (&["kept", "kept-everywhere"], &[&[0, 1, 2], &[2]]),
    ] {
        let all: Vec<_> = caches.iter().copied().filter(|name| *name != "default").collect();
        let Several { dev, .. } = &Several::of(&[&["default"], &all[..]].concat());
        Bank::at(dev, 0, caches).open(ACCOUNTS, OPENING);
        let movers = start_movers(dev, 4, ACCOUNTS, caches);
        for nodes in killed {
            std::thread::sleep(std::time::Duration::from_secs(1));
            let pids: Vec<u32> = nodes.iter().map(|node| dev.pid(*node)).collect();
            nodes.iter().for_each(|node| dev.kill(*node));
            let is_new = |(node, pid): (&usize, &u32)| dev.pid(*node) != *pid;
            until("it is back", || nodes.iter().zip(&pids).all(is_new) && is_whole(dev));
        }
        let moved = movers.stop();
        let of = |kind: Moved| moved.iter().filter(|one| **one == kind).count();
        assert!(of(Moved::Done) > 50, "{} of {} in {caches:?}", of(Moved::Done), moved.len());
        assert_eq!(of(Moved::Odd), 0);
        for node in 0..3 {
            let mut bank = Bank::at(dev, node, caches);
            assert_eq!(bank.sum(ACCOUNTS), OPENING * ACCOUNTS as u64, "at {node} of {caches:?}");
            assert_eq!(bank.audit(ACCOUNTS), OPENING * ACCOUNTS as u64, "at {node} of {caches:?}");
        }
    }
}

#[test]
fn caches_of_a_cluster_are_in_one_transaction() {
    let Several { dev, .. } = &Several::of(&CACHES.map(|(name, _)| name));
    each_cache_has_entries_of_its_own(dev);
    a_conflict_says_in_which_cache(dev);
    a_snapshot_is_serializable(dev);
    what_is_kept_apart_is_in_no_transaction_together(dev);
}

/// How a transaction stands, as a node says it once it is not under way any more.
fn status(dev: &Dev, node: usize, tx: &Value) -> String {
    let (mut client, mut state) = (dev.native(node), String::new());
    until("it is over", || {
        let fields = json!({"timeout_ms": 10_000});
        let said = client.call_with("tx.STATUS", 0, json!({"tx": tx}), &fields);
        said[1]["state"].as_str().unwrap_or("ACTIVE").clone_into(&mut state);
        state != "ACTIVE"
    });
    state
}

/// A node is killed while it commits: another one says how each of the transactions ended, and
/// that is so in both caches.
#[test]
fn any_node_says_how_a_transaction_ended() {
    let Several { dev, .. } = &Several::of(&["default", "ledger"]);
    let mut told = Vec::new();
    for (node, wait_ms) in [(0, 8), (1, 0), (2, 3)] {
        until("all is there", || is_whole(dev));
        let mut client = dev.native(node);
        let caches = ["default", "ledger"].map(|name| client.cache(name));
        let opened: Vec<(String, Value)> = (0..16)
            .map(|at| (format!("{node}-{at}"), begin(&mut client, "SERIALIZABLE")))
            .collect();
        for (key, tx) in &opened {
            caches.iter().for_each(|cache| drop(put_in(&mut client, *cache, key, tx)));
        }
        let first = &opened[0].1;
        assert_eq!(commit(&mut client, first), json!(["OK", {}]));
        for (_, tx) in &opened[1..] {
            client.ask("tx.COMMIT", 0, json!({"tx": tx}));
        }
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        dev.kill(node);
        let there = (node + 1) % 3;
        assert_eq!(status(dev, there, first), "COMMITTED");
        let mut other = dev.native(there);
        for (key, tx) in &opened {
            let state = status(dev, there, tx);
            let is_there = |cache: &u64| {
                let fields = json!({"timeout_ms": 10_000});
                let body = json!({"key": key, "read": {"VALUE": true}});
                other.call_with("cache.GET", *cache, body, &fields)[0] == "OK"
            };
            let both = caches.iter().map(is_there).collect::<Vec<_>>();
            let all = match state.as_str() {
                "COMMITTED" => vec![true; 2],
                "ABORTED" => vec![false; 2],
                _ => vec![both[0]; 2],
            };
            assert_eq!(both, all, "{key}: {state}");
            told.push(state);
        }
    }
    let of = |state: &str| told.iter().filter(|one| *one == state).count();
    eprintln!(
        "{} committed, {} aborted, {} unknown",
        of("COMMITTED"),
        of("ABORTED"),
        of("UNKNOWN")
    );
    // Numbers of transactions are no other node's.
    assert_eq!(status(dev, 0, &json!("1")), "UNKNOWN");
}

/// The same key in two caches: whoever is refused is told in which one it was.
fn a_conflict_says_in_which_cache(dev: &Dev) {
    let (mut one, mut other) = (dev.native(0), dev.native(1));
    let (default, ledger) = (one.cache("default"), one.cache("ledger"));
    for (changed, same) in [(default, ledger), (ledger, default)] {
        let tx = begin(&mut one, "SNAPSHOT");
        for cache in [default, ledger] {
            get_in(&mut one, cache, "k", &tx);
            assert_eq!(put_in(&mut one, cache, "k", &tx)[0], "OK");
        }
        let version = put(&mut other, changed, "k");
        let conflicts = json!([{"object": changed, "key": "k", "version": version}]);
        let refused = json!(["VERSION_MISMATCH", {"conflicts": conflicts}]);
        assert_eq!(commit(&mut one, &tx), refused);
        let reads: Vec<Value> = [(changed, "1"), (same, &*put(&mut other, same, "k"))]
            .iter()
            .map(|(cache, version)| json!({"object": cache, "key": "k", "version": version}))
            .collect();
        let body = json!({"reads": reads, "writes": [write(default, "k"), write(ledger, "k")]});
        assert_eq!(other.call("tx.COMMIT_OCC", 0, body), refused);
    }
}

/// What a transaction wrote is seen in it, in the cache where it was written; then in all.
fn each_cache_has_entries_of_its_own(dev: &Dev) {
    let mut client = dev.native(2);
    let caches = ["default", "ledger"].map(|name| client.cache(name));
    let value = |said: &Value| said[1]["entry"]["VALUE"].clone();
    let tx = begin(&mut client, "SERIALIZABLE");
    assert_eq!(put_in(&mut client, caches[0], "a", &tx)[0], "OK");
    assert_eq!(value(&get_in(&mut client, caches[0], "a", &tx)), "1");
    assert_eq!(get_in(&mut client, caches[1], "a", &tx)[0], "NOT_FOUND");
    assert_eq!(put_in(&mut client, caches[1], "b", &tx)[0], "OK");
    assert_eq!(commit(&mut client, &tx), json!(["OK", {}]));
    let mut there = dev.native(0);
    for (cache, key, status) in
        [(0, "a", "OK"), (0, "b", "NOT_FOUND"), (1, "a", "NOT_FOUND"), (1, "b", "OK")]
    {
        let body = json!({"key": key, "read": {"VALUE": true}});
        assert_eq!(there.call("cache.GET", caches[cache], body)[0], status, "{cache} {key}");
    }
}

/// Two transactions that each read what the other one writes, in another cache. A snapshot would
/// let both commit; over a cluster the stronger level is what there is.
fn a_snapshot_is_serializable(dev: &Dev) {
    let (mut one, mut other) = (dev.native(0), dev.native(1));
    let (default, ledger) = (one.cache("default"), one.cache("ledger"));
    let (first, second) = (begin(&mut one, "SNAPSHOT"), begin(&mut other, "SNAPSHOT"));
    assert_eq!(get_in(&mut one, default, "here", &first)[0], "NOT_FOUND");
    assert_eq!(get_in(&mut other, ledger, "there", &second)[0], "NOT_FOUND");
    assert_eq!(put_in(&mut one, ledger, "there", &first)[0], "OK");
    assert_eq!(put_in(&mut other, default, "here", &second)[0], "OK");
    assert_eq!(commit(&mut one, &first), json!(["OK", {}]));
    let refused = commit(&mut other, &second);
    assert_eq!(refused[0], "VERSION_MISMATCH", "{refused}");
    // The first one may be about to let go of what it has read, which is named as well then.
    let named = refused[1]["conflicts"].as_array().unwrap();
    let is_it = |one: &Value| one["object"] == ledger && one["key"] == "there";
    assert!(named.iter().any(is_it), "{refused}");
}

/// What cannot be one transaction is refused as a whole, whichever cache comes first.
fn what_is_kept_apart_is_in_no_transaction_together(dev: &Dev) {
    let mut client = dev.native(0);
    for (names, code, why) in [
        (["default", "own"], "UNSUPPORTED_OP", "own is of this node alone"),
        (["default", "copied"], "UNSUPPORTED_OP", "copied is invalidated"),
        (["default", "fast"], "UNSUPPORTED_OP", "give it ack = sync"),
        (["ledger", "kept"], "INVALID_ARGUMENT", "(persist)"),
    ] {
        let [one, other] = names.map(|name| client.cache(name));
        for (first, second) in [(one, other), (other, one)] {
            let body =
                json!({"reads": [], "writes": [write(first, "apart"), write(second, "apart")]});
            let refused = json!(["ERR", code]);
            let stream = client.ask("tx.COMMIT_OCC", 0, body);
            let frame = client.next_of(stream);
            assert_eq!(said(&frame), refused, "{names:?}");
            assert!(frame.to_string().contains(why), "{frame}");
            let tx = begin(&mut client, "SNAPSHOT");
            let told = [first, second].map(|cache| put_in(&mut client, cache, "apart", &tx));
            let is_late = code == "INVALID_ARGUMENT";
            assert_eq!(told.contains(&refused), !is_late, "{names:?}: {told:?}");
            if is_late {
                assert_eq!(commit(&mut client, &tx), refused);
            }
        }
        for cache in [one, other] {
            let body = json!({"key": "apart", "read": {"VALUE": true}});
            assert_eq!(client.call("cache.GET", cache, body)[0], "NOT_FOUND", "{names:?}");
        }
    }
    // To read what is kept otherwise is no matter.
    let (ledger, kept) = (client.cache("ledger"), client.cache("kept"));
    let reads = json!([{"object": ledger, "key": "apart", "version": "0"}]);
    let body = json!({"reads": reads, "writes": [write(kept, "apart")]});
    assert_eq!(client.call("tx.COMMIT_OCC", 0, body)[0], "OK");
}
