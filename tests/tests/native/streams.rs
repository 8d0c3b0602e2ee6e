//! Streams: scans, listeners and trackers, item by item as credit allows.

use std::collections::BTreeSet;

use isogrid_tests::harness::{Native, temporary};
use serde_json::{Value, json};

use super::server;

fn put(client: &mut Native, cache: u64, key: &str, value: &str) {
    let body = json!({"key": key, "value": value, "write": {}});
    assert_eq!(client.call("cache.PUT", cache, body)[0], "OK");
}

fn listen(credit: u32, flags: Value, glob: Option<&str>) -> Value {
    let all = json!({"CREATE": true, "UPDATE": true, "REMOVE": true, "EXPIRE": true});
    json!({"events": all, "read": {"VALUE": true}, "glob": glob, "flags": flags, "credit": credit})
}

/// Each event as `[event, key, value, previous value]`.
fn events(frame: &Value) -> Vec<Value> {
    assert_eq!(frame["type"], "ITEM", "{frame}");
    let items = frame["items"].as_array().unwrap();
    let event = |item: &Value| {
        let (entry, prev) = (&item["entry"], &item["prev"]);
        json!([item["event"], entry["KEY"], entry["VALUE"], prev["VALUE"]])
    };
    items.iter().map(event).collect()
}

/// The next events of a stream, until there are so many.
fn take(client: &mut Native, stream: u64, count: usize) -> Vec<Value> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(events(&client.next_of(stream)));
    }
    assert_eq!(all.len(), count, "{all:?}");
    all
}

#[test]
fn a_listener_hears_as_much_as_it_has_credit_for() {
    let server = server(&[]);
    let (mut writer, mut reader) = (server.native(), server.native());
    let cache = writer.cache("default");
    put(&mut writer, cache, "old", "0");
    let flags = json!({"INITIAL_STATE": true, "RETURN_PREV": true});
    let stream = reader.ask("cache.LISTEN", cache, listen(2, flags, None));
    assert_eq!(take(&mut reader, stream, 1), [json!([1, "old", "0", null])]);
    put(&mut writer, cache, "a", "1");
    assert_eq!(take(&mut reader, stream, 1), [json!([1, "a", "1", null])]);
    // No credit is left: what happens meanwhile becomes one event a key.
    put(&mut writer, cache, "a", "2");
    put(&mut writer, cache, "a", "3");
    writer.call("cache.REMOVE", cache, json!({"key": "old", "write": {}}));
    assert_eq!(reader.call("conn.PING", 0, json!({})), json!(["OK", {}]));
    reader.credit(stream, 10);
    let told = take(&mut reader, stream, 2);
    assert_eq!(told, [json!([2, "a", "3", "1"]), json!([4, "old", null, "0"])]);
    reader.cancel(stream);
    assert_eq!(reader.answer(stream), json!(["ERR", "CANCELLED"]));
    put(&mut writer, cache, "a", "4");
    assert_eq!(reader.call("conn.PING", 0, json!({})), json!(["OK", {}]));
}

#[test]
fn a_listener_chooses_keys_and_leaves_its_own_changes_out() {
    let server = server(&[]);
    let (mut one, mut two) = (server.native(), server.native());
    let cache = one.cache("default");
    let stream = one.ask("cache.LISTEN", cache, listen(10, json!({"NO_LOOP": true}), Some("u:*")));
    one.call("conn.FENCE", 0, json!({}));
    put(&mut one, cache, "u:own", "1");
    put(&mut two, cache, "x:other", "1");
    put(&mut two, cache, "u:other", "1");
    assert_eq!(take(&mut one, stream, 1), [json!([1, "u:other", "1", null])]);
    // A clear, and the end of the cache.
    two.call("cache.CLEAR", cache, json!({"delay_ms": 0, "notify": false}));
    assert_eq!(take(&mut one, stream, 1), [json!([32, null, null, null])]);
    let wrong = listen(1, json!({}), Some(&"*a".repeat(20)));
    assert_eq!(one.call("cache.LISTEN", cache, wrong), json!(["ERR", "INVALID_ARGUMENT"]));
}

#[test]
fn streams_end_with_their_cache() {
    let server = server(&[]);
    let mut client = server.native();
    let create = json!({"kind": "CACHE", "name": "x", "mode": "CREATE_NEW", "options": "{}"});
    let made = client.call("catalog.CREATE", 0, create);
    let cache = made[1]["id"].as_u64().unwrap();
    let heard = client.ask("cache.LISTEN", cache, listen(100, json!({}), None));
    let track = json!({"mode": "PREFIXES", "prefixes": [""], "flags": {}, "credit": 100});
    let tracked = client.ask("cache.TRACK", cache, track);
    client.call("catalog.DROP", 0, json!({"kind": "CACHE", "name": "x"}));
    for stream in [heard, tracked] {
        let mut frame = client.next_of(stream);
        while frame["type"] == "ITEM" {
            frame = client.next_of(stream);
        }
        assert_eq!(frame["status"], "ENDED");
    }
}

#[test]
fn a_near_cache_is_told_of_what_was_read() {
    let server = server(&[]);
    let (mut reader, mut writer) = (server.native(), server.native());
    let cache = reader.cache("default");
    for key in ["a", "b", "c"] {
        put(&mut writer, cache, key, "1");
    }
    let track = json!({"mode": "READ", "prefixes": [], "flags": {"NO_LOOP": true}, "credit": 2});
    let stream = reader.ask("cache.TRACK", cache, track);
    let read = |key: &str| json!({"key": key, "read": {"VALUE": true, "TRACK": true}});
    assert_eq!(reader.call("cache.GET", cache, read("a"))[0], "OK");
    let many = json!({"keys": ["b", "c"], "read": {"TRACK": true}});
    assert_eq!(reader.call("cache.GET_MANY", cache, many)[0], "OK");
    // Its own change is none to it, and a second one of the same key is told no more.
    put(&mut reader, cache, "a", "2");
    put(&mut writer, cache, "b", "2");
    put(&mut writer, cache, "b", "3");
    put(&mut writer, cache, "d", "1");
    put(&mut writer, cache, "c", "2");
    let mut keys = BTreeSet::new();
    while keys.len() < 2 {
        for item in reader.next_of(stream)["items"].as_array().unwrap() {
            assert_eq!(item["kind"], "INVALIDATE");
            assert!(keys.insert(item["key"].as_str().unwrap().to_owned()));
        }
    }
    assert_eq!(keys, BTreeSet::from(["b".to_owned(), "c".to_owned()]));
    // Everything is out of date.
    writer.call("cache.CLEAR", cache, json!({"delay_ms": 0, "notify": false}));
    reader.credit(stream, 1);
    let items = reader.next_of(stream)["items"].clone();
    assert_eq!((&items[0]["kind"], &items[0]["segment"]), (&json!("RESYNC"), &json!(65_535)));
}

#[test]
fn a_scan_finds_all_once_and_goes_on_elsewhere() {
    let server = server(&[]);
    let mut client = server.native();
    let cache = client.cache("default");
    let keys: BTreeSet<String> = (0..500).map(|n| format!("k{n}")).collect();
    for key in &keys {
        put(&mut client, cache, key, key);
    }
    put(&mut client, cache, "other", "x");
    let scan = |cursor: Value, credit: u32| {
        json!({
            "read": {"KEY": true, "VALUE": true}, "segments": null, "glob": "k*",
            "batch": 50, "cursor": cursor, "credit": credit,
        })
    };
    let stream = client.ask("cache.SCAN", cache, scan(Value::Null, 120));
    let (mut found, mut cursor) = (BTreeSet::new(), Value::Null);
    while found.len() < 120 {
        let frame = client.next_of(stream);
        assert!(frame["items"].as_array().unwrap().len() <= 50);
        collect(&frame, &mut found);
        cursor = frame["trailer"]["cursor"].clone();
    }
    assert_eq!(found.len(), 120, "the credit");
    drop(client);
    let mut client = server.native();
    let stream = client.ask("cache.SCAN", cache, scan(cursor, 10_000));
    loop {
        let frame = client.next_of(stream);
        if frame["type"] == "RES" {
            assert_eq!(frame["status"], "ENDED");
            break;
        }
        collect(&frame, &mut found);
    }
    assert_eq!(found, keys);
    let bad = client.call("cache.SCAN", cache, scan(json!("abc"), 1));
    assert_eq!(bad, json!(["ERR", "INVALID_ARGUMENT"]));
}

/// The keys of a frame, none of which was there before.
fn collect(frame: &Value, found: &mut BTreeSet<String>) {
    for item in frame["items"].as_array().unwrap() {
        assert_eq!(item["KEY"], item["VALUE"]);
        let key = item["KEY"].as_str().unwrap().to_owned();
        assert!(found.insert(key.clone()), "{key} twice");
    }
}

#[test]
fn a_scan_says_which_segments_are_finished() {
    let server = server(&["--set", "cache.default.segments=16"]);
    let mut client = server.native();
    let cache = client.cache("default");
    for n in 0..100 {
        put(&mut client, cache, &format!("k{n}"), "v");
    }
    // Segments 1 and 3.
    let scan = json!({
        "read": {"KEY": true}, "segments": {"hex": "0a"}, "glob": null,
        "batch": 0, "cursor": null, "credit": 1_000,
    });
    let stream = client.ask("cache.SCAN", cache, scan);
    let mut finished = Vec::new();
    loop {
        let frame = client.next_of(stream);
        if frame["type"] == "RES" {
            break;
        }
        finished.extend(frame["trailer"]["finished"].as_array().unwrap().clone());
    }
    assert_eq!(finished, [json!(1), json!(3)]);
}

#[test]
fn a_listener_that_does_not_read_costs_no_more_than_its_limit() {
    let server = server(&["--memory", "256MiB"]);
    let (mut reader, mut writer) = (server.native(), server.native());
    let cache = writer.cache("default");
    let stream = reader.ask("cache.LISTEN", cache, listen(u32::MAX, json!({}), None));
    reader.call("conn.FENCE", 0, json!({}));
    let before = server.resident_kib();
    let value = "v".repeat(100 << 10);
    for n in 0..400 {
        put(&mut writer, cache, &format!("k{}", n % 20), &value);
    }
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 48 << 10, "{grown} KiB");
    // It is behind, and comes to the end.
    put(&mut writer, cache, "last", "x");
    loop {
        let frame = reader.next_of(stream);
        if events(&frame).contains(&json!([1, "last", "x", null])) {
            break;
        }
    }
}

/// The time of its request ended a save or a load that took longer, while the work went on unseen.
#[test]
fn a_stream_of_administration_outlives_the_time_in_which_it_begins() {
    const KEYS: u64 = 200_000;
    let folder = temporary("stream-time");
    let server = server(&["--set", &format!("node.backup_dir={}", folder.display())]);
    let sets: String = (0..KEYS).map(|n| format!("set k{n} 0 0 1 noreply\r\nv\r\n")).collect();
    server.connect().ask(sets + "mn\r\n", "MN\r\n");
    let mut client = server.native();
    for (method, arguments) in [
        ("snapshot.save", json!({"name": "a"})),
        ("snapshot.load", json!({"name": "a", "mode": "replace"})),
    ] {
        let body = json!({"method": method, "arguments": arguments.to_string(), "credit": 0});
        let end = loop {
            let hasty = json!({"timeout_ms": 5});
            let stream = client.ask_with("admin.STREAM", 0, body.clone(), &hasty);
            let end = client.answer(stream);
            // A slow machine has not begun in time, and may be asked again.
            if end != json!(["ERR", "DEADLINE_EXCEEDED"]) {
                break end;
            }
        };
        assert_eq!(end[0], "ENDED", "{method}: {end}");
        let result: Value = serde_json::from_str(end[1]["result"].as_str().unwrap()).unwrap();
        assert!(result["entries"].as_u64() >= Some(KEYS), "{method}: {result}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
