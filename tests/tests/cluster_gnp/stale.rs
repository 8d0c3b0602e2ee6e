//! Reads that a copy may answer which lags behind (STALE_OK, R26).

use std::collections::BTreeSet;

use isogrid_engine::hash::stable_segment;
use isogrid_tests::harness::send_signal;

use super::*;

/// The segments of which a node has a copy in sync and does not serve, and those of which it has none.
fn backups(dev: &Dev, node: usize) -> [BTreeSet<usize>; 2] {
    let us = dev.metric(node, "isogrid_cluster_member");
    let told = dev.asks(node, "POST", "/v1/admin/cluster.topology", &[], b"{}").text();
    let told: Value = serde_json::from_str(&told).unwrap();
    let caches = told["caches"].as_array().unwrap();
    let cache = caches.iter().find(|cache| cache["cache"] == "default").unwrap();
    let segments = cache["segments"].as_array().unwrap();
    let of = |is_there: bool| {
        let all = segments.iter().enumerate().filter(|(_, segment)| {
            let is_copy = segment["insync"].as_array().unwrap().iter().any(|one| *one == us);
            is_copy == is_there && segment["primary"] != us
        });
        all.map(|(at, _)| at).collect()
    };
    [of(true), of(false)]
}

fn is_ok(answer: &Value) -> bool {
    answer[0] == "OK"
}

#[test]
fn a_copy_answers_who_accepts_that_it_lags_behind() {
    let dev = Dev::three(&[]);
    let (mut client, cache) = native(&dev, 0);
    let [backups, elsewhere] = backups(&dev, 0);
    let key_of = |segments: &BTreeSet<usize>| {
        let mut all = keys("s", 10_000).into_iter();
        all.find(|key| segments.contains(&stable_segment(key.as_bytes(), 256))).unwrap()
    };
    let (ours, theirs) = (key_of(&backups), key_of(&elsewhere));
    for key in [&ours, &theirs] {
        let answer =
            client.call("cache.PUT", cache, json!({"key": key, "value": "1", "write": {}}));
        assert!(is_ok(&answer), "{answer}");
    }
    let mut get = |key: &str, read: Value| {
        let before = dev.metric(0, "isogrid_cluster_passed_on_total");
        let answer = client.call("cache.GET", cache, json!({"key": key, "read": read}));
        let passed = dev.metric(0, "isogrid_cluster_passed_on_total") - before;
        (answer, passed)
    };
    let stale = || json!({"VALUE": true, "STALE_OK": true});
    until("what was written is committed here", || {
        let (answer, passed) = get(&ours, stale());
        assert_eq!(answer[1]["entry"]["VALUE"], "1", "{answer}");
        passed == 0
    });
    // Others are read where they are served, and so is everything by who does not accept that.
    for (key, read) in [(&theirs, stale()), (&ours, json!({"VALUE": true}))] {
        let (answer, passed) = get(key, read);
        assert_eq!((&answer[1]["entry"]["VALUE"], passed), (&json!("1"), 1), "{answer}");
    }
    // How far it may lag behind is bounded: without a lease nothing is read.
    [1, 2].iter().for_each(|node| send_signal(dev.pid(*node), "STOP"));
    until("its lease is over", || dev.metric(0, "isogrid_cluster_has_lease") == 0);
    let body = json!({"key": ours, "read": stale()});
    let answer = client.call_with("cache.GET", cache, body, &json!({"timeout_ms": 300}));
    [1, 2].iter().for_each(|node| send_signal(dev.pid(*node), "CONT"));
    assert!(!is_ok(&answer), "{answer}");
}
