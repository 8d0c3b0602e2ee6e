//! Listeners.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_tests::harness::Native;
use serde_json::{Value, json};

use super::dev::{Dev, until};
use super::{keys, native, put_many};

/// All segments, in an event.
const ALL: u64 = 65_535;

/// Somebody who follows a cache, and what they know of it.
struct Follower {
    client: Native,
    /// Reads what is to be read anew.
    reader: Native,
    cache: u64,
    /// Each key with its value.
    map: BTreeMap<String, String>,
    resynced: BTreeSet<u64>,
}

impl Follower {
    /// Begins to follow at a node; what is told first is a resync.
    fn begin(dev: &Dev, node: usize) -> Follower {
        let (mut follower, stream) = Follower::ask(dev, node, json!({}));
        let first = follower.client.next_of(stream);
        assert_eq!(events(&first), [json!([32, ALL, null, null, null])], "{first}");
        follower
    }

    /// Begins with what there is.
    fn begin_with_all(dev: &Dev, node: usize) -> Follower {
        Follower::ask(dev, node, json!({"INITIAL_STATE": true})).0
    }

    fn ask(dev: &Dev, node: usize, flags: Value) -> (Follower, u64) {
        let (mut client, cache) = native(dev, node);
        let stream = client.ask("cache.LISTEN", cache, listen(flags, None));
        let (map, resynced) = (BTreeMap::new(), BTreeSet::new());
        (Follower { client, reader: dev.native(node), cache, map, resynced }, stream)
    }

    /// Does what it is told; what is to be read anew is.
    fn follow(&mut self) {
        let ping = self.client.ask("conn.PING", 0, json!({}));
        let mut anew = BTreeSet::new();
        loop {
            let frame = self.client.receive();
            if frame["stream"] == ping {
                break;
            }
            for event in events(&frame) {
                let [kind, segment, key] = [0, 1, 2].map(|at| event[at].clone());
                match kind.as_u64().unwrap() {
                    32 => drop(anew.insert(segment.as_u64().unwrap())),
                    4 => drop(self.map.remove(key.as_str().unwrap())),
                    _ => {
                        let value = event[3].as_str().unwrap().to_owned();
                        self.map.insert(key.as_str().unwrap().to_owned(), value);
                    }
                }
            }
        }
        if !anew.is_empty() {
            // An empty map, and what a scan tells: events that come meanwhile are done behind it.
            self.map = content(&mut self.reader, self.cache);
            self.resynced.extend(anew);
        }
    }
}

/// The body of a LISTEN.
pub fn listen(flags: Value, glob: Option<&str>) -> Value {
    let all = json!({"CREATE": true, "UPDATE": true, "REMOVE": true, "EXPIRE": true});
    let read = json!({"VALUE": true});
    json!({"events": all, "read": read, "glob": glob, "flags": flags, "credit": 1_000_000})
}

/// Each event as `[event, segment or null, key, value, previous value]`; segments of resyncs alone.
fn events(frame: &Value) -> Vec<Value> {
    assert_eq!(frame["type"], "ITEM", "{frame}");
    let items = frame["items"].as_array().unwrap();
    let event = |item: &Value| {
        let (entry, prev) = (&item["entry"], &item["prev"]);
        let segment = if item["event"] == 32 { item["segment"].clone() } else { Value::Null };
        json!([item["event"], segment, entry["KEY"], entry["VALUE"], prev["VALUE"]])
    };
    items.iter().map(event).collect()
}

fn content(client: &mut Native, cache: u64) -> BTreeMap<String, String> {
    let scan = json!({
        "read": {"KEY": true, "VALUE": true}, "segments": null, "glob": null, "batch": 0,
        "cursor": null, "credit": 1_000_000,
    });
    let (stream, mut all) = (client.ask("cache.SCAN", cache, scan), BTreeMap::new());
    loop {
        let frame = client.next_of(stream);
        if frame["type"] != "ITEM" {
            assert_eq!(frame["status"], "ENDED", "{frame}");
            return all;
        }
        for entry in frame["items"].as_array().unwrap() {
            let [key, value] =
                ["KEY", "VALUE"].map(|part| entry[part].as_str().unwrap().to_owned());
            all.insert(key, value);
        }
    }
}

fn put(client: &mut Native, cache: u64, all: &[String], value: &str) {
    let answer = client.call("cache.PUT_MANY", cache, put_many(all, value, json!({})));
    assert_eq!(answer[0], "OK", "{answer}");
}

#[test]
fn a_listener_hears_of_every_member() {
    let dev = Dev::three(&[]);
    let mut follower = Follower::begin(&dev, 0);
    let all = keys("k", 200);
    for (node, value) in [(1, "one"), (2, "two"), (0, "three")] {
        let (mut client, cache) = native(&dev, node);
        put(&mut client, cache, &all, value);
        let expected: BTreeMap<_, _> =
            all.iter().map(|key| (key.clone(), value.to_owned())).collect();
        until("all is told", || {
            follower.follow();
            follower.map == expected
        });
    }
    let (mut client, cache) = native(&dev, 1);
    client.call("cache.REMOVE_MANY", cache, json!({"keys": all[..100], "write": {}}));
    until("removals are told", || {
        follower.follow();
        follower.map.len() == 100
    });
    assert!(follower.resynced.is_empty(), "{:?}", follower.resynced);
    client.call("cache.CLEAR", cache, json!({"delay_ms": 0, "notify": false}));
    until("the clear is told", || {
        follower.follow();
        follower.map.is_empty()
    });
    chooses(&dev);
}

fn chooses(dev: &Dev) {
    let (mut client, cache) = native(dev, 2);
    let body = listen(json!({}), Some(&"*a".repeat(20)));
    assert_eq!(client.call("cache.LISTEN", cache, body), json!(["ERR", "INVALID_ARGUMENT"]));
    let some = listen(json!({"RETURN_PREV": true}), Some("u:*"));
    let stream = client.ask("cache.LISTEN", cache, some);
    assert_eq!(events(&client.next_of(stream))[0][0], 32);
    let (mut writer, cache) = native(dev, 0);
    for (key, value) in [("x:1", "1"), ("u:1", "1"), ("u:1", "2")] {
        put(&mut writer, cache, &[key.to_owned()], value);
        if key == "u:1" {
            let prev = if value == "2" { json!("1") } else { Value::Null };
            let kind = if value == "2" { 2 } else { 1 };
            let told = events(&client.next_of(stream));
            assert_eq!(told, [json!([kind, null, key, value, prev])]);
        }
    }
    client.cancel(stream);
    assert_eq!(client.answer(stream), json!(["ERR", "CANCELLED"]));
}

/// Writes some keys again and again, until the cluster takes all of them; the listener listens.
fn put_until_taken(writer: &mut Native, cache: u64, follower: &mut Follower) {
    let all = keys("during", 300);
    until("the cluster takes writes again", || {
        let answer = writer.call("cache.PUT_MANY", cache, put_many(&all, "2", json!({})));
        follower.follow();
        answer[0] == "OK"
    });
}

/// A member is killed and comes back: its segments are read anew, no others are, and what the
/// listener knows is what there is.
#[test]
fn a_listener_misses_nothing_when_a_member_is_killed() {
    let dev = Dev::three(&[]);
    let mut follower = Follower::begin(&dev, 0);
    let (mut writer, cache) = native(&dev, 2);
    put(&mut writer, cache, &keys("before", 300), "1");
    dev.kill(1);
    put_until_taken(&mut writer, cache, &mut follower);
    put(&mut writer, cache, &keys("before", 150), "3");
    let agree = |follower: &mut Follower, writer: &mut Native| {
        until("it knows what there is", || {
            follower.follow();
            follower.map == content(writer, cache)
        });
        assert_eq!(follower.map.len(), 600);
    };
    agree(&mut follower, &mut writer);
    let resynced = follower.resynced.len();
    assert!((40..=130).contains(&resynced) && !follower.resynced.contains(&ALL), "{resynced}");
    until("it is back", || super::is_whole(&dev));
    put(&mut writer, cache, &keys("during", 300), "4");
    agree(&mut follower, &mut writer);
}

/// What there is comes first: with what changes meanwhile and later it makes what there is in the end,
/// and nothing of it is read anew.
#[test]
fn a_listener_begins_with_what_there_is() {
    for mode in ["distributed", "replicated"] {
        let dev = Dev::three(&["--mode", mode]);
        let (mut writer, cache) = native(&dev, 1);
        let all = keys("k", 1_000);
        put(&mut writer, cache, &all, "0");
        for (node, round) in [(0, "1"), (1, "2"), (2, "3")] {
            let mut follower = Follower::begin_with_all(&dev, node);
            // Some of it is told before, and some behind it.
            put(&mut writer, cache, &all[..500], round);
            let remove = json!({"keys": all[500..510], "write": {}});
            assert_eq!(writer.call("cache.REMOVE_MANY", cache, remove)[0], "OK");
            put(&mut writer, cache, &all[500..510], round);
            put(&mut writer, cache, &keys("new", 300), round);
            let expected = content(&mut writer, cache);
            until("it knows what there is", || {
                follower.follow();
                follower.map == expected
            });
            assert!(follower.resynced.is_empty(), "{mode}: {:?}", follower.resynced);
        }
    }
}

/// A member that dies while it tells what it has: the rest is told, or read anew.
#[test]
fn what_there_is_comes_whole_when_a_member_is_killed() {
    let dev = Dev::three(&[]);
    let (mut writer, cache) = native(&dev, 2);
    let value = "v".repeat(2_000);
    for part in keys("k", 5_000).chunks(500) {
        put(&mut writer, cache, part, &value);
    }
    let mut follower = Follower::begin_with_all(&dev, 0);
    dev.kill(1);
    put_until_taken(&mut writer, cache, &mut follower);
    until("it knows what there is", || {
        follower.follow();
        follower.map == content(&mut writer, cache)
    });
    assert_eq!(follower.map.len(), 5_300);
    assert!(!follower.resynced.is_empty(), "what the dead one served is told by others now");
}

/// A client is not told of what it has changed itself, whichever member executed that and over
/// whichever of its connections it went.
#[test]
fn a_listener_leaves_out_what_its_own_client_changed() {
    let dev = Dev::three(&[]);
    let instance = |last: u8| format!("01020304-0506-4708-890a-0b0c0d0e0f{last:02x}");
    let of = |node: usize, last: u8| {
        dev.native_with(node, &json!({"client": {"instance": instance(last)}}))
    };
    let (nobody, cache) = native(&dev, 0);
    for (mut client, same) in [(of(0, 1), Some(of(1, 1))), (nobody, None)] {
        let stream = client.ask("cache.LISTEN", cache, listen(json!({"NO_LOOP": true}), None));
        assert_eq!(events(&client.next_of(stream))[0][0], 32);
        put(&mut client, cache, &keys("own", 50), "1");
        for key in keys("own", 50) {
            let one = json!({"key": key, "value": "2", "write": {}});
            assert_eq!(client.call("cache.PUT", cache, one)[0], "OK");
        }
        if let Some(mut same) = same {
            put(&mut same, cache, &keys("same", 50), "1");
        }
        let others = keys("other", 50);
        put(&mut of(2, 2), cache, &others, "1");
        let mut told = BTreeSet::new();
        while told.len() < others.len() {
            for event in events(&client.next_of(stream)) {
                let key = event[2].as_str().unwrap_or_else(|| panic!("{event}")).to_owned();
                assert!(key.starts_with("other"), "{event}");
                told.insert(key);
            }
        }
    }
}
