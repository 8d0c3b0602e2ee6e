//! Near caches: the node that is asked hears of the changes of all members.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_tests::harness::native::{said, sub_answer, sub_request};
use isogrid_tests::harness::{Native, send_signal};
use serde_json::{Value, json};

use super::dev::{Dev, until};
use super::{is_whole, keys, native, put_many};

/// All segments, in an item.
const ALL: u64 = 65_535;

fn track(mode: &str, prefixes: &[&str], flags: Value) -> Value {
    json!({"mode": mode, "prefixes": prefixes, "flags": flags, "credit": 1_000_000})
}

fn tracked_get(key: &str) -> Value {
    json!({"key": key, "read": {"VALUE": true, "TRACK": true}})
}

fn put(client: &mut Native, cache: u64, all: &[String], value: &str) {
    let answer = client.call("cache.PUT_MANY", cache, put_many(all, value, json!({})));
    assert_eq!(answer[0], "OK", "{answer}");
}

/// A near cache that keeps the rule of docs/EVENTS.md.
struct Near {
    client: Native,
    cache: u64,
    stream: u64,
    copies: BTreeMap<String, String>,
    invalidated: BTreeSet<String>,
    resyncs: usize,
}

impl Near {
    /// Begins at a node: empty, with a resync of all.
    fn begin(dev: &Dev, node: usize, body: Value) -> Near {
        let (client, cache) = native(dev, node);
        let mut near = Near {
            client,
            cache,
            stream: 0,
            copies: BTreeMap::new(),
            invalidated: BTreeSet::new(),
            resyncs: 0,
        };
        near.stream = near.client.ask("cache.TRACK", cache, body);
        let first = near.client.next_of(near.stream);
        let all = json!({"kind": "RESYNC", "segment": ALL, "seq": "0", "key": ""});
        assert_eq!(first["items"], json!([all]), "{first}");
        near
    }

    /// Reads what there is no copy of, with whatever request. No other request of its own is under
    /// way, so that an invalidation that comes before the answer may be of what was read.
    fn read(&mut self, key: &str) {
        if self.copies.contains_key(key) {
            return;
        }
        let stream = self.client.ask("cache.GET", self.cache, tracked_get(key));
        let (mut dropped, mut read) = (false, Value::Null);
        while read.is_null() {
            let frame = self.client.receive();
            if frame["stream"] == stream {
                assert_eq!(frame["type"], "RES", "{key}: {frame}");
                read = said(&frame);
            } else {
                dropped |= self.take(&frame, key);
            }
        }
        if let Some(value) = read[1]["entry"]["VALUE"].as_str().filter(|_| !dropped) {
            self.copies.insert(key.to_owned(), value.to_owned());
        }
    }

    /// Takes what is out of date; whether a reservation of this key is.
    fn take(&mut self, frame: &Value, reserved: &str) -> bool {
        assert_eq!((&frame["type"], &frame["stream"]), (&json!("ITEM"), &json!(self.stream)));
        let mut dropped = false;
        for item in frame["items"].as_array().unwrap() {
            let key = item["key"].as_str().unwrap();
            if item["kind"] == "RESYNC" {
                self.copies.clear();
                self.resyncs += 1;
                dropped = true;
            } else {
                self.copies.remove(key);
                self.invalidated.insert(key.to_owned());
                dropped |= key == reserved;
            }
        }
        dropped
    }

    /// Takes all that has come.
    fn hear(&mut self) {
        let ping = self.client.ask("conn.PING", 0, json!({}));
        loop {
            let frame = self.client.receive();
            if frame["stream"] == ping {
                return;
            }
            self.take(&frame, "");
        }
    }

    fn hears_of(&mut self, expected: &[String]) {
        let expected: BTreeSet<_> = expected.iter().cloned().collect();
        until("it hears of it", || {
            self.hear();
            self.invalidated.len() >= expected.len()
        });
        assert_eq!(std::mem::take(&mut self.invalidated), expected);
    }
}

#[test]
fn a_near_cache_hears_of_every_member() {
    let dev = Dev::three(&[]);
    let all = keys("k", 120);
    for node in 0..3 {
        let (mut writer, cache) = native(&dev, (node + 1) % 3);
        put(&mut writer, cache, &all, "1");
        let mut near = Near::begin(&dev, node, track("READ", &[], json!({})));
        all[..60].iter().for_each(|key| near.read(key));
        assert_eq!(near.copies.len(), 60);
        let many = json!({"keys": all[60..80], "read": {"VALUE": true, "TRACK": true}});
        assert_eq!(near.client.call("cache.GET_MANY", cache, many)[0], "OK");
        let sub = |key: &String| sub_request("cache.GET", cache, tracked_get(key));
        let subs: Vec<_> = all[80..100].iter().map(sub).collect();
        let said = near.client.call("batch.BATCH", 0, json!({ "requests": subs }));
        assert_eq!(sub_answer("cache.GET", &said[1]["replies"][7])[0], "OK", "{said}");
        // What was not read is not told, and what was is told once.
        for told in [&all[..100], &[]] {
            put(&mut writer, cache, &all, "2");
            put(&mut writer, cache, &["end".to_owned()], "2");
            near.read("end");
            put(&mut writer, cache, &["end".to_owned()], "3");
            near.hears_of(&[told, &["end".to_owned()]].concat());
        }
        assert_eq!(near.resyncs, 0, "nothing else was missed");
    }
    hears_of_prefixes(&dev);
    hears_of_all_at_once(&dev);
}

/// Of all keys with a prefix, read or not, but for those that the same client writes where it says
/// so.
fn hears_of_prefixes(dev: &Dev) {
    let (mut writer, cache) = native(dev, 2);
    let body = track("PREFIXES", &["u:", "v:"], json!({"NO_LOOP": true}));
    let mut near = Near::begin(dev, 1, body);
    let [u, v, w] = ["u:", "v:", "w:"].map(|prefix| keys(prefix, 40));
    for round in ["1", "2"] {
        put(&mut near.client, cache, &keys("u:own", 40), round);
        for all in [&w, &u, &v] {
            put(&mut writer, cache, all, round);
        }
        near.hears_of(&[&u[..], &v].concat());
    }
    let no_stream = writer.call("cache.GET", cache, tracked_get("u:1"));
    assert_eq!(no_stream, json!(["ERR", "INVALID_ARGUMENT"]));
}

fn hears_of_all_at_once(dev: &Dev) {
    let (mut writer, cache) = native(dev, 0);
    let mut near = Near::begin(dev, 2, track("READ", &[], json!({})));
    put(&mut writer, cache, &keys("c", 30), "1");
    keys("c", 30).iter().for_each(|key| near.read(key));
    writer.call("cache.CLEAR", cache, json!({"delay_ms": 0, "notify": false}));
    until("the clear is told", || {
        near.hear();
        near.copies.is_empty()
    });
}

/// A member is killed, and one is paused for so long that others serve for it: what is written there
/// meanwhile is told as any other change, and copies are in the end what there is.
#[test]
fn a_near_cache_misses_nothing_when_members_are_killed_and_paused() {
    let dev = Dev::three(&[]);
    let all = keys("k", 200);
    let (mut writer, cache) = native(&dev, 2);
    put(&mut writer, cache, &all, "0");
    let mut near = Near::begin(&dev, 0, track("READ", &[], json!({})));
    all.iter().for_each(|key| near.read(key));
    assert_eq!(near.copies.len(), all.len());
    for (round, (signal, after)) in [("KILL", ""), ("STOP", "CONT")].into_iter().enumerate() {
        let pid = dev.pid(1);
        send_signal(pid, signal);
        for write in 0..2 {
            let value = format!("{round}.{write}");
            until("the others serve", || {
                let some = put_many(&all, &value, json!({}));
                writer.call("cache.PUT_MANY", cache, some)[0] == "OK"
            });
            until("its copies are what there is", || {
                near.hear();
                all.iter().for_each(|key| near.read(key));
                near.copies.len() == all.len() && near.copies.values().all(|copy| *copy == value)
            });
        }
        if !after.is_empty() {
            send_signal(pid, after);
        }
        until("it is back", || is_whole(&dev));
    }
    assert!(near.resyncs > 0, "what others serve now is read anew");
    put(&mut writer, cache, &all, "end");
    until("its copies are what there is", || {
        near.hear();
        all.iter().for_each(|key| near.read(key));
        near.copies.values().all(|copy| copy == "end")
    });
}
